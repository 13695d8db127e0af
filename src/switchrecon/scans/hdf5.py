"""HDF5 files from unknown sources: only data that are stored in the file itself are read."""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from switchrecon.core.files import atomic_file
from switchrecon.core.limits import check_size
from switchrecon.errors import DataError, SwitchreconError

LZF = h5py.h5z.FILTER_LZF
FILTERS = {
    LZF,
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
}  # filters whose sizes can be checked
BEST_COMPRESSION = 1100  # a little more than deflate can reach
SPARSE_BYTES = 1 << 26  # smaller datasets may have any compression
MAGIC = b"\x89HDF\r\n\x1a\n"
PLACES = (0, *(1 << power for power in range(9, 25)))  # bytes; a user block of this length may come first
CHECKSUM = 4  # bytes that fletcher32 adds to a chunk


def is_hdf5(path: Path) -> bool:
    """Return whether a file has HDF5's signature, at its start or behind a user block."""
    try:
        with path.open("rb") as file:
            for place in PLACES:
                file.seek(place)
                start = file.read(len(MAGIC))
                if start == MAGIC:
                    return True
                if len(start) < len(MAGIC):
                    return False
    except (OSError, ValueError):
        pass
    return False


@contextmanager
def write_hdf5(target: Path) -> Iterator[h5py.File]:
    """Yield an HDF5 file in memory; write it to the target if the block succeeds.

    HDF5 itself does not survive a disk that fills up: it fails again when the file is closed, and may crash.
    """
    with h5py.File(target.name, "w", driver="core", backing_store=False) as file:
        yield file
        file.flush()
        content = file.id.get_file_image()
    with atomic_file(target) as temporary:
        temporary.write_bytes(content)


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading.

    Raises
    ------
    DataError
        If the file is damaged, or reading in the block fails.
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
    """Return a dataset that is stored in the file itself, by its path in the file; None if there is none.

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
    claimed, stored = (dataset.size or 0) * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if claimed > SPARSE_BYTES and claimed > BEST_COMPRESSION * stored:
        raise DataError(f"{path}: dataset '{name}' claims {claimed} bytes, but only {stored} are stored")
    if dataset.chunks is not None:
        check_size(path, f"a chunk of dataset '{name}'", dataset.chunks, dataset.dtype.itemsize)
        _check_chunks(path, dataset, name)
    return dataset


def _check_chunks(path: Path, dataset: h5py.Dataset, name: str) -> None:
    """Refuse filters other than HDF5's, and chunks that do not have the right length.

    HDF5 unpacks until the compressed data end, whatever the declared size of the chunk, and reads beyond the end if
    there are too few data.
    """
    plan = dataset.id.get_create_plist()
    filters = [plan.get_filter(index)[0] for index in range(plan.get_nfilters())]
    if not set(filters) <= FILTERS or len(set(filters)) < len(filters):
        raise DataError(f"{path}: dataset '{name}' has filters {filters}; expected gzip, lzf, shuffle or fletcher32")
    content = math.prod(dataset.chunks) * dataset.dtype.itemsize
    chunks: list[h5py.h5d.StoreInfo] = []
    dataset.id.chunk_iter(chunks.append)  # to ask for one by its number takes as long as to go through them all
    for chunk in chunks:
        # The ones that were not left out because they did not help, in the order of writing.
        used = [number for place, number in enumerate(filters) if not chunk.filter_mask >> place & 1]
        length = chunk.size
        expected = content
        for number in used:
            if number == h5py.h5z.FILTER_FLETCHER32:
                expected += CHECKSUM
            elif number in (h5py.h5z.FILTER_DEFLATE, LZF):
                break
        if LZF in used:
            stored = dataset.id.read_direct_chunk(chunk.chunk_offset)[1]
            after = used[used.index(LZF) + 1 :]
            length = _lzf_length(stored[: len(stored) - CHECKSUM * after.count(h5py.h5z.FILTER_FLETCHER32)])
        if h5py.h5z.FILTER_DEFLATE in used:
            try:
                stored = dataset.id.read_direct_chunk(chunk.chunk_offset)[1]
                length = len(zlib.decompressobj().decompress(stored, expected + 1))
            except zlib.error as error:
                raise DataError(f"{path}: dataset '{name}' is damaged ({error})") from error
        if length != expected:
            raise DataError(f"{path}: a chunk of dataset '{name}' does not hold its {content} bytes")


def _lzf_length(packed: bytes) -> int:
    """Return the number of bytes that LZF data unpack to; -1 if they are damaged.

    A byte c below 32 is followed by c + 1 bytes as they are; any other stands for a copy of (c >> 5) + 2 earlier ones,
    or of 9 more than the next byte says.
    """
    place, length, end = 0, 0, len(packed)
    while place < end:
        control = packed[place]
        if control < 32:
            place, length = place + control + 2, length + control + 1
            continue
        count = control >> 5
        if count == 7:
            place += 1
            count += packed[place] if place < end else 0
        place, length = place + 2, length + count + 2
    return length if place == end else -1


def read_dataset(path: Path, file: h5py.File, name: str) -> np.ndarray | None:
    """Return all of a dataset of numbers, or one text; see :func:`find_dataset`.

    Raises
    ------
    DataError
        As for :func:`find_dataset`; also for lists of varying length, references and other objects.
    """
    dataset = find_dataset(path, file, name)
    if dataset is None:
        return None
    # Many entries of varying length may all point to one large piece of the file.
    one_text = h5py.check_string_dtype(dataset.dtype) is not None and dataset.size == 1
    if dataset.dtype.hasobject and not one_text:
        raise DataError(f"{path}: dataset '{name}' holds objects ({dataset.dtype}), expected numbers")
    return np.asarray(dataset[()])


def check_lengths(path: Path, dataset: h5py.Dataset, field: str | None = None) -> None:
    """Refuse lists or texts of varying length, or such a field of a table, that are said to be longer than the file.

    HDF5 takes memory for them before it looks. Their lengths are read from the stored rows, which may not be packed.
    """
    kind = dataset.id.get_type()
    place, size = 0 if field is None else kind.get_member_offset(kind.get_member_index(field.encode())), kind.get_size()
    if dataset.id.get_create_plist().get_nfilters():
        raise DataError(f"{path}: dataset '{dataset.name}' is packed; expected lists of varying length as they are")
    rows: list[bytes] = []
    if dataset.chunks is not None:
        dataset.id.chunk_iter(lambda chunk: rows.append(dataset.id.read_direct_chunk(chunk.chunk_offset)[1]))
    elif dataset.id.get_offset() is not None:
        with path.open("rb") as file:
            file.seek(dataset.id.get_offset())
            rows.append(file.read(dataset.size * size))
    limit = path.stat().st_size
    for stored in rows:
        whole = np.frombuffer(stored, np.uint8)[: len(stored) // size * size].reshape(-1, size)
        lengths = np.ascontiguousarray(whole[:, place : place + 4]).view("<u4")
        if lengths.size and lengths.max() > limit:
            raise DataError(f"{path}: an entry of '{dataset.name}' claims {lengths.max()} values; the file is damaged")


def read_text(path: Path, file: h5py.File, name: str) -> str | bytes | None:
    """Return the one text that a dataset holds; see :func:`find_dataset`.

    Raises
    ------
    DataError
        Also for other numbers of texts, which are not read, and for what is not text.
    """
    dataset = find_dataset(path, file, name)
    if dataset is None:
        return None
    if h5py.check_string_dtype(dataset.dtype) is not None and h5py.check_string_dtype(dataset.dtype).length is None:
        check_lengths(path, dataset)
    value = np.asarray(dataset[()]).reshape(-1)[0] if dataset.size == 1 else None
    if not isinstance(value, str | bytes):
        raise DataError(f"{path}: dataset '{name}' has type {dataset.dtype} and shape {dataset.shape}; expected a text")
    return value
