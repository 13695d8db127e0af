"""Mutate small scanner streams: each must end in images of complete slices, or in one sentence, soon.

Memory must not grow.

Usage: python benchmarks/fuzz_streams.py [--streams 10000] [--seed 0] [--out runs/fuzz]

A session works as in ``switchrecon serve``, but over a socket pair in this process. What crashes, hangs, grows or sends
an image that no complete slice explains is kept in the folder.
"""

import argparse
import contextlib
import io
import logging
import math
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
from ismrmrd.serialization import ConfigFile, ProtocolDeserializer

from switchrecon.service import messages
from switchrecon.service.asked import Answering
from switchrecon.service.door import open_session, refuse
from switchrecon.service.messages import Kind
from switchrecon.service.order import Order
from switchrecon.service.wire import Limits
from switchrecon.service.worker import Session

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.fuzz import mutate
from tests.scans.mrd_files import header
from tests.service.client import packed
from tests.service.test_streams import lines, truth
from tests.service.test_wire import image, waveform

BATCH = 100  # streams a process
PATIENCE = 10  # seconds for one stream
MOST_GROWTH = 300  # MB of a process
LIMITS = Limits(message=1 << 20, session=1 << 22, idle=2)
MATRIX = (16, 12)


def parts() -> list[list[Any]]:
    """Valid streams, as messages."""
    xml = header((*MATRIX, 1), encoded_field=(100, 100, 5))
    slices = [lines(truth(number), slice=number) for number in range(2)]
    calibration = lines(truth(2))[4:8]
    for own in calibration:
        own.setFlag(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION)
    noise = lines(truth(3))[:2]
    for own in noise:
        own.setFlag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    start = [ConfigFile("zero-filled"), xml, {"config": "zero-filled"}]
    return [
        [*start, *noise, *calibration, *slices[0], *slices[1]],
        [*start, waveform(), *slices[0], image(), waveform(), *slices[1][:6]],
        [*start, *(own for pair in zip(*slices, strict=True) for own in pair)],
    ]


def mutated(draw: random.Random) -> bytes:
    """A stream with bytes changed, or messages left out, doubled or exchanged, or both."""
    chosen = list(draw.choice(parts()))
    if draw.random() < 0.4:
        for _ in range(draw.choice((1, 2, 5))):
            first, second = (draw.randrange(len(chosen)) for _ in range(2))
            kind = draw.choice(("drop", "double", "exchange"))
            if kind == "drop":
                del chosen[first]
            elif kind == "double":
                chosen.insert(second, chosen[first])
            else:
                chosen[first], chosen[second] = chosen[second], chosen[first]
            if not chosen:
                break
    content = packed(*chosen, close=draw.random() < 0.9)
    return mutate(content, draw) if draw.random() < 0.8 else content


def answer(content: bytes) -> bytes:
    """What a session says to a stream."""
    ours, theirs = socket.socketpair()
    taken = io.BytesIO()

    def take() -> None:
        with contextlib.suppress(OSError):
            while more := theirs.recv(1 << 16):
                taken.write(more)

    def give() -> None:
        with contextlib.suppress(OSError):
            theirs.sendall(content)
            theirs.shutdown(socket.SHUT_WR)

    threads = [threading.Thread(target=work, daemon=True) for work in (take, give)]
    for thread in threads:
        thread.start()
    try:
        opened = open_session(ours, LIMITS, time.monotonic())
    except Exception as error:
        if not hasattr(error, "args") or type(error).__module__.split(".")[0] != "switchrecon":
            raise
        refuse(ours, error)  # type: ignore[arg-type]
    else:
        if opened.first == Kind.CLOSE:
            ours.sendall(messages.close())
        else:
            order = Order(opened, {}, None, Answering(pixels="float"), LIMITS)
            Session(ours, order, [0.0, 0.0, 0.0], lambda level, line: _no_surprise(line)).run()
    ours.close()
    for thread in threads:
        thread.join(PATIENCE)
    theirs.close()
    return taken.getvalue()


def _no_surprise(line: str) -> None:
    if "unexpected" in line:
        raise AssertionError(line)


def problem(reply: bytes) -> str:
    """What is wrong with an answer; empty for nothing."""
    if not reply.endswith(messages.close()):
        return "the answer does not end with CLOSE"
    images = []
    for message in ProtocolDeserializer(io.BytesIO(reply)).deserialize():
        if isinstance(message, str) and "unexpected" in message:
            return message
        if isinstance(message, ismrmrd.Image) and message.meta.get("SeriesDescription", "").startswith("switchrecon"):
            images.append(message)
    for own in images:
        if not np.isfinite(own.data).all() or math.prod(own.data.shape) > 1 << 20 or not own.data.any():
            return "an image of rubbish"
    return "more images than slices" if len(images) > 2 * 24 else ""


def work(contents: list[bytes], current: Path) -> None:
    """Answer each in this process; the first bad outcome ends it, with the reason in ``current``."""
    warnings.simplefilter("ignore")
    logging.disable()
    before = 0
    for number, content in enumerate(contents):
        current.with_suffix(".stream").write_bytes(content)
        current.write_text("crashed")
        signal.alarm(PATIENCE)
        try:
            found = problem(answer(content))
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        signal.alarm(0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        before = peak if number == 0 else before
        if peak - before > MOST_GROWTH:
            found = f"grew by {peak - before} MB"
        if found:
            current.write_text(found)
            os._exit(1)


def main() -> None:
    """Fuzz, print what was found, and end with code 1 if anything was bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    draw, current = random.Random(arguments.seed), arguments.out / "stream.txt"
    done = bad = 0
    while done < arguments.streams:
        contents = [mutated(draw) for _ in range(min(BATCH, arguments.streams - done))]
        child = os.fork()
        if child == 0:
            work(contents, current)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        done += len(contents)
        if status:
            kept = arguments.out / f"bad-{bad:03d}.stream"
            current.with_suffix(".stream").replace(kept)
            print(f"{kept}: {current.read_text()}", flush=True)
            bad += 1
    print(f"{done} mutated streams answered, {bad} of them badly")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
