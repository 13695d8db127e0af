"""How alike reconstructions of one scan are within the head and outside it, as a Markdown table.

    python benchmarks/background.py FILE RUN…

FILE is fully sampled, of a subject that no run has seen; it is undersampled by each run's own settings. The head is
what is brighter than 5 % of its slice's maximum, filled and two pixels wider. Means over the scan's usable slices.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import binary_dilation, binary_fill_holes

from switchrecon.data.piles import usable_slices
from switchrecon.evaluation.evaluate import evaluate_scan
from switchrecon.evaluation.runs import check_unseen, load_runs
from switchrecon.metrics.metrics import WINDOW, ssim_map
from switchrecon.scans.files import read_scan

MARGIN = WINDOW // 2


def head(reference: np.ndarray) -> np.ndarray:
    """Boolean (H, W)."""
    bright = binary_fill_holes(reference > 0.05 * reference.max())
    return np.asarray(binary_dilation(bright, iterations=2))


def row(run: Path, file: Path) -> str:
    """One run's line of the table."""
    loaded = load_runs([run])
    [reconstructor] = [own.reconstructor for own in loaded.values()]
    config = reconstructor.config
    scan = read_scan(file, config.reading).resized(reconstructor.card.matrix)
    check_unseen(scan, loaded)
    volume = evaluate_scan(scan, usable_slices(scan, config), config, {"run": reconstructor}, "scan", "subject")
    values = []
    for reference, image in zip(volume.reference, volume.images["run"], strict=True):
        inside, error = head(reference), np.abs(image - reference) / reference.max()
        alike, central = ssim_map(reference, image), inside[MARGIN:-MARGIN, MARGIN:-MARGIN]
        values.append(
            [alike.mean(), alike[central].mean(), alike[~central].mean(), error[inside].mean(), error[~inside].mean()]
        )
    means = np.nanmean(values, 0)
    return (
        f"| {run} | "
        + " | ".join(f"{value:.3f}" for value in means[:3])
        + " | "
        + " | ".join(f"{100 * value:.2f} %" for value in means[3:])
        + " |"
    )


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    heads = ("run", "SSIM", "in the head", "outside", "mean error in the head", "outside")
    print("| " + " | ".join(heads) + " |\n|---|" + "---:|" * (len(heads) - 1))
    for run in asked.runs:
        print(row(run, asked.file), flush=True)


if __name__ == "__main__":
    main()
