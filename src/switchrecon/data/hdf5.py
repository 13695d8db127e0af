"""HDF5 files of other people: only what is stored in the file itself is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from switchrecon.data.limits import check_size
from switchrecon.errors import DataError, SwitchreconError


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading.

    Raises
    ------
    DataError
        For a damaged file; also where reading in the block fails.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except SwitchreconError:
        raise
    except Exception as error:  # h5py raises several kinds for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a readable HDF5 file ({reason})") from error


def find_dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset | None:
    """A dataset that is stored in the file itself, by its path inside it; None where there is none.

    Raises
    ------
    DataError
        For a link at any part of the path, a group, data stored in other files, or more data than the limit.
    """
    place: h5py.Group = file
    parts = [part for part in name.split("/") if part]
    for depth, part in enumerate(parts):
        link = place.get(part, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"{path}: '{name}' is a {type(link).__name__}; expected data stored in the file itself")
        found = place[part]
        wanted = h5py.Dataset if depth == len(parts) - 1 else h5py.Group
        if not isinstance(found, wanted):
            raise DataError(f"{path}: '{name}' is a {type(found).__name__}, expected a {wanted.__name__}")
        place = found
    dataset: h5py.Dataset = place
    if dataset.is_virtual or dataset.external:
        raise DataError(f"{path}: dataset '{name}' lies in other files; expected data stored in the file itself")
    check_size(path, f"dataset '{name}'", dataset.shape or (), dataset.dtype.itemsize)
    return dataset


def read_dataset(path: Path, file: h5py.File, name: str) -> np.ndarray | None:
    """The whole of a dataset; see :func:`find_dataset`."""
    dataset = find_dataset(path, file, name)
    return None if dataset is None else np.asarray(dataset[()])


def read_text(path: Path, file: h5py.File, name: str) -> str | bytes | None:
    """The one text that a dataset holds; see :func:`find_dataset`.

    Raises
    ------
    DataError
        Also for other numbers of texts, which are not read, and for what is not text.
    """
    dataset = find_dataset(path, file, name)
    if dataset is None:
        return None
    value = np.asarray(dataset[()]).reshape(-1)[0] if dataset.size == 1 else None
    if not isinstance(value, str | bytes):
        raise DataError(f"{path}: dataset '{name}' has type {dataset.dtype} and shape {dataset.shape}; expected a text")
    return value
