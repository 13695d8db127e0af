"""The noise of a scan, estimated from its outermost samples."""

import math

import numpy as np

OUTER = 0.85  # noise is measured beyond this fraction of the Nyquist frequency
ROUNDING = 1e-6  # of the largest sample: smaller values count as zero


def noise_level(kspace: np.ndarray, mask: np.ndarray) -> float:
    """Estimate the standard deviation of the noise in the real (or imaginary) part of k-space.

    It is the median magnitude of the outermost measured samples, divided by √(2 ln 2), as for complex Gaussian noise.
    Signal that reaches so far out makes it an upper bound. NaN if nothing was measured there.

    Parameters
    ----------
    kspace
        Complex, (H, W) or (n_coils, H, W).
    mask
        Boolean (H, W).
    """
    rows, columns = (np.abs(np.arange(n) - n // 2) / (n / 2) for n in kspace.shape[-2:])
    # Zeros are padding, not samples, even if the scan counts as fully sampled. So are values of about 1e-8, which two
    # Fourier transforms leave in their place.
    magnitude = np.where(mask, np.abs(kspace), 0)
    far = np.maximum(rows[:, None], columns[None, :]) > OUTER
    outer = mask & far & (magnitude > ROUNDING * magnitude.max(initial=0))
    values = magnitude[outer]
    return float(np.median(values) / math.sqrt(2 * math.log(2))) if values.size else math.nan


def relative_noise(kspace: np.ndarray, masks: np.ndarray, images: np.ndarray) -> float:
    """Return the median of the slices' :func:`noise_level`, divided by the scan's brightest pixel.

    Parameters
    ----------
    kspace
        Complex, (slices, H, W) or (slices, n_coils, H, W).
    masks
        Boolean (slices, H, W).
    images
        Images of these slices, in the units of the orthonormal inverse transform of k-space.

    Returns
    -------
    float
        NaN if no slice has a sample that far out, or all of them are zero.
    """
    levels = np.array([noise_level(one, mask) for one, mask in zip(kspace, masks, strict=True)])
    brightest = float(np.abs(images).max(initial=0))
    known = levels[np.isfinite(levels)]
    return float(np.median(known)) / brightest if known.size and brightest else math.nan
