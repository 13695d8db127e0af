"""MATLAB files of version 7.3, which are HDF5, and earlier ones. Only numbers are read, no objects or functions."""

from pathlib import Path

import h5py
import numpy as np

from switchrecon.core.limits import check_size
from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError
from switchrecon.scans.arrays import CALGARY, COLUMN_ORDER, arranged, choose_variable, with_parts
from switchrecon.scans.formats import Format, first_bytes
from switchrecon.scans.hdf5 import is_hdf5, open_hdf5, read_dataset
from switchrecon.scans.mat5 import is_mat5, read_mat5, with_real_and_imag
from switchrecon.scans.scan import Scan, fitted_mask, kspace_scan
from switchrecon.scans.series import geometry_of_frames

HDF5_TEXT = b"MATLAB 7.3 MAT-file"


def is_matlab(path: Path) -> bool:
    """Return whether a file starts like MATLAB's files."""
    start = first_bytes(path, 128) if path.is_file() else b""
    return is_mat5(start) or (start.startswith(HDF5_TEXT) and is_hdf5(path))


def _stored(path: Path, file: h5py.File, wanted: str) -> np.ndarray | None:
    """Return a dataset of numbers, its axes in MATLAB's order; None for anything else."""
    place = file.get(wanted, getlink=True)
    if not isinstance(place, h5py.HardLink) or not isinstance(file[wanted], h5py.Dataset):
        return None
    if file[wanted].dtype.hasobject or file[wanted].attrs.get("MATLAB_class") in (b"char", b"cell", b"function_handle"):
        return None
    array = read_dataset(path, file, wanted)
    return None if array is None else with_parts(array).T


def _variables(path: Path) -> dict[str, np.ndarray]:
    """Return all numeric arrays by name, a structure's as ``name.field``."""
    if is_mat5(first_bytes(path, 128)):
        return read_mat5(path)
    found: dict[str, np.ndarray] = {}
    total = 0
    with open_hdf5(path) as file:
        for name in sorted(name for name in file if not name.startswith("#")):
            fields: dict[str, np.ndarray] = {}
            if isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(file[name], h5py.Group):
                inside = {f"{name}.{field}": _stored(path, file, f"{name}/{field}") for field in file[name]}
                fields = {key: value for key, value in inside.items() if value is not None}
                fields = with_real_and_imag(fields, name)
            elif (array := _stored(path, file, name)) is not None:
                fields = {name: array}
            total += sum(array.nbytes for array in fields.values())
            check_size(path, "its variables", (total,), 1)
            found |= fields
    return found


def _mask(path: Path, mask: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return a mask in MATLAB's order, (H, W), (H, W, slices), or a vector along W."""
    if mask.size == shape[2] and max(mask.shape) == mask.size:
        return fitted_mask(path, "'mask'", mask.reshape(-1), shape)
    return fitted_mask(path, "'mask'", np.moveaxis(np.atleast_3d(np.squeeze(mask)), -1, 0), shape)


def read_matlab(path: Path, options: ReadOptions) -> Scan:
    """Read k-space: the variable that the options name, else ``kspace``, else the only complex array.

    Its axes are (readout, phase encode), with coils and slices behind them, unless the options give their layout.
    Undersampled k-space is recognised by the zeros between its samples, or by a variable ``mask``.

    Raises
    ------
    DataError
        For a damaged file, several arrays without one that is named, or axes that can be read in two ways.
    """
    arrays = _variables(path)
    numeric = {name: array for name, array in arrays.items() if array.dtype.kind in "biufc"}
    ready = [name for name, array in numeric.items() if np.iscomplexobj(array) and array.ndim >= 2]
    if options.variable is not None or options.layout is not None:  # may hold real and imaginary parts along an axis
        ready += [name for name, array in numeric.items() if not np.iscomplexobj(array) and array.ndim > 2]
    if not numeric:
        raise DataError(f"{path}: a MATLAB file without any numeric array; expected complex k-space")
    name = choose_variable(path, options.variable, ready, [other for other in arrays if other not in ready])
    array = numeric[name]
    if options.layout is None:  # MATLAB keeps no axes of 1 at the end
        while array.ndim > 2 and array.shape[-1] == 1:
            array = array[..., 0]
    elif options.layout != CALGARY:
        array = array.reshape(array.shape + (1,) * (len(options.layout) - array.ndim))
    found = arranged(path, f"'{name}'", array, options.layout, COLUMN_ORDER)
    kspace = found.array
    if not np.iscomplexobj(kspace):
        raise DataError(f"{path}: '{name}' holds real numbers; expected complex k-space")
    mask = numeric.get("mask")
    shape = (kspace.shape[0], kspace.shape[2], kspace.shape[3])
    measured = None if mask is None else _mask(path, mask, shape)
    geometry = geometry_of_frames(found.frames, found.slices)
    return kspace_scan(path, path.stem, kspace, measured, f"'{name}'", geometry=geometry)


FORMAT = Format(name="MATLAB", suffixes=(".mat",), sniff=is_matlab, read=read_matlab)
