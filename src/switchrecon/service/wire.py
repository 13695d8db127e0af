"""Reading messages from a socket: every length is checked before anything is allocated, and nobody may dawdle."""

import math
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from switchrecon.errors import SwitchreconError
from switchrecon.service.messages import CONFIG_BYTES, IMAGE, PIXELS, TEXT_BYTES, WAVEFORM, Kind

PIECE = 1 << 18  # bytes asked of the system at a time
SLOWEST = 1 << 20  # bytes a second within a message; whoever is slower holds a place for nothing
_ID, _U32, _U64 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")
READOUT_BYTES = 340


class ProtocolError(SwitchreconError):
    """What came is no MRD stream, or is more than this server takes. The message names no content of the stream."""


class Ended(SwitchreconError):
    """The peer is gone: the stream ended without a CLOSE, or nothing came in time."""


@dataclass(frozen=True)
class Limits:
    """What a peer may send.

    Attributes
    ----------
    message
        Bytes of one message of data.
    session
        Bytes of samples and images of a session.
    idle
        Seconds without a message, and for a message to arrive besides its size.
    total
        Seconds of a session.
    """

    message: int = 256 << 20
    session: int = 4 << 30
    idle: float = 30.0
    total: float = 4 * 3600.0


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes
    ----------
    kind
        What it is.
    body
        Text of a configuration, header, TEXT or QUERY without trailing NULs; the whole message of an image, with its
        kind.
    number
        The number of a query, which the answer repeats.
    head, samples
        The head of a readout (340 bytes), and its float32 samples, channel by channel.
    """

    kind: Kind
    body: bytes = b""
    number: int = 0
    head: bytes = b""
    samples: np.ndarray | None = None


class Wire:
    """Messages from a socket.

    Parameters
    ----------
    peer
        Connected; its time-out is set here.
    limits
        What may come.
    begun
        Bytes that were read from it already.
    started
        When the session began, in ``time.monotonic()``; None: now.
    watch
        Called with True when a message has begun, with False when it is there.
    """

    def __init__(
        self,
        peer: socket.socket,
        limits: Limits,
        begun: bytes = b"",
        started: float | None = None,
        watch: Callable[[bool], object] = lambda begun: None,
    ) -> None:
        self.peer = peer
        self.limits = limits
        self.deadline = (time.monotonic() if started is None else started) + limits.total
        self.watch = watch
        self.received = 0  # bytes of data messages
        self._buffer = memoryview(bytearray(PIECE))
        self._kept = memoryview(bytes(begun))
        self._until = math.inf

    @property
    def unread(self) -> bytes:
        """What was read from the socket and belongs to no message yet."""
        return bytes(self._kept)

    @property
    def waits(self) -> bool:
        """Whether nothing was read from the socket that belongs to no message yet."""
        return not len(self._kept)

    def kind(self) -> Kind:
        """Wait for the next message; what follows is its body.

        Raises
        ------
        Ended
            At the end of the stream, or when nothing came in time.
        ProtocolError
            For a message of an unknown kind.
        """
        self._until = time.monotonic() + self.limits.idle
        first = self._take(1)
        self.watch(True)
        number = _ID.unpack(first + self._take(1))[0]
        try:
            return Kind(number)
        except ValueError:
            raise ProtocolError(f"found a message of the unknown kind {number}; expected an MRD stream") from None

    def body(self, kind: Kind) -> Message:
        """Read the rest of a message.

        Raises
        ------
        Ended
            If it does not come in time or stops in the middle.
        ProtocolError
            If it is larger than the limits, before anything is allocated for it.
        """
        message = self._bodies[kind](self, kind)
        self.watch(False)
        return message

    def next(self) -> Message:
        """Wait for the next message and read it."""
        return self.body(self.kind())

    def _nothing(self, kind: Kind) -> Message:
        return Message(kind)

    def _config_file(self, kind: Kind) -> Message:
        return Message(kind, bytes(self._take(CONFIG_BYTES)).split(b"\0", 1)[0])

    def _text(self, kind: Kind) -> Message:
        return Message(kind, self._short(_U32.unpack(self._take(4))[0]))

    def _query(self, kind: Kind) -> Message:
        _reserved, number, length = struct.unpack("<QQQ", self._take(24))
        return Message(kind, self._short(length), number)

    def _response(self, kind: Kind) -> Message:
        number, length = struct.unpack("<QQ", self._take(16))
        return Message(kind, self._short(length), number)

    def _error(self, kind: Kind) -> Message:
        return Message(kind, self._short(_U64.unpack(self._take(8))[0]))

    def _readout(self, kind: Kind) -> Message:
        head = bytes(self._take(READOUT_BYTES))
        samples, channels, dimensions = readout_sizes(head)
        self._claim("a readout", 4 * samples * dimensions + 8 * samples * channels)
        self._take(4 * samples * dimensions)  # k-space here is Cartesian: where samples lie is said by the counters
        return Message(kind, head=head, samples=np.frombuffer(self._take(8 * samples * channels), "<f4"))

    def _image(self, kind: Kind) -> Message:
        raw = bytes(self._take(IMAGE.itemsize))
        head = np.frombuffer(raw, IMAGE)[0]
        length = bytes(self._take(8))
        attributes = self._short(_U64.unpack(length)[0], whole=True)
        pixel = PIXELS.get(int(head["data_type"]))
        if pixel is None:
            raise ProtocolError(f"found an image of the unknown data type {head['data_type']}; expected 1 to 8")
        size = math.prod(int(n) for n in head["matrix_size"]) * int(head["channels"]) * pixel.itemsize
        self._claim("an image", size)
        return Message(kind, b"".join([_ID.pack(kind), raw, length, attributes, self._take(size)]))

    def _waveform(self, kind: Kind) -> Message:
        head = np.frombuffer(self._take(WAVEFORM.itemsize), WAVEFORM)[0]
        size = 4 * int(head["channels"]) * int(head["number_of_samples"])
        self._claim("a waveform", size, kept=False)
        self._take(size)
        return Message(kind)

    def _array(self, kind: Kind) -> Message:
        number, _, dimensions = struct.unpack("<HHH", self._take(6))
        pixel = PIXELS.get(number)
        if pixel is None or dimensions > 16:
            raise ProtocolError("found an array of an unknown type, or of more than 16 dimensions")
        size = math.prod(struct.unpack(f"<{dimensions}Q", self._take(8 * dimensions))) * pixel.itemsize
        self._claim("an array", size, kept=False)
        self._take(size)
        return Message(kind)

    _bodies: dict[Kind, Any] = {  # noqa: RUF012
        Kind.CONFIG_FILE: _config_file,
        Kind.CONFIG_TEXT: _text,
        Kind.HEADER: _text,
        Kind.CLOSE: _nothing,
        Kind.TEXT: _text,
        Kind.QUERY: _query,
        Kind.RESPONSE: _response,
        Kind.ERROR: _error,
        Kind.ACQUISITION: _readout,
        Kind.IMAGE: _image,
        Kind.WAVEFORM: _waveform,
        Kind.NDARRAY: _array,
    }

    def _claim(self, what: str, size: int, kept: bool = True) -> None:
        """Refuse a message or a session that is too large; a large message may take longer."""
        if size > self.limits.message:
            raise ProtocolError(
                f"{what} of {size / 2**20:.0f} MiB was announced; expected at most {self.limits.message / 2**20:.0f}"
            )
        self.received += size if kept else 0
        if self.received > self.limits.session:
            raise ProtocolError(
                f"the session has more than {self.limits.session / 2**20:.0f} MiB of data; --session-limit raises it"
            )
        self._until += size / SLOWEST

    def _short(self, length: int, whole: bool = False) -> bytes:
        """Text, which has a limit of its own; without NULs at its end unless it is wanted whole."""
        if length > TEXT_BYTES:
            raise ProtocolError(f"a text of {length} bytes was announced; expected at most {TEXT_BYTES}")
        self._until += length / SLOWEST
        found = bytes(self._take(length))
        return found if whole else found.rstrip(b"\0")

    def _take(self, size: int) -> bytes | bytearray:
        """The next bytes. Memory grows as they come, not as they are announced."""
        if size <= len(self._kept):
            found, self._kept = self._kept[:size], self._kept[size:]
            return bytes(found)
        taken = bytearray(self._kept)
        self._kept = self._kept[:0]
        while len(taken) < size:
            wanted = size - len(taken)
            count = self._receive()
            taken += self._buffer[: min(count, wanted)]
            self._kept = self._buffer[wanted:count] if count > wanted else self._kept
        return taken

    def _receive(self) -> int:
        left = min(self._until, self.deadline) - time.monotonic()
        if left <= 0:
            raise Ended(self._late())
        self.peer.settimeout(left)
        try:
            count = self.peer.recv_into(self._buffer)
        except TimeoutError:
            raise Ended(self._late()) from None
        except OSError as error:
            raise Ended(f"the connection broke ({error.strerror or type(error).__name__})") from None
        if not count:
            raise Ended("the stream ended without a CLOSE message")
        return count

    def _late(self) -> str:
        if time.monotonic() >= self.deadline:
            return f"the session took more than {self.limits.total:.0f} s"
        return f"no whole message came within {self.limits.idle:.0f} s"


def readout_sizes(head: bytes | memoryview) -> tuple[int, int, int]:
    """Samples, channels and dimensions of the trajectory, from a readout's head."""
    samples, channels = struct.unpack_from("<HxxH", head, 34)
    return samples, channels, struct.unpack_from("<H", head, 176)[0]


def drain(peer: socket.socket, seconds: float, most: int = 1 << 30) -> None:
    """End the sending side, and read on to the peer's end before closing.

    Closing a socket while bytes wait to be read resets the connection, which can destroy images that were sent already
    (RFC 2525, 2.17).
    """
    until, unread = time.monotonic() + seconds, 0
    try:
        peer.shutdown(socket.SHUT_WR)
        while (left := until - time.monotonic()) > 0 and unread < most:
            peer.settimeout(left)
            count = len(peer.recv(PIECE))
            unread += count
            if not count:
                break
    except OSError:  # gone, or still sending
        pass
    peer.close()
