"""The scans that the stored runs were made from: formulas, so that no library's random numbers matter."""

from pathlib import Path

import numpy as np

SIDE = 64
FILES = Path(__file__).parent
SETTINGS = ["width=2", "unet_width=2", "residual_blocks=1", "extractor_depth=3", "steps=6", "checkpoint_every=3"]
RUNS = {
    "switchable": ["method=switchable", "warm_up=0"],
    "cyclegan-magnitude": ["method=cyclegan", "representation=magnitude"],
    "supervised": ["method=supervised", "mask.kind=random-1d"],
    "joint": ["method=joint", "cascades=2"],
    "joint-coils": ["method=joint", "cascades=2", "mask.center_fraction=0.125"],
    "self-supervised": ["method=self-supervised", "cascades=1"],
    "wavelet": ["method=wavelet", "iterations=10"],
}


def images(subject: int, slices: int) -> np.ndarray:
    """Smooth complex images (slices, SIDE, SIDE): overlapping ellipses with a phase ramp, on a dim pattern.

    Without the pattern the background would be nothing but rounding errors, whose signs differ between processors; a
    leaky ReLU without a norm before it makes large gradients of them.
    """
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    found = np.zeros((slices, SIDE, SIDE), np.complex128)
    found += 0.05 * (2 + np.sin(9 * rows + 7 * columns) + 1j * np.cos(11 * columns - 5 * rows))
    for number, image in enumerate(found):
        for part in range(5):
            angle = 2.4 * part + 0.7 * subject + 0.3 * number
            row, column = 0.18 * np.sin(angle), 0.18 * np.cos(1.7 * angle)
            inside = ((rows - row) / 0.9) ** 2 + (columns - column) ** 2 < (0.08 + 0.03 * part) ** 2
            image += (0.3 + 0.12 * part) * inside
        image *= np.exp(1j * (0.8 + 0.1 * subject) * rows)
    return found


def sensitivities(coils: int) -> np.ndarray:
    """Coil sensitivity maps (coils, SIDE, SIDE) with Σ |s|² = 1."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    maps = np.stack(
        [np.exp(-((rows - 0.6 * np.sin(a)) ** 2) - (columns - 0.6 * np.cos(a)) ** 2 + 1j * a) for a in range(coils)]
    )
    return maps / np.sqrt((np.abs(maps) ** 2).sum(0))


def fourier(image: np.ndarray) -> np.ndarray:
    """Centred orthonormal transform of the last two axes."""
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes), norm="ortho"), axes)


def mask() -> np.ndarray:
    """A two-dimensional mask (SIDE, SIDE), a third measured, with a full centre of 8x8."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    found = (7 * rows + 11 * columns + rows * columns) % 3 == 0
    centre = slice(SIDE // 2 - 4, SIDE // 2 + 4)
    found[centre, centre] = True
    return found


def scan(subject: int, slices: int = 3, coils: int = 1, masked: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """K-space (slices, SIDE, SIDE), or (slices, coils, SIDE, SIDE), complex64, and the mask."""
    image = images(subject, slices)
    kspace = fourier(image[:, None] * sensitivities(coils) if coils > 1 else image)
    return (kspace * mask() if masked else kspace).astype(np.complex64), mask()


def write_scans(folder: Path, coils: int = 1, masked: bool = True) -> tuple[Path, Path]:
    """Write two fully sampled scans and two others, undersampled if ``masked``, as ``.npy``; return both folders."""
    folders = folder / f"full-{coils}", folder / f"sub-{coils}"
    for number, pile in enumerate(folders):
        pile.mkdir(parents=True, exist_ok=True)
        for subject in (2 * number, 2 * number + 1):
            np.save(pile / f"subject{subject}.npy", scan(subject, coils=coils, masked=masked and number == 1)[0])
    return folders
