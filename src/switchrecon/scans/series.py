"""Repetitions, contrasts, phases and sets: slices of one place, which are no places in space."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from switchrecon.errors import DataError
from switchrecon.scans.geometry import Geometry
from switchrecon.scans.scan import Scan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Series:
    """Slices of a scan that were measured as one stack.

    Attributes
    ----------
    labels
        Which contrast, repetition, phase or set, counted from 1; only of what there are several of.
    numbers
        The numbers of its slices in the scan, in order.
    """

    labels: dict[str, int]
    numbers: np.ndarray


def series_of(scan: Scan) -> list[Series]:
    """Return the series of a scan, in order; one without labels where there is only one."""
    every = np.arange(len(scan.kspace))
    if scan.geometry.indices is None:
        return [Series({}, every)]
    names, indices = scan.geometry.order[:-1], scan.geometry.indices[:, :-1]
    ranks = [np.unique(column, return_inverse=True)[1].reshape(-1) + 1 for column in indices.T]
    several = [(name, rank) for name, rank in zip(names, ranks, strict=True) if rank.max() > 1]
    if not several:
        return [Series({}, every)]
    keys = np.stack([rank for _, rank in several], axis=1)
    found = np.unique(keys, axis=0)
    return [
        Series({name: int(n) for (name, _), n in zip(several, key, strict=True)}, np.flatnonzero((keys == key).all(1)))
        for key in found
    ]


def one_series(scan: Scan, images: np.ndarray, series: Series) -> tuple[Scan, np.ndarray]:
    """Return one series as a scan, and its part of (slices, ..., H, W)."""
    if not series.labels:
        return scan, images
    part = replace(
        scan,
        kspace=scan.kspace[series.numbers],
        mask=None if scan.mask is None else scan.mask[series.numbers],
        calibration=None,
        maps=None,
        geometry=replace(scan.geometry, order=(), indices=None),
    )
    return part, images[series.numbers]


def stacked(scan: Scan, images: np.ndarray) -> tuple[np.ndarray, list[Series]]:
    """Images (slices, H, W) as (series, slices, H, W).

    Raises
    ------
    DataError
        For series of different numbers of slices.
    """
    found = series_of(scan)
    counts = sorted({len(series.numbers) for series in found})
    if len(counts) > 1:
        raise DataError(
            f"{scan.path}: its series have {counts[0]} and {counts[-1]} slices, which do not make one volume; "
            "choose a format with a file for each series, such as hdf5 or dicom"
        )
    return np.stack([images[series.numbers] for series in found]), found


def labelled(target: Path, labels: dict[str, int], ending: str) -> Path:
    """Return the target with its series in the name: ``a_repetition-2.h5``."""
    stem = target.name[: len(target.name) - len(ending)]
    return target.with_name("_".join([stem, *(f"{name}-{n}" for name, n in labels.items())]) + ending)


def geometry_of_frames(frames: int | Sequence[int], slices: int, names: Sequence[str] = ("repetition",)) -> Geometry:
    """Return the geometry of a scan of several frames, whose slices follow frame by frame; an empty one for one frame.

    Parameters
    ----------
    frames
        How many; along several axes, the last is the fastest.
    slices
        In each of them.
    names
        The names of these axes: ``contrast``, ``repetition``, ``phase`` or ``set``.
    """
    sizes = [frames] if isinstance(frames, int) else [*frames]
    if max(sizes) == 1:
        return Geometry()
    indices = np.indices((*sizes, slices)).reshape(len(sizes) + 1, -1).T
    return Geometry(order=(*names, "slice"), indices=indices)


def slice_labels(scan: Scan) -> list[str]:
    """Return the series of each slice in words, such as ``contrast 2, repetition 1``; empty where there is only one."""
    labels = [""] * len(scan.kspace)
    for series in series_of(scan):
        for number in series.numbers.tolist():
            labels[number] = ", ".join(f"{name} {n}" for name, n in series.labels.items())
    return labels


def series_in_words(scan: Scan) -> str:
    """How many contrasts, repetitions, phases or sets there are, such as ``2 contrasts, 3 repetitions``; or nothing."""
    found = series_of(scan)
    counts = {name: max(series.labels[name] for series in found) for name in found[0].labels}
    return ", ".join(f"{count} {name}s" for name, count in counts.items())
