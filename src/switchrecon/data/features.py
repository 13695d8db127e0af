"""The features of a slice: what both piles show of it without aliasing, as numbers that can be compared.

They come from the centre of its k-space alone, and from its noise. So a scan can be forgotten once these are known.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from switchrecon.physics.fourier import inverse_fourier
from switchrecon.physics.masks import centre_slice
from switchrecon.physics.noise import noise_level

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
FEATURES = (
    *(("contrast", f"brightness quantile {q:g}") for q in QUANTILES),
    ("contrast", "middle over rim"),
    ("contrast", "part that is brighter than four fifths"),
    ("anatomy", "part of the field of view that is filled"),
    ("anatomy", "height over width"),
    ("sharpness", "fine over coarse structure"),
    ("noise", "noise over signal"),
    ("phase", "spread of the phase"),
)
"""The features of a slice: what each is about, and its name."""
LEAST_CENTRE = 3  # samples on each side
QUIET = 0.05  # least noise that counts, relative to the low-resolution image (about 3 % of the brightest pixel)
CALM = 0.01  # least spread of the phase that counts, about 0.14 radians; images without phase have less


@dataclass(frozen=True)
class SliceCentre:
    """All of a slice that its features depend on.

    Attributes
    ----------
    samples
        Complex (h, w), the centre of k-space.
    matrix
        (H, W), the shape of all of k-space.
    noise
        See :func:`switchrecon.physics.noise.noise_level`; NaN where unknown.
    """

    samples: np.ndarray
    matrix: tuple[int, int]
    noise: float


def slice_centre(kspace: np.ndarray, mask: np.ndarray, fraction: float) -> SliceCentre:
    """Return the centre of a slice's k-space (H, W), in a copy, and the noise of its samples in a boolean mask (H, W).

    The features can then be computed for this fraction of each side, or a smaller one.
    """
    rows, columns = _centre(kspace.shape, fraction)
    return SliceCentre(kspace[rows, columns].copy(), (kspace.shape[0], kspace.shape[1]), noise_level(kspace, mask))


def _centre(matrix: tuple[int, ...], fraction: float) -> tuple[slice, slice]:
    rows, columns = (centre_slice(n, max(fraction, LEAST_CENTRE / n)) for n in matrix)
    return rows, columns


def low_resolution_centre(kspace: np.ndarray, fraction: float) -> np.ndarray:
    """Return the complex image (h, w) of the Hann-weighted centre of k-space (H, W), one pixel for each sample."""
    rows, columns = _centre(kspace.shape, fraction)
    return _image(kspace[rows, columns])


def _image(centre: np.ndarray) -> np.ndarray:
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in centre.shape))
    return inverse_fourier(torch.from_numpy((centre * window).astype(np.complex64))).numpy()


def slice_features(kspace: np.ndarray, mask: np.ndarray, fraction: float) -> tuple[list[float], np.ndarray]:
    """Return :func:`centre_features` of a slice's k-space (H, W) and its mask (H, W)."""
    return centre_features(slice_centre(kspace, mask, fraction), fraction)


def centre_features(centre: SliceCentre, fraction: float) -> tuple[list[float], np.ndarray]:
    """Return the features of one slice, which do not depend on its scale, and its low-resolution magnitude image.

    Parameters
    ----------
    centre
        From :func:`slice_centre`, with at least this fraction.
    fraction
        Fraction of each side of k-space that is used.
    """
    sides = zip(_centre(centre.matrix, fraction), centre.matrix, centre.samples.shape, strict=True)
    firsts = [(inner, centre_slice(n, count / n).start) for inner, n, count in sides]
    inside_rows, inside_columns = (slice(inner.start - first, inner.stop - first) for inner, first in firsts)
    image = _image(centre.samples[inside_rows, inside_columns])
    magnitude = np.abs(image)
    bright = np.quantile(magnitude, 0.99) or 1.0
    pixel = bright * math.sqrt(magnitude.size / math.prod(centre.matrix))  # at the matrix of the scan, as the noise is
    inside = magnitude > 0.1 * bright
    rows, columns = np.nonzero(inside)
    spread = [max(float(np.std(place)), 0.3) / n for place, n in zip((rows, columns), image.shape, strict=True)]
    distance = np.hypot((rows - rows.mean()) / spread[0], (columns - columns.mean()) / spread[1])
    core = np.zeros_like(inside)
    core[rows, columns] = distance <= np.median(distance)
    rim = inside & ~core
    energy = np.abs(np.fft.fftshift(np.fft.fft2(magnitude))) ** 2
    radius = np.hypot(*np.meshgrid(*((np.arange(n) - n // 2) / n for n in image.shape), indexing="ij"))
    fine, coarse = energy[radius > 0.2].sum(), energy[(radius <= 0.2) & (radius > 0)].sum()
    numbers = [
        *np.quantile(magnitude[inside] / bright, QUANTILES),
        math.log(magnitude[core].mean() / magnitude[rim].mean()) if rim.any() else 0.0,
        float((magnitude[inside] > 0.8 * bright).mean()),
        float(inside.mean()),
        math.log(spread[0] / spread[1]),
        math.log((fine + 1e-12) / (coarse + 1e-12)),
        math.log10(max(centre.noise / pixel, QUIET)) if math.isfinite(centre.noise) else math.nan,
        max(1 - float(np.abs(image[inside].sum()) / magnitude[inside].sum()), CALM),
    ]
    return numbers, magnitude
