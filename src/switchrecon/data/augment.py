"""Augmentation: symmetries of any slice, and distortions of fully sampled ones.

A symmetry is a permutation of the pixels about the centre pixel (n // 2), so that it acts in k-space as it does in the
image: the transform of a moved image is the moved transform. An undersampled slice can so be moved together with its
mask, without new samples. Distortions are for images that are sampled afterwards, as in MRAugment (Fabian et al. 2021),
and so are other contrasts, in the spirit of networks that learn from images of random contrast to serve any (Billot et
al. 2023).
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
    """Element n goes to −n, counted from the centre; for an even size the first element stays."""
    flipped = array.flip(dim)
    return flipped.roll(1, dim) if array.shape[dim] % 2 == 0 else flipped


def move(array: Tensor, symmetry: int) -> Tensor:
    """Apply one of the eight symmetries of the square to the last two dimensions.

    Parameters
    ----------
    array
        Image, k-space or mask, shape (..., H, W).
    symmetry
        Bit 0 reverses rows, bit 1 columns, after bit 2 has transposed.

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
RISE = 5.0  # of the exponential by which the probability of a distortion rises


def distortion_probability(strength: float, progress: float) -> float:
    """p = strength · (1 − exp(−5 t)) / (1 − exp(−5)) at the part t of a run: few distortions at first, then more."""
    return strength * (1 - math.exp(-RISE * progress)) / (1 - math.exp(-RISE))


def draw_distortion(random: RandomState, probability: float) -> tuple[np.ndarray, float]:
    """Return an affine map (2, 3) about the image's centre and an exponent of its magnitude.

    Rotation (±20°), scaling of each side (±20 %), shear (±12°) and the exponent (1 ± 0.3) are each drawn with the given
    probability, and are none otherwise.
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
    """Magnitudes to the power γ, relative to the brightest one; the phase stays. Complex (..., H, W)."""
    return image if gamma == 1 else _remapped(image, lambda part: part**gamma)


def _remapped(image: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Magnitudes mapped by a function of their parts of the brightest one; the phase stays."""
    magnitude = image.abs()
    brightest = magnitude.amax().clamp_min(torch.finfo(magnitude.dtype).tiny)
    return torch.sgn(image) * brightest * function(magnitude / brightest)


KNOTS = 8  # of a map of magnitudes, besides 0: enough to exchange any two tissues
FAINT = 0.25  # the most that the first of them becomes, so that noise in the background is seldom more than doubled


def draw_contrast(random: RandomState) -> np.ndarray:
    """Return a random map of magnitudes: its values at 0, ⅛, … 1 of the brightest one, float64 (9,).

    0 stays 0, the first one after it is uniform in (0, ¼), the others in (0, 1), all over the largest of them: dark
    tissues may become bright and bright ones dark, but the background stays dark.
    """
    values = np.concatenate([[0.0], random.uniform(size=KNOTS)])
    values[1] *= FAINT
    return values / values.max()


def with_contrast(image: Tensor, values: np.ndarray) -> Tensor:
    """Magnitudes mapped by a function that is linear between knots, relative to the brightest one; the phase stays.

    Parameters
    ----------
    image
        Complex (..., H, W).
    values
        Of the function at equal distances from 0 to the brightest magnitude, in parts of it.
    """

    def between_knots(part: Tensor) -> Tensor:
        known = send(torch.from_numpy(values).to(part.dtype), part.device)
        place = part * (len(values) - 1)
        below = place.long().clamp_max(len(values) - 2)
        beyond = place - below
        return known[below] * (1 - beyond) + known[below + 1] * beyond

    return _remapped(image, between_knots)
