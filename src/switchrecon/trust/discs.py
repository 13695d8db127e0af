"""Soft discs that stand for lesions: where they lie, what they add, and what an image shows of them."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

DIAMETERS = (3, 5, 8)  # pixels
CONTRASTS = (-0.3, -0.2, -0.1, 0.1, 0.2, 0.3)  # of the local mean
REGION = 3  # pixels of the smallest false structure


@dataclass(frozen=True)
class Disc:
    """A soft disc: 1 inside, falling to 0 over one pixel at its edge.

    Attributes
    ----------
    row, column
        Its centre, in pixels.
    diameter
        In pixels, at half of its height.
    """

    row: int
    column: int
    diameter: int

    def profile(self, matrix: tuple[int, int]) -> Tensor:
        """Its height, float32 (H, W), from 0 to 1."""
        rows, columns = (torch.arange(size, dtype=torch.float32) for size in matrix)
        radius = torch.hypot((rows - self.row)[:, None], columns - self.column)
        return (self.diameter / 2 + 0.5 - radius).clamp(0, 1)


def place(inside: np.ndarray, diameter: int, random: np.random.RandomState) -> Disc | None:
    """Draw a place where a disc and its edge lie in the foreground; None where there is no such place.

    Parameters
    ----------
    inside
        Boolean (H, W): the foreground of the truth.
    diameter
        In pixels.
    random
        What the place is drawn by.
    """
    reach = math.ceil(diameter / 2 + 0.5)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.hypot(rows, columns) < diameter / 2 + 0.5
    outside = torch.from_numpy(~inside).float()
    touched = F.conv2d(F.pad(outside[None, None], (reach,) * 4, value=1.0), torch.from_numpy(disc).float()[None, None])[
        0, 0
    ]
    places = np.argwhere(touched.numpy() < 0.5)
    if not len(places):
        return None
    row, column = places[random.randint(len(places))]
    return Disc(int(row), int(column), diameter)


def addition(truth: Tensor, disc: Disc, contrast: float) -> Tensor:
    """Return what a disc adds to the truth: ``contrast · mean |x| in the disc · profile · phase of x``, complex (H, W).

    The magnitude changes by ``contrast`` times the local mean, and the phase stays.

    Parameters
    ----------
    truth
        x, complex (H, W).
    disc, contrast
        Where, and how much of the local mean; negative: darker.
    """
    profile = disc.profile((truth.shape[0], truth.shape[1]))
    mean = truth.abs()[profile >= 0.5].mean()
    return contrast * mean * profile * torch.sgn(truth)


def recovery(changed: Tensor, true_change: Tensor, profile: Tensor) -> float:
    """Mean change of the magnitude in the disc over that of the truth: 1 where the disc is as it should be, 0: lost.

    Parameters
    ----------
    changed
        ``|x̂₁| − |x̂₀|``, (H, W): with the disc, less without.
    true_change
        ``|x₁| − |x₀|``.
    profile
        The profile of the disc.
    """
    inside = profile >= 0.5
    return float(changed[inside].double().mean() / true_change[inside].double().mean())


def leak(changed: Tensor, true_change: Tensor, profile: Tensor) -> float:
    """Σ |change| outside the disc over Σ |change of the truth|: how much of it appears in other places.

    Parameters are those of :func:`recovery`.
    """
    return float(changed[profile == 0].abs().double().sum() / true_change.abs().double().sum())


def doubted(doubt: Tensor, profile: Tensor, inside: Tensor) -> bool:
    """Return whether at least half of the disc's pixels are among the tenth of the slice that is doubted most.

    Parameters
    ----------
    doubt
        (H, W).
    profile
        The profile of the disc.
    inside
        Boolean (H, W): the foreground of the reconstruction.
    """
    known = doubt[inside | (profile >= 0.5)]
    return bool((doubt[profile >= 0.5] > known.quantile(0.9)).float().mean() >= 0.5)


def regions(mask: Tensor, least: int = REGION) -> int:
    """How many connected regions of at least so many pixels a mask has; pixels that share a corner are connected.

    Parameters
    ----------
    mask
        Boolean (H, W).
    least
        Pixels.
    """
    height, width = mask.shape
    labels = torch.arange(1, height * width + 1, dtype=torch.float64).view(height, width) * mask
    while True:  # the largest number spreads over its region
        wider = F.max_pool2d(labels[None, None], 3, 1, 1)[0, 0] * mask
        if torch.equal(wider, labels):
            break
        labels = wider
    sizes = torch.unique(labels[mask], return_counts=True)[1]
    return int((sizes >= least).sum())
