"""One session in a process: readouts in, images out. What the process imports is loaded before anybody connects."""

import contextlib
import logging
import os
import queue
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import torch

from switchrecon.core.limits import VARIABLE, largest_array
from switchrecon.core.messages import messages_to
from switchrecon.errors import SwitchreconError
from switchrecon.service import messages
from switchrecon.service.asked import answering, asked_name, chosen_run, parameters_in
from switchrecon.service.collect import Collector, Unit
from switchrecon.service.door import answer
from switchrecon.service.heading import STREAM, read_heading
from switchrecon.service.making import Maker
from switchrecon.service.messages import Kind
from switchrecon.service.order import READOUTS, STARTED, WHOLE, Order
from switchrecon.service.outbox import Outbox
from switchrecon.service.wire import ProtocolError, Wire, drain

logger = logging.getLogger(__name__)

PAUSE = 0.2  # seconds without a message, after which a slice whose last readout was announced is complete
LEAST_MEMORY = 256 << 20  # bytes that one array may take, however little was sent
GROWTH = 64  # times the bytes of readouts that k-space made of them may take
MOST_OTHERS = 1 << 20  # messages of a session that are no readouts and no images


def nothing() -> None:
    """Start the process that others are copied from, with everything imported."""


def work(peer: socket.socket, order: Order, board: Any, reports: Connection) -> None:
    """Run a session to its end. Reports are (level, line), and last True or False: whether all went well."""

    def say(level: int, line: str) -> None:
        reports.send((level, line))

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if order.threads is not None:
        torch.set_num_threads(order.threads)
    session = Session(peer, order, board, say)
    signal.signal(signal.SIGTERM, lambda *_: session.stop())
    good = False
    try:
        good = session.run()
    except Exception as error:  # whatever it is, the others go on
        say(logging.ERROR, f"the session failed with an unexpected {type(error).__name__}")
    reports.send(good)
    reports.close()


