"""PSNR, SSIM and NMSE of magnitude images, and their energy by spatial frequency.

Images may be NumPy arrays, real or complex, or torch's tensors.
"""

import math
from typing import Any

import numpy as np

from switchrecon.metrics.windows import window_sums

WINDOW = 7
STRIP = 24  # rows that SSIM computes at once


def nmse(reference: np.ndarray, image: np.ndarray) -> float:
    """Return the normalised mean squared error, ‖u − r‖² / ‖r‖²; NaN for r = 0. Shapes are any, but equal."""
    reference, image = _same_shape(reference, image)
    energy = float(np.sum(reference**2))
    return float(np.sum((image - reference) ** 2)) / energy if energy else math.nan


def psnr(reference: np.ndarray, image: np.ndarray, data_range: float | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB, 10 log₁₀(range² / mean (u − r)²); infinite for equal images.

    The range is the reference's maximum if ``data_range`` is not given. Shapes are any, but equal.
    """
    reference, image = _same_shape(reference, image)
    error = float(np.mean((image - reference) ** 2))
    data_range = float(reference.max()) if data_range is None else data_range
    if error == 0:
        return math.inf
    return 10 * math.log10(data_range**2 / error) if data_range > 0 else -math.inf


def ssim(reference: np.ndarray, image: np.ndarray, data_range: float | None = None) -> float:
    """Return the structural similarity of one slice: the mean of :func:`ssim_map`, with its arguments and errors."""
    return float(ssim_map(reference, image, data_range).mean())


def ssim_map(reference: np.ndarray, image: np.ndarray, data_range: float | None = None) -> np.ndarray:
    """Return the structural similarity around each pixel (Wang et al. 2004), as scikit-image does by default.

    It uses uniform 7×7 windows, K₁ = 0.01, K₂ = 0.03, and the sample covariance (n − 1).

    Parameters
    ----------
    reference, image
        Shape (H, W), at least 7 pixels a side.
    data_range
        Range of values; by default the reference's maximum.

    Returns
    -------
    np.ndarray
        Shape (H − 6, W − 6), for the pixels whose window lies inside the image; at most 1.

    Raises
    ------
    ValueError
        If the shapes differ or are too small.
    """
    reference, image = _same_shape(reference, image)
    if reference.ndim != 2 or min(reference.shape) < WINDOW:
        raise ValueError(f"SSIM needs images of at least {WINDOW}x{WINDOW} pixels, found shape {reference.shape}")
    data_range = float(reference.max()) if data_range is None else data_range
    found = np.empty([side - WINDOW + 1 for side in reference.shape])
    for top in range(0, len(found), STRIP):
        rows = slice(top, top + STRIP + WINDOW - 1)
        found[top : top + STRIP] = _ssim_of_rows(reference[rows], image[rows], data_range)
    return found


def _ssim_of_rows(r: np.ndarray, u: np.ndarray, data_range: float) -> np.ndarray:
    """Return the map of a few rows, which fit into the processor's cache: at least twice as fast as all at once."""
    pixels = WINDOW**2
    mean_r, mean_u = window_sums(r, WINDOW) / pixels, window_sums(u, WINDOW) / pixels
    product, squares = mean_r * mean_u, mean_r**2 + mean_u**2
    covariance = (window_sums(r * u, WINDOW) - pixels * product) / (pixels - 1)
    variances = (window_sums(r * r + u * u, WINDOW) - pixels * squares) / (pixels - 1)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    found: np.ndarray = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return found


def _same_shape(reference: Any, image: Any) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes, float64, of arrays or of torch's tensors on any device."""
    reference, image = (
        np.asarray(each.detach().cpu() if hasattr(each, "detach") else each) for each in (reference, image)
    )
    if reference.shape != image.shape:
        raise ValueError(f"images differ in shape: reference {reference.shape}, image {image.shape}")
    return np.abs(reference).astype(np.float64), np.abs(image).astype(np.float64)


def radial_energy(images: np.ndarray, rings: int) -> np.ndarray:
    """Return the energy of images by spatial frequency: Σ |F u|² over rings of equal width, summed over slices.

    Parameters
    ----------
    images
        Shape (slices, H, W), real or complex.
    rings
        Number of rings between 0 and the Nyquist frequency of each axis; corners beyond it are left out.

    Returns
    -------
    np.ndarray
        float64 (rings,).
    """
    height, width = images.shape[-2:]
    rows, columns = (np.fft.fftfreq(n)[:, None] * 2 for n in (height, width))
    radius = np.hypot(rows, columns.T)
    ring = np.minimum((radius * rings).astype(int), rings)
    energy = (np.abs(np.fft.fft2(images, norm="ortho")) ** 2).sum(tuple(range(images.ndim - 2)))
    return np.bincount(ring.ravel(), energy.ravel(), rings + 1)[:rings]
