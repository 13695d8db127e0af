"""Sampling masks: draw them, measure their acceleration and full centre, and find them in k-space.

A mask is a boolean array of shape (H, W), True where k-space is measured. 1-D masks choose columns (phase
encodes along W) and repeat them along the readout H. The kinds are in :mod:`switchrecon.physics.mask_kinds`.
"""

from typing import Any, Literal

import numpy as np
from numpy.random import RandomState
from pydantic import field_validator

from switchrecon.core.seeds import numpy_random
from switchrecon.core.settings import Settings, setting
from switchrecon.core.user_code import is_user_code
from switchrecon.errors import ConfigError, DataError, nearest
from switchrecon.physics.mask_kinds import KINDS, MaskKind, centre_slice, find_kind
from switchrecon.physics.poisson_disc import Matrix


class MaskConfig(Settings):
    """Settings of simulated sampling: how masks of k-space are drawn."""

    kind: str = setting(
        "random-2d",
        "How samples are chosen; also FILE.py:NAME. random-2d is the paper's IXI setting, random-1d its fastMRI "
        "setting.",
    )
    acceleration: float = setting(4.0, "Number of k-space samples, divided by that of measured ones (R).", ge=1)
    center_fraction: float = setting(0.08, "Fraction of each masked side that is full, in the centre.", ge=0, le=1)
    per: Literal["slice", "volume", "dataset"] = setting(
        "slice", "What has one mask: each slice, each volume (as in fastMRI, with its seeds), or the whole data set."
    )
    seed: int = setting(0, "Seed of masks: a property of the data, so not the seed of the run.", ge=0)

    @field_validator("kind")
    @classmethod
    def _known(cls, name: str) -> str:
        if not is_user_code(name) and name not in KINDS:
            raise ValueError(f"expected a kind of mask or FILE.py:NAME; {nearest(name, KINDS)}")
        return name


Direction = Literal["rows", "columns"] | None


def line_direction(mask: Any) -> Direction:
    """Return whether a mask (H, W), array or tensor, has full ``rows`` (also if all are), ``columns`` or neither."""
    directions: tuple[tuple[Direction, Any], ...] = (("rows", mask), ("columns", mask.T))
    for name, lines in directions:
        # Two columns are compared first, which is quick and enough for points.
        if (lines[:, :2] == lines[:, :1]).all() and (lines == lines[:, :1]).all():
            return name
    return None


def draw_mask(
    settings: MaskConfig, matrix: Matrix, *, volume: str, index: int, repeat: int | None = None
) -> np.ndarray:
    """Draw the mask of one slice; the seed comes from the setting, the file name and the slice number.

    Parameters
    ----------
    settings
        Kind, acceleration, centre fraction and ``per``: with ``slice`` each slice has another mask, with ``volume``
        the slices of one file share one mask (for ``mask.seed`` 0 with the seed of fastMRI's validation set,
        ``tuple(map(ord, file name))``), with ``dataset`` all slices share one mask.
    matrix
        (H, W).
    volume
        The file name, without its folder.
    index
        The number of the slice in its file.
    repeat
        Number of the draw, for masks that are drawn anew in every step. None: the fixed mask of the slice.

    Returns
    -------
    np.ndarray
        Boolean, shape (H, W).

    Raises
    ------
    ConfigError
        If the acceleration leaves no sample outside the centre, or a user's kind of mask returns anything else.
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
    kind = find_kind(settings.kind)
    if is_user_code(settings.kind):
        return _draw_checked(settings, kind, matrix, random)
    return kind.draw(matrix, settings.acceleration, settings.center_fraction, random)


def _draw_checked(settings: MaskConfig, kind: MaskKind, matrix: Matrix, random: RandomState) -> np.ndarray:
    """Draw a mask with a user's function, and check what it returns."""
    name = f"mask '{settings.kind}'"
    try:
        mask = kind.draw(matrix, settings.acceleration, settings.center_fraction, random)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{name}: raised {type(error).__name__}: {error}") from error
    if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != tuple(matrix):
        found = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise ConfigError(f"{name}: returned {found}, expected a boolean array {tuple(matrix)}")
    if not mask.any():
        raise ConfigError(f"{name}: measures nothing; expected some True samples")
    if kind.dimensions == 1 and not (mask == mask[:1]).all():
        raise ConfigError(f"{name}: states 1 dimension, but its rows differ; repeat the columns, or state 2")
    return mask


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
    longer = max(mask.shape)
    most = round(longer * center_fraction)
    smaller = (count / longer for count in range(most, 0, -1))
    for fraction in (center_fraction, *(less for less in smaller if less < center_fraction)):
        # At least one sample a side: a short side of a long image has less than one in a small fraction.
        rows, columns = (centre_slice(side, max(fraction, 1 / side)) for side in mask.shape)
        if most and mask[rows, columns].all():
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
