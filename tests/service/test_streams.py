"""Streams at the edges of the protocol: what comes when, what is left out, and how peers leave."""

import socket
import struct
import threading
import time
from collections.abc import Iterator

import ismrmrd
import numpy as np
import pytest
from ismrmrd.serialization import ConfigFile

from switchrecon.service.asked import Answering
from switchrecon.service.server import Server
from switchrecon.service.wire import Limits
from tests.scans.mrd_files import header, random_kspace
from tests.service.client import Received, connect, exchange, packed, pixels, receive, serving
from tests.service.test_wire import image, waveform

XML = header((16, 12, 1), encoded_field=(100, 100, 5))
LAST_IN_SLICE, LAST_IN_REPETITION, LAST_IN_MEASUREMENT = 8, 14, 25
CLOSE = struct.pack("<H", 4)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(answering=Answering(pixels="float"), limits=Limits(idle=20)) as served:
        yield served


@pytest.fixture(scope="module")
def impatient() -> Iterator[Server]:
    """For messages that announce what does not come."""
    with serving(answering=Answering(pixels="float"), limits=Limits(idle=0.5, message=1 << 20)) as served:
        yield served


def truth(seed: int = 0, coils: int = 2) -> np.ndarray:
    return random_kspace(coils, 16, 12, seed=seed)


def shown(kspace: np.ndarray) -> np.ndarray:
    """The root sum of squares of the coils' images."""
    coils = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, (-2, -1)), norm="ortho"), (-2, -1))
    found: np.ndarray = np.sqrt((np.abs(coils) ** 2).sum(-3))
    return found


