"""Promises from a few subjects: which probability they allow, and whether a new one is like them.

The subjects are the units. Pixels and slices of one subject resemble each other, so that many pixels of few subjects
promise nothing for the next subject.
"""

import math
from collections.abc import Sequence

import numpy as np

from switchrecon.core.sentences import count
from switchrecon.errors import DataError

FEWEST = 3  # subjects; with fewer the promise would be worth no more than a coin
MOST = 95  # per cent
ROUNDING = 1e-9  # of a feature: such a distance is none
COVERED = 90  # per cent of a subject's foreground pixels


def promised(subjects: int) -> int:
    """Return the probability in whole per cent that so many subjects allow: n / (n + 1), rounded down; 95 at most.

    3 subjects: 75. 4: 80. 9: 90. 19 and more: 95.

    Raises
    ------
    DataError
        For fewer than 3.
    """
    if subjects < FEWEST:
        raise DataError(f"{count(subjects, 'subject')}, too few to calibrate with; expected at least {FEWEST}")
    return min(100 * subjects // (subjects + 1), MOST)


def quantile(scores: Sequence[float]) -> float:
    """Return the ⌈(n + 1) p⌉-th smallest score, p = :func:`promised`: a new exchangeable score is no larger with p.

    Split conformal prediction (Vovk et al. 2005); the order of the scores is irrelevant.
    """
    rank = -(-(len(scores) + 1) * promised(len(scores)) // 100)  # in whole numbers: 10 · 0.9 is no 9.000…01
    return sorted(scores)[rank - 1]


def subject_score(error: np.ndarray, doubt: np.ndarray) -> float:
    """Return the 90th percentile of error / doubt over one subject's foreground pixels.

    It is the smallest factor with which at least 90 % of the pixels lie in ``± factor · doubt``.

    Parameters
    ----------
    error, doubt
        The error and doubt of each foreground pixel; doubt is positive.
    """
    ratio = np.sort(error / doubt)
    return float(ratio[-(-len(ratio) * COVERED // 100) - 1])


def promised_for_fold(subjects: int) -> int:
    """Return the probability in whole per cent for one network of a cross-validation, n / (n + 1) rounded down.

    Only the n subjects of its fold are exchangeable with a new one for this network: it has learnt from the others, and
    the networks that scored the others have learnt from these. A factor that is no less than the largest of these n
    scores fails for a new subject with a probability of at most 1 / (n + 1), whatever else went into it.

    The bound 1 − 2δ of CV+ (Barber et al. 2021) is about a set made of all folds' networks together, and says nothing
    of one of them.
    """
    return min(100 * subjects // (subjects + 1), MOST)


def sentence(subjects: int, fold_subjects: int | None = None) -> str:
    """Return the promise of a calibration by so many subjects, in words.

    The share of the pixels is written out in words, so that with fewer than 9 subjects no "90 %" can be read out of it.

    Parameters
    ----------
    subjects
        How many.
    fold_subjects
        How many of them are of the network's fold, where the calibration is cross-fitted.
    """
    probability, note = f"{promised(subjects)} %", ""
    if fold_subjects is not None:
        probability = f"{promised_for_fold(fold_subjects)} %"
        note = (
            f"; cross-fitted: this network has not seen {fold_subjects} of them, and if the networks of all folds are "
            f"alike the probability is {promised(subjects)} %"
        )
    return (
        f"for a new subject like the {subjects} calibration subjects, with a probability of at least "
        f"{probability}, the true magnitude of at least nine tenths of the foreground pixels lies within the "
        f"image ± doubt; this probability is an average over calibrations{note}"
    )


def p_value(score: float, others: Sequence[float]) -> float:
    """Return (1 + number of the other scores that are at least this one) / (n + 1); uniform if exchangeable."""
    return (1 + sum(other >= score for other in others)) / (len(others) + 1)


def unlikeness(new: Sequence[float], others: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the p-value of a new subject's features among those of n others, and which feature is least like theirs.

    The score of each of the n + 1 subjects is its largest distance, over the features, from the mean of the n others in
    units of their standard deviation: a subject that is far away does not hide in a deviation that it has made itself.
    All n + 1 are treated alike, so that the p-value is valid for any n. A feature that is not finite in one of them is
    left out.

    Parameters
    ----------
    new
        The features of the new subject.
    others
        Those of each calibration subject, in the same order.

    Returns
    -------
    p
        Never under 1 / (n + 1); 1 where no feature can be compared.
    which
        The number of the feature; −1 where none can be compared.
    """
    table = np.array([new, *others], dtype=float)
    usable = np.flatnonzero(np.isfinite(table).all(0))
    if not len(usable):
        return 1.0, -1
    table = table[:, usable]
    rest = [np.delete(table, number, axis=0) for number in range(len(table))]
    distance = np.abs(table - np.array([each.mean(0) for each in rest]))
    distance[distance <= ROUNDING * np.abs(table).max(0)] = 0
    spread = np.array([each.std(0, ddof=1) for each in rest])
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(distance == 0, 0.0, distance / spread)  # of a feature that all others share: infinite
    scores = relative.max(1)
    return p_value(scores[0], list(scores[1:])), int(usable[relative[0].argmax()])


def shown(p: float, subjects: int) -> str:
    """Return a sentence on a p-value of :func:`unlikeness`."""
    least = 1 / (subjects + 1)
    verdict = "unlike" if p <= max(0.05, least) and not math.isclose(p, 1) else "not unlike"
    return f"this scan is {verdict} the {subjects} calibration subjects (p = {p:.2f}; it cannot be under {least:.2f})"
