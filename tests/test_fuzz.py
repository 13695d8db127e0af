"""Some hundred mutated files of every format; ``make fuzz`` reads more."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"


def test_mutated_files_are_a_scan_or_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--mutations", "600", "--seed", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.stdout.strip() == "600 mutations read, 0 of them badly; formats without a sample: none"
    assert done.returncode == 0
