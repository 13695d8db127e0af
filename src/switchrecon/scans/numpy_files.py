"""NumPy files, ``.npy`` and ``.npz``: complex arrays are centred k-space, real ones are images."""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from switchrecon.core.files import atomic_file
from switchrecon.core.limits import check_size
from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError, SwitchreconError
from switchrecon.scans.arrays import ROW_ORDER, arranged, choose_variable, with_parts
from switchrecon.scans.formats import Format, first_bytes
from switchrecon.scans.images import synthetic_kspace, warn_negative
from switchrecon.scans.names import named
from switchrecon.scans.scan import Scan, check_finite, check_not_empty, fitted_mask, kspace_scan
from switchrecon.scans.series import geometry_of_frames

MOST_HEADER = 1 << 16  # bytes
SIGNED = 0.1  # of values that are negative, in what are hardly magnitudes
IMAGE_ORDER = {2: "hw", 3: "shw"}
HEADERS = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}


def is_numpy(path: Path) -> bool:
    """Return whether a file begins as ``.npy`` files do, or as zip files."""
    return first_bytes(path, 6)[:6] == b"\x93NUMPY" or first_bytes(path, 4) == b"PK\x03\x04"


def _array(path: Path, what: str, file: IO[bytes]) -> np.ndarray:
    """Read one array, after a look at the size that its header claims."""
    version, _ = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise DataError(f"{path}: {what} is of .npy version {version}; expected 1 or 2")
    length = int.from_bytes(file.read(2 * version), "little")
    if length > MOST_HEADER:
        raise DataError(f"{path}: the header of {what} claims {length} bytes; expected at most {MOST_HEADER}")
    file.seek(np.lib.format.MAGIC_LEN)
    shape, _, kind = HEADERS[version](file)
    check_size(path, f"{what}, as k-space,", shape, max(kind.itemsize, np.dtype(np.complex64).itemsize))
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name; that of a ``.npy`` file is ``kspace``."""
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                return {"kspace": _array(path, "the array", file)}
        arrays = {}
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                check_size(path, f"'{name}'", (member.file_size,), 1)
                with archive.open(member) as inside:
                    arrays[name] = _array(path, f"'{name}'", inside)
        return arrays
    except SwitchreconError:
        raise
    except Exception as error:  # numpy and zipfile raise several kinds for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a readable .npy or .npz file ({reason})") from error


def _chosen(path: Path, arrays: dict[str, np.ndarray], wanted: str | None) -> str:
    """Return the name of the array that is read."""
    if path.suffix != ".npz" and list(arrays) == ["kspace"]:
        return "kspace"
    complex_arrays = [name for name, array in arrays.items() if np.iscomplexobj(array)]
    candidates = list(arrays) if wanted is not None or "kspace" in arrays else complex_arrays or list(arrays)
    return choose_variable(path, wanted, candidates, [name for name in arrays if name not in candidates])


def read_numpy(path: Path, options: ReadOptions) -> Scan:
    """Read k-space or images. The file's name is the subject.

    Complex: centred k-space (H, W), (slices, H, W) or (slices, coils, H, W), undersampled where zeros lie between its
    samples, or where a ``mask`` says so. Real: images (H, W) or (slices, H, W), or k-space with real and imaginary
    parts along a last axis of two. The options may give another layout. In a ``.npz`` file the array is named by the
    options or ``kspace``, or is the only complex one, or the only one.

    Raises
    ------
    DataError
        For a damaged file, pickled objects, axes that do not fit, a mask that does not fit, NaN, infinity or only
        zeros.
    """
    arrays = _arrays(path)
    name = _chosen(path, arrays, options.variable)
    array, stored = with_parts(arrays[name]), arrays.get("mask") if name != "mask" else None
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise DataError(f"{path}: found {array.dtype}, expected numbers")
    check_not_empty(path, array)
    single = array.ndim == 2 and options.layout in (None, "hw", "wh")
    expected = ROW_ORDER if np.iscomplexobj(array) or array.shape[-1] == 2 else IMAGE_ORDER
    found = arranged(path, "the array", array, options.layout, expected)
    array, geometry = found.array, replace(geometry_of_frames(found.frames, found.slices), single=single)
    if not np.iscomplexobj(array):
        with np.errstate(over="ignore", invalid="ignore"):  # too large becomes infinite, and is refused
            images = array[:, 0].astype(np.float32)
        check_finite(path, "the array", images)
        check_not_empty(path, images)
        if options.layout is None and array.shape[0] == 2 and (images < 0).mean() > SIGNED:
            raise DataError(
                f"{path}: real numbers of both signs with a first axis of two, as if it were real and imaginary part; "
                "set layout=rhw if it is, layout=shw if these are two images"
            )
        warn_negative(path, images)
        kspace = synthetic_kspace(images, options.phase, path.name)
        return Scan(path, path.stem, kspace, synthetic=True, image=True, geometry=geometry)
    mask = None
    if stored is not None:
        mask = fitted_mask(path, "'mask'", stored, (len(array), *array.shape[-2:]))
    return kspace_scan(path, path.stem, array, mask, "the array", geometry=geometry)


def write_numpy(scan: Scan, images: np.ndarray, target: Path) -> None:
    """Write images as they are, complex64 or float32, in the source's dimensions."""
    array = images[0] if scan.geometry.single else images
    with atomic_file(target, suffix=".npy") as temporary:
        np.save(temporary, array.astype(np.complex64 if np.iscomplexobj(array) else np.float32))


def _write_kspace(scan: Scan, kspace: np.ndarray, target: Path) -> None:
    """K-space alone as ``.npy``; with its mask, where undersampled, as ``.npz``."""
    packed = target.suffix.lower() == ".npz"
    with atomic_file(target, suffix=".npz" if packed else ".npy") as temporary:
        if not packed:
            np.save(temporary, kspace)
        elif scan.mask is None:
            np.savez(temporary, kspace=kspace)
        else:
            np.savez(temporary, kspace=kspace, mask=scan.mask)


FORMAT = Format(
    name="NumPy",
    suffixes=(".npy", ".npz"),
    sniff=is_numpy,
    read=read_numpy,
    option="numpy",
    write_images=write_numpy,
    write_kspace=_write_kspace,
    image_name=lambda path, number: named(path, ".npy"),
)
