"""Numeric arrays in MATLAB files before version 7.3 (MAT-file level 5); objects, functions and cells are skipped.

Format: MathWorks, "MAT-File Level 5 File Format". A file is a header of 128 bytes and elements; an element is a tag
(kind and number of bytes) and its data; an array is an element of elements: flags, sizes, name, real part, imaginary
part.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from switchrecon.core.limits import check_file, check_size
from switchrecon.errors import DataError

HEADER = 128  # bytes
MATRIX, COMPRESSED = 14, 15  # kinds of elements
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
STRUCT, NUMERIC = 2, range(6, 16)  # classes of arrays: doubles, singles, integers
COMPLEX = 0x800  # a flag of arrays
MOST_AXES = 32


def is_mat5(start: bytes) -> bool:
    """Return whether this is the start of such a file; the last four of 128 bytes are version and byte order."""
    return start[124:128] in (b"\x00\x01IM", b"\x01\x00MI")


def read_mat5(path: Path) -> dict[str, np.ndarray]:
    """Return all numeric arrays of a file by name, a structure's as ``name.field``, in MATLAB's order of axes.

    A structure with the fields ``real`` and ``imag`` is one complex array.

    Raises
    ------
    DataError
        For a damaged file, or arrays that take more than the limit.
    """
    check_file(path)
    content = path.read_bytes()
    order = "<" if content[126:128] == b"IM" else ">"
    found: dict[str, np.ndarray] = {}
    total = 0
    for kind, data in _elements(path, content[HEADER:], order):
        if kind == COMPRESSED:
            kind, data = _unpacked(path, data, order)
        total += len(data)
        check_size(path, "its variables", (total,), 1)
        if kind == MATRIX:
            found.update(_arrays(path, data, order))
    return found


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"{path}: not a readable MATLAB file ({what}); it may be cut off")


def _elements(path: Path, data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield consecutive elements."""
    place = 0
    while place < len(data):
        if place + 8 > len(data):
            raise _damaged(path, "a tag is missing")
        kind, size = struct.unpack_from(f"{order}II", data, place)
        if kind >> 16:  # a short element: kind, size and data in eight bytes
            kind, size, start, step = kind & 0xFFFF, kind >> 16, place + 4, 8
            if size > 4:
                raise _damaged(path, "a short element is too long")
        else:
            start = place + 8
            step = 8 + (size if kind == COMPRESSED else -(-size // 8) * 8)
        if start + size > len(data):
            raise _damaged(path, f"an element of {size} bytes goes beyond the end")
        yield kind, data[start : start + size]
        place += step


def _unpacked(path: Path, data: bytes, order: str) -> tuple[int, bytes]:
    try:
        kind, size = struct.unpack(f"{order}II", zlib.decompressobj().decompress(data, 8))
        check_size(path, "a variable", (size,), 1)
        whole = zlib.decompressobj().decompress(data, 8 + size)
    except (zlib.error, struct.error) as error:
        raise _damaged(path, str(error)) from None
    if len(whole) != 8 + size:
        raise _damaged(path, "a packed element is too short")
    return kind, whole[8:]


def _arrays(path: Path, data: bytes, order: str, prefix: str = "", named: str | None = None) -> dict[str, np.ndarray]:
    parts = list(_elements(path, data, order))
    if len(parts) < 3 or len(parts[0][1]) < 8:
        return {}  # an object of another layout, or an empty field
    flags = struct.unpack_from(f"{order}I", parts[0][1])[0]
    sizes = np.frombuffer(parts[1][1], f"{order}i4")
    name = named if named is not None else parts[2][1].decode("ascii", "replace")
    if not 0 < len(sizes) <= MOST_AXES or (sizes < 0).any():
        raise _damaged(path, "an array has no sizes")
    shape = tuple(int(size) for size in sizes)
    kind = flags & 0xFF
    if kind in NUMERIC:
        check_size(path, f"'{prefix}{name}', as k-space,", shape, 8)
        array = _numbers(path, parts, 3, shape, order)
        if flags & COMPLEX:
            array = array + np.complex64(1j) * _numbers(path, parts, 4, shape, order)
        return {prefix + name: array}
    if kind == STRUCT and math.prod(shape) == 1 and not prefix:
        return _fields(path, parts, order, name)
    return {}


def _numbers(path: Path, parts: list[tuple[int, bytes]], place: int, shape: tuple[int, ...], order: str) -> np.ndarray:
    if place >= len(parts) or parts[place][0] not in NUMBERS:
        raise _damaged(path, "an array has no numbers")
    values = np.frombuffer(parts[place][1], order + NUMBERS[parts[place][0]])
    if values.size != math.prod(shape):
        raise _damaged(path, f"an array of shape {shape} holds {values.size} numbers")
    return values.reshape(shape, order="F")


def _fields(path: Path, parts: list[tuple[int, bytes]], order: str, name: str) -> dict[str, np.ndarray]:
    """Return the numeric fields of a structure."""
    if len(parts) < 5 or len(parts[3][1]) < 4:
        raise _damaged(path, "a structure has no fields")
    length = struct.unpack_from(f"{order}i", parts[3][1])[0]
    if length <= 0 or len(parts[4][1]) % length:
        raise _damaged(path, "a structure's names are of no equal length")
    text = parts[4][1]
    names = [text[i : i + length].split(b"\0")[0].decode("ascii", "replace") for i in range(0, len(text), length)]
    found: dict[str, np.ndarray] = {}
    for field, (kind, data) in zip(names, parts[5:], strict=False):
        if kind == MATRIX:
            found.update(_arrays(path, data, order, f"{name}.", field))
    return with_real_and_imag(found, name)


def with_real_and_imag(fields: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """Join fields ``real`` and ``imag`` of equal shape into one complex array with the structure's name."""
    real, imaginary = fields.get(f"{name}.real"), fields.get(f"{name}.imag")
    if real is None or imaginary is None or real.shape != imaginary.shape:
        return fields
    rest = {key: value for key, value in fields.items() if key not in (f"{name}.real", f"{name}.imag")}
    return {name: real + np.complex64(1j) * imaginary, **rest}
