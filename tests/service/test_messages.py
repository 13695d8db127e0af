"""The layout of messages, against the structures of the ``ismrmrd`` package."""

import ctypes
import io

import ismrmrd
import numpy as np
import pytest
from ismrmrd.serialization import ProtocolDeserializer
from ismrmrd.waveform import WaveformHeader

from switchrecon.service import messages
from switchrecon.service.messages import ACQUISITION, IMAGE, PIXELS, WAVEFORM


def _same(found: np.dtype, expected: type[ctypes.Structure]) -> None:
    assert found.itemsize == ctypes.sizeof(expected)
    for name in found.names or ():
        field = getattr(expected, name)
        kind, offset = found.fields[name]  # type: ignore[index]
        assert (offset, kind.itemsize) == (field.offset, field.size), name


def test_heads_are_the_structures_of_the_format() -> None:
    _same(ACQUISITION, ismrmrd.AcquisitionHeader)
    _same(IMAGE, ismrmrd.ImageHeader)
    _same(WAVEFORM, WaveformHeader)
    _same(ACQUISITION["idx"], ismrmrd.EncodingCounters)
    assert set(ACQUISITION.names or ()) == {name for name, _ in ismrmrd.AcquisitionHeader._fields_}
    assert set(IMAGE.names or ()) == {name for name, _ in ismrmrd.ImageHeader._fields_}


@pytest.mark.parametrize("kind", ["<u2", "<f4", "<c8"])
def test_an_image_is_what_the_package_reads(kind: str) -> None:
    head = np.zeros((), IMAGE)
    head["position"], head["image_series_index"], head["slice"] = (1, 2, 3), 7, 4
    values = np.arange(24).reshape(2, 3, 4).astype(kind)
    content = messages.image(head, {"DataRole": "Image", "Odd": ["<a&b>", "é"]}, values)
    (image,) = ProtocolDeserializer(io.BytesIO(content + messages.close())).deserialize()
    assert isinstance(image, ismrmrd.Image)
    np.testing.assert_array_equal(image.data[0], values)
    assert (tuple(image.position), image.image_series_index, image.slice) == ((1, 2, 3), 7, 4)
    assert image.matrix_size == (4, 3, 2)
    assert image.meta["Odd"] == ["<a&b>", "é"]


def test_texts_are_what_the_package_reads() -> None:
    found = list(ProtocolDeserializer(io.BytesIO(messages.text("ERR é") + messages.close())).deserialize())
    assert found == ["ERR é\0"]


def test_a_response_repeats_its_query() -> None:
    assert messages.response(9, "ab") == bytes([7, 0]) + (9).to_bytes(8, "little") + (2).to_bytes(8, "little") + b"ab"


def test_pixel_types_are_those_of_the_format() -> None:
    from ismrmrd.image import dtype_mapping

    del dtype_mapping[ismrmrd.DATATYPE_INT]  # the package reads 8 bytes there, the format has 4
    assert {number: np.dtype(kind) for number, kind in dtype_mapping.items()} == {
        number: kind for number, kind in PIXELS.items() if number != ismrmrd.DATATYPE_INT
    }
    assert PIXELS[ismrmrd.DATATYPE_INT] == np.int32
