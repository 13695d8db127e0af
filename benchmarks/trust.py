"""What doubt is worth on synthetic heads: train a small run, calibrate it on some subjects, and look at others.

python benchmarks/trust.py --steps 1500 --learnt 24 --calibration 19 --test 40

Prints, for the test subjects: the share whose band holds (the truth of nine tenths of the foreground pixels lies in it)
beside the promise, coverage and width, Spearman's correlation of doubt with the error over the foreground of a slice,
the area under the curve for errors above 10 % of the 99th percentile, the same of an oracle, the time of what is always
measured, and p-values of the same law and of other masks, noise, contrast and anatomy. With --run a run that this
script has trained before is used again; where there is none, it is kept there.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from switchrecon.config import load_config
from switchrecon.phantoms.head import draw_head
from switchrecon.phantoms.scans import HEAD_NOISE, write_heads, write_kspace
from switchrecon.reconstruction.files import reconstruct_scan
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.files import read_scan
from switchrecon.trust.calibrate import Measured, calibrate, features_of, measure_references, measured_as
from switchrecon.trust.calibration_study import LARGE
from switchrecon.trust.conformal import unlikeness
from switchrecon.trust.look import features_at
from switchrecon.trust.shifts import SUBJECTS, shifts
from switchrecon.trust.worth import auroc, spearman


def trained(
    folder: Path, settings: Sequence[str], steps: int, learnt: int, matrix: int, out: Path | None = None
) -> Path:
    """A run of ``joint``, each pile of so many heads with three slices; in ``run`` in the folder, or in ``out``."""
    full = write_heads(folder / "full", range(1, 1 + learnt), 3, matrix)
    sub = write_heads(folder / "sub", range(31, 31 + learnt), 3, matrix)
    config = load_config(
        None, ["method=joint", "mask.kind=random-1d", f"steps={steps}", f"checkpoint_every={steps}", *settings]
    )
    return train_run(config, full, sub, out or folder / "run")


def train_run(*arguments: object) -> Path:
    """Train; imported here, as a run that is used again needs none of it."""
    from switchrecon.training.train import train

    return train(*arguments)  # type: ignore[arg-type]


def discs(subject: int, slices: int, matrix: int) -> np.ndarray:
    """Images (slices, H, W) of bright discs on a dark one: no anatomy that a network of heads knows."""
    random = np.random.RandomState(subject)
    rows, columns = np.mgrid[:matrix, :matrix] / matrix - 0.5
    images = np.zeros((slices, matrix, matrix), np.complex64)
    for image in images:
        image += 0.3 * (np.hypot(rows, columns) < 0.4)
        for _ in range(12):
            row, column = random.uniform(-0.3, 0.3, 2)
            image += random.uniform(0.2, 0.7) * (np.hypot(rows - row, columns - column) < random.uniform(0.02, 0.1))
    return images + HEAD_NOISE * (random.normal(size=images.shape) + 1j * random.normal(size=images.shape))


def written(folder: Path, draw: Callable[[int], np.ndarray], subjects: Sequence[int]) -> list[Path]:
    """Scans of images, as files."""
    files = [folder / f"other-{subject:04d}.npy" for subject in subjects]
    for file, subject in zip(files, subjects, strict=True):
        write_kspace(file, draw(subject).astype(np.complex64))
    return files


def oracle(run: Reconstructor, files: Sequence[Path]) -> tuple[float, float]:
    """Spearman's correlation and area of the true error's root mean square over 5x5 pixels: what is in reach."""
    from switchrecon.physics.fourier import inverse_fourier
    from switchrecon.physics.measured import brightest, foreground

    found = []
    for file in files:
        scan = read_scan(file)
        images = reconstruct_scan(run, measured_as(run, scan, list(range(len(scan.kspace))))).image.abs()
        truth = inverse_fourier(torch.from_numpy(scan.kspace))[:, 0].abs()
        error = (images - truth).abs()
        near = F.avg_pool2d(error.square()[:, None], 5, 1, 2, count_include_pad=False)[:, 0].sqrt()
        for e, u, image in zip(error, near, images, strict=True):
            inside = foreground(image)
            large = e[inside] > LARGE * float(brightest(image))
            found.append((spearman(e[inside].numpy(), u[inside].numpy()), auroc(u[inside].numpy(), large.numpy())))
    rho, area = np.nanmedian(found, axis=0)
    return float(rho), float(area)


def measure(
    folder: Path,
    run: Path | None,
    settings: Sequence[str] = (),
    *,
    steps: int,
    learnt: int,
    calibration: int,
    test: int,
    slices: int,
    matrix: int,
) -> dict[str, float]:
    """Train, calibrate and look; return the figures by name."""
    known = write_heads(folder / "known", range(100, 100 + calibration), slices, matrix)
    others = write_heads(folder / "others", range(200, 200 + test), slices, matrix)
    if run is None or not run.exists():
        run = trained(folder, settings, steps, learnt, matrix, run)
    made, _ = calibrate(run, known)
    reconstructor = Reconstructor.load(run)
    measured = Measured()
    measure_references(run, reconstructor, others, measured, shift=shifts())
    seen = list(measured.subjects.values())
    features = [[float("nan") if value is None else value for value in own] for own in made.features]

    def p_value(of: Sequence[float]) -> float:
        return unlikeness(of, features)[0]

    def p_of_files(files: Sequence[Path]) -> float:
        values = []
        for file in files:
            scan = read_scan(file)
            numbers = list(range(len(scan.kspace)))
            undersampled = measured_as(reconstructor, scan, numbers)
            found = reconstruct_scan(reconstructor, undersampled)
            values.append(p_value(features_at(reconstructor, undersampled, found, numbers)[1]))
        return float(np.mean(values))

    pairs = [each for own in seen for each in zip(own.errors, own.doubts, own.tops, strict=True)]
    rho, area = oracle(reconstructor, others[:SUBJECTS])
    covered = [own.covered(made.factor) for own in seen]
    found = {
        "promised": made.percent / 100,
        "held": float(np.mean([share >= 0.9 for share in covered])),
        "least coverage": min(covered),
        "median coverage": float(np.median(covered)),
        "mean half width over mean magnitude": float(np.mean([own.width(made.factor) for own in seen])),
        "mean error over mean magnitude": float(
            np.mean([np.concatenate(own.errors).mean() / np.concatenate(own.images).mean() for own in seen])
        ),
        "Spearman, median of slices": float(np.nanmedian([spearman(e, u) for e, u, _ in pairs])),
        f"Spearman of the oracle, {SUBJECTS} subjects": rho,
        "AUROC of errors above 10 %, median of slices": float(
            np.nanmedian([auroc(u, e > LARGE * top) for e, u, top in pairs])
        ),
        f"AUROC of the oracle, {SUBJECTS} subjects": area,
        "mean p-value, same law": float(np.mean([p_value(features_of(own)) for own in seen])),
    }
    for name in seen[0].shifted:
        values = [p_value(own.shifted[name][0]) for own in seen if name in own.shifted]
        found[f"mean p-value, {name}"] = float(np.mean(values))
    contrast = "T1w"
    numbers = range(300, 300 + SUBJECTS)

    def head(subject: int) -> np.ndarray:
        return draw_head(subject, contrast=contrast, slices=slices, matrix=matrix, noise=HEAD_NOISE, phase=False).image

    found[f"mean p-value, contrast {contrast}"] = p_of_files(written(folder / "contrast", head, numbers))
    found["mean p-value, discs instead of heads"] = p_of_files(
        written(folder / "discs", lambda subject: discs(subject, slices, matrix), numbers)
    )
    found["time of the invented part over the reconstruction's"] = _time_of_explaining(reconstructor, others[0])
    return found


def _time_of_explaining(reconstructor: Reconstructor, file: Path) -> float:
    scan = read_scan(file)
    undersampled = measured_as(reconstructor, scan, list(range(len(scan.kspace))))
    seconds = []
    for work in (reconstructor.__call__, reconstructor.explain):
        start = time.process_time()
        for _ in range(5):
            work(torch.from_numpy(undersampled.kspace), undersampled.mask, undersampled.sensitivity())
        seconds.append(time.process_time() - start)
    return seconds[1] / seconds[0] - 1


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    defaults = (("steps", 1500), ("learnt", 24), ("calibration", 19), ("test", 40), ("slices", 2), ("matrix", 64))
    for name, value in defaults:
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--run", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), **vars(asked))
    for name, value in found.items():
        print(f"{name}: {value:.3f}")


if __name__ == "__main__":
    main()
