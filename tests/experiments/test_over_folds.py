"""The table over folds that the documents show, from the metrics of every cell."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "over_folds.py"


def test_seeds_are_averaged_within_folds_and_rows_that_lack_a_fold_say_so(tmp_path: Path) -> None:
    cells = tmp_path / "cells.csv"
    cells.write_text(
        "convention,setting,method,fold,seed,units,psnr,ssim,nmse,lpips\n"
        "slice-max,x4,joint,2,0,9,20,0.5,0.1,0.2\n"
        "slice-max,x4,joint,1,0,9,24,0.7,0.1,0.4\n"
        "slice-max,x4,joint,1,1,9,26,0.7,0.1,0.4\n"
        "slice-max,x4,iscl,1,0,9,10,0.5,0.1,nan\n"
        "slice-max,x6,joint,1,0,9,99,0.5,0.1,0.2\n"
        "fastmri,x4,joint,1,0,9,99,0.5,0.1,0.2\n"
    )
    done = subprocess.run([sys.executable, SCRIPT, cells], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "| method | PSNR / dB ↑ | SSIM ↑ | NMSE ↓ | LPIPS ↓ | PSNR fold 2 | PSNR fold 1 |",
        "|---|---:|---:|---:|---:|---:|---:|",
        "| joint | 22.50 ± 3.54 | 0.600 ± 0.141 | 0.1000 ± 0.0000 | 0.300 ± 0.141 | 20.00 | 24.00, 26.00 |",
        "| iscl (1 fold) | 10.00 | 0.500 | 0.1000 | nan |  | 10.00 |",
    ]
    minus = [sys.executable, SCRIPT, cells, "--minus", "joint", "iscl"]
    done = subprocess.run(minus, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[2:] == [
        "| 1 | 0 | +14.00 | +0.200 | +nan |",
        "| mean | | +14.00 | +0.200 | +nan |",
    ]


def test_the_recovered_part_is_of_the_gap_of_the_same_seeds(tmp_path: Path) -> None:
    cells = tmp_path / "cells.csv"
    cells.write_text(
        "convention,setting,method,fold,seed,units,psnr,ssim,nmse,lpips\n"
        "slice-max,gap,simulated,2,0,9,20,0.5,0.1,0.4\n"
        "slice-max,gap,simulated,2,1,9,22,0.5,0.1,0.4\n"
        "slice-max,gap,joint,2,0,9,24,0.6,0.1,0.1\n"
        "slice-max,gap,supervised,2,0,9,25,0.9,0.1,0.2\n"
        "slice-max,gap,joint,1,0,9,24,0.6,0.1,0.1\n"
    )
    asked = [sys.executable, SCRIPT, cells, "--setting", "gap", "--recovered", "simulated", "supervised"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[2:] == [
        "| 2 | simulated | 2 | 21.00 | 0.500 | 0.400 | 0.00 | 0.00 | 0.00 |",
        "| 2 | joint | 1 | 24.00 | 0.600 | 0.100 | 0.80 | 0.25 | 1.50 |",  # of the gap of its own seed
        "| 2 | supervised | 1 | 25.00 | 0.900 | 0.200 | 1.00 | 1.00 | 1.00 |",
    ]
