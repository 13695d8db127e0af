"""What a scanner and an attacker see of ``switchrecon serve``: throughput, latency, and a healthy client under attack.

Usage: python benchmarks/service.py [--matrix 128] [--coils 8] [--slices 16] [--repeats 3] [--out FILE.json]

The server is the command itself, on this machine, with zero-filled images. Beside it, in turn: the file reader on the
same readouts, and a server loop of the ``ismrmrd`` package that deserializes readout after readout and applies an FFT,
as the example ``simplefft`` of python-ismrmrd-server does. Each time is the median over repeats.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import torch
from ismrmrd.serialization import ConfigFile, ProtocolDeserializer, ProtocolSerializer

from switchrecon.physics.coils import root_sum_of_squares
from switchrecon.physics.fourier import inverse_fourier
from switchrecon.scans.files import read_scan

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.mrd import HEADER, SPACE, write
from tests.service import test_attacks as attacks
from tests.service.client import connect, exchange, measurement, packed, receive
from tests.service.test_streams import receive_one
from tests.service.test_wire import claims

CONDITIONS = (  # and limits of encoding: the package asks for both
    "<experimentalConditions><H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz></experimentalConditions>"
)
ATTACKS: dict[str, tuple[Callable[[socket.socket], object], int]] = {
    "50 silent clients": (attacks.silent, 50),
    "20 silent after the header": (attacks.silent_after_header, 20),
    "6 silent within a readout": (attacks.silent_in_a_readout, 6),
    "10 slow clients": (attacks.dribble, 10),
    "3 floods of tiny messages": (attacks.flood, 3),
}


class Served:
    """The command, and the memory of its processes."""

    def __init__(self, runs: Path, *options: str) -> None:
        command = [sys.executable, "-m", "switchrecon", "serve", "--runs", str(runs), "--port", "0", *options]
        started = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.listening = time.perf_counter() - started
        self.port = int(line.split(";")[0].rsplit(":", 1)[1])

    def memory(self) -> dict[str, float]:
        """Resident memory in MB: of all processes of the server together (shared pages once), and of the largest."""
        pids, found = [self.process.pid], [self.process.pid]
        while pids:
            pid = pids.pop()
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                children = [int(word) for word in task.read_text().split()]
                pids += children
                found += children
        together, resident = 0.0, [0.0]
        for pid in found:
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            values = {words[0]: int(words[1]) for line in rollup.splitlines()[1:] if len(words := line.split()) > 1}
            together += values["Pss:"] / 1024
            resident.append(values["Rss:"] / 1024)
        return {"together": round(together), "largest": round(max(resident))}

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def simple_server(content: bytes, matrix: int) -> None:
    """One session of the package's own loop: readout after readout, then a transform of each slice."""
    listener = socket.create_server(("127.0.0.1", 0))
    slices: dict[int, list[Any]] = {}

    def work() -> None:
        peer, _ = listener.accept()
        with peer, peer.makefile("rb") as stream, peer.makefile("wb") as answers:
            serializer = ProtocolSerializer(answers)
            for message in ProtocolDeserializer(stream).deserialize():
                if isinstance(message, ismrmrd.Acquisition):
                    slices.setdefault(message.idx.slice, []).append(message)
            for number, readouts in slices.items():
                kspace = np.zeros((*readouts[0].data.shape, matrix), np.complex64)
                for own in readouts:
                    kspace[..., own.idx.kspace_encode_step_1] = own.data
                image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, (-2, -1))), (-2, -1))
                combined = np.sqrt((np.abs(image) ** 2).sum(0)).astype(np.float32)
                serializer.serialize(ismrmrd.Image.from_array(combined, slice=number))
            serializer.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        exchange(listener.getsockname()[1], content)
    finally:
        listener.close()
    thread.join()


def from_file(path: Path) -> None:
    """The file reader, and the same image."""
    scan = read_scan(path)
    root_sum_of_squares(inverse_fourier(torch.from_numpy(scan.kspace)))


