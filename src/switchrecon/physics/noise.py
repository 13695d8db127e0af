"""The noise of a scan, from its own outermost samples."""

import math

import numpy as np

OUTER = 0.85  # of Nyquist: where noise is measured
ROUNDING = 1e-6  # of the largest sample


def noise_level(kspace: np.ndarray, mask: np.ndarray) -> float:
    """Standard deviation of the noise in each of real and imaginary part, from the outermost measured samples.

    The median magnitude there over √(2 ln 2), as for complex Gaussian noise. Signal that reaches so far out makes it an
    upper bound. NaN where nothing was measured there.

    Parameters
    ----------
    kspace
        Complex, (H, W) or (n_coils, H, W).
    mask
        Boolean (H, W).
    """
    rows, columns = (np.abs(np.arange(n) - n // 2) / (n / 2) for n in kspace.shape[-2:])
    # Zeros are padding, not samples, also where a scan counts as fully sampled.
    # So are the rests of about 1e-8 that a Fourier transform there and back leaves of them.
    magnitude = np.where(mask, np.abs(kspace), 0)
    far = np.maximum(rows[:, None], columns[None, :]) > OUTER
    outer = mask & far & (magnitude > ROUNDING * magnitude.max(initial=0))
    values = magnitude[outer]
    return float(np.median(values) / math.sqrt(2 * math.log(2))) if values.size else math.nan


def relative_noise(kspace: np.ndarray, masks: np.ndarray, images: np.ndarray) -> float:
    """Return the noise of a scan over its brightest pixel: the median of its slices' :func:`noise_level`.

    Parameters
    ----------
    kspace
        Complex, (slices, H, W) or (slices, n_coils, H, W).
    masks
        Boolean (slices, H, W).
    images
        Of these slices, in the units of the orthonormal inverse transform of k-space.

    Returns
    -------
    float
        NaN where no slice has a sample that far out, or all are zero.
    """
    levels = np.array([noise_level(own, mask) for own, mask in zip(kspace, masks, strict=True)])
    brightest = float(np.abs(images).max(initial=0))
    known = levels[np.isfinite(levels)]
    return float(np.median(known)) / brightest if known.size and brightest else math.nan
