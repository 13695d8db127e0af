"""NumPy files, ``.npy`` and ``.npz``: complex arrays are centred k-space, real ones are images."""

import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from switchrecon.core.files import atomic_file
from switchrecon.core.limits import check_size
from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError, SwitchreconError
from switchrecon.scans.formats import Format, first_bytes
from switchrecon.scans.scan import Scan, check_finite, check_not_empty, inferred_masks, synthetic_kspace

MOST_HEADER = 1 << 16  # bytes
HEADERS = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}


def is_numpy(path: Path) -> bool:
    """Whether a file begins as ``.npy`` files do, or as zip files."""
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
    """The arrays of a file by name; that of a ``.npy`` file is ``kspace``."""
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


def _kspace_and_mask(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    arrays = _arrays(path)
    if "kspace" in arrays:
        return arrays["kspace"], arrays.get("mask")
    if len(arrays) != 1:
        names = ", ".join(sorted(arrays)) or "nothing"
        raise DataError(f"{path}: found {names}; expected an array 'kspace', with 'mask' where wanted, or one array")
    return next(iter(arrays.values())), None


def _stored_mask(path: Path, mask: np.ndarray, kspace: np.ndarray) -> np.ndarray:
    shape = (len(kspace), *kspace.shape[-2:])
    if mask.shape not in (shape[2:], shape[1:], (shape[0], 1, shape[2]), shape):
        raise DataError(f"{path}: 'mask' has shape {mask.shape}; expected {shape}, {shape[1:]} or {shape[2:]}")
    if not mask.any():
        raise DataError(f"{path}: 'mask' is all zero; expected at least one measured sample")
    return np.broadcast_to(mask != 0, shape)


def read_numpy(path: Path, options: ReadOptions) -> Scan:
    """Read k-space or images. The file's name is the subject.

    Complex: centred k-space (H, W), (slices, H, W) or (slices, coils, H, W), undersampled where zeros lie between its
    samples, or where a ``mask`` says so. Real: images (H, W) or (slices, H, W). In a ``.npz`` file the array is named
    ``kspace``, or is the only one.

    Raises
    ------
    DataError
        For a damaged file, pickled objects, a wrong number of dimensions, a mask that does not fit, NaN, infinity or
        only zeros.
    """
    array, stored = _kspace_and_mask(path)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise DataError(f"{path}: found {array.dtype}, expected numbers")
    complex_numbers = np.iscomplexobj(array)
    if array.ndim not in ((2, 3, 4) if complex_numbers else (2, 3)):
        raise DataError(
            f"{path}: found an array of shape {array.shape}, expected (slices, H, W), (H, W), or complex "
            "(slices, coils, H, W)"
        )
    single = array.ndim == 2
    array = array[None] if single else array
    with np.errstate(over="ignore", invalid="ignore"):  # too large becomes infinite, and is refused
        array = array.astype(np.complex64 if complex_numbers else np.float32)
    check_finite(path, "the array", array)
    check_not_empty(path, array)
    geometry = {"single": single}
    if not complex_numbers:
        kspace = synthetic_kspace(array, options.phase, path.name)
        return Scan(path, path.stem, kspace, synthetic=True, image=True, geometry=geometry)
    if stored is None:
        mask = inferred_masks(array)
    else:
        mask = _stored_mask(path, stored, array)
        array = np.where(mask if array.ndim == 3 else mask[:, None], array, np.complex64(0))
        check_not_empty(path, array)
        mask = None if mask.all() else mask
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    return Scan(path, path.stem, array, mask, geometry=geometry)


def write_numpy(scan: Scan, images: np.ndarray, target: Path) -> None:
    """Write images as they are, complex64 or float32, in the source's dimensions."""
    array = images[0] if scan.geometry.get("single") else images
    with atomic_file(target, suffix=".npy") as temporary:
        np.save(temporary, array.astype(np.complex64 if np.iscomplexobj(array) else np.float32))


def _write_kspace(scan: Scan, kspace: np.ndarray, target: Path) -> None:
    with atomic_file(target, suffix=".npy") as temporary:
        np.save(temporary, kspace)


FORMAT = Format(
    name="NumPy",
    suffixes=(".npy", ".npz"),
    sniff=is_numpy,
    read=read_numpy,
    option="numpy",
    write_images=write_numpy,
    write_kspace=_write_kspace,
    endings=(".npy",),
)