class Session:
    """A session from its first data to its end."""

    def __init__(self, peer: socket.socket, order: Order, board: Any, say: Any) -> None:
        self.peer, self.order, self.board, self.say = peer, order, board, say
        self.outbox = Outbox(peer, order.limits, self.stop)
        self.units: queue.Queue[tuple[Unit | bytes | None, int]] = queue.Queue()
        self.failed = False
        self.stopped = False

    def stop(self) -> None:
        """Read no more."""
        self.stopped = True
        with contextlib.suppress(OSError):
            self.peer.shutdown(socket.SHUT_RD)

    def run(self) -> bool:
        """Do it; return whether all went well."""
        with messages_to(self._told, logging.WARNING):
            maker = threading.Thread(target=self._make, daemon=True)
            try:
                self._begin()
                maker.start()
                self._read()
            except SwitchreconError as error:
                problem: SwitchreconError | None = error
            except Exception as error:
                problem = SwitchreconError(f"unexpected {type(error).__name__}")
            else:
                problem = None
            self.units.put((None, 0))
            if maker.ident is not None:
                maker.join()
            if problem is not None:
                self.failed = True
                told = "the server ends the session" if self.stopped and not self.outbox.broken else str(problem)
                self.say(logging.WARNING, told)
                self.outbox.put(messages.text(f"ERR {told}"))
        self.outbox.put(messages.close())
        sent = self.outbox.finish()
        if sent:
            drain(self.peer, min(self.order.limits.idle, 10 if not self.failed else 2))
        else:
            self.peer.close()
        return sent and not self.failed

    def _begin(self) -> None:
        """Choose the run. A header that cannot be read is an error only once readouts come."""
        opened, self.heading = self.order.opened, None
        self.header_problem: SwitchreconError | None = None
        try:
            self.heading = read_heading(opened.header or b"")
        except SwitchreconError as error:
            self.header_problem = error
        given = [self.heading.parameters if self.heading else {}, *map(parameters_in, opened.texts)]
        name = chosen_run(asked_name(opened.config, given), self.order.runs, self.order.default)
        chosen = answering(self.order.answering, given)
        self.maker = Maker(name, self.order.runs.get(name), chosen, self.heading, self.order.device, self.order.resize)
        self.say(logging.INFO, f"run {name}")

    def _read(self) -> None:
        opened, limits = self.order.opened, self.order.limits
        wire = Wire(self.peer, limits, opened.unread, opened.started, self._mark)
        collector: Collector | None = None
        kind, others = opened.first, 0
        while kind != Kind.CLOSE:
            message = wire.body(kind)
            if kind == Kind.ACQUISITION:
                if self.heading is None:
                    raise self.header_problem or ProtocolError("found a readout without a header")
                if collector is None:
                    header = self.heading.header
                    whole = self.maker.needs_whole_series
                    collector = Collector(header.encodings, self.heading.counts, whole, limits.session // 4)
                assert message.samples is not None
                self._queue(collector.add(message.head, message.samples))
                self.board[READOUTS] += len(message.samples) > 0
            elif kind == Kind.IMAGE:
                self.units.put((message.body, len(message.body)))
            elif kind in (Kind.CONFIG_FILE, Kind.CONFIG_TEXT, Kind.HEADER):
                raise ProtocolError("found a second configuration or header; expected one a session")
            else:
                others += 1
                if others > MOST_OTHERS:
                    raise ProtocolError(f"found more than {MOST_OTHERS} messages that are no readouts and no images")
                if kind == Kind.QUERY:
                    self.outbox.put(messages.response(message.number, answer(message.body)))
            if collector is not None and wire.waits and not select.select([self.peer], [], [], PAUSE)[0]:
                self._queue(collector.settled())
            kind = wire.kind()
        if collector is not None:
            self._queue(collector.rest())
            if collector.late:
                self.say(logging.WARNING, f"{len(collector.late)} slices got readouts after their images were sent")
                self.outbox.put(messages.text("WRN readouts came after the images of their slices; they are left out"))
            if not collector.imaging:
                self.outbox.put(messages.text("INF no readout was for an image"))

    def _queue(self, units: list[Unit]) -> None:
        for unit in units:
            self.units.put((unit, 0))

    def _mark(self, begun: bool) -> None:
        moment = time.monotonic()
        self.board[STARTED] = moment if begun else 0
        if not begun:
            self.board[WHOLE] = moment

    def _make(self) -> None:
        """Reconstruct units in their order, and pass images on between them."""
        own_limit = largest_array()
        while (item := self.units.get()[0]) is not None:
            if self.outbox.broken:
                continue
            if isinstance(item, bytes):
                self.maker.pass_on(item)
                self.outbox.put(item)
                continue
            sent = sum(samples.nbytes for samples in item.readouts.samples)
            os.environ[VARIABLE] = str(min(max(GROWTH * sent, LEAST_MEMORY), own_limit))
            try:
                for content in self._images(item):
                    self.outbox.put(content)
            except SwitchreconError as error:
                self._problem(str(error))
            except MemoryError:
                self._problem(f"{STREAM}: not enough memory for a slice")
            except Exception as error:
                self._problem(f"{STREAM}: unexpected {type(error).__name__}")

    def _images(self, unit: Unit) -> Iterator[bytes]:
        if unit.again:
            yield messages.text("WRN a slice got more readouts after its image was sent; here it is again, complete")
        yield from self.maker.images(unit)

    def _problem(self, told: str) -> None:
        self.failed = True
        self.say(logging.WARNING, told)
        self.outbox.put(messages.text(f"ERR {told}"))

    def _told(self, line: str, progress: bool) -> None:
        """What the package says while it works: for the scanner, and for the server's log."""
        plain = line.removeprefix("warning: ")
        self.say(logging.WARNING, plain)
        self.outbox.put(messages.text(f"WRN {plain}"))
