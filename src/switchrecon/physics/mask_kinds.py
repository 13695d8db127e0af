"""The kinds of sampling masks, each one entry of :data:`KINDS`.

A mask is a boolean array of shape (H, W), True where k-space is measured. The built-in kinds have a full centre.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.random import RandomState

from switchrecon.core.user_code import is_user_code, load, user_file
from switchrecon.errors import ConfigError, nearest
from switchrecon.physics.poisson_disc import Matrix, poisson_disc


@dataclass(frozen=True)
class MaskKind:
    """A way to sample k-space.

    Attributes
    ----------
    draw
        Function of the matrix (H, W), the acceleration R >= 1, the centre fraction in [0, 1] and a NumPy
        ``RandomState``, its only source of randomness. It returns a boolean mask (H, W).
    dimensions
        1: whole lines along the readout H, so that all rows are the same. 2: any points.
    about
        One line for lists and messages.
    """

    draw: Callable[[Matrix, float, float, RandomState], np.ndarray]
    dimensions: Literal[1, 2]
    about: str = ""


def centre_slice(size: int, fraction: float) -> slice:
    """Return the fully sampled centre of one dimension: round(size · fraction) samples.

    The start is (size − count + 1) // 2, as in fastMRI, which puts the centre sample size // 2 inside.
    """
    count = min(size, round(size * fraction))
    start = (size - count + 1) // 2
    return slice(start, start + count)


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
    """Draw independent random points; a centre rectangle of sides round(n · centre fraction) is full.

    The expected number of samples is H·W / acceleration.
    """
    mask = np.zeros(matrix, dtype=bool)
    mask[centre_slice(matrix[0], center_fraction), centre_slice(matrix[1], center_fraction)] = True
    probability = _outside_probability(mask.size, int(mask.sum()), acceleration, "random-2d")
    return mask | (random.uniform(size=matrix) < probability)


def random_1d(matrix: Matrix, acceleration: float, center_fraction: float, random: RandomState) -> np.ndarray:
    """Draw independent random lines, with the formula of fastMRI's ``RandomMaskFunc``.

    ``n_low = round(W · f)`` centre lines from ``(W − n_low + 1) // 2``; each other line where
    ``uniform < (W / R − n_low) / (W − n_low)``. The same ``RandomState`` seed gives the mask of fastMRI.
    """
    width = matrix[1]
    columns = np.zeros(width, dtype=bool)
    columns[centre_slice(width, center_fraction)] = True
    probability = _outside_probability(width, int(columns.sum()), acceleration, "random-1d")
    return _lines(matrix, columns | (random.uniform(size=width) < probability))


def equispaced_1d(matrix: Matrix, acceleration: float, center_fraction: float, random: RandomState) -> np.ndarray:
    """Draw every R-th line from a random offset, where R is the rounded acceleration, and the full centre.

    The centre adds lines, so the measured acceleration is lower than the nominal one.
    """
    step = max(round(acceleration), 1)
    columns = np.zeros(matrix[1], dtype=bool)
    columns[random.randint(step) :: step] = True
    columns[centre_slice(matrix[1], center_fraction)] = True
    return _lines(matrix, columns)


def equispaced_fraction_1d(
    matrix: Matrix, acceleration: float, center_fraction: float, random: RandomState
) -> np.ndarray:
    """Draw equally spaced lines, so far apart that W / R lines are measured together with the centre.

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
    """Draw independent random lines with probability ∝ (1 − r)³, r the distance from the centre in [0, 1]."""
    width = matrix[1]
    centre = np.zeros(width, dtype=bool)
    centre[centre_slice(width, center_fraction)] = True
    probability = _density(_radius(width), centre, acceleration, DENSITY_POWER, "variable-density-1d")
    return _lines(matrix, random.uniform(size=width) < probability)


@lru_cache(8)
def _density_2d(matrix: Matrix, acceleration: float, center_fraction: float) -> np.ndarray:
    """Return the probabilities of :func:`variable_density_2d`, (H, W) and read-only; they cost far more than a draw."""
    centre = np.zeros(matrix, dtype=bool)
    centre[centre_slice(matrix[0], center_fraction), centre_slice(matrix[1], center_fraction)] = True
    radius = np.hypot(_radius(matrix[0])[:, None], _radius(matrix[1])[None, :]) / np.sqrt(2)
    probability = _density(radius, centre, acceleration, DENSITY_POWER, "variable-density-2d")
    probability.setflags(write=False)
    return probability


def variable_density_2d(matrix: Matrix, acceleration: float, center_fraction: float, random: RandomState) -> np.ndarray:
    """Draw independent random points with probability ∝ (1 − r)³, r the distance from the centre, 1 at the corners."""
    return random.uniform(size=matrix) < _density_2d(matrix, acceleration, center_fraction)


def poisson_2d(matrix: Matrix, acceleration: float, center_fraction: float, random: RandomState) -> np.ndarray:
    """Draw Poisson-disc points, sparser further out; see :func:`switchrecon.physics.poisson_disc.poisson_disc`.

    A centre rectangle of sides round(n · centre fraction) is full. With it, exactly round(H·W / acceleration) samples
    are measured.
    """
    rows, columns = (centre_slice(size, center_fraction) for size in matrix)
    mask = np.zeros(matrix, dtype=bool)
    mask[rows, columns] = True
    centre = int(mask.sum())
    _outside_probability(mask.size, centre, acceleration, "poisson-2d")
    return mask | poisson_disc(matrix, (rows, columns), round(mask.size / acceleration) - centre, random)


KINDS: Mapping[str, MaskKind] = MappingProxyType(
    {
        "random-2d": MaskKind(random_2d, 2, "independent random points"),
        "random-1d": MaskKind(random_1d, 1, "independent random lines, as fastMRI draws them"),
        "equispaced-1d": MaskKind(equispaced_1d, 1, "every R-th line, and the centre on top"),
        "equispaced-fraction-1d": MaskKind(equispaced_fraction_1d, 1, "equally spaced lines, W / R with the centre"),
        "variable-density-1d": MaskKind(variable_density_1d, 1, "random lines, denser towards the centre"),
        "variable-density-2d": MaskKind(variable_density_2d, 2, "random points, denser towards the centre"),
        "poisson-2d": MaskKind(poisson_2d, 2, "random points that keep a distance, a wider one further out"),
    }
)


def find_kind(name: str) -> MaskKind:
    """Return the kind of mask that a setting names: one of :data:`KINDS`, or ``FILE.py:NAME``, which runs that file.

    A user's file runs again once it has changed.

    Raises
    ------
    ConfigError
        If there is no such kind; the message names the one with the closest name.
    """
    if is_user_code(name):
        return _user_kind(name, user_file(name, "mask").stat().st_mtime_ns)
    if name not in KINDS:
        raise ConfigError(f"unknown kind of mask '{name}'; {nearest(name, KINDS)}")
    return KINDS[name]


@lru_cache(8)
def _user_kind(name: str, changed: int) -> MaskKind:
    """Return the kind of mask in a user's file; it runs once, and again when ``changed`` (ns) says it has changed."""
    kind = load(name, "mask")
    if not isinstance(kind, MaskKind):
        raise ConfigError(
            f"mask '{name}': is of type {type(kind).__name__}, expected a MaskKind: "
            "NAME = MaskKind(function, dimensions=1 or 2)"
        )
    return kind
