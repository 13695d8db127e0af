"""The server: it listens at once, opens sessions, and gives each that brings data a process of its own.

It imports no torch; the processes are copies of one that did, while the server was listening already.
"""

import contextlib
import ipaddress
import logging
import multiprocessing
import os
import selectors
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from switchrecon.errors import SwitchreconError
from switchrecon.service import messages
from switchrecon.service.asked import Answering
from switchrecon.service.door import Opened, open_session, refuse, send
from switchrecon.service.messages import Kind
from switchrecon.service.order import READOUTS, STARTED, Order
from switchrecon.service.wire import Ended, Limits, drain

logger = logging.getLogger(__name__)

WORKER = "switchrecon.service.worker"
WAITING = 128  # connections that have brought no data yet; the oldest gives way
BUSY_SECONDS = 10  # that a session waits for a place
DOUBTFUL_SECONDS = 1.0  # after which a session without a readout, or in the middle of a message, may lose its place
GRACE = 8.0  # seconds that sessions have to end when the server stops
LAST_WORDS = 2.0  # seconds that a session has to say that it ends, before it is ended


@dataclass(frozen=True)
class Settings:
    """What is served, and how.

    Attributes
    ----------
    runs, default
        See :func:`switchrecon.service.asked.chosen_run`.
    answering, limits
        What comes back, and what may come.
    sessions
        Those with data, at once.
    host, port
        Where to listen; port 0 is a free one.
    once
        End after the first session that brought data or a header.
    device, resize, threads
        The device, resize and threads of each session.
    """

    runs: dict[str, Path]
    default: str | None = None
    answering: Answering = field(default_factory=Answering)
    limits: Limits = field(default_factory=Limits)
    sessions: int = 4
    host: str = "127.0.0.1"
    port: int = 9002
    once: bool = False
    device: str | None = None
    resize: bool = False
    threads: int | None = None


@dataclass
class _Place:
    """A session that has a process, or will have one."""

    board: Any
    begun: float
    process: BaseProcess | None = None
    leaving: float = 0.0

    def doubtful(self, now: float) -> bool:
        """Whether it may be nobody's scan: no readout yet, or a message that does not arrive."""
        from_start, started, readouts = now - self.begun, self.board[STARTED], self.board[READOUTS]
        stuck = started > 0 and now - started > 2 * DOUBTFUL_SECONDS
        return from_start > DOUBTFUL_SECONDS and (readouts == 0 or stuck)