def line(kspace: np.ndarray, step: int, flags: tuple[int, ...] = (), **fields: int) -> ismrmrd.Acquisition:
    """One readout of (coils, H, W); fields of the head or of its counters."""
    data = np.ascontiguousarray(kspace[..., step])
    found = ismrmrd.Acquisition.from_array(data, center_sample=fields.pop("center_sample", data.shape[1] // 2))
    found.idx.kspace_encode_step_1 = step
    for name, value in fields.items():
        setattr(found.idx if hasattr(found.idx, name) else found, name, value)
    for flag in flags:
        found.setFlag(flag)
    return found


def lines(kspace: np.ndarray, last: tuple[int, ...] = (LAST_IN_SLICE,), **fields: int) -> list[ismrmrd.Acquisition]:
    """All readouts of a slice; the last has these flags."""
    return [line(kspace, step, last if step == 11 else (), **fields) for step in range(12)]


def start(xml: str = XML) -> list[object]:
    return [ConfigFile("zero-filled"), xml]


def one_image(found: Received, kspace: np.ndarray) -> None:
    assert found.closed
    assert not [text for text in found.texts if text.startswith("ERR")]
    assert len(found.images) == 1
    np.testing.assert_allclose(pixels(found.images)[0], shown(kspace), atol=1e-5)


# What comes when


@pytest.mark.parametrize("parts", [[], [ConfigFile("a-probe")], [ConfigFile("zero-filled"), XML], ["text"]])
def test_a_stream_without_data_is_closed_without_a_word(server: Server, parts: list[object]) -> None:
    found = exchange(server, packed(*([{"a": 1}] if parts == ["text"] else parts)))
    assert found == Received(closed=True)


def test_queries_are_answered_before_the_configuration_and_in_the_stream(server: Server) -> None:
    def query(number: int, text: bytes) -> bytes:
        return struct.pack("<HQQQ", 6, 0, number, len(text)) + text

    content = packed(query(5, b"gadgetron::info"), *start(), *lines(truth()), query(6, b"ismrmrd::version"))
    with connect(server) as peer, peer.makefile("rb") as answers:
        peer.sendall(content)
        everything = answers.read()
    first = struct.pack("<HQQ", 7, 5, 11) + b"switchrecon"
    assert everything.startswith(first)
    assert struct.pack("<HQQ", 7, 6, 1) + b"1" in everything
    assert everything.endswith(CLOSE)


def test_waveforms_texts_and_images_may_come_anywhere(server: Server) -> None:
    kspace, sent = truth(), [image(3), image(4)]
    readouts = lines(kspace)
    for own in sent:
        own.image_series_index = 9
        own.meta["Name"] = "ours"
    parts = [waveform(), *readouts[:4], sent[0], {"config": "os"}, *readouts[4:], waveform(), sent[1], waveform()]
    with connect(server) as peer:
        peer.sendall(packed(*start(), *parts))
        found = receive(peer)
    assert [own.to_bytes() for own in found.series(9)] == [own.to_bytes() for own in sent]
    (made,) = [own for own in found.images if own.image_series_index != 9]
    assert made.image_series_index == 10  # after the client's own
    np.testing.assert_allclose(pixels([made])[0], shown(kspace), atol=1e-5)


def test_images_are_passed_on_under_a_header_that_is_none(server: Server) -> None:
    found = exchange(server, packed(ConfigFile("zero-filled"), "Dummy XML header", image()))
    assert [own.to_bytes() for own in found.images] == [image().to_bytes()]
    assert found.texts == []
    refused = exchange(server, packed(ConfigFile("zero-filled"), "Dummy XML header", *lines(truth())))
    assert refused.images == []
    assert refused.texts[0].startswith("ERR stream: the ISMRMRD header is not readable XML")


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([XML, ConfigFile("zero-filled")], "header before the configuration"),
        ([ConfigFile("zero-filled"), ConfigFile("zero-filled"), XML], "second configuration"),
        ([*start(), XML], "second header"),
        ([line(truth(), 0)], "before the configuration"),
        ([ConfigFile("zero-filled"), line(truth(), 0)], "before the configuration"),
        ([*start(), line(truth(), 0), XML], "second configuration or header"),
        ([b"\x09\x00", *start()], "unknown kind 9"),
        ([*start(), line(truth(), 0), b"GET / HTTP/1.1\r\n"], "unknown kind"),
        ([*start(), *([{"a": 1}] * 100), line(truth(), 0)], "more than 64 messages"),
        ([ConfigFile("zero-filled"), "<a/>", line(truth(), 0)], "no encoding"),
    ],
)
def test_an_order_that_is_none_is_refused(server: Server, parts: list[object], why: str) -> None:
    found = exchange(server, packed(*parts))
    assert found.images == []
    assert found.closed
    assert len(found.texts) == 1
    assert found.texts[0].startswith("ERR ")
    assert why in found.texts[0]


def test_noise_alone_and_readouts_without_samples_make_no_image(server: Server) -> None:
    noise = line(truth(), 0, (ismrmrd.ACQ_IS_NOISE_MEASUREMENT,))
    assert exchange(server, packed(*start(), noise)) == Received(texts=["INF no readout was for an image"], closed=True)
    nothing = ismrmrd.Acquisition.from_array(np.zeros((1, 0), np.complex64))
    found = exchange(server, packed(*start(), nothing))
    assert found.images == []
    assert found.texts[0].startswith("ERR stream:")


# When a slice is complete


def test_a_slice_is_back_before_the_next_is_measured(server: Server) -> None:
    """The client waits for each image before it sends the next slice."""
    with connect(server) as peer:
        peer.sendall(packed(*start(), close=False))
        for number in range(3):
            peer.sendall(packed(*lines(truth(number), slice=number), close=False))
            found = receive_one(peer)
            assert found.slice == number
            np.testing.assert_allclose(pixels([found])[0], shown(truth(number)), atol=1e-5)
        peer.sendall(CLOSE)
        assert receive(peer) == Received(closed=True)


