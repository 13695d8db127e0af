"""Augmentation: symmetries of any slice, and distortions of fully sampled ones.

A symmetry permutes the pixels about the centre pixel (n // 2). It acts in k-space as in the image: the Fourier
transform of the moved image is the moved Fourier transform. So an undersampled slice can be moved together with its
mask, without new samples. Distortions are for images that are sampled afterwards, as in MRAugment (Fabian et al. 2021).
So are other contrasts: networks that learn from images of random contrast work with any contrast (Billot et al. 2023).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import RandomState
from torch import Tensor

from switchrecon.core.device import send

FLIPS = (0, 1, 2, 3)  # none, rows, columns, both
DIHEDRAL = (0, 1, 2, 3, 4, 5, 6, 7)  # and each of them after a transposition


def _reverse(array: Tensor, dim: int) -> Tensor:
    """Reverse a dimension about its centre: element n goes to −n; for an even size the first element stays."""
    flipped = array.flip(dim)
    return flipped.roll(1, dim) if array.shape[dim] % 2 == 0 else flipped


def move(array: Tensor, symmetry: int) -> Tensor:
    """Apply one of the eight symmetries of the square to the last two dimensions.

    Parameters
    ----------
    array
        Image, k-space or mask, shape (..., H, W).
    symmetry
        From 0 to 7. Bit 2 transposes; then bit 0 reverses rows and bit 1 columns.

    Returns
    -------
    Tensor
        The same shape, or (..., W, H) after a transposition.
    """
    if symmetry & 4:
        array = array.transpose(-2, -1)
    if symmetry & 1:
        array = _reverse(array, -2)
    if symmetry & 2:
        array = _reverse(array, -1)
    return array


ROTATION = math.radians(20)
SCALING = 0.2
SHEAR = math.radians(12)
GAMMA = 0.3
RISE = 5.0  # how steeply the probability of a distortion rises at first


def distortion_probability(strength: float, progress: float) -> float:
    """Return p = strength · (1 − exp(−5 t)) / (1 − exp(−5)) for the progress t in [0, 1] of a run: few at first."""
    return strength * (1 - math.exp(-RISE * progress)) / (1 - math.exp(-RISE))


def draw_distortion(random: RandomState, probability: float) -> tuple[np.ndarray, float]:
    """Draw an affine map (2, 3) about the image's centre, and an exponent for the magnitude.

    Rotation (±20°), scaling of each side (±20 %), shear (±12°) and the exponent (1 ± 0.3) are each drawn with the given
    probability; otherwise that part changes nothing.
    """
    drawn = random.uniform(-1, 1, size=5) * (random.uniform(size=5) < probability)
    angle, shear = ROTATION * drawn[0], math.tan(SHEAR * drawn[1])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn @ np.array([[1, shear], [0, 1]]) @ np.diag(1 + SCALING * drawn[2:4])
    return np.column_stack([matrix, np.zeros(2)]), 1 + GAMMA * drawn[4]


def distort(array: Tensor, matrix: np.ndarray) -> Tensor:
    """Move complex images (..., H, W) by an affine map of square pixels, with bicubic interpolation; zero outside."""
    height, width = array.shape[-2:]
    aspect = height / width  # the grid counts each side from −1 to 1
    scaled = matrix.copy()
    scaled[0, 1] *= aspect
    scaled[1, 0] /= aspect
    flat = torch.view_as_real(array.reshape(-1, height, width)).permute(0, 3, 1, 2).reshape(1, -1, height, width)
    grid = F.affine_grid(
        send(torch.from_numpy(scaled[None]).to(flat.dtype), flat.device), [1, 1, height, width], align_corners=False
    )
    moved = F.grid_sample(flat, grid, mode="bicubic", align_corners=False)
    parts = moved.reshape(-1, 2, height, width)
    return torch.complex(parts[:, 0], parts[:, 1]).reshape(array.shape)


def with_gamma(image: Tensor, gamma: float) -> Tensor:
    """Return complex images (..., H, W) with magnitudes, relative to the brightest, to the power γ; same phase."""
    return image if gamma == 1 else _remapped(image, lambda part: part**gamma)


def _remapped(image: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return an image with its magnitudes, relative to the brightest, mapped by a function; same phase."""
    magnitude = image.abs()
    brightest = magnitude.amax().clamp_min(torch.finfo(magnitude.dtype).tiny)
    return torch.sgn(image) * brightest * function(magnitude / brightest)


KNOTS = 8  # points of a map of magnitudes, besides 0: enough to exchange any two tissues
FAINT = 0.25  # the largest value of the first of them, so that noise in the background is seldom more than doubled


def draw_contrast(random: RandomState) -> np.ndarray:
    """Draw a random map of magnitudes: its values at 0, ⅛, … 1 of the brightest one, float64 (9,).

    The first value is 0, the second is uniform in (0, ¼), the others in (0, 1); all are divided by the largest. So dark
    tissues may become bright and bright tissues dark, but the background stays dark.
    """
    values = np.concatenate([[0.0], random.uniform(size=KNOTS)])
    values[1] *= FAINT
    return values / values.max()


def with_contrast(image: Tensor, values: np.ndarray) -> Tensor:
    """Return an image with its magnitudes mapped by a piecewise linear function; the phase does not change.

    Parameters
    ----------
    image
        Complex (..., H, W).
    values
        Values of the function at equal distances from 0 to the brightest magnitude, as fractions of it.
    """

    def between_knots(part: Tensor) -> Tensor:
        known = send(torch.from_numpy(values).to(part.dtype), part.device)
        place = part * (len(values) - 1)
        below = place.long().clamp_max(len(values) - 2)
        beyond = place - below
        return known[below] * (1 - beyond) + known[below + 1] * beyond

    return _remapped(image, between_knots)
