"""What a map of doubt is worth beside the true error: whether it is large where the error is large."""

import numpy as np

KEPT = tuple(number / 20 for number in range(1, 21))
"""Shares of the pixels that are kept, the least doubted first."""


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share their mean rank."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    middle: np.ndarray = last - (counts - 1) / 2
    return middle[where]


def spearman(error: np.ndarray, doubt: np.ndarray) -> float:
    """Spearman's correlation of error and doubt; NaN where one of them is the same everywhere."""
    first, second = ranks(error), ranks(doubt)
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def auroc(doubt: np.ndarray, large: np.ndarray) -> float:
    """Return the probability that a pixel with a large error is doubted more than one without; ties count half.

    Parameters
    ----------
    doubt
        The doubt of each pixel.
    large
        Boolean: whether its error is large.

    Returns
    -------
    float
        NaN where all errors are large, or none.
    """
    count = int(large.sum())
    if count in (0, len(large)):
        return float("nan")
    above = ranks(doubt)[large].sum() - count * (count + 1) / 2
    return float(above / (count * (len(large) - count)))


def risk(error: np.ndarray, order_by: np.ndarray) -> np.ndarray:
    """The mean error of the pixels that are kept, as the largest of ``order_by`` go; one value for each of ``KEPT``.

    With the error itself to order by it is the oracle's curve, under which none can lie.
    """
    mean = error[np.argsort(order_by, kind="stable")].astype(np.float64).cumsum() / np.arange(1, len(error) + 1)
    kept = np.ceil(np.array(KEPT) * len(error)).astype(int) - 1
    found: np.ndarray = mean[kept]
    return found