def latencies(port: int, start: list[Any], slices: list[list[Any]], follow: bool) -> float:
    """Median seconds from the last readout of a slice to its image; with ``follow``, the next slice begins at once."""
    found = []
    with connect(port) as peer:
        peer.sendall(packed(*start, close=False))
        for number, own in enumerate(slices):
            rest = slices[number + 1][:1] if follow and number + 1 < len(slices) else []
            peer.sendall(packed(*own[1 if follow and number else 0 :], close=False))
            begun = time.perf_counter()
            peer.sendall(packed(*rest, close=not rest and number + 1 == len(slices)))
            receive_one(peer)
            found.append(time.perf_counter() - begun)
        receive(peer)
    return statistics.median(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in (("matrix", 128), ("coils", 8), ("slices", 16), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    matrix, result = arguments.matrix, dict[str, Any]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "scan.h5", matrix, arguments.coils, arguments.slices)
        (folder / "runs" / "none").mkdir(parents=True)
        (folder / "runs" / "none" / "model.safetensors").write_bytes(b"")  # a name to list; it is not used
        xml, readouts = measurement(folder / "scan.h5")
        xml = xml.replace("<trajectory>", "<encodingLimits/><trajectory>")
        xml = xml.replace("<encoding>", f"{CONDITIONS}<encoding>")
        for own in readouts:
            if own.idx.kspace_encode_step_1 == matrix - 1:
                own.setFlag(ismrmrd.ACQ_LAST_IN_SLICE)
        start = [ConfigFile("zero-filled"), xml, {"pixels": "float"}]
        content = packed(*start, *readouts)
        slices = [readouts[first : first + matrix] for first in range(0, len(readouts), matrix)]
        served = Served(folder / "runs", "--idle", "10")
        try:
            exchange(served.port, content)  # networks are loaded
            result["seconds until it listens"] = served.listening
            times: dict[str, list[float]] = {"stream": [], "file reader": [], "package's loop": []}
            for _ in range(arguments.repeats):
                times["stream"].append(seconds(lambda: exchange(served.port, content)))
                times["file reader"].append(seconds(lambda: from_file(folder / "scan.h5")))
                times["package's loop"].append(seconds(lambda: simple_server(content, matrix)))
            for what, own in times.items():
                middle = statistics.median(own)
                result[f"{what}: readouts a second"] = len(readouts) / middle
                result[f"{what}: images a second"] = len(slices) / middle
            result["latency, next slice follows"] = latencies(served.port, start, slices, True)
            result["latency, nothing follows"] = latencies(served.port, start, slices, False)
            small = packed(*start[:1], HEADER.format(SPACE.format(32, 16), SPACE.format(16, 16)), *_small())
            times_alone = [seconds(lambda: exchange(served.port, small)) for _ in range(5)]
            result["healthy client alone"] = statistics.median(times_alone)
            result["memory in MB before attacks"] = served.memory()
            for what, (attack, count) in ATTACKS.items():
                attacks.stopped.clear()
                with attacks.attackers(served.port, attack, count):
                    time.sleep(0.5)
                    result[f"healthy client beside {what}"] = seconds(lambda: _healthy(served.port, small))
                    result[f"memory in MB beside {what}"] = served.memory()
                    attacks.stopped.set()
                time.sleep(1)
            for _, claim in claims():
                exchange(served.port, packed(*start, claim, close=False))
            result["healthy client after claims of gigabytes"] = seconds(lambda: _healthy(served.port, small))
            result["memory in MB after claims of gigabytes"] = served.memory()
        finally:
            served.end()
    result["load average"] = os.getloadavg()
    for what, value in result.items():
        print(f"{what}: {value:.4g}" if isinstance(value, float) else f"{what}: {value}")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=2))


def _small() -> list[Any]:
    found = []
    for step in range(16):
        own = ismrmrd.Acquisition.from_array(np.ones((2, 32), np.complex64), center_sample=16)
        own.idx.kspace_encode_step_1 = step
        found.append(own)
    return found


def _healthy(port: int, content: bytes) -> None:
    found = exchange(port, content)
    assert len(found.images) == 1, found.texts


if __name__ == "__main__":
    main()
