"""Reading messages: limits before allocation, time, and pieces."""

import contextlib
import random
import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Iterator

import ismrmrd
import numpy as np
import pytest

from switchrecon.errors import SwitchreconError
from switchrecon.service.messages import Kind
from switchrecon.service.wire import Ended, Limits, ProtocolError, Wire, drain
from tests.service.client import ConfigFile, ConfigText, packed

SMALL = Limits(message=1 << 20, session=1 << 20, idle=5)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def acquisition(samples: int = 8, channels: int = 2, trajectory: int = 0) -> ismrmrd.Acquisition:
    values = np.arange(channels * samples).reshape(channels, samples) * (1 + 2j)
    return ismrmrd.Acquisition.from_array(
        values.astype(np.complex64), np.ones((samples, trajectory), np.float32), scan_counter=5
    )


def image(value: int = 3) -> ismrmrd.Image:
    return ismrmrd.Image.from_array(np.full((4, 5), value, np.float32))


def waveform() -> ismrmrd.Waveform:
    return ismrmrd.Waveform.from_array(np.ones((3, 10), np.uint32))


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_messages_of_the_package_in_any_pieces(pair: tuple[socket.socket, socket.socket], piece: int) -> None:
    ours, theirs = pair
    query = struct.pack("<HQQQ", 6, 0, 77, 3) + b"a?\0"
    array = struct.pack("<HHHHQQ", 1030, 5, 0, 2, 3, 2) + bytes(24)
    content = packed(
        *(ConfigFile("a"), ConfigText("b"), "<xml/>", "<xml/>\0", {"x": 1}, query, acquisition(), waveform(), array),
        *(acquisition(3, 1, 2), image(), acquisition(0, 1)),
    )

    def send() -> None:
        for start in range(0, len(content), piece):
            theirs.sendall(content[start : start + piece])

    thread = threading.Thread(target=send)
    thread.start()
    wire = Wire(ours, SMALL)
    found = [wire.next() for _ in range(13)]
    thread.join()
    assert [own.body for own in found[:6]] == [b"a", b"b", b"<xml/>", b"<xml/>", b'{"parameters": {"x": 1}}', b"a?"]
    assert found[5].number == 77
    assert found[6].samples is not None
    np.testing.assert_array_equal(found[6].samples.view(np.complex64), acquisition().data.reshape(-1))
    assert found[6].head == bytes(acquisition().getHead())
    assert found[9].samples is not None
    np.testing.assert_array_equal(found[9].samples.view(np.complex64), acquisition(3, 1).data.reshape(-1))
    assert found[10].body == packed(image(), close=False)
    assert found[11].samples is not None
    assert not len(found[11].samples)
    assert found[12].kind == Kind.CLOSE


def claims() -> list[tuple[str, bytes]]:
    """Starts of messages that announce far more than they bring."""
    head = bytearray(bytes(acquisition().getHead()))
    for place in (34, 38, 176):
        struct.pack_into("<H", head, place, 65535)
    sizes = bytearray(bytes(image().getHead()))
    struct.pack_into("<HHH", sizes, 16, 65535, 65535, 65535)
    wave = bytearray(40)
    struct.pack_into("<HH", wave, 28, 65535, 65535)
    return [
        ("readout", struct.pack("<H", 1008) + head),
        ("image", struct.pack("<H", 1022) + sizes + bytes(8)),
        ("attributes", struct.pack("<H", 1022) + bytes(image().getHead()) + struct.pack("<Q", 1 << 62)),
        ("waveform", struct.pack("<H", 1026) + wave),
        ("array", struct.pack("<HHHH", 1030, 8, 0, 16) + b"\xff" * 128),
        ("dimensions", struct.pack("<HHHH", 1030, 8, 0, 65535)),
        ("header", struct.pack("<HI", 3, 0xFFFFFFFF)),
        ("configuration", struct.pack("<HI", 2, 0xFFFFFFFF)),
        ("text", struct.pack("<HI", 5, 0xFFFFFFFF)),
        ("query", struct.pack("<HQQQ", 6, 0, 1, 1 << 63)),
        ("response", struct.pack("<HQQ", 7, 1, 1 << 63)),
        ("error", struct.pack("<HQ", 8, 1 << 63)),
        ("kind", struct.pack("<H", 1009)),
        ("type", struct.pack("<H", 1022) + struct.pack("<HH", 1, 99) + bytes(194) + bytes(8)),
    ]


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in claims()])
def test_what_is_too_large_or_unknown_is_refused_before_it_is_allocated(
    pair: tuple[socket.socket, socket.socket], content: bytes
) -> None:
    ours, theirs = pair
    wire = Wire(ours, Limits())
    theirs.sendall(content)
    tracemalloc.start()
    with pytest.raises(ProtocolError, match=r"expected|dimensions"):
        wire.next()
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_memory_grows_as_bytes_come_and_not_as_they_are_announced(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    head = bytearray(bytes(acquisition().getHead()))
    struct.pack_into("<H", head, 34, 65535)
    struct.pack_into("<H", head, 38, 500)  # 250 MiB
    wire = Wire(ours, Limits(idle=0.1))
    wire._until = time.monotonic() + 0.2
    theirs.sendall(struct.pack("<H", 1008) + head + bytes(1000))
    theirs.shutdown(socket.SHUT_WR)
    tracemalloc.start()
    with pytest.raises(Ended):
        wire.next()
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_session_has_a_limit(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    content = packed(acquisition(1000, 8), close=False)
    wire = Wire(ours, Limits(message=1 << 16, session=150_000))
    theirs.sendall(content * 3)
    wire.next()
    wire.next()
    with pytest.raises(ProtocolError, match="--session-limit"):
        wire.next()


def test_silence_and_dawdling_end_a_session(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    with pytest.raises(Ended, match="no whole message"):
        Wire(ours, Limits(idle=0.05)).next()
    stop = threading.Event()

    def dawdle() -> None:  # a byte now and then: each within the time, the message not
        for byte in packed(ConfigFile("slow")):
            if stop.wait(0.02):
                return
            theirs.sendall(bytes([byte]))

    thread = threading.Thread(target=dawdle)
    thread.start()
    with pytest.raises(Ended, match="no whole message"):
        Wire(ours, Limits(idle=0.2)).next()
    stop.set()
    thread.join()
    with pytest.raises(Ended, match="took more than"):
        Wire(ours, Limits(total=1), started=time.monotonic() - 2).next()


def test_the_end_without_close_is_told(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(packed(acquisition(), close=False)[:-3])
    theirs.close()
    with pytest.raises(Ended, match="without a CLOSE"):
        Wire(ours, SMALL).next()


def test_draining_reads_on_to_the_peer_s_end(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.sendall(b"the last image")
    thread = threading.Thread(target=drain, args=(ours, 10))
    thread.start()
    theirs.sendall(bytes(1 << 20))  # would be refused by a closed socket
    assert theirs.recv(100) == b"the last image"
    assert theirs.recv(100) == b""
    theirs.close()
    thread.join(10)
    assert not thread.is_alive()


def test_mutated_streams_end_or_are_refused() -> None:
    content = packed(ConfigFile("a"), "<xml/>", acquisition(), waveform(), image(), {"x": "y"})
    draw = random.Random(0)
    for _ in range(200):
        changed = bytearray(content)
        for _ in range(draw.choice((1, 2, 4))):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(changed[: draw.randrange(len(changed) + 1)])
            theirs.shutdown(socket.SHUT_WR)
            wire = Wire(ours, SMALL)
            with contextlib.suppress(SwitchreconError):
                while wire.next().kind != Kind.CLOSE:
                    pass
