"""Statistics of paired results: means over folds, and bootstrap intervals clustered by subject."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from switchrecon.seeds import numpy_random

RESAMPLES = 10_000
LEVEL = 0.95
TAILS = (50 * (1 - LEVEL), 50 * (1 + LEVEL))  # percent


@dataclass(frozen=True, order=True)
class Unit:
    """What one value is measured on: a slice, or a volume where ``slice`` is empty. Folds share no subject."""

    fold: int
    subject: str
    scan: str
    slice: str

    @property
    def cluster(self) -> tuple[int, str]:
        """The subject."""
        return self.fold, self.subject


Values = Mapping[Unit, float]


def over_folds(values: Values) -> dict[str, Any]:
    """Mean and standard deviation over folds, each fold the mean of its units, and the interval of the mean.

    Returns
    -------
    dict
        ``mean``; ``std`` (sample standard deviation; None for one fold); ``low`` and ``high``, see
        :func:`clustered_interval`; ``folds``: each fold's mean. All None if a value is not a finite number.
    """
    if not values or not all(math.isfinite(value) for value in values.values()):
        return {"mean": None, "std": None, "low": None, "high": None, "folds": {}}
    numbers = sorted({unit.fold for unit in values})
    means = {n: float(np.mean([v for unit, v in values.items() if unit.fold == n])) for n in numbers}
    low, high = clustered_interval(values)
    return {
        "mean": float(np.mean(list(means.values()))),
        "std": float(np.std(list(means.values()), ddof=1)) if len(means) > 1 else None,
        "low": low,
        "high": high,
        "folds": {str(n): mean for n, mean in means.items()},
    }


def difference(first: Values, second: Values) -> dict[str, Any]:
    """Paired differences second − first over the units that both have: mean, interval and number of subjects."""
    paired = {unit: second[unit] - first[unit] for unit in first.keys() & second.keys()}
    if not paired or not all(math.isfinite(value) for value in paired.values()):
        return {"mean": None, "low": None, "high": None, "subjects": 0}
    low, high = clustered_interval(paired)
    return {
        "mean": float(np.mean(list(paired.values()))),
        "low": low,
        "high": high,
        "subjects": len({unit.cluster for unit in paired}),
    }


def recovered(values: Values, lower: Values, upper: Values) -> dict[str, Any]:
    """The part of a gap that a method recovers: Σ (value − lower) / Σ (upper − lower) over the units that all have.

    Returns
    -------
    dict
        ``mean``; ``low`` and ``high``, the ends of the percentile bootstrap interval of that ratio with subjects drawn
        (None for fewer than two); ``subjects``. All None where there is no gap.
    """
    shared = sorted(values.keys() & lower.keys() & upper.keys())
    pairs = {unit: (values[unit] - lower[unit], upper[unit] - lower[unit]) for unit in shared}
    clusters: dict[tuple[int, str], np.ndarray] = {}
    for unit, pair in pairs.items():
        clusters[unit.cluster] = clusters.get(unit.cluster, np.zeros(2)) + pair
    total = sum(clusters.values(), np.zeros(2))
    if not np.isfinite(total).all() or total[1] <= 0:
        return {"mean": None, "low": None, "high": None, "subjects": len(clusters)}
    low = high = None
    if len(clusters) > 1:
        sums = np.array(list(clusters.values()))
        drawn = sums[_drawn_clusters(len(clusters))].sum(1)
        low, high = map(float, np.percentile(drawn[:, 0] / drawn[:, 1], TAILS))
    return {"mean": float(total[0] / total[1]), "low": low, "high": high, "subjects": len(clusters)}


def _drawn_clusters(count: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Numbers of the subjects of each resample, the same in every call: (resamples, count)."""
    return numpy_random("bootstrap").randint(count, size=(resamples, count))


def clustered_interval(values: Values, resamples: int = RESAMPLES) -> tuple[float | None, float | None]:
    """Percentile bootstrap interval of the mean over units, with subjects drawn instead of units.

    The slices of a subject are not independent. Each resample draws as many subjects as there are, with
    replacement, and takes the mean over all their units. The draws are the same in every call.

    Parameters
    ----------
    values
        By unit, all finite.
    resamples
        Number of draws.

    Returns
    -------
    tuple
        Ends of the interval; None for fewer than two subjects, of which nothing can be drawn.
    """
    clusters: dict[tuple[int, str], list[float]] = {}
    for unit in sorted(values):
        clusters.setdefault(unit.cluster, []).append(values[unit])
    if len(clusters) < 2:
        return None, None
    sums = np.array([sum(own) for own in clusters.values()])
    counts = np.array([len(own) for own in clusters.values()])
    drawn = _drawn_clusters(len(clusters), resamples)
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, TAILS)
    return float(low), float(high)


def seed_average(by_seed: Sequence[Values]) -> dict[Unit, float]:
    """Values averaged over the seeds that have them, unit by unit."""
    units = sorted({unit for values in by_seed for unit in values})
    return {unit: float(np.mean([values[unit] for values in by_seed if unit in values])) for unit in units}


def seed_spread(by_seed: Sequence[Values]) -> float | None:
    """Sample standard deviation over seeds of the mean over the units that all have; None for one seed."""
    shared = sorted(set.intersection(*(set(values) for values in by_seed))) if by_seed else []
    means = [float(np.mean([values[unit] for unit in shared])) for values in by_seed] if shared else []
    if len(means) < 2 or not all(map(math.isfinite, means)):
        return None
    return float(np.std(means, ddof=1))
