"""What adapting a run to one scan gives: errors before and after, and its cost, as a Markdown table.

    python benchmarks/adapted.py FILE RUN… [--steps 300]

FILE is fully sampled, of a subject that no run has seen; it is undersampled, and spoilt, by each run's own settings.
The network learns on from the measured samples of all its slices, and the truth is looked at for the table alone.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from switchrecon.data.coils import with_maps
from switchrecon.data.corruption import corrupted
from switchrecon.data.piles import usable_slices
from switchrecon.evaluation.evaluate import evaluate_scan
from switchrecon.evaluation.runs import check_unseen, load_runs
from switchrecon.evaluation.volumes import measure
from switchrecon.metrics.table import METRICS, Metric, find_metrics
from switchrecon.reconstruction.adapt import adapt
from switchrecon.reconstruction.files import undersampled
from switchrecon.scans.files import read_scan

COLUMNS = [METRICS[name].column for name in ("psnr", "ssim", "lpips")]


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=300)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    metrics = find_metrics()
    for sentence in filter(None, (metric.lacks for metric in metrics)):
        print(sentence)
    heads = ["run", *(column.header for column in COLUMNS), "error at held-out measured samples", "steps", "seconds"]
    print("| " + " | ".join(heads) + " |\n|---|" + "---:|" * (len(heads) - 1))
    for run in asked.runs:
        print(row(run, asked.file, asked.steps, metrics), flush=True)


def row(run: Path, file: Path, steps: int, metrics: Sequence[Metric]) -> str:
    """One run's line of the table: slice-maximum metrics, means over the scan's usable slices."""
    loaded = load_runs([run])
    [before] = [own.reconstructor for own in loaded.values()]
    config = before.config
    scan = with_maps(read_scan(file, config.reading).resized(before.card.matrix), config)
    check_unseen(scan, loaded)
    after, adaptation = adapt(before, undersampled(before, corrupted(scan, config.corruption), config.mask), steps)
    methods = {"before": before, "after": after}
    volume = evaluate_scan(scan, usable_slices(scan, config), config, methods, "scan", "subject")
    measure(volume, metrics)
    means = {
        (name, column.name): float(np.mean([value[column.name] for value in volume.slices["slice-max"][name]]))
        for name in methods
        for column in COLUMNS
    }
    cells = [f"{c.text(means['before', c.name])} → {c.text(means['after', c.name])}" for c in COLUMNS]
    errors = f"{adaptation.before:.4g} → {adaptation.after:.4g}"
    return "| " + " | ".join([str(run), *cells, errors, str(adaptation.steps), f"{adaptation.seconds:.0f}"]) + " |"


if __name__ == "__main__":
    main()