def receive_one(peer: socket.socket) -> ismrmrd.Image:
    from ismrmrd.serialization import ProtocolDeserializer

    with peer.makefile("rb", buffering=0) as raw:

        def read(size: int) -> bytes:
            taken = b""
            while len(taken) < size and (more := raw.read(size - len(taken))):
                taken += more
            return taken

        class Stream:
            pass

        Stream.read = staticmethod(read)  # type: ignore[attr-defined]
        return next(iter(ProtocolDeserializer(Stream).deserialize()))  # type: ignore[arg-type]


@pytest.mark.parametrize("last", [LAST_IN_SLICE, LAST_IN_REPETITION, LAST_IN_MEASUREMENT, None])
def test_interleaved_slices_come_back_once_each(server: Server, last: int | None) -> None:
    slices = [lines(truth(number), (last,) if last == LAST_IN_SLICE else (), slice=number) for number in range(3)]
    mixed = [own for step in range(12) for own in (slices[1][step], slices[0][step], slices[2][step])]
    if last is not None:
        mixed[-1].setFlag(last)
    found = exchange(server, packed(*start(), *mixed))
    assert sorted(own.slice for own in found.images) == [0, 1, 2]
    for own in found.images:
        np.testing.assert_allclose(pixels([own])[0], shown(truth(own.slice)), atol=1e-5)
        assert own.image_series_index == 1


def test_averages_whose_ends_are_all_announced_are_one_image(server: Server) -> None:
    parts = [own for average in range(3) for own in lines(truth(average), average=average)]
    one_image(exchange(server, packed(*start(), *parts)), np.mean([truth(average) for average in range(3)], axis=0))


def test_averages_around_slices_wait_for_the_last_that_the_header_announces(server: Server) -> None:
    limits = "<average><minimum>0</minimum><maximum>1</maximum><center>0</center></average></encodingLimits>"
    xml = XML.replace("</encodingLimits>", limits)
    parts = [
        own for average in (0, 1) for number in (0, 1) for own in lines(truth(number), average=average, slice=number)
    ]
    found = exchange(server, packed(*start(xml), *parts))
    assert found.texts == []
    assert [own.slice for own in found.images] == [0, 1]


def test_a_slice_that_goes_on_after_its_image_is_sent_again_complete(server: Server) -> None:
    first, second = truth(0), truth(1)
    parts = [*lines(first, slice=0), *lines(second, slice=1), *lines(second, slice=0, average=1)]
    found = exchange(server, packed(*start(), *parts))
    assert [own.slice for own in found.images] == [0, 1, 0]
    np.testing.assert_allclose(pixels(found.images)[2], shown((first + second) / 2), atol=1e-5)
    assert [text[:3] for text in found.texts] == ["WRN"]


def test_a_counter_of_scans_that_starts_again_does_no_harm(server: Server) -> None:
    parts = [own for number in range(2) for own in lines(truth(number), slice=number)]
    for place, own in enumerate(parts):
        own.scan_counter = place % 12
    assert len(exchange(server, packed(*start(), *parts)).images) == 2


def test_a_trajectory_beside_cartesian_readouts_is_left_out(server: Server) -> None:
    parts = []
    for own in lines(truth()):
        head = own.getHead()
        head.trajectory_dimensions = 2
        parts.append(ismrmrd.Acquisition(head, data=own.data, trajectory=np.ones((16, 2), np.float32)))
    one_image(exchange(server, packed(*start(), *parts)), truth())


def test_varying_coils_fail_their_slice_alone(server: Server) -> None:
    bad = lines(truth(0))
    bad[3] = line(truth(0, coils=3), 3)
    found = exchange(server, packed(*start(), *bad, *lines(truth(1), slice=1)))
    assert [own.slice for own in found.images] == [1]
    assert found.texts == ["ERR stream: imaging readouts of 2 and of 3 channels; expected one number"]


def test_samples_outside_the_matrix_fail_their_slice(server: Server) -> None:
    found = exchange(server, packed(*start(), *lines(truth(), center_sample=3)[:6], *lines(random_kspace(2, 40, 12))))
    assert found.images == []
    assert found.texts[0].startswith("ERR stream: a readout of 40 samples")


