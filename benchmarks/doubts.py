"""Kinds of raw doubt beside each other: how well each ranks the errors of a run on synthetic heads.

python benchmarks/doubts.py RUN --subjects 20

Prints for each kind, over the foreground of each slice: Spearman's correlation with the error and the area under the
curve for errors above 10 % of the 99th percentile, medians of slices; and the half width over the mean magnitude of the
band by the largest score of the subjects. RUN was trained on heads with one coil, such as by benchmarks/trust.py.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from switchrecon.phantoms.scans import write_heads
from switchrecon.physics.fourier import fourier, inverse_fourier
from switchrecon.physics.measured import brightest, foreground
from switchrecon.physics.operators import Encoding
from switchrecon.reconstruction.files import reconstruct_scan
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.files import read_scan
from switchrecon.trust.calibrate import measured_as
from switchrecon.trust.calibration_study import LARGE
from switchrecon.trust.conformal import subject_score
from switchrecon.trust.doubt import FLIPS, LEAST, PASSES, SIDE, left_out, mirrored
from switchrecon.trust.worth import auroc, spearman

FIRST = 300  # of the subjects


def near(squares: Tensor) -> Tensor:
    """Root mean square over neighbours, (N, H, W)."""
    return F.avg_pool2d(squares[:, None], SIDE, 1, SIDE // 2, count_include_pad=False)[:, 0].sqrt()


def kinds(run: Reconstructor, file: Path) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Raw doubt of each kind, the image and its error, each (N, H, W)."""
    scan = read_scan(file)
    numbers = list(range(len(scan.kspace)))
    measured = measured_as(run, scan, numbers)
    assert measured.mask is not None
    kspace, encoding = torch.from_numpy(measured.kspace), Encoding(torch.from_numpy(measured.mask))
    found = reconstruct_scan(run, measured)
    image = found.phased
    truth = inverse_fourier(torch.from_numpy(scan.kspace))[:, 0].abs()
    error = (image.abs() - truth).abs()

    def spread(passes: list[Tensor]) -> Tensor:
        return near(torch.stack([(own.abs() - image.abs()).square() for own in passes]).mean(0))

    fewer = left_out(run.phased, kspace, encoding, run.card.center_fraction, scan.name, numbers, PASSES)
    again = [mirrored(run.phased, encoding, image, axes) for axes in FLIPS]
    lines, some, mirrors = spread(fewer), spread(fewer[: PASSES - len(FLIPS)]), spread(again)
    relative = image.abs() / brightest(image)
    residual = inverse_fourier((kspace[:, 0] - fourier(fewer[0])) * encoding.mask)
    return (
        {
            f"{PASSES} passes of lines": lines,
            f"{len(FLIPS)} mirrored": mirrors,
            "both, root mean square": (some.square() + mirrors.square()).sqrt(),
            "both, geometric mean": (some * mirrors).sqrt(),
            "both, geometric mean, times the magnitude's root": (some * mirrors * relative).sqrt(),
            "residuals on lines left out": near(residual.abs().square()),
            "invented": near(found.invented.abs().square()),
            "magnitude": near(image.abs().square()),
            "the true error (oracle)": near(error.square()),
        },
        image.abs(),
        error,
    )


def compare(run: Reconstructor, files: list[Path]) -> Mapping[str, tuple[float, float, float]]:
    """By kind: correlation, area, and half width over the mean magnitude."""
    worth: dict[str, list[tuple[float, float]]] = {}
    scores: dict[str, list[float]] = {}
    widths: dict[str, list[float]] = {}
    for file in files:
        found, images, error = kinds(run, file)
        inside, white = foreground(images), brightest(images)
        for name, raw in found.items():
            doubt = raw + LEAST * white
            for e, u, where, top in zip(error, doubt, inside, white, strict=True):
                one, other = e[where].numpy(), u[where].numpy()
                worth.setdefault(name, []).append((spearman(one, other), auroc(other, one > LARGE * float(top))))
            scores.setdefault(name, []).append(subject_score(error[inside].numpy(), doubt[inside].numpy()))
            widths.setdefault(name, []).append(float(doubt[inside].mean() / images[inside].mean()))
    return {
        name: (*np.nanmedian(own, axis=0).tolist(), max(scores[name]) * float(np.mean(widths[name])))
        for name, own in worth.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--subjects", type=int, default=20)
    parser.add_argument("--slices", type=int, default=2)
    asked = parser.parse_args()
    run = Reconstructor.load(asked.run)
    with tempfile.TemporaryDirectory() as folder:
        subjects = range(FIRST, FIRST + asked.subjects)
        files = write_heads(Path(folder), subjects, asked.slices, run.card.matrix[0])
        print("| raw doubt | Spearman | area | half width |\n|---|---|---|---|")
        for name, (rho, area, width) in compare(run, files).items():
            print(f"| {name} | {rho:.2f} | {area:.2f} | {width:.0%} |")


if __name__ == "__main__":
    main()
