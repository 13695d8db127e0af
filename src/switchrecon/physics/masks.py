"""Sampling masks: the one place where they are drawn.

A mask is a boolean array of shape (H, W), True where k-space is measured. 1-D masks choose columns (phase
encodes along W) and repeat them along the readout H. Every kind has a fully sampled centre.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.random import RandomState
from pydantic import Field

from switchrecon.core.seeds import numpy_random
from switchrecon.core.settings import Settings
from switchrecon.errors import ConfigError, DataError

Matrix = tuple[int, int]
MaskKind = Literal[
    "random-2d",
    "random-1d",
    "equispaced-1d",
    "equispaced-fraction-1d",
    "variable-density-1d",
    "variable-density-2d",
]


class MaskConfig(Settings):
    """How k-space is sampled where sampling is simulated."""

    kind: MaskKind = "random-2d"  # the paper's IXI setting; random-1d is its fastMRI setting
    acceleration: float = Field(4.0, ge=1)  # R: k-space samples over measured samples
    center_fraction: float = Field(0.08, ge=0, le=1)  # of each masked side; fully sampled
    per: Literal["slice", "volume", "dataset"] = "slice"  # whose mask it is; volume is fastMRI's habit
    seed: int = Field(0, ge=0)  # a property of the data, so not the seed of the run


def centre_slice(size: int, fraction: float) -> slice:
    """Return the fully sampled centre of one dimension: round(size · fraction) samples.

    The start is (size − count + 1) // 2, as in fastMRI, which puts the centre sample size // 2 inside.
    """
    count = min(size, round(size * fraction))
    start = (size - count + 1) // 2
    return slice(start, start + count)


Direction = Literal["rows", "columns"] | None


def line_direction(mask: Any) -> Direction:
    """Whether a mask (H, W), array or tensor, measures whole rows (also if it is full), whole columns, or points."""
    directions: tuple[tuple[Direction, Any], ...] = (("rows", mask), ("columns", mask.T))
    for name, own in directions:
        if (own[:, :2] == own[:, :1]).all() and (own == own[:, :1]).all():  # the first comparison tells points at once
            return name
    return None


def _lines(matrix: Matrix, columns: np.ndarray) -> np.ndarray:
    return np.broadcast_to(columns, matrix).copy()


def _outside_probability(total: int, centre: int, acceleration: float, kind: str) -> float:
    """Return the probability of a sample outside the centre that makes total / acceleration expected samples."""
    wanted = total / acceleration
    if wanted < centre:
        raise ConfigError(
            f"mask.acceleration {acceleration:g} allows {wanted:.0f} samples of {total} in a {kind} mask, but "
            f"the centre alone has {centre}: lower mask.center_fraction or mask.acceleration"
        )
    return (wanted - centre) / max(total - centre, 1)


def random_2d(matrix: Matrix, acceleration: float, center_fraction: float, random: RandomState) -> np.ndarray:
    """Independent random points; a centre rectangle of sides round(n · centre fraction) is full.

    The expected number of samples is H·W / acceleration.
    """
    mask = np.zeros(matrix, dtype=bool)
    mask[centre_slice(matrix[0], center_fraction), centre_slice(matrix[1], center_fraction)] = True
    probability = _outside_probability(mask.size, int(mask.sum()), acceleration, "random-2d")
    return mask | (random.uniform(size=matrix) < probability)


def random_1d(matrix: Matrix, acceleration: float, center_fraction: float, random: RandomState) -> np.ndarray:
    """Independent random lines, with the formula of fastMRI's ``RandomMaskFunc``.

    ``n_low = round(W · f)`` centre lines from ``(W − n_low + 1) // 2``; each other line where
    ``uniform < (W / R − n_low) / (W − n_low)``. The same ``RandomState`` seed gives the mask of fastMRI.
    """
    width = matrix[1]
    columns = np.zeros(width, dtype=bool)
    columns[centre_slice(width, center_fraction)] = True
    probability = _outside_probability(width, int(columns.sum()), acceleration, "random-1d")
    return _lines(matrix, columns | (random.uniform(size=width) < probability))


def equispaced_1d(matrix: Matrix, acceleration: float, center_fraction: float, random: RandomState) -> np.ndarray:
    """Every R-th line from a random offset, R the rounded acceleration, plus the full centre.

    The centre comes on top, so the measured acceleration is lower than the nominal one.
    """
    step = max(round(acceleration), 1)
    columns = np.zeros(matrix[1], dtype=bool)
    columns[random.randint(step) :: step] = True
    columns[centre_slice(matrix[1], center_fraction)] = True
    return _lines(matrix, columns)


def equispaced_fraction_1d(
    matrix: Matrix, acceleration: float, center_fraction: float, random: RandomState
) -> np.ndarray:
    """Equally spaced lines whose spacing is widened so that, with the centre, W / R lines are measured.

    The spacing is ``R (n_low − W) / (n_low R − W)``, as in fastMRI's ``EquispacedMaskFractionFunc``.
    """
    width = matrix[1]
    columns = np.zeros(width, dtype=bool)
    columns[centre_slice(width, center_fraction)] = True
    centre = int(columns.sum())
    _outside_probability(width, centre, acceleration, "equispaced-fraction-1d")
    if centre * acceleration < width:
        spacing = acceleration * (centre - width) / (centre * acceleration - width)
        offset = random.randint(0, max(round(spacing), 1))
        columns[np.around(np.arange(offset, width - 1, spacing)).astype(int)] = True
    return _lines(matrix, columns)


def _density(radius: np.ndarray, centre: np.ndarray, acceleration: float, power: float, kind: str) -> np.ndarray:
    """Return probabilities min(1, c (1 − r)^power), with c such that the expected count is size / acceleration."""
    _outside_probability(radius.size, int(centre.sum()), acceleration, kind)
    wanted = radius.size / acceleration
    weight = np.where(centre, 0.0, np.clip(1 - radius, 0, None) ** power + 1e-3)
    low, high = 0.0, 1.0 / weight[~centre].min() if (~centre).any() else 1.0
    for _ in range(60):
        middle = (low + high) / 2
        expected = centre.sum() + np.minimum(middle * weight, 1).sum()
        low, high = (middle, high) if expected < wanted else (low, middle)
    return np.where(centre, 1.0, np.minimum(high * weight, 1))


def _radius(size: int) -> np.ndarray:
    return np.abs(np.arange(size) - size // 2) / max(size // 2, 1)


DENSITY_POWER = 3.0


def variable_density_1d(matrix: Matrix, acceleration: float, center_fraction: float, random: RandomState) -> np.ndarray:
    """Independent random lines with probability ∝ (1 − r)³, r the distance from the centre in [0, 1]."""
    width = matrix[1]
    centre = np.zeros(width, dtype=bool)
    centre[centre_slice(width, center_fraction)] = True
    probability = _density(_radius(width), centre, acceleration, DENSITY_POWER, "variable-density-1d")
    return _lines(matrix, random.uniform(size=width) < probability)


def variable_density_2d(matrix: Matrix, acceleration: float, center_fraction: float, random: RandomState) -> np.ndarray:
    """Independent random points with probability ∝ (1 − r)³, r the distance from the centre, 1 at the corners."""
    centre = np.zeros(matrix, dtype=bool)
    centre[centre_slice(matrix[0], center_fraction), centre_slice(matrix[1], center_fraction)] = True
    radius = np.hypot(_radius(matrix[0])[:, None], _radius(matrix[1])[None, :]) / np.sqrt(2)
    probability = _density(radius, centre, acceleration, DENSITY_POWER, "variable-density-2d")
    return random.uniform(size=matrix) < probability


KINDS: dict[str, Callable[[Matrix, float, float, RandomState], np.ndarray]] = {
    "random-2d": random_2d,
    "random-1d": random_1d,
    "equispaced-1d": equispaced_1d,
    "equispaced-fraction-1d": equispaced_fraction_1d,
    "variable-density-1d": variable_density_1d,
    "variable-density-2d": variable_density_2d,
}


def draw_mask(
    settings: MaskConfig, matrix: Matrix, *, volume: str, index: int, repeat: int | None = None
) -> np.ndarray:
    """Draw the mask of one slice, seeded by what it is drawn for.

    Parameters
    ----------
    settings
        Kind, acceleration, centre fraction and ``per``: with ``slice`` each slice has a mask of its own, with
        ``volume`` the slices of one file share one (for ``mask.seed`` 0 with the seed of fastMRI's validation
        set, ``tuple(map(ord, file name))``), with ``dataset`` all share one.
    matrix
        (H, W).
    volume
        The file name, without its folder.
    index
        The slice's number in its file.
    repeat
        The number of a renewed draw (for masks drawn afresh in every step); None is the slice's own mask.

    Returns
    -------
    np.ndarray
        Boolean, shape (H, W).

    Raises
    ------
    ConfigError
        If the acceleration leaves no sample outside the centre.
    """
    if repeat is not None:
        random = numpy_random("fresh mask", settings.seed, volume, index, repeat)
    elif settings.per == "slice":
        random = numpy_random("slice mask", settings.seed, volume, index)
    elif settings.per == "volume":
        random = RandomState()
        random.seed(tuple(map(ord, volume)) + ((settings.seed,) if settings.seed else ()))
    else:
        random = numpy_random("dataset mask", settings.seed)
    return KINDS[settings.kind](matrix, settings.acceleration, settings.center_fraction, random)


def measured_acceleration(mask: np.ndarray) -> float:
    """Return the number of samples over the number of measured samples; infinity for an empty mask."""
    measured = np.count_nonzero(mask)
    return mask.size / measured if measured else float("inf")


def full_centre_fraction(mask: np.ndarray, center_fraction: float) -> float:
    """Return the largest fraction, at most ``center_fraction``, whose centre is fully measured.

    Parameters
    ----------
    mask
        Boolean (H, W).
    center_fraction
        Where to start.

    Returns
    -------
    float
        0 where not even the centre sample is measured.
    """
    height, width = mask.shape
    longer = max(mask.shape)
    most = round(longer * center_fraction)
    smaller = (count / longer for count in range(most, 0, -1))
    for fraction in (center_fraction, *(own for own in smaller if own < center_fraction)):
        if most and mask[centre_slice(height, fraction), centre_slice(width, fraction)].all():
            return fraction
    return 0.0


def infer_mask(kspace: np.ndarray) -> np.ndarray | None:
    """Find the mask of undersampled k-space from its zeros.

    A sample counts as skipped if it is zero between measured samples of its row or of its column; zeros that
    only border the measured region (zero padding, an elliptical shutter, partial Fourier) are not skipped.

    Parameters
    ----------
    kspace
        Complex k-space of one slice, shape (..., H, W); leading dimensions are coils.

    Returns
    -------
    np.ndarray or None
        Boolean (H, W), True where measured; None if less than 1 % of the samples are skipped, which is then
        fully sampled k-space.

    Raises
    ------
    DataError
        If all samples are zero.
    """
    measured = (kspace != 0).reshape(-1, *kspace.shape[-2:]).any(0)
    if not measured.any():
        raise DataError("k-space has no non-zero sample")
    if np.count_nonzero(measured) > 0.99 * measured.size:
        return None
    skipped = np.zeros_like(measured)
    for axis in (0, 1):
        before = np.logical_or.accumulate(measured, axis=axis)
        after = np.flip(np.logical_or.accumulate(np.flip(measured, axis), axis=axis), axis)
        skipped |= ~measured & before & after
    return measured if skipped.mean() > 0.01 else None