FIELDS = [name for name, kind in ismrmrd.AcquisitionHeader._fields_ if "c_ushort" in str(kind)]


@pytest.mark.parametrize("name", FIELDS)
def test_the_largest_value_in_a_field_of_a_head(impatient: Server, name: str) -> None:
    changed = line(truth(), 5)
    head = bytearray(bytes(changed.getHead()))
    struct.pack_into("<H", head, getattr(ismrmrd.AcquisitionHeader, name).offset, 65535)
    raw = struct.pack("<H", 1008) + head + changed.data.tobytes()
    readouts = lines(truth())
    found = exchange(impatient, packed(*start(), *readouts[:5], raw, *readouts[6:]))
    assert found.closed
    if name in ("version", "available_channels", "center_sample"):  # a whole readout has its centre in the middle
        one_image(found, truth())
    elif name in ("encoding_space_ref", "discard_post"):  # it lacks this line, as of a file
        assert len(found.images) == 1
    else:
        assert found.images == []
        assert found.texts[0].startswith("ERR ")


@pytest.mark.parametrize("name", [name for name, kind in ismrmrd.EncodingCounters._fields_ if name != "user"])
def test_the_largest_value_in_a_counter(server: Server, name: str) -> None:
    readouts = lines(truth())
    setattr(readouts[5].idx, name, 65535)
    found = exchange(server, packed(*start(), *readouts))
    assert found.closed
    if name in ("average", "segment"):
        one_image(found, truth())
    elif name.startswith("kspace"):
        assert found.images == []
    else:  # a slice of one line, and one that lacks it: neither is the whole
        assert len(found.images) == 2


# How peers leave


def test_a_peer_that_half_closes_gets_everything(server: Server) -> None:
    with connect(server) as peer:
        peer.sendall(packed(*start(), *lines(truth())))
        peer.shutdown(socket.SHUT_WR)
        one_image(receive(peer), truth())


def test_a_stream_that_breaks_off_gives_complete_slices_alone(server: Server) -> None:
    with connect(server) as peer:
        peer.sendall(packed(*start(), *lines(truth(0)), *lines(truth(1), slice=1)[:7], close=False))
        peer.shutdown(socket.SHUT_WR)
        found = receive(peer)
    assert [own.slice for own in found.images] == [0]
    assert found.texts == ["ERR the stream ended without a CLOSE message"]
    assert found.closed


def test_peers_that_reset_or_never_read_do_not_hurt_others() -> None:
    """One resets in the middle; one sends images without end and takes none, until its time is over."""
    stuck = threading.Event()
    with serving(answering=Answering(pixels="float"), limits=Limits(idle=1), sessions=2) as server:
        peer = connect(server)
        peer.sendall(packed(*start(), *lines(truth())[:5], close=False))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        large = packed(ismrmrd.Image.from_array(np.zeros((512, 512), np.complex128)), close=False)
        silent = connect(server, timeout=20)
        end = time.monotonic() + 25

        def push() -> None:
            try:
                silent.sendall(packed(*start(), close=False))
                while time.monotonic() < end:
                    silent.sendall(large)
                    time.sleep(0.05)
            except OSError:
                stuck.set()

        thread = threading.Thread(target=push)
        thread.start()
        for _ in range(2):
            one_image(exchange(server, packed(*start(), *lines(truth()))), truth())
        thread.join(30)
        silent.close()
        assert stuck.is_set()


def test_a_second_session_during_the_first(server: Server) -> None:
    with connect(server) as first:
        readouts = lines(truth(0))
        first.sendall(packed(*start(), *readouts[:6], close=False))
        one_image(exchange(server, packed(*start(), *lines(truth(1)))), truth(1))
        first.sendall(packed(*readouts[6:]))
        one_image(receive(first), truth(0))
