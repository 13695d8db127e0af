"""What adapting a run to one scan gives: errors before and after, and its cost, as a Markdown table.

    python benchmarks/adapted.py FILE RUN… [--steps 300]

FILE is fully sampled, of a subject that no run has seen; it is undersampled, and spoilt, by each run's own settings.
The network learns on from the measured samples of all its slices, and the truth is looked at for the table alone.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from switchrecon.adapt import adapt
from switchrecon.comparison import check_unseen, load_runs
from switchrecon.data.corruption import corrupted
from switchrecon.data.files import read_scan
from switchrecon.data.multicoil import with_maps
from switchrecon.data.piles import usable_slices
from switchrecon.data.scan import own_mask
from switchrecon.fourier import inverse_fourier
from switchrecon.lpips import Lpips, find_weights
from switchrecon.metrics import slice_metrics
from switchrecon.reconstruct import Reconstructor
from switchrecon.reconstruct_scans import reconstruct_scan
from switchrecon.scaling import combined
from switchrecon.scores import find_lpips, lpips_of


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=300)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    perceptual, _ = find_lpips(None)
    if perceptual is None:
        print(f"LPIPS is n/a: {find_weights()} is not there")
    heads = ["run", "PSNR / dB", "SSIM", "LPIPS", "error at held-out measured samples", "steps", "seconds"]
    print("| " + " | ".join(heads) + " |\n|---|" + "---:|" * (len(heads) - 1))
    for run in asked.runs:
        loaded = load_runs([run])
        check_unseen(read_scan(asked.file, Reconstructor.load(run).config), loaded)
        [own] = loaded.values()
        print(row(run, own.reconstructor, asked.file, asked.steps, perceptual), flush=True)


def row(run: Path, before: Reconstructor, file: Path, steps: int, perceptual: Lpips | None) -> str:
    """One run's line of the table: slice-maximum metrics, means over the scan's usable slices."""
    config = before.config
    scan = with_maps(read_scan(file, config).resized(tuple(before.card["matrix"])), config)
    numbers = usable_slices(scan, config)
    maps = None if scan.maps is None else torch.from_numpy(scan.maps)
    truth = combined(inverse_fourier(torch.from_numpy(scan.kspace)), maps).abs().numpy()[numbers]
    masks = np.stack([own_mask(scan, index, config).numpy() for index in range(len(scan.kspace))])
    spoilt = corrupted(scan, config.corruption).kspace
    measured = replace(scan, kspace=spoilt * (masks if scan.coils == 1 else masks[:, None]), mask=masks)
    after, adaptation = adapt(before, measured, steps)
    found = []
    for reconstructor in (before, after):
        images = np.abs(reconstruct_scan(reconstructor, measured))[numbers]
        values = slice_metrics(truth, images, "slice-max")
        means = [float(np.mean([value[name] for value in values])) for name in ("psnr", "ssim")]
        pairs = zip(truth, images, strict=True)
        found.append([*means, float(np.mean([lpips_of(r / r.max(), u / r.max(), perceptual) for r, u in pairs]))])
    cells = [f"{a:.{d}f} → {b:.{d}f}" for a, b, d in zip(*found, (2, 3, 3), strict=True)]
    errors = f"{adaptation.before:.4g} → {adaptation.after:.4g}"
    return "| " + " | ".join([str(run), *cells, errors, str(adaptation.steps), f"{adaptation.seconds:.0f}"]) + " |"


if __name__ == "__main__":
    main()
