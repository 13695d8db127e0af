"""What of a mask may be left out: lines or points outside the fully measured centre, and what they stand for."""

from itertools import product
from typing import Literal

import numpy as np

from switchrecon.physics.masks import centre_slice, full_centre_fraction

CENTRE = -1  # of :func:`units`: in the centre, or not measured
BINS = 4  # strata along a side, and rings
LATTICE = 6  # the largest spacing of a regular mask of points that is looked for
FEWEST = 4  # units, for folds

Kind = Literal["columns", "rows", "points"]


def kind_of(mask: np.ndarray) -> Kind:
    """Return whether a mask (H, W) skips whole columns, whole rows, or points."""
    rows, columns = (np.asarray(mask.any(axis)) for axis in (1, 0))
    if not (mask == rows[:, None] & columns).all():
        return "points"
    return "rows" if columns.sum() / len(columns) > rows.sum() / len(rows) else "columns"


def centre_of(mask: np.ndarray, center_fraction: float) -> np.ndarray:
    """Return the fully measured centre, boolean (H, W): whole lines where the mask has whole lines."""
    fraction = full_centre_fraction(mask, center_fraction)
    rows, columns = (centre_slice(size, fraction) for size in mask.shape)
    kind = kind_of(mask)
    centre = np.zeros_like(mask)
    centre[rows if kind != "columns" else slice(None), columns if kind != "rows" else slice(None)] = True
    return centre


def units(mask: np.ndarray, center_fraction: float) -> np.ndarray:
    """Return number what may be left out: the line or point of each measured sample outside the centre, int (H, W).

    ``CENTRE`` elsewhere; else from 0, without gaps.
    """
    free = mask & ~centre_of(mask, center_fraction)
    height, width = mask.shape
    names = {
        "columns": np.broadcast_to(np.arange(width), mask.shape),
        "rows": np.broadcast_to(np.arange(height)[:, None], mask.shape),
        "points": np.arange(mask.size).reshape(mask.shape),
    }[kind_of(mask)]
    found = np.full(mask.shape, CENTRE)
    found[free] = np.unique(names[free], return_inverse=True)[1].reshape(-1)
    return found


def is_regular(mask: np.ndarray, center_fraction: float) -> bool:
    """Whether the samples outside the centre are equally spaced, so that the places between are never measured."""
    free = mask & ~centre_of(mask, center_fraction)
    kind = kind_of(mask)
    if kind != "points":
        lines = np.flatnonzero(free.any(0 if kind == "columns" else 1))
        taken = centre_of(mask, center_fraction).any(0 if kind == "columns" else 1)
        sides = [side for side in (lines[lines < taken.argmax()], lines[lines > taken.argmax()]) if len(side) > 1]
        gaps = np.concatenate([np.diff(side) for side in sides]) if sides else np.array([], int)
        return len(gaps) > 1 and gaps.min() > 1 and gaps.max() - gaps.min() <= 1  # spacings that are no integer
    rows, columns = np.nonzero(free)
    for down, along in product(range(1, LATTICE + 1), repeat=2):
        for shift in range(down if down * along > 1 else 0):
            places = (rows + shift * (columns // along)) % down * along + columns % along
            if len(places) and np.bincount(places).max() > 0.99 * len(places):
                return True
    return False


def strata(mask: np.ndarray) -> np.ndarray:
    """Divide k-space into parts of about equal density: along the lines' axis, or rings and quadrants; int (H, W)."""
    rows, columns = ((np.arange(size) - size // 2) / size for size in mask.shape)
    kind = kind_of(mask)
    if kind != "points":
        along = columns if kind == "columns" else rows
        bins = np.clip(np.floor((along + 0.5) * BINS), 0, BINS - 1).astype(int)
        return np.broadcast_to(bins if kind == "columns" else bins[:, None], mask.shape)
    radius = np.hypot(rows[:, None], columns) / np.hypot(0.5, 0.5)
    rings = np.clip(np.floor(radius * BINS), 0, BINS - 1).astype(int)
    return rings * 4 + 2 * (rows[:, None] >= 0) + (columns >= 0)


def weights(mask: np.ndarray, center_fraction: float) -> np.ndarray | None:
    """1 / p(k) of each measured sample outside the centre, p the density of samples in its stratum; float (H, W).

    0 elsewhere, so that the weights sum to the number of places outside the centre. None where a stratum has no
    sample: nothing is known of it.
    """
    outside = ~centre_of(mask, center_fraction)
    parts = strata(mask)
    places = np.bincount(parts[outside], minlength=parts.max() + 1)
    measured = np.bincount(parts[outside & mask], minlength=parts.max() + 1)
    if (measured[places > 0] == 0).any():
        return None
    return np.where(outside & mask, (places / np.maximum(measured, 1))[parts], 0.0)
