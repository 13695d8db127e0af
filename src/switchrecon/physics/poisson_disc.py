"""Variable-density Poisson-disc sampling of a grid: random points that keep a distance, a wider one further out.

No two samples are close, so the sampling has no clusters and no large holes, which suits regularised reconstruction
(Lustig and Pauly, Magn Reson Med 2010).
"""

import math
from functools import lru_cache

import numpy as np
from numpy.random import RandomState

Matrix = tuple[int, int]

INNERMOST = 0.5  # the radius grows with the distance from this far inside the centre: three times at an edge
TOUCHING = 0.7  # discs that are thrown until none fits have this many centres in r² places
MARGIN = 0.01  # the radius allows so many more points than wanted, or many masks would have too few
ENOUGH = 0.005  # and the number is met so closely
MOST_THROWS = 12  # of the search for that radius
SMALLER = 0.98  # of the radius, where a mask still has too few


def poisson_disc(matrix: Matrix, centre: tuple[slice, slice], count: int, random: RandomState) -> np.ndarray:
    """Points outside the centre of a grid that are at least a radius apart, which grows with the distance d from there.

    r = c (½ + d) samples, with d = 1 at the middle of an edge and c such that the points just fill the grid. Where
    r ≤ 1, all places are taken.

    Parameters
    ----------
    matrix
        (H, W).
    centre
        Rows and columns that stay empty.
    count
        How many points; at most as many as there are places.
    random
        Decides the order in which places are visited.

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
    """Return the factor c of the radius with which about ``count`` points fit; see :func:`poisson_disc`.

    Parameters
    ----------
    matrix
        (H, W).
    edges
        Of the centre: first row, last row + 1, first column, last column + 1.
    count
        Points outside the centre.
    """
    growth, free = _growth(matrix), np.ones(matrix, dtype=bool)
    free[edges[0] : edges[1], edges[2] : edges[3]] = False
    aim = min((1 + MARGIN) * count, float(np.count_nonzero(free)))
    low, high = 0.0, float(np.hypot(*matrix)) / INNERMOST  # with that radius a disc covers the grid
    factor, factors = 0.0, (low, high)
    for _ in range(40):  # the starting point, by bisection of an estimate that costs no throw
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
    """Visit the free places of a grid in random order; take each that no taken one's disc covers.

    Two points p and q are at least min(r(p), r(q)) apart.

    Parameters
    ----------
    free
        Boolean (H, W), True where a point may lie.
    radius
        r in samples, (H, W): a point at p covers the places nearer than r(p).
    random
        Decides the order.
    most
        Stop at so many points; None: go on until every free place is covered.

    Returns
    -------
    np.ndarray
        Boolean (H, W), True at the points.
    """
    height, width = free.shape
    # A border as wide as the largest disc saves looking for the edge. A row of a disc never spans more than a row.
    border = int(np.ceil(radius[free].max())) if free.any() else 0
    stride = width + 2 * border
    covered = bytearray(stride * (height + 2 * border))
    rows, columns = np.nonzero(free)
    order = random.permutation(len(rows))
    places = ((rows + border) * stride + columns + border)[order].tolist()
    # dx² + dy² < r² is dx² + dy² < ⌈r²⌉ for whole dx and dy: discs of one ⌈r²⌉ cover the same places.
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
    """Places with dx² + dy² < square in a flat grid: for each row the offset of its first place, and a 1 for each."""
    reach = int(np.sqrt(square - 1))
    rows = []
    for dy in range(-reach, reach + 1):
        half = int(np.sqrt(square - 1 - dy * dy))
        rows.append((dy * stride - half, b"\1" * (2 * half + 1)))
    return rows
