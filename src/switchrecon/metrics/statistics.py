"""Statistics of paired results: means over folds, and bootstrap intervals clustered by subject."""

import collections
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from switchrecon.core.records import Record
from switchrecon.core.seeds import numpy_random

RESAMPLES = 10_000
LEVEL = 0.95
TAILS = (50 * (1 - LEVEL), 50 * (1 + LEVEL))  # percent


@dataclass(frozen=True, order=True)
class Unit:
    """What one value is measured on: a slice, or a volume if ``slice`` is empty. No two folds share a subject."""

    fold: int
    subject: str
    scan: str
    slice: str

    @property
    def cluster(self) -> tuple[int, str]:
        """The subject."""
        return self.fold, self.subject


Values = Mapping[Unit, float]


class OverFolds(Record):
    """A mean over folds.

    Attributes
    ----------
    mean
        None if a value is not a finite number, or there are no values; then the other fields are None, too.
    std
        Sample standard deviation; None for one fold.
    low, high
        The interval of the mean, see :func:`clustered_interval`.
    folds
        Each fold's mean.
    seed_std
        See :func:`seed_spread`.
    """

    mean: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    folds: dict[str, float] = Field(default_factory=dict)
    seed_std: float | None = None


class Interval(Record):
    """A mean, the ends of its interval (None for fewer than two subjects), and the number of subjects."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    subjects: int = 0


def over_folds(values: Values, seed_std: float | None = None) -> OverFolds:
    """Return the mean of the folds' means, their standard deviation, and the interval of the mean."""
    if not values or not all(math.isfinite(value) for value in values.values()):
        return OverFolds()
    numbers = sorted({unit.fold for unit in values})
    means = {n: float(np.mean([v for unit, v in values.items() if unit.fold == n])) for n in numbers}
    low, high = clustered_interval(values)
    return OverFolds(
        mean=float(np.mean(list(means.values()))),
        std=float(np.std(list(means.values()), ddof=1)) if len(means) > 1 else None,
        low=low,
        high=high,
        folds={str(n): mean for n, mean in means.items()},
        seed_std=seed_std,
    )


def fold_weights(units: Iterable[Unit]) -> dict[Unit, float]:
    """Return the weight 1 / (folds × units of the fold) of each unit: weighted sums are means of the folds' means."""
    units = list(units)
    counts = collections.Counter(unit.fold for unit in units)
    return {unit: 1 / (len(counts) * counts[unit.fold]) for unit in units}


def difference(first: Mapping[int, Values], second: Mapping[int, Values]) -> Interval:
    """Return the mean of paired differences second − first, over the seeds and units that both have.

    The arguments are values by seed. Every fold counts equally. The mean is None, with 0 subjects, if the two have
    nothing in common or a value is not a finite number.
    """
    paired = seed_average(
        [
            {unit: second[seed][unit] - first[seed][unit] for unit in first[seed].keys() & second[seed].keys()}
            for seed in sorted(first.keys() & second.keys())
        ]
    )
    if not paired or not all(math.isfinite(value) for value in paired.values()):
        return Interval()
    low, high = clustered_interval(paired)
    weights = fold_weights(paired)
    return Interval(
        mean=sum(weights[unit] * value for unit, value in paired.items()),
        low=low,
        high=high,
        subjects=len({unit.cluster for unit in paired}),
    )


def recovered(values: Mapping[int, Values], lower: Mapping[int, Values], upper: Mapping[int, Values]) -> Interval:
    """Return the part of a gap that a method recovers: mean (value − lower) / mean (upper − lower).

    The arguments are values by seed; only seeds and units that all three have are used, so that values of the same seed
    are compared. Every fold counts equally. The interval is the percentile bootstrap interval of the ratio, with
    subjects drawn; it is None if a draw has no gap. All are None if there is no gap.
    """
    gained, whole = (
        seed_average(
            [
                {unit: each[seed][unit] - lower[seed][unit] for unit in shared}
                for seed in sorted(values.keys() & lower.keys() & upper.keys())
                if (shared := values[seed].keys() & lower[seed].keys() & upper[seed].keys())
            ]
        )
        for each in (values, upper)
    )
    sums = _by_subject({unit: (gained[unit], whole[unit]) for unit in gained})
    total = sum(sums, np.zeros(2))
    if not np.isfinite(total).all() or total[1] <= 0:
        return Interval(subjects=len(sums))
    low, high = _ratio_interval(sums)
    return Interval(mean=float(total[0] / total[1]), low=low, high=high, subjects=len(sums))


def clustered_interval(values: Values, resamples: int = RESAMPLES) -> tuple[float | None, float | None]:
    """Return the percentile bootstrap interval of the mean of the folds' means; subjects are drawn, not units.

    Slices of one subject are not independent. So each resample draws as many subjects as there are, with replacement,
    and takes the weighted mean over all their units. The draws are the same in every call.

    Parameters
    ----------
    values
        Values by unit, all finite.
    resamples
        Number of draws.

    Returns
    -------
    tuple
        Ends of the interval; None for fewer than two subjects, which allow no resamples.
    """
    return _ratio_interval(_by_subject({unit: (value, 1) for unit, value in values.items()}), resamples)


def _by_subject(pairs: Mapping[Unit, tuple[float, float]]) -> list[np.ndarray]:
    """Return the sum of each subject's pairs, weighted so that every fold counts equally."""
    sums: dict[tuple[int, str], np.ndarray] = {}
    for unit, weight in fold_weights(sorted(pairs)).items():
        sums[unit.cluster] = sums.get(unit.cluster, np.zeros(2)) + weight * np.array(pairs[unit])
    return list(sums.values())


def _ratio_interval(sums: Sequence[np.ndarray], resamples: int = RESAMPLES) -> tuple[float | None, float | None]:
    """Return the interval of Σ first / Σ second over subjects; each subject is a pair (first, second).

    None for fewer than two subjects, or if Σ second is 0 in a resample.
    """
    if len(sums) < 2:
        return None, None
    drawn = numpy_random("bootstrap").randint(len(sums), size=(resamples, len(sums)))
    totals = np.array(sums)[drawn].sum(1)
    if not totals[:, 1].all():
        return None, None
    low, high = np.percentile(totals[:, 0] / totals[:, 1], TAILS)
    return float(low), float(high)


def seed_average(by_seed: Sequence[Values]) -> dict[Unit, float]:
    """Return each unit's mean over the seeds that have it."""
    units = sorted({unit for values in by_seed for unit in values})
    return {unit: float(np.mean([values[unit] for values in by_seed if unit in values])) for unit in units}


def seed_spread(by_seed: Sequence[Values]) -> float | None:
    """Return the sample standard deviation of the seeds' means, over the units that all seeds have.

    Each seed's mean is the mean of its folds' means. None for one seed.
    """
    shared = fold_weights(sorted(set.intersection(*map(set, by_seed)))) if by_seed else {}
    means = [sum(weight * values[unit] for unit, weight in shared.items()) for values in by_seed] if shared else []
    if len(means) < 2 or not all(map(math.isfinite, means)):
        return None
    return float(np.std(means, ddof=1))
