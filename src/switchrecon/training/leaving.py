"""Ctrl-C and SIGTERM during a training: the current step is finished and saved first."""

import signal
import threading
import time
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import Any

from switchrecon.core.messages import PROGRESS

TWICE = 1.0  # seconds in which two signals count as one: the cells of a grid get one from the terminal, too


class Leaving(AbstractContextManager["Leaving"]):
    """Notes Ctrl-C, or that the system asks the process to end; a second Ctrl-C interrupts at once.

    It does nothing in a thread other than the main one, where no signals arrive, or if the program has set handlers.

    Attributes
    ----------
    asked
        Whether the training is to end.
    """

    def __init__(self) -> None:
        self.asked = False
        self.since = 0.0
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Leaving":
        if threading.current_thread() is threading.main_thread():
            for number, plain in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
                if signal.getsignal(number) == plain:
                    self.before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT and time.monotonic() - self.since > TWICE:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self.since = True, time.monotonic()
            PROGRESS.info("stopping after this step; Ctrl-C once more stops at once and loses what is not saved")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