class Server:
    """Listens from when it is made; :meth:`serve` works until :meth:`stop`.

    Parameters
    ----------
    settings
        What is served.

    Raises
    ------
    SwitchreconError
        Where it cannot listen.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        try:
            self.listener = socket.create_server((settings.host, settings.port), family=family, backlog=128)
        except OSError as error:
            raise SwitchreconError(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror or error}); choose another --port"
            ) from None
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]
        self.good = True  # whether the last session with data went well
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
        if forks:
            self._context.set_forkserver_preload([WORKER])
        self._wake, self._woken = os.pipe()
        self._stopping = threading.Event()
        self._lock = threading.Condition()
        self._starting = threading.Lock()
        self._doors: OrderedDict[int, socket.socket] = OrderedDict()
        self._places: dict[int, _Place] = {}
        self._threads: set[threading.Thread] = set()
        self._number = 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{self.settings.host}:{self.port}"

    def stop(self) -> None:
        """End; may be called from a signal handler, and more than once."""
        self._stopping.set()
        os.write(self._woken, b"x")

    def serve(self) -> None:
        """Take connections until it is stopped, then end all sessions."""
        self._thread(self._load)
        with selectors.DefaultSelector() as selector:
            selector.register(self.listener, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                if not self._stopping.is_set():
                    self._accept()
        self.listener.close()
        self._end()

    def _accept(self) -> None:
        try:
            peer, address = self.listener.accept()
        except OSError:  # gone again, or no file descriptor is left
            time.sleep(0.01)
            return
        self._number += 1
        number = self._number
        with self._lock:
            self._doors[number] = peer
            oldest = next(iter(self._doors.values())) if len(self._doors) > WAITING else None
            if oldest is not None:
                _hang_up(oldest)
        self._thread(lambda: self._session(number, peer, address[0]))

    def _thread(self, target: Callable[[], None]) -> None:
        def run() -> None:
            try:
                target()
            finally:
                self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=run, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _load(self) -> None:
        """Have the process that sessions are copied from import what it needs."""
        from importlib import import_module

        started = time.monotonic()
        if self._context.get_start_method() == "forkserver":
            with self._starting:
                process = self._context.Process(target=_nothing, daemon=True)
                process.start()
            process.join()
        else:
            import_module(WORKER)
        logger.info("networks can be used, after %.1f s", time.monotonic() - started)

    def _session(self, number: int, peer: socket.socket, host: str) -> None:
        started = time.monotonic()
        try:
            opened = open_session(peer, self.settings.limits, started)
        except SwitchreconError as error:
            self._leave(number, peer, error)
            return
        finally:
            with self._lock:
                self._doors.pop(number, None)
        logger.info("session %d from %s", number, host)
        if opened.first == Kind.CLOSE:
            send(peer, messages.close())
            drain(peer, min(self.settings.limits.idle, 10))
            logger.info("session %d: no data", number)
            self._served(opened.header is not None)
            return
        place = self._place(number)
        if place is None:
            told = "the server stops" if self._stopping.is_set() else f"all {self.settings.sessions} sessions are taken"
            self._leave(number, peer, SwitchreconError(f"{told}; try again"))
            return
        try:
            good = self._work(number, peer, opened, place)
        finally:
            with self._lock:
                self._places.pop(number, None)
                self._lock.notify_all()
        logger.info("session %d: %s in %.1f s", number, "done" if good else "failed", time.monotonic() - started)
        self.good = good
        self._served(True)

    def _leave(self, number: int, peer: socket.socket, error: SwitchreconError) -> None:
        level = logging.DEBUG if isinstance(error, Ended) else logging.WARNING
        logger.log(level, "session %d: %s", number, error)
        refuse(peer, error)
        drain(peer, 1)

    def _served(self, counts: bool) -> None:
        if self.settings.once and counts:
            self.stop()

    def _place(self, number: int) -> _Place | None:
        """Wait for a place. Sessions that may be nobody's scan give way to one that brings data."""
        place = _Place(self._context.RawArray("d", 3), time.monotonic())
        until = time.monotonic() + BUSY_SECONDS
        with self._lock:
            while len(self._places) >= self.settings.sessions:
                now = time.monotonic()
                if now > until or self._stopping.is_set():
                    return None
                self._make_room(now)
                self._lock.wait(0.05)
            place.begun = time.monotonic()
            self._places[number] = place
        return place

    def _make_room(self, now: float) -> None:
        leaving = [place for place in self._places.values() if place.leaving]
        for place in leaving:
            if now - place.leaving > LAST_WORDS / 4 and place.process is not None:
                place.process.kill()
        if leaving:
            return
        doubtful = [one for one in self._places.values() if one.process is not None and one.doubtful(now)]
        if doubtful:
            chosen = min(doubtful, key=lambda one: one.begun)
            chosen.leaving = now
            assert chosen.process is not None
            chosen.process.terminate()

    def _work(self, number: int, peer: socket.socket, opened: Opened, place: _Place) -> bool:
        """Give a session its process, and log what it reports until it ends; return whether all went well."""
        settings, good = self.settings, False
        order = Order(
            opened,
            settings.runs,
            settings.default,
            settings.answering,
            settings.limits,
            settings.device,
            settings.resize,
            settings.threads,
        )
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(peer, order, place.board, theirs), daemon=True)
        try:
            with self._starting:
                process.start()
        finally:
            peer.close()
            theirs.close()
        place.process = process
        until = time.monotonic() + settings.limits.total + 60
        try:
            while ours.poll(max(until - time.monotonic(), 0)):
                told = ours.recv()
                if isinstance(told, bool):
                    good = told
                else:
                    logger.log(told[0], "session %d: %s", number, told[1])
        except (EOFError, OSError):
            pass
        ours.close()
        process.join(LAST_WORDS)
        if process.is_alive():
            process.kill()
            process.join()
        return good

    def _end(self) -> None:
        with self._lock:
            for peer in self._doors.values():
                _hang_up(peer)
            for place in self._places.values():
                if place.process is not None:
                    place.process.terminate()
            self._lock.notify_all()
        until = time.monotonic() + GRACE
        for thread in list(self._threads):
            thread.join(max(until - time.monotonic(), 0))
        with self._lock:
            left = [place.process for place in self._places.values() if place.process is not None]
        for process in left:
            process.kill()
        if left:
            logger.warning("%d sessions did not end in time", len(left))
        for end in (self._wake, self._woken):
            os.close(end)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _hang_up(peer: socket.socket) -> None:
    with contextlib.suppress(OSError):
        peer.shutdown(socket.SHUT_RD)


def _nothing() -> None:
    from switchrecon.service import worker

    worker.nothing()


def _work(*arguments: Any) -> None:
    from switchrecon.service import worker

    worker.work(*arguments)
