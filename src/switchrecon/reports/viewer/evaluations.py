"""Stacks of evaluations, from the images that they store."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from switchrecon.errors import DataError
from switchrecon.reports.viewer.planes import Kind
from switchrecon.reports.viewer.stacks import Layer, Plane, Stack

_ARRAYS = ("reference", "images", "mask", "maximum", "scan", "slice", "methods")


@lru_cache(maxsize=2)
def _stored(file: Path, changed: int) -> Mapping[str, np.ndarray]:
    """Return the arrays of ``images.npz``; ``changed`` is when the file was, so that a new one is read again."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in _ARRAYS}
    except OSError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds for damaged files
        raise DataError(f"{file}: damaged, or not an evaluation's images ({type(error).__name__})") from error
    reference, images = found["reference"], found["images"]
    count, shape = len(found["scan"]), reference.shape
    if (
        reference.ndim != 3
        or shape != (count, *shape[1:])
        or images.shape != (len(found["methods"]), *shape)
        or found["mask"].shape != shape
        or not count == len(found["slice"]) == len(found["maximum"])
    ):
        raise DataError(f"{file}: reference {shape} and images {images.shape} do not fit together; evaluate again")
    return found


def evaluated_scans(file: Path) -> list[str]:
    """Return the names of the scans in an evaluation's ``images.npz``, in order."""
    return list(dict.fromkeys(str(name) for name in _stored(file, file.stat().st_mtime_ns)["scan"]))


def read_evaluated(file: Path, scan: str, name: str) -> Stack:
    """Return the reference, zero filling and every run's image of one scan of an evaluation, in the scan's units.

    Parameters
    ----------
    file
        ``images.npz``.
    scan
        One of :func:`evaluated_scans`.
    name
        The name of the stack.

    Raises
    ------
    DataError
        For a damaged file.
    """
    stored = _stored(file, file.stat().st_mtime_ns)
    rows = np.flatnonzero(stored["scan"] == scan)
    maximum = stored["maximum"].astype(np.float64)

    def of(images: np.ndarray) -> dict[Kind, Plane]:
        return {"image": lambda position: images[rows[position]].astype(np.float64) * maximum[rows[position]]}

    methods = zip(stored["methods"], stored["images"], strict=True)
    layers = [Layer("reference", of(stored["reference"])), *(Layer(str(m), of(images)) for m, images in methods)]
    return Stack(
        name,
        tuple(int(number) for number in stored["slice"][rows]),
        (int(stored["reference"].shape[1]), int(stored["reference"].shape[2])),
        tuple(layers),
        lambda position: stored["mask"][rows[position]],
        0,
        maximum=float(maximum[rows].max()),
        notes=("Evaluations store magnitudes with 11 bits; k-space is computed from them.",),
    )
