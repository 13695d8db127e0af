"""What doubt is worth on synthetic heads: train a small run, calibrate it on some subjects, and look at others.

python benchmarks/trust.py --steps 400 --calibration 9 --test 20 --slices 2 --matrix 64

Prints, for the test subjects: the share whose band holds (the truth of nine tenths of the foreground pixels lies in it)
beside the promise, coverage and width, Spearman's correlation of raw doubt with the error over the foreground of each
slice, the area under the curve for errors above 10 % of the 99th percentile, the time of what is always measured, and
p-values of the same law and of another mask and noise.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from switchrecon.config import load_config
from switchrecon.phantoms.scans import write_heads
from switchrecon.physics.fourier import inverse_fourier
from switchrecon.physics.masks import MaskConfig, draw_mask
from switchrecon.physics.measured import brightest, foreground
from switchrecon.reconstruction.files import reconstruct_scan
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.files import read_scan
from switchrecon.scans.scan import own_mask
from switchrecon.training.train import train
from switchrecon.trust.calibrate import calibrate
from switchrecon.trust.conformal import unlikeness
from switchrecon.trust.look import look_at, undersampled_part


@dataclass
class Seen:
    """What was found of one test subject."""

    covered: float
    width: float
    spearman: list[float]
    auroc: list[float]
    features: tuple[float, ...]


def rank(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Ranks of values without ties."""
    return np.argsort(values).argsort().astype(float)


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """The probability that a positive pixel has the larger score; NaN where there are not both kinds."""
    count = int(positive.sum())
    if count in (0, len(positive)):
        return float("nan")
    return float((rank(score)[positive].sum() - count * (count - 1) / 2) / (count * (len(positive) - count)))


def look(
    reconstructor: Reconstructor, path: Path, factor: float, mask: MaskConfig | None = None, noise: float = 0
) -> Seen:
    """Undersample a scan, reconstruct it, and compare its doubt with its error."""
    scan = read_scan(path)
    numbers = list(range(len(scan.kspace)))
    config = reconstructor.config
    masks = [
        own_mask(scan, n, config).numpy() if mask is None else draw_mask(mask, scan.matrix, volume=scan.name, index=n)
        for n in numbers
    ]
    truth = inverse_fourier(torch.from_numpy(scan.kspace))[:, 0].abs()
    random = np.random.RandomState(0)
    added = noise * float(truth.max()) * (random.normal(size=(2, *scan.kspace.shape)))
    measured = undersampled_part(scan, scan.kspace + added[0] + 1j * added[1], np.stack(masks), numbers)
    found = reconstruct_scan(reconstructor, measured)
    looked, _ = look_at(reconstructor, measured, found, numbers)
    image = found.image.abs()
    error, inside, bright = (image - truth).abs(), foreground(image), brightest(image)
    spearman, areas = [], []
    for e, u, where, top in zip(error, looked.doubt, inside, bright, strict=True):
        e, u = e[where].numpy(), u[where].numpy()
        spearman.append(float(np.corrcoef(rank(e), rank(u))[0, 1]))
        areas.append(auroc(u, e > 0.1 * float(top)))
    band = factor * looked.doubt
    return Seen(
        covered=float((error <= band)[inside].float().mean()),
        width=float(band[inside].mean() / image[inside].mean()),
        spearman=spearman,
        auroc=areas,
        features=looked.features,
    )


def measure(
    folder: Path, settings: Sequence[str], *, steps: int, calibration: int, test: int, slices: int, matrix: int
) -> dict[str, float]:
    """Train, calibrate and look; return the figures by name."""
    full = write_heads(folder / "full", range(1, 7), slices, matrix)
    sub = write_heads(folder / "sub", range(11, 17), slices, matrix)
    known = write_heads(folder / "known", range(100, 100 + calibration), slices, matrix)
    others = write_heads(folder / "others", range(200, 200 + test), slices, matrix)
    config = load_config(None, ["mask.kind=random-1d", f"steps={steps}", f"checkpoint_every={steps}", *settings])
    run = train(config, full, sub, folder / "run")
    made = calibrate(run, known)
    reconstructor = Reconstructor.load(run)
    seen = [look(reconstructor, path, made.factor) for path in others]
    features = [[float("nan") if value is None else value for value in own] for own in made.features]

    def p_values(found: list[Seen]) -> float:
        return float(np.mean([unlikeness(own.features, features)[0] for own in found]))

    few = others[:5]
    faster = replace_mask(config.mask, acceleration=6.0)
    scan = undersampled_part(
        read_scan(others[0]),
        read_scan(others[0]).kspace,
        np.stack([own_mask(read_scan(others[0]), n, config).numpy() for n in range(slices)]),
        list(range(slices)),
    )
    seconds = []
    for work in (reconstructor.__call__, reconstructor.explain):
        start = time.perf_counter()
        for _ in range(5):
            work(torch.from_numpy(scan.kspace), scan.mask, scan.sensitivity())
        seconds.append(time.perf_counter() - start)
    return {
        "promised": made.percent / 100,
        "held": float(np.mean([own.covered >= 0.9 for own in seen])),
        "least coverage": min(own.covered for own in seen),
        "median coverage": float(np.median([own.covered for own in seen])),
        "mean half width over mean magnitude": float(np.mean([own.width for own in seen])),
        "Spearman, median of slices": float(np.median([value for own in seen for value in own.spearman])),
        "AUROC of errors above 10 %, median of slices": float(
            np.nanmedian([value for own in seen for value in own.auroc])
        ),
        "mean p-value, same law": p_values(seen),
        "mean p-value, mask of acceleration 6": p_values([look(reconstructor, p, made.factor, faster) for p in few]),
        "mean p-value, noise of 5 %": p_values([look(reconstructor, p, made.factor, noise=0.05) for p in few]),
        "time of the invented part over the reconstruction's": seconds[1] / seconds[0] - 1,
    }


def replace_mask(mask: MaskConfig, **changes: float) -> MaskConfig:
    """The same mask law with other numbers."""
    return mask.model_copy(update=changes)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("steps", 400), ("calibration", 9), ("test", 20), ("slices", 2), ("matrix", 64)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), (), **vars(asked))
    for name, value in found.items():
        print(f"{name}: {value:.3f}")


if __name__ == "__main__":
    main()
