"""HaarPSI, the perceptual similarity index of Reisenhofer, Bosse, Kutyniok and Wiegand (2018).

R. Reisenhofer, S. Bosse, G. Kutyniok and T. Wiegand, A Haar wavelet-based perceptual similarity index for image quality
assessment, Signal Processing: Image Communication 61, 33–43, 2018.
"""

import numpy as np

from switchrecon.metrics.windows import run_sums

C = 30.0  # constant in the similarity of two coefficients, for images in [0, 255]
ALPHA = 4.2  # steepness of the logistic function
GREY = 255.0
SCALES = (1, 2, 3)  # the coarsest gives the weights, the others the similarities


def haarpsi(reference: np.ndarray, image: np.ndarray, maximum: float) -> float:
    """Return the HaarPSI of one slice, between 0 and 1; 1 for equal images.

    With the coefficients g of three-scale Haar filters, horizontal and vertical (k = 1, 2), the local similarities are
    S = ½ Σ_{j=1,2} (2 |g_j r| |g_j u| + C) / (|g_j r|² + |g_j u|² + C), the weights W = max(|g_3 r|, |g_3 u|), and with
    the logistic function l(x) = 1 / (1 + exp(−α x)), HaarPSI = l⁻¹(Σ_k Σ_x l(S) W / Σ_k Σ_x W)².

    Parameters
    ----------
    reference, image
        Magnitudes, shape (H, W). They are averaged over 2×2 pixels first, as the paper does.
    maximum
        The data range: images are scaled so that it becomes 255, for which C is chosen.
    """
    scale = GREY / maximum if maximum > 0 else 1.0
    pair = [_halved(np.asarray(each, dtype=np.float64) * scale) for each in (reference, image)]
    total = weight = 0.0
    for axis in (-2, -1):
        similarity = np.zeros_like(pair[0])
        for j in SCALES[:-1]:
            r, u = (np.abs(_haar(each, j, axis)) for each in pair)
            similarity += (2 * r * u + C) / (r * r + u * u + C) / 2
        weights = np.maximum(*(np.abs(_haar(each, SCALES[-1], axis)) for each in pair))
        total += float((weights / (1 + np.exp(-ALPHA * similarity))).sum())
        weight += float(weights.sum())
    if weight == 0:  # both images are zero everywhere
        return 1.0
    mean = total / weight
    return float((np.log(mean / (1 - mean)) / ALPHA) ** 2)


def _halved(image: np.ndarray) -> np.ndarray:
    """Return the means of blocks of 2×2 pixels; zeros are added to an odd last row or column."""
    height, width = image.shape
    padded = np.pad(image, ((0, height % 2), (0, width % 2)))
    return run_sums(run_sums(padded, 2, -1), 2, -2)[::2, ::2] / 4


def _haar(image: np.ndarray, scale: int, axis: int) -> np.ndarray:
    """Return the response to the Haar filter of side 2^scale, in the shape of the image, which zeros surround.

    Along the axis the filter is 2^−scale on one half and −2^−scale on the other.
    """
    side = 2**scale
    before, after = side // 2 - 1, side // 2
    padded = np.pad(image, (before, after))
    halves = run_sums(run_sums(padded, side // 2, axis), side, -1 if axis == -2 else -2)
    size = image.shape[axis]
    first, second = (np.take(halves, range(start, start + size), axis) for start in (0, side // 2))
    return (first - second) / side
