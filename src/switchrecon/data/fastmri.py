"""fastMRI HDF5 files: one volume of k-space a file."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from switchrecon.config import Config
from switchrecon.data.hdf5 import open_hdf5, read_dataset
from switchrecon.data.scan import Scan, check_finite, check_not_empty, inferred_masks
from switchrecon.data.write import NOTE, atomic_file
from switchrecon.errors import DataError


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _mask(path: Path, stored: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    slices, height, width = shape
    mask = np.asarray(stored)
    if mask.shape not in ((width,), (1, width), (height, width), (slices, 1, width), shape):
        raise DataError(
            f"{path}: dataset 'mask' has shape {mask.shape}, expected ({width},) to fit k-space of shape {shape}"
        )
    mask = np.broadcast_to(mask != 0, shape)
    if not mask.any():
        raise DataError(f"{path}: dataset 'mask' is all zero; expected at least one measured sample")
    return mask


def _subject(path: Path, file: h5py.File) -> str:
    return _text(file.attrs["patient_id"]) if "patient_id" in file.attrs else path.stem


def fastmri_subject(path: Path) -> str:
    """The attribute ``patient_id``, or the file's name.

    Raises
    ------
    DataError
        For a damaged file.
    """
    with open_hdf5(path) as file:
        return _subject(path, file)


def read_fastmri(path: Path, config: Config) -> Scan:
    """Read single-coil k-space, with its ``mask`` where the file has one.

    Without a ``mask``, undersampled k-space is recognised by the zeros between its samples. The subject is the
    attribute ``patient_id``, or the file's name.

    Raises
    ------
    DataError
        For a damaged file, a missing ``kspace``, multi-coil data, a mask that does not fit, NaN, infinity or
        only zeros.
    """
    with open_hdf5(path) as file:
        kspace, stored = read_dataset(path, file, "kspace"), read_dataset(path, file, "mask")
        if kspace is None:
            raise DataError(f"{path}: no dataset 'kspace'; found {', '.join(sorted(file)) or 'nothing'}")
        subject = _subject(path, file)
    if not np.iscomplexobj(kspace):
        raise DataError(f"{path}: dataset 'kspace' has type {kspace.dtype}, expected complex numbers")
    if kspace.ndim == 4:
        raise DataError(
            f"{path}: dataset 'kspace' has shape {kspace.shape} with {kspace.shape[1]} coils; expected single-coil "
            "k-space of shape (slices, H, W)"
        )
    if kspace.ndim != 3:
        raise DataError(f"{path}: dataset 'kspace' has shape {kspace.shape}, expected (slices, H, W)")
    kspace = kspace.astype(np.complex64)
    check_not_empty(path, kspace)
    check_finite(path, "dataset 'kspace'", kspace)
    if stored is None:
        return Scan(path, subject, kspace, inferred_masks(kspace))
    mask = _mask(path, stored, kspace.shape)
    return Scan(path, subject, np.where(mask, kspace, 0), None if mask.all() else mask)


def write_fastmri(scan: Scan, images: np.ndarray, target: Path) -> None:
    """Write magnitudes as dataset ``reconstruction``, float32 (slices, H, W), in the scan's units."""
    with atomic_file(target) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset(
            "reconstruction",
            data=np.abs(images).astype(np.float32),
            chunks=(1, *images.shape[1:]),
            fletcher32=True,
        )
        file.attrs["note"] = NOTE
