"""Arrays in files that do not describe their axes: choose the array, and find the order of its axes."""

import fnmatch
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from switchrecon.errors import DataError

AXES = {
    "t": "time or another series",
    "s": "slices",
    "c": "coils",
    "h": "readout",
    "w": "phase encode",
    "r": "real and imaginary part",
}
CALGARY = "calgary-campinas"  # the layout of that data set, by name
ROW_ORDER = {2: "hw", 3: "shw", 4: "schw", 5: "tschw"}  # the usual order in files whose last axis is the fastest
COLUMN_ORDER = {2: "hw", 4: "hwcs", 5: "hwcst"}  # the usual order of MATLAB; a third axis may be coils or slices
FEW = 32  # most coils that a last axis may hold
RATIO = 3  # both sides of a matrix are larger than this factor times the coils


@dataclass(frozen=True)
class Arranged:
    """An array (frames · slices, coils, H, W), frame by frame."""

    array: np.ndarray
    frames: int
    slices: int


def choose_variable(path: Path, wanted: str | None, candidates: list[str], others: list[str]) -> str:
    """Return the name of the array to read in a file that may hold several.

    Parameters
    ----------
    path
        The file, for messages.
    wanted
        A name, or a pattern that fits one name; None: ``kspace``, or the only candidate.
    candidates
        Names of the arrays that can be k-space.
    others
        Names of other arrays, for messages.

    Raises
    ------
    DataError
        If no array, or more than one, can be meant.
    """
    found = ", ".join(sorted([*candidates, *others])) or "nothing"
    if wanted is not None:
        fitting = [name for name in candidates if fnmatch.fnmatchcase(name, wanted)]
        if wanted in candidates:
            return wanted
        if len(fitting) != 1:
            raise DataError(f"{path}: the variable '{wanted}' fits {len(fitting)} arrays; found {found}")
        return fitting[0]
    if "kspace" in candidates:
        return "kspace"
    if len(candidates) != 1:
        raise DataError(
            f"{path}: {len(candidates)} arrays can be k-space, none is called 'kspace'; found {found}; "
            "name one with the setting or option 'variable'"
        )
    return candidates[0]


PARTS = (("real", "imag"), ("r", "i"), ("re", "im"))  # names of the parts of complex numbers, in records


def is_complex(kind: np.dtype) -> bool:
    """Return whether an array of this type holds complex numbers, as such or as records of two parts."""
    return kind.kind == "c" or kind.names in PARTS


def with_parts(array: np.ndarray) -> np.ndarray:
    """Records of a real and an imaginary part as complex numbers; any other array as it is."""
    for names in PARTS:
        if array.dtype.names == names:
            return array[names[0]] + np.complex64(1j) * array[names[1]]
    return array


def arranged(path: Path, name: str, array: np.ndarray, layout: str | None, expected: dict[int, str]) -> Arranged:
    """Bring an array to (frames and slices, coils, H, W).

    Parameters
    ----------
    path, name
        The file and the array's name, for messages.
    array
        Complex k-space, real images, or real numbers with an axis of two for real and imaginary parts. Where nothing
        is said and the last axis of a real array has two entries, it is that axis.
    layout
        One letter of :data:`AXES` for each axis, such as ``shwc``; or ``calgary-campinas``; None: ``expected``.
    expected
        The layout by the number of axes.

    Returns
    -------
    Arranged
        Complex, or real for images. Without an axis of coils there is one coil.

    Raises
    ------
    DataError
        If the layout does not fit, or the axes can be read in two ways; the message says what to set.
    """
    if layout == CALGARY:
        kspace = _calgary(path, name, array)
        return Arranged(kspace, 1, len(kspace))
    real = not np.iscomplexobj(array)
    chosen = layout
    if chosen is None:
        parts = real and array.ndim > 2 and array.shape[-1] == 2
        chosen = expected.get(array.ndim - parts, "") + "r" * parts
        if len(chosen) != array.ndim:
            raise DataError(
                f"{path}: {name} has shape {array.shape}, expected axes {' or '.join(expected.values())}; say what its "
                f"axes are with the setting or option 'layout', a letter each: {_letters()}"
            )
    _check(path, name, array, chosen)
    if "r" in chosen:
        place = chosen.index("r")
        first, second = (np.take(array, part, axis=place) for part in (0, 1))
        array, chosen = first + np.complex64(1j) * second, chosen.replace("r", "")
    missing = [axis for axis in "tsc" if axis not in chosen]
    array = array[(None,) * len(missing)]
    chosen = "".join(missing) + chosen
    array = array.transpose([chosen.index(axis) for axis in "tschw"])
    frames, slices = array.shape[:2]
    array = array.reshape(-1, *array.shape[2:])
    if layout is None:
        _check_plausible(path, name, array, "s" in missing)
    return Arranged(np.ascontiguousarray(array), frames, slices)


def _letters() -> str:
    return ", ".join(f"{letter} ({what})" for letter, what in AXES.items())


def _check(path: Path, name: str, array: np.ndarray, layout: str) -> None:
    wrong = len(layout) != array.ndim or len(set(layout)) != len(layout) or not {"h", "w"} <= set(layout) <= set(AXES)
    if not wrong and "r" in layout:
        wrong = np.iscomplexobj(array) or array.shape[layout.index("r")] != 2
    if not wrong and "c" in layout and "r" not in layout:
        wrong = not np.iscomplexobj(array)
    if wrong:
        raise DataError(
            f"{path}: the layout '{layout}' does not fit {name} of shape {array.shape} and type {array.dtype}; "
            f"expected a letter an axis, h and w among them: {_letters()}; or {CALGARY}"
        )


def _check_plausible(path: Path, name: str, array: np.ndarray, single: bool) -> None:
    """Refuse an array whose last axis is most likely coils, or real and imaginary parts."""
    slices, coils, height, width = array.shape
    several = coils > 1
    sides = (coils, height) if several else (slices, height)
    if np.iscomplexobj(array) and not single and 1 < width <= FEW and min(sides) > RATIO * width:
        ours, theirs = ("schw", "shwc") if several else ("shw", "hwc")
        raise DataError(
            f"{path}: the last axis of {name}, {width} long, is much shorter than others, as if it were coils; set "
            f"layout={theirs} if it is, layout={ours} if it is the phase encode"
        )


def _calgary(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Hybrid k-space (slices, ky, kz, 2 coils), real and imaginary parts in turn; its centre is the first sample.

    The readout was transformed already and runs over the slices. With n samples along an axis, ours is
    ``K = fftshift(k · exp(2πi u (n // 2) / n))``.
    """
    if array.ndim == 3 and np.iscomplexobj(array):
        array = array[..., None]
    elif array.ndim == 4 and not np.iscomplexobj(array) and array.shape[-1] % 2 == 0:
        array = array[..., ::2] + np.complex64(1j) * array[..., 1::2]
    if array.ndim != 4 or not np.iscomplexobj(array):
        raise DataError(f"{path}: {name} of shape {array.shape}; expected (slices, ky, kz, 2 coils) of {CALGARY}")
    kspace = np.moveaxis(array, -1, 1).astype(np.complex64)
    for axis in (-2, -1):
        size = kspace.shape[axis]
        ramp = np.exp(2j * np.pi * np.arange(size) * (size // 2) / size).astype(np.complex64)
        kspace = kspace * (ramp[:, None] if axis == -2 else ramp)
    return np.fft.fftshift(kspace, axes=(-2, -1))
