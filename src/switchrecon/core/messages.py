"""Messages of the package, through the logger ``switchrecon`` of the module ``logging``.

Facts and progress are ``INFO``, warnings ``WARNING``, details ``DEBUG``. Programs that use the package decide what to
show, as with any library. The command line shows facts on standard output, progress and warnings on standard error.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

LOGGER = logging.getLogger("switchrecon")
PROGRESS = logging.getLogger("switchrecon.progress")
"""Logger of messages about progress."""
PLAIN_EVERY = 60.0  # seconds between such lines where there is no terminal

Item = TypeVar("Item")
_shown: ContextVar[Callable[[str], object] | None] = ContextVar("shown", default=None)


class _Lines(logging.Handler):
    def __init__(self, write: Callable[[str, bool], object]) -> None:
        super().__init__()
        self.write = write

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno == logging.WARNING else ""
        self.write(prefix + record.getMessage(), record.name == PROGRESS.name or bool(prefix))


@contextmanager
def messages_to(write: Callable[[str, bool], object], level: int = logging.INFO) -> Iterator[None]:
    """Send the package's messages to one function during the block, and to none of the package's other handlers.

    Parameters
    ----------
    write
        Function that gets each message, and True if it is not a part of the result: progress or a warning.
    level
        Messages below this level are left out.
    """
    before = LOGGER.handlers[:], LOGGER.level
    LOGGER.handlers[:] = [_Lines(write)]
    LOGGER.setLevel(level)
    try:
        yield
    finally:
        LOGGER.handlers[:] = before[0]
        LOGGER.setLevel(before[1])


@contextmanager
def stages_to(show: Callable[[str], object]) -> Iterator[None]:
    """Show what is being done at the moment (:func:`stage`, :func:`counted`) in one place, for the length of the block.

    Parameters
    ----------
    show
        Gets each sentence, in place of the one before.
    """
    token = _shown.set(show)
    try:
        yield
    finally:
        _shown.reset(token)


def stage(sentence: str) -> None:
    """Say what is being done at the moment: where :func:`stages_to` shows it, else as a detail."""
    show = _shown.get()
    if show is not None:
        show(sentence)
    else:
        PROGRESS.debug(sentence)


def counted(items: Sequence[Item], doing: str) -> Iterable[Item]:
    """Go through items and say how far that is, such as ``reading scan 3 of 20``.

    Where no place shows stages, a line is logged when a minute has passed since the last one.
    """
    said = time.monotonic()
    for number, item in enumerate(items, 1):
        sentence = f"{doing} {number} of {len(items)}"
        stage(sentence)
        if _shown.get() is None and time.monotonic() - said >= PLAIN_EVERY:
            said = time.monotonic()
            PROGRESS.info(sentence)
        yield item
