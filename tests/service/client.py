"""A client of MRD streams made of the ``ismrmrd`` package, which shares nothing with the server."""

import contextlib
import io
import json
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import numpy as np
from ismrmrd.serialization import ConfigFile, ProtocolDeserializer, ProtocolSerializer
from ismrmrd.serialization import ConfigText as ConfigText

from switchrecon.service.server import Server, Settings
from tests.scans.test_mrd import generate as generate

PATIENCE = 60


@dataclass
class Received:
    """What a server sent, in order."""

    images: list[ismrmrd.Image] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    closed: bool = False

    def series(self, number: int) -> list[ismrmrd.Image]:
        return [image for image in self.images if image.image_series_index == number]


@contextlib.contextmanager
def serving(**settings: Any) -> Iterator[Server]:
    """A server on a free port of this machine, in a thread."""
    server = Server(Settings(**{"port": 0, "threads": 1, "runs": {}, **settings}))
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(30)
    assert not thread.is_alive()


def connect(server: Server | int, timeout: float = PATIENCE) -> socket.socket:
    port = server if isinstance(server, int) else server.port
    return socket.create_connection(("127.0.0.1", port), timeout)


def receive(peer: socket.socket) -> Received:
    """Everything up to CLOSE or the end."""
    found = Received()
    with peer.makefile("rb") as stream, contextlib.suppress(EOFError):
        for message in ProtocolDeserializer(stream).deserialize():
            if isinstance(message, ismrmrd.Image):
                found.images.append(message)
            else:
                found.texts.append(str(message).rstrip("\0"))
        found.closed = True
    return found


def measurement(path: Path) -> tuple[str, list[ismrmrd.Acquisition]]:
    """The header and readouts of an MRD file."""
    acquisitions = []
    with h5py.File(path, "r") as file:
        xml = file["dataset/xml"][0].decode()
        for row in file["dataset/data"][()]:
            head = ismrmrd.AcquisitionHeader.from_buffer_copy(row["head"].tobytes())
            data = row["data"].view(np.complex64).reshape(head.active_channels, head.number_of_samples)
            acquisitions.append(ismrmrd.Acquisition(head, data=data, trajectory=row["traj"].reshape(len(data[0]), -1)))
    return xml, acquisitions


def packed(*parts: Any, close: bool = True) -> bytes:
    """Messages: ``str`` is a header, ``dict`` parameters in a TEXT, ``bytes`` as they are; others by the package."""
    buffer = io.BytesIO()
    serializer = ProtocolSerializer(buffer)
    for part in parts:
        if type(part) is str:
            buffer.write(struct.pack("<HI", 3, len(part.encode())) + part.encode())
        elif isinstance(part, bytes):
            buffer.write(part)
        elif isinstance(part, dict):
            serializer.serialize(json.dumps({"parameters": part}))
        else:
            serializer.serialize(part)
    if close:
        buffer.write(struct.pack("<H", 4))
    return buffer.getvalue()


def exchange(server: Server | int, content: bytes) -> Received:
    """Send all of it from a thread, as scanners do, and take what comes back."""
    with connect(server) as peer:
        sender = threading.Thread(target=lambda: _send(peer, content))
        sender.start()
        found = receive(peer)
        sender.join(PATIENCE)
    return found


def _send(peer: socket.socket, content: bytes) -> None:
    with contextlib.suppress(OSError):  # a server may end before it has all
        peer.sendall(content)


def stream(server: Server | int, path: Path, config: str, *more: Any) -> Received:
    """Stream a file, as the configuration of this name."""
    xml, acquisitions = measurement(path)
    return exchange(server, packed(ConfigFile(config), xml, *more, *acquisitions))


def pixels(images: Sequence[ismrmrd.Image]) -> np.ndarray:
    """Images (n, H, W), with the readout along H, in the units that they say."""
    found = []
    for image in images:
        assert image.data.shape[0] == 1
        found += list(image.data[0].transpose(0, 2, 1) * float(image.meta.get("RescaleSlope", 1)))
    return np.stack(found)


def debian_image(path: Path) -> np.ndarray:
    """The first image of Debian's own reconstruction, with the readout along H."""
    subprocess.run(["ismrmrd_recon_cartesian_2d", str(path)], check=True, capture_output=True)
    with h5py.File(path) as file:
        found: np.ndarray = file["dataset/cpp/data"][0, 0, 0].T
    return found
