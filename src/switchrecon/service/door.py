"""The beginning of a session, up to its first data: done in the listening process, without torch."""

import socket
from dataclasses import dataclass, replace

from switchrecon import __version__
from switchrecon.errors import SwitchreconError
from switchrecon.service import messages
from switchrecon.service.messages import DATA, Kind
from switchrecon.service.wire import Ended, Limits, ProtocolError, Wire

MOST_MESSAGES = 64  # before the first data
SEND_SECONDS = 5
QUERIES = {"switchrecon::info": "switchrecon", "switchrecon::version": __version__, "gadgetron::info": "switchrecon"}
"""What is answered to a query; ``ismrmrd::version`` is that of the protocol."""
PROTOCOL = "1"


@dataclass(frozen=True)
class Opened:
    """What a session has begun with.

    Attributes
    ----------
    config
        The configuration message, unchanged.
    header
        XML, or other text.
    texts
        TEXT messages, which may hold parameters.
    first
        The kind of the first message of data, whose body is still to be read; CLOSE where there is none.
    unread
        Bytes that were read already.
    started
        When, in ``time.monotonic()``.
    """

    config: bytes
    header: bytes | None
    texts: tuple[bytes, ...]
    first: Kind
    unread: bytes
    started: float


def open_session(peer: socket.socket, limits: Limits, started: float) -> Opened:
    """Read configuration, header, texts and queries, until data or the end.

    Raises
    ------
    SwitchreconError
        For anything else.
    """
    wire = Wire(peer, replace(limits, total=2 * limits.idle), started=started)
    config: bytes | None = None
    header: bytes | None = None
    texts: list[bytes] = []
    for _ in range(MOST_MESSAGES):
        kind = wire.kind()
        if kind in DATA or kind == Kind.CLOSE:
            if kind in DATA and (config is None or header is None):
                raise ProtocolError("found data before the configuration and the header; expected these first")
            return Opened(config or b"", header, tuple(texts), kind, wire.unread, started)
        body = wire.body(kind)
        if kind in (Kind.CONFIG_FILE, Kind.CONFIG_TEXT):
            config = _once(config, body.body, "configuration")
        elif kind == Kind.HEADER:
            if config is None:
                raise ProtocolError("found a header before the configuration; expected the configuration first")
            header = _once(header, body.body, "header")
        elif kind == Kind.TEXT:
            texts.append(body.body)
        elif kind == Kind.QUERY:
            send(peer, messages.response(body.number, answer(body.body)))
    raise ProtocolError(f"found more than {MOST_MESSAGES} messages before any data; expected a measurement")


def answer(query: bytes) -> str:
    """The answer to a query."""
    asked = query.decode("utf-8", "replace")
    if asked == "ismrmrd::version":
        return PROTOCOL
    return QUERIES.get(asked, "unable to respond to this query")


def _once(before: bytes | None, now: bytes, what: str) -> bytes:
    if before is not None:
        raise ProtocolError(f"found a second {what}; expected one a session")
    return now


def send(peer: socket.socket, content: bytes, seconds: float = SEND_SECONDS) -> bool:
    """Send something short; return whether the peer took it."""
    try:
        peer.settimeout(seconds)
        peer.sendall(content)
    except OSError:
        return False
    return True


def refuse(peer: socket.socket, error: SwitchreconError) -> None:
    """Say why a session ends, and end it. Whoever has gone is told nothing."""
    if not isinstance(error, Ended) or "CLOSE" not in str(error):
        send(peer, messages.text(f"ERR {error}"))
    send(peer, messages.close())
