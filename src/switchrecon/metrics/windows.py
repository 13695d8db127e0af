"""Sums over square windows, by doubling: unlike cumulative sums they stay exact to rounding beside bright pixels."""

import numpy as np


def window_sums(values: np.ndarray, size: int) -> np.ndarray:
    """Return the sum over every window of ``size`` × ``size`` pixels that lies inside the last two axes.

    Parameters
    ----------
    values
        Shape (..., H, W), each side at least ``size``.
    size
        Side of the window.

    Returns
    -------
    np.ndarray
        Shape (..., H − size + 1, W − size + 1).
    """
    return run_sums(run_sums(values, size, -1), size, -2)


def run_sums(values: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Return the sums of ``size`` neighbours along an axis, added up from sums of 1, 2, 4, … neighbours."""

    def part(array: np.ndarray, start: int, length: int) -> np.ndarray:
        index = [slice(None)] * array.ndim
        index[axis] = slice(start, start + length)
        return array[tuple(index)]

    length = values.shape[axis] - size + 1
    total, run, done, width = None, values, 0, 1
    while width <= size:
        if size & width:
            added = part(run, done, length)
            total = added if total is None else total + added
            done += width
        width *= 2
        if width <= size:
            steps = run.shape[axis] - width // 2
            run = part(run, 0, steps) + part(run, width // 2, steps)
    assert total is not None
    return total
