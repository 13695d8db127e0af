"""Sending: in a thread of its own, so that reading goes on while a peer is slow to take its images."""

import queue
import socket
import threading
import time
from collections.abc import Callable

from switchrecon.service.wire import PIECE, Limits


class Outbox:
    """What is to be sent, in order.

    Parameters
    ----------
    peer
        Connected.
    limits
        ``session`` bounds what may wait; ``idle`` how long the peer may take nothing.
    stop
        Called when the peer takes nothing more.
    """

    def __init__(self, peer: socket.socket, limits: Limits, stop: Callable[[], None]) -> None:
        self.peer, self.limits, self.stop = peer.dup(), limits, stop
        self.broken = False
        self._waiting = 0
        self._items: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def put(self, content: bytes) -> None:
        """Send soon. More than may wait ends the session."""
        if self._waiting + len(content) > self.limits.session:
            self._break()
        if not self.broken:
            self._waiting += len(content)
            self._items.put(content)

    def finish(self) -> bool:
        """Wait until all is sent; return whether the peer took it."""
        self._items.put(None)
        self._thread.join()
        self.peer.close()
        return not self.broken

    def _work(self) -> None:
        while (content := self._items.get()) is not None:
            if not self.broken:
                self._send(memoryview(content))
            self._waiting -= len(content)

    def _send(self, content: memoryview) -> None:
        until = time.monotonic() + self.limits.idle
        while content and not self.broken:
            try:
                self.peer.settimeout(max(until - time.monotonic(), 0.001))
                count = self.peer.send(content[:PIECE])
            except OSError:  # gone, or it takes nothing
                self._break()
                return
            content = content[count:]
            until = time.monotonic() + self.limits.idle

    def _break(self) -> None:
        self.broken = True
        self.stop()
