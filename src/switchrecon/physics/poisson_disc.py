"""Variable-density Poisson-disc sampling: random grid points that keep a distance, wider further from the centre.

No two samples are close, so the sampling has no clusters and no large holes, which suits regularised reconstruction
(Lustig and Pauly, Magn Reson Med 2010).
"""

import math
from functools import lru_cache

import numpy as np
from numpy.random import RandomState

Matrix = tuple[int, int]

INNERMOST = 0.5  # the ½ of r = c (½ + d): an edge's radius is three times the centre's
TOUCHING = 0.7  # points in r² grid places, when no further point fits
MARGIN = 0.01  # the radius is searched for this fraction more points than wanted, or many masks would have too few
ENOUGH = 0.005  # and the search ends this close to that number
MOST_THROWS = 12  # most trials in that search
SMALLER = 0.98  # factor for the radius if a mask still has too few points


def poisson_disc(matrix: Matrix, centre: tuple[slice, slice], count: int, random: RandomState) -> np.ndarray:
    """Draw points outside the centre of a grid that are at least a radius r apart.

    r = c (½ + d) samples grows with the distance d from the centre, d = 1 at the middle of an edge; c is chosen so that
    ``count`` points just fill the grid. Where r ≤ 1, every place gets a point.

    Parameters
    ----------
    matrix
        (H, W).
    centre
        Rows and columns of the centre, which stay empty.
    count
        Number of points; at most the number of places.
    random
        Source of randomness: the order in which places are visited.

    Returns
    -------
    np.ndarray
        Boolean (H, W) with exactly ``count`` points.
    """
    growth, free = _growth(matrix), np.ones(matrix, dtype=bool)
    free[centre] = False
    if count == 0:
        return np.zeros(matrix, dtype=bool)
    edges = (centre[0].start, centre[0].stop, centre[1].start, centre[1].stop)
    radius = growth * find_factor(matrix, edges, count)
    while True:
        points = throw_darts(free, radius, random, count)
        if np.count_nonzero(points) == count:
            return points
        radius = radius * SMALLER


def _growth(matrix: Matrix) -> np.ndarray:
    rows, columns = (np.abs(np.arange(size) - size // 2) / max(size // 2, 1) for size in matrix)
    return INNERMOST + np.hypot(rows[:, None], columns[None, :])


@lru_cache(32)
def find_factor(matrix: Matrix, edges: tuple[int, int, int, int], count: int) -> float:
    """Find the factor c of the radius for which about ``count`` points fit; see :func:`poisson_disc`.

    Parameters
    ----------
    matrix
        (H, W).
    edges
        Edges of the centre: first row, last row + 1, first column, last column + 1.
    count
        Number of points outside the centre.
    """
    growth, free = _growth(matrix), np.ones(matrix, dtype=bool)
    free[edges[0] : edges[1], edges[2] : edges[3]] = False
    aim = min((1 + MARGIN) * count, float(np.count_nonzero(free)))
    low, high = 0.0, float(np.hypot(*matrix)) / INNERMOST  # with that factor one disc covers the grid
    factor, factors = 0.0, (low, high)
    for _ in range(40):  # a first guess, by bisection with an estimate of the number of points
        factor = sum(factors) / 2
        expected = np.minimum(TOUCHING / np.square(factor * growth[free]), 1).sum()
        factors = (factor, factors[1]) if expected > aim else (factors[0], factor)
    for _ in range(MOST_THROWS):
        found = int(np.count_nonzero(throw_darts(free, factor * growth, RandomState(0))))
        if abs(found - aim) <= ENOUGH * aim:
            break
        low, high = (factor, high) if found > aim else (low, factor)
        factor *= math.sqrt(found / aim)  # the number is proportional to 1 / c², roughly
        if not low < factor < high:
            factor = (low + high) / 2
    return factor


def throw_darts(free: np.ndarray, radius: np.ndarray, random: RandomState, most: int | None = None) -> np.ndarray:
    """Visit the free places of a grid in random order, and make each a point that no earlier point's disc covers.

    Any two points p and q are at least min(r(p), r(q)) apart.

    Parameters
    ----------
    free
        Boolean (H, W), True where a point may lie.
    radius
        r in samples, (H, W): the disc of a point at p covers the places nearer than r(p).
    random
        Source of randomness: the order of visits.
    most
        Stop at this number of points; None: go on until every free place is covered.

    Returns
    -------
    np.ndarray
        Boolean (H, W), True at the points.
    """
    height, width = free.shape
    # A border as wide as the largest disc, so that no disc crosses an edge.
    border = int(np.ceil(radius[free].max())) if free.any() else 0
    stride = width + 2 * border
    covered = bytearray(stride * (height + 2 * border))
    rows, columns = np.nonzero(free)
    order = random.permutation(len(rows))
    places = ((rows + border) * stride + columns + border)[order].tolist()
    # For integers dx and dy, dx² + dy² < r² means dx² + dy² < ⌈r²⌉: radii with the same ⌈r²⌉ have the same disc.
    squares = np.ceil(np.square(radius[free]))[order].clip(1).astype(int).tolist()
    discs = {square: _rows_of_disc(square, stride) for square in set(squares)}
    taken: list[int] = []
    wanted = len(places) if most is None else most
    for place, square in zip(places, squares, strict=True):
        if covered[place]:
            continue
        if len(taken) == wanted:
            break
        taken.append(place)
        for first, ones in discs[square]:
            start = place + first
            covered[start : start + len(ones)] = ones
    points = np.zeros(free.shape, dtype=bool)
    row, column = np.divmod(np.array(taken, dtype=int), stride)
    points[row - border, column - border] = True
    return points


def _rows_of_disc(square: int, stride: int) -> list[tuple[int, bytes]]:
    """Return the disc dx² + dy² < square in a flat grid: for each row its offset, and a byte 1 for each place."""
    reach = int(np.sqrt(square - 1))
    rows = []
    for dy in range(-reach, reach + 1):
        half = int(np.sqrt(square - 1 - dy * dy))
        rows.append((dy * stride - half, b"\1" * (2 * half + 1)))
    return rows
