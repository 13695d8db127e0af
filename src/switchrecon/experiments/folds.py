"""Cross-validation over subjects: which subjects a fold tests, and which are in its two piles."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Fold(Generic[Subject]):
    """Disjoint subjects of one fold: fully sampled (Y), undersampled (X), and for testing."""

    full: tuple[Subject, ...]
    sub: tuple[Subject, ...]
    test: tuple[Subject, ...]


def split_subjects(subjects: Sequence[Subject], folds: int) -> list[Fold[Subject]]:
    """Split subjects into folds, in their order.

    Fold i tests the i-th of ``folds`` equal parts. The first half of the other subjects is Y, the second half is X.

    Parameters
    ----------
    subjects
        The subjects: at least ``folds``, and enough that two remain for training.
    folds
        Number of folds, at least 2.

    Raises
    ------
    ValueError
        If there are too few subjects.
    """
    count = len(subjects)
    bounds = [round(i * count / folds) for i in range(folds + 1)]
    made = []
    for start, end in itertools.pairwise(bounds):
        rest = [*subjects[:start], *subjects[end:]]
        half = len(rest) // 2
        if start == end or half == 0:
            raise ValueError(f"{count} subjects are too few for {folds} folds with two piles each")
        made.append(Fold(tuple(rest[:half]), tuple(rest[half:]), tuple(subjects[start:end])))
    return made
