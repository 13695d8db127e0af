"""The messages of MRD version 1 over TCP: what they look like on the wire.

Each message is a little-endian number of 16 bits and a body (ISMRMRD 1.4, "MRD streaming"; Gadgetron's
``core/MessageID.h`` for 6 to 8). Layouts are NumPy types of the same bytes as the C structures, so that thousands of
heads are one array; the tests compare them with the ``ismrmrd`` package's structures.
"""

import struct
from collections.abc import Mapping
from enum import IntEnum
from xml.etree import ElementTree

import numpy as np

CONFIG_BYTES = 1024
TEXT_BYTES = 1 << 20


class Kind(IntEnum):
    """What a message is."""

    CONFIG_FILE = 1
    CONFIG_TEXT = 2
    HEADER = 3
    CLOSE = 4
    TEXT = 5
    QUERY = 6
    RESPONSE = 7
    ERROR = 8
    ACQUISITION = 1008
    IMAGE = 1022
    WAVEFORM = 1026
    NDARRAY = 1030


DATA = frozenset({Kind.ACQUISITION, Kind.IMAGE, Kind.WAVEFORM, Kind.NDARRAY})
"""What a measurement is made of."""

_IDX = [
    *((name, "<u2") for name in ("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast")),
    *((name, "<u2") for name in ("phase", "repetition", "set", "segment")),
    ("user", "<u2", (8,)),
]
_PLACE = [(name, "<f4", (3,)) for name in ("position", "read_dir", "phase_dir", "slice_dir", "patient_table_position")]
_STAMPS = [("acquisition_time_stamp", "<u4"), ("physiology_time_stamp", "<u4", (3,))]
_USER = [("user_int", "<i4", (8,)), ("user_float", "<f4", (8,))]

ACQUISITION = np.dtype(
    [
        ("version", "<u2"),
        ("flags", "<u8"),
        ("measurement_uid", "<u4"),
        ("scan_counter", "<u4"),
        *_STAMPS,
        *((name, "<u2") for name in ("number_of_samples", "available_channels", "active_channels")),
        ("channel_mask", "<u8", (16,)),
        *((name, "<u2") for name in ("discard_pre", "discard_post", "center_sample", "encoding_space_ref")),
        ("trajectory_dimensions", "<u2"),
        ("sample_time_us", "<f4"),
        *_PLACE,
        ("idx", _IDX),
        *_USER,
    ]
)
"""The head of a readout, 340 bytes."""

IMAGE = np.dtype(
    [
        ("version", "<u2"),
        ("data_type", "<u2"),
        ("flags", "<u8"),
        ("measurement_uid", "<u4"),
        ("matrix_size", "<u2", (3,)),
        ("field_of_view", "<f4", (3,)),
        ("channels", "<u2"),
        *_PLACE,
        *((name, "<u2") for name in ("average", "slice", "contrast", "phase", "repetition", "set")),
        *_STAMPS,
        *((name, "<u2") for name in ("image_type", "image_index", "image_series_index")),
        *_USER,
        ("attribute_string_len", "<u4"),
    ]
)
"""The head of an image, 198 bytes."""

WAVEFORM = np.dtype(
    {
        "names": ["channels", "number_of_samples"],
        "formats": ["<u2", "<u2"],
        "offsets": [30, 28],
        "itemsize": 40,
    }
)
"""The head of a waveform, 40 bytes; what is not needed is left out."""

PIXELS: Mapping[int, np.dtype] = {
    number: np.dtype(kind)
    for number, kind in enumerate(("<u2", "<i2", "<u4", "<i4", "<f4", "<f8", "<c8", "<c16"), start=1)
}
MAGNITUDE, COMPLEX = 1, 5  # image types
LAST_IN_SLICE, LAST_IN_REPETITION, LAST_IN_MEASUREMENT = 8, 14, 25  # flags of readouts, counted from 1

_ID, _U32, _U64 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")


def close() -> bytes:
    """A message that ends the stream."""
    return _ID.pack(Kind.CLOSE)


def text(line: str) -> bytes:
    """A line for the people at the scanner; FIRE colours it by its first three letters, DBG, WRN or ERR."""
    body = line.encode("utf-8", "replace")[: TEXT_BYTES - 1] + b"\0"
    return _ID.pack(Kind.TEXT) + _U32.pack(len(body)) + body


def response(correlation: int, answer: str) -> bytes:
    """The answer to a query."""
    body = answer.encode()
    return _ID.pack(Kind.RESPONSE) + _U64.pack(correlation) + _U64.pack(len(body)) + body


def image(head: np.ndarray, meta: Mapping[str, object], pixels: np.ndarray) -> bytes:
    """An image.

    Parameters
    ----------
    head
        The head of type :data:`IMAGE`; data type, matrix, channels and the length of the meta attributes are filled in.
    meta
        Names and values, or lists of values.
    pixels
        (z, y, x), of a type of :data:`PIXELS`.
    """
    head = head.copy()
    attributes = _meta(meta)
    numbers = {kind: number for number, kind in PIXELS.items()}
    head["version"], head["data_type"], head["channels"] = 1, numbers[pixels.dtype.newbyteorder("<")], 1
    head["matrix_size"], head["attribute_string_len"] = pixels.shape[::-1], len(attributes)
    body = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes()
    return b"".join([_ID.pack(Kind.IMAGE), head.tobytes(), _U64.pack(len(attributes)), attributes, body])


def _meta(values: Mapping[str, object]) -> bytes:
    root = ElementTree.Element("ismrmrdMeta")
    for name, value in values.items():
        entry = ElementTree.SubElement(root, "meta")
        ElementTree.SubElement(entry, "name").text = name
        for one in value if isinstance(value, list) else [value]:
            ElementTree.SubElement(entry, "value").text = str(one)
    return b'<?xml version="1.0"?>\n' + ElementTree.tostring(root)
