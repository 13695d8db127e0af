"""Messages of the package, through the logger ``switchrecon`` of the module ``logging``.

Facts and progress are ``INFO``, warnings ``WARNING``, details ``DEBUG``. Programs that use the package decide what to
show, as with any library. The command line shows facts on standard output, progress and warnings on standard error.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOGGER = logging.getLogger("switchrecon")
PROGRESS = logging.getLogger("switchrecon.progress")
"""Logger of messages about progress."""


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
