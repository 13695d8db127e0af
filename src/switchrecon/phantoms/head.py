"""Synthetic heads: a different anatomy for every subject, with contrast, coil shading, phase and noise of a scan.

The anatomy comes from :mod:`switchrecon.phantoms.tissues`; this module adds the contrast, from the signal equation,
then coil shading, phase, the matrix and noise.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from switchrecon.phantoms.tissues import (
    FIELD_OF_VIEW_MM,
    INDEX,
    TEXTURE,
    TISSUES,
    Anatomy,
    Array,
    Tissue,
    Waves,
    cover,
    random_for,
)
from switchrecon.physics.fourier import fourier, inverse_fourier, resize_kspace

__all__ = ["CONTRASTS", "TISSUES", "Head", "Sequence", "Tissue", "draw_head", "signal"]

RENDER_MATRIX = 256
MOST_SLICES = 64
LESIONS_PER_SLICE = 4


@dataclass(frozen=True)
class Sequence:
    """The times of a spin-echo sequence, with or without an inversion pulse.

    Attributes
    ----------
    name
        The name of the contrast, also the key in :data:`CONTRASTS`.
    repetition_time_ms, echo_time_ms
        TR and TE in milliseconds.
    inversion_time_ms
        TI in milliseconds, or None for no inversion pulse.
    """

    name: str
    repetition_time_ms: float
    echo_time_ms: float
    inversion_time_ms: float | None


# The inversion times of T1w and FLAIR lie where cerebrospinal fluid crosses zero at their repetition time.
CONTRASTS: dict[str, Sequence] = {
    "T1w": Sequence("T1w", 2500.0, 10.0, 1100.0),
    "T2w": Sequence("T2w", 5000.0, 105.0, None),
    "PD": Sequence("PD", 5000.0, 15.0, None),
    "FLAIR": Sequence("FLAIR", 9000.0, 100.0, 2430.0),
}
"""The contrasts by name."""


def signal(tissue: Tissue, sequence: Sequence) -> float:
    """Return the magnitude of a tissue's signal.

    Spin echo: ``S = ρ (1 − e^(−TR/T1)) e^(−TE/T2)``.
    Inversion recovery: ``S = ρ |1 − 2 e^(−TI/T1) + e^(−TR/T1)| e^(−TE/T2)``.
    Both hold for perfect 90° and 180° pulses and an echo time well below the repetition time (Bernstein, King
    and Zhou, Handbook of MRI Pulse Sequences, 2004, chapters 14.1 and 14.2).

    Parameters
    ----------
    tissue
        The tissue; its proton density ρ scales the signal.
    sequence
        The times of the sequence.

    Returns
    -------
    float
        The signal, from 0 to the proton density.
    """
    recovered = 1.0 - math.exp(-sequence.repetition_time_ms / tissue.t1_ms)
    if sequence.inversion_time_ms is not None:
        recovered += 2.0 * (
            math.exp(-sequence.repetition_time_ms / tissue.t1_ms) - math.exp(-sequence.inversion_time_ms / tissue.t1_ms)
        )
    return tissue.proton_density * abs(recovered) * math.exp(-sequence.echo_time_ms / tissue.t2_ms)


@dataclass(frozen=True)
class Head:
    """A synthetic scan of one subject.

    Attributes
    ----------
    subject
        The name of the subject, such as ``"phantom-0007"``.
    contrast
        A key of :data:`CONTRASTS`.
    image
        Complex64, shape (slices, H, W), with phase, coil shading and noise. Axial slices from low to high,
        the front of the head at the top. The brightest tissue is about 1 before shading.
    labels
        Uint8, shape (slices, H, W): the tissue that fills most of each pixel, numbered as in :data:`TISSUES`.
    lesions
        Slice, row, column and radius of each lesion, in pixels; pixel centres are whole numbers.
    """

    subject: str
    contrast: str
    image: NDArray[np.complex64]
    labels: NDArray[np.uint8]
    lesions: list[tuple[int, float, float, float]]


def draw_head(
    subject: int,
    *,
    contrast: str = "T2w",
    slices: int = 8,
    matrix: int = 256,
    lesions: int = 0,
    noise: float = 0.02,
    phase: bool = True,
    shading: bool = True,
) -> Head:
    """Draw a head: anatomy, contrast, coil shading, phase, acquisition at the given matrix, noise.

    The anatomy depends on the subject number alone; contrast and matrix only change how it is seen. Slices are
    5 mm apart (closer when there are more than 15) and centred on the bodies of the lateral ventricles. The
    image is drawn on at least 256 x 256 pixels over 240 mm, and a smaller matrix is its centred Fourier crop,
    with intensities preserved, so Gibbs ringing is that of a real scan.

    Parameters
    ----------
    subject
        The number of the subject, 0 or more; it is the seed of all random draws.
    contrast
        A key of :data:`CONTRASTS`: the tissues' signals follow :func:`signal`.
    slices
        How many slices, 1 to 64.
    matrix
        Rows and columns: even, 32 to 1024.
    lesions
        How many bright spots in white matter, at most 4 per slice. Each lies in one slice and has a radius of
        2 to 6 mm. They do not change the rest of the head.
    noise
        Standard deviation of the Gaussian noise in the real and in the imaginary part, in units of the image.
    phase
        Whether to apply a smooth phase of a few radians over the head.
    shading
        Whether to apply a smooth coil shading, a factor between 0.7 and 1.3.

    Returns
    -------
    Head
        Image, labels and lesions.

    Raises
    ------
    ValueError
        If the contrast is unknown or a number is out of its range.
    """
    if contrast not in CONTRASTS:
        raise ValueError(f"the contrast is {contrast!r}, but must be one of {', '.join(CONTRASTS)}")
    _check("subject", subject, 0, 2**31)
    _check("number of slices", slices, 1, MOST_SLICES)
    _check("matrix", matrix, 32, 1024)
    if matrix % 2:
        raise ValueError(f"the matrix is {matrix}, but must be even")
    _check("number of lesions", lesions, 0, LESIONS_PER_SLICE * slices)
    if not 0.0 <= noise < float("inf"):
        raise ValueError(f"the noise is {noise}, but must be a finite number, 0 or more")

    # A NumPy integer would seed differently.
    subject, slices, matrix, lesions = int(subject), int(slices), int(matrix), int(lesions)

    size = max(matrix, RENDER_MATRIX)
    anatomy = Anatomy(subject, size)
    coil = _Coil(subject, contrast, anatomy)
    spacing = min(5.0, 70.0 / max(slices - 1, 1))
    strength = np.array([signal(tissue, CONTRASTS[contrast]) for tissue in TISSUES.values()], np.float32)
    weights = strength / strength.max() * TEXTURE
    hosts = random_for("lesions", subject).integers(slices, size=lesions)
    image = np.empty((slices, matrix, matrix), np.complex64)
    labels = np.empty((slices, matrix, matrix), np.uint8)
    placed: list[tuple[int, float, float, float]] = []
    for number in range(slices):
        level = 21.0 + spacing * (number - (slices - 1) / 2)
        fraction, room = anatomy.slice(level)
        wanted = [which for which, host in enumerate(hosts) if host == number]
        for row, column, radius in _add_lesions(fraction, room, subject, wanted):
            shift, scale = size // 2, matrix / size
            row, column = (row - shift) * scale + matrix // 2, (column - shift) * scale + matrix // 2
            placed.append((number, row, column, radius * scale))
        flat, coarse, fine = np.tensordot(weights, fraction, 1)
        seen = flat + coarse * anatomy.coarse(anatomy.axis, level) + fine * anatomy.fine(anatomy.axis, level)
        seen = seen.astype(np.complex64)
        if shading:
            seen *= coil.shading(level)
        if phase:
            seen *= np.exp(1j * coil.phase(level))
        image[number] = _fourier_crop(seen, matrix)
        labels[number] = _fourier_crop(fraction, matrix, taper=True).real.argmax(axis=0)
    random = random_for("noise", subject, contrast)
    image += noise * random.standard_normal(image.shape, np.float32)
    image += 1j * noise * random.standard_normal(image.shape, np.float32)
    return Head(f"phantom-{subject:04d}", contrast, image, labels, placed)


def _check(what: str, found: int, least: int, most: int) -> None:
    """Raise a ValueError if an integer is out of its range."""
    if isinstance(found, bool) or not isinstance(found, int | np.integer) or not least <= found <= most:
        raise ValueError(f"the {what} is {found!r}, but must be a whole number from {least} to {most}")


def _fourier_crop(image: NDArray, matrix: int, taper: bool = False) -> NDArray:
    """Reduce images (..., N, N) to (..., matrix, matrix) by cropping k-space, with a taper if asked for."""
    if image.shape[-1] == matrix:
        return image
    kspace = resize_kspace(fourier(torch.from_numpy(image)), (matrix, matrix))
    if taper:
        window = torch.hann_window(matrix)
        kspace = kspace * window[:, None] * window
    return inverse_fourier(kspace).numpy()


class _Coil:
    """The receive coil: shading and phase, smooth over the head, different in every scan."""

    def __init__(self, subject: int, contrast: str, anatomy: Anatomy) -> None:
        random = random_for("coil", subject, contrast)
        self.axis = anatomy.axis
        self.strength = Waves(random, 220.0, 450.0, 12)
        self.near = random.uniform(0.1, 0.4)
        self.ripple = Waves(random, 90.0, 160.0, 12)
        self.order = random.normal(0.0, 1.0, 6) * (2.0, 0.9, 0.9, 0.7, 0.7, 0.7)

    def shading(self, level: float) -> Array:
        """Return a factor within 0.7 and 1.3, larger towards the coil at the rim of the head."""
        x, y = self.axis / 100, -self.axis[:, None] / 100
        rim = self.near * (x * x + y * y - 0.5)
        return 1 + np.float32(0.3) * np.tanh(0.5 * self.strength(self.axis, level) + rim)

    def phase(self, level: float) -> Array:
        """Return radians: a polynomial of second order and a ripple of low frequency."""
        x, y = self.axis / 100, -self.axis[:, None] / 100
        c = self.order
        polynomial = c[0] + c[1] * x + c[2] * y + c[3] * x * y + c[4] * x * x + c[5] * y * y + 0.004 * level
        return (polynomial + 0.3 * self.ripple(self.axis, level)).astype(np.float32)


def _add_lesions(fraction: Array, room: Array, subject: int, numbers: list[int]) -> list[tuple[float, float, float]]:
    """Draw lesions in white matter; return row, column and radius of each, in pixels of the drawing."""
    size = room.shape[-1]
    pixel = FIELD_OF_VIEW_MM / size
    axis = (np.arange(size) - size // 2) * pixel
    placed: list[tuple[float, float, float]] = []
    for number in numbers:
        random = random_for("lesion", subject, number)
        radius, lobes, start = random.uniform(2.0, 6.0), random.integers(2, 4), random.uniform(0, 6.28)
        points = random.uniform(-1.0, 1.0, (600, 2)) * (65.0, 50.0)
        nearest = np.rint(points / pixel).astype(int) + size // 2
        clear = room[nearest[:, 0], nearest[:, 1]] - 0.5 * radius
        for row, column, taken in placed:
            clear = np.minimum(clear, np.hypot(points[:, 0] - row, points[:, 1] - column) - taken - radius - 1)
        # The first point with enough white matter around it; if there is none, the point with the most.
        best = int(np.argmax(np.where(clear > 0, 100.0 - np.arange(600) / 10, clear)))
        row, column = points[best]
        down, across = axis[:, None] - row, axis - column
        bumpy = 1 + 0.12 * np.cos(lobes * np.arctan2(down, across) + start)
        distance = np.hypot(down, across) * bumpy / 0.88
        opacity = np.clip((radius - distance) / 1.5, 0, 1) * (1 - fraction[INDEX["csf"]])
        cover(fraction, "lesion", opacity.astype(np.float32))
        placed.append((row, column, radius))
    return [(row / pixel + size // 2, column / pixel + size // 2, radius / pixel) for row, column, radius in placed]
