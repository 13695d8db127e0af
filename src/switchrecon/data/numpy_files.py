"""NumPy ``.npy`` files: complex arrays are centred k-space, real ones are images."""

from pathlib import Path

import numpy as np

from switchrecon.config import Config
from switchrecon.data.limits import check_size
from switchrecon.data.scan import Scan, check_finite, check_not_empty, inferred_masks, synthetic_kspace
from switchrecon.data.write import atomic_file
from switchrecon.errors import DataError

MOST_HEADER = 1 << 16  # bytes


def read_numpy(path: Path, config: Config) -> Scan:
    """Read (slices, H, W), or one slice (H, W). The file's name is the subject.

    Complex: centred k-space, undersampled where zeros lie between its samples. Real: images.

    Raises
    ------
    DataError
        For a damaged file, pickled objects, a wrong number of dimensions, NaN, infinity or only zeros.
    """
    try:
        with path.open("rb") as file:
            start = file.read(12)
        if start[6:7] > b"\x01" and int.from_bytes(start[8:12], "little") > MOST_HEADER:
            raise DataError(f"{path}: its header claims {int.from_bytes(start[8:12], 'little')} bytes; expected few")
        # Mapped, so that a size that the file does not have is refused before memory is taken for it.
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except DataError:
        raise
    except Exception as error:  # numpy raises several kinds for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a readable .npy array ({reason})") from error
    if not isinstance(array, np.ndarray) or not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise DataError(f"{path}: found {getattr(array, 'dtype', type(array).__name__)}, expected numbers")
    if array.ndim not in (2, 3):
        raise DataError(f"{path}: found an array of shape {array.shape}, expected (slices, H, W) or (H, W)")
    check_size(path, "the array, as k-space,", array.shape, np.dtype(np.complex64).itemsize)
    single = array.ndim == 2
    array = array[None] if single else array
    check_not_empty(path, array)
    with np.errstate(over="ignore"):  # too large becomes infinite, and is refused
        array = array.astype(np.complex64 if np.iscomplexobj(array) else np.float32)
    check_finite(path, "the array", array)
    geometry = {"single": single}
    if np.iscomplexobj(array):
        return Scan(path, path.stem, array, inferred_masks(array), geometry=geometry)
    kspace = synthetic_kspace(array, config, path.name)
    return Scan(path, path.stem, kspace, synthetic=True, image=True, geometry=geometry)


def write_numpy(scan: Scan, images: np.ndarray, target: Path) -> None:
    """Write images as they are, complex64 or float32, in the source's dimensions."""
    array = images[0] if scan.geometry["single"] else images
    with atomic_file(target, suffix=".npy") as temporary:
        np.save(temporary, array.astype(np.complex64 if np.iscomplexobj(array) else np.float32))
