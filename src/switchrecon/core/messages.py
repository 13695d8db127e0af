"""What the package says while it works: through ``logging``, under the name ``switchrecon``.

Facts and progress are ``INFO``, warnings ``WARNING``, details ``DEBUG``. Programs that use the package decide what they
show, as with any library; the command line shows facts on standard output, progress and warnings on standard error.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOGGER = logging.getLogger("switchrecon")
PROGRESS = logging.getLogger("switchrecon.progress")
"""Lines that say how far something is."""


class _Lines(logging.Handler):
    def __init__(self, write: Callable[[str, bool], object]) -> None:
        super().__init__()
        self.write = write

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno == logging.WARNING else ""
        self.write(prefix + record.getMessage(), record.name == PROGRESS.name or bool(prefix))


@contextmanager
def messages_to(write: Callable[[str, bool], object], level: int = logging.INFO) -> Iterator[None]:
    """Send the package's messages to one place for the length of the block, and to no other handler of the package.

    Parameters
    ----------
    write
        Gets each message, and whether it is about progress, or a warning: no part of the result.
    level
        Messages under this level are left out.
    """
    before = LOGGER.handlers[:], LOGGER.level
    LOGGER.handlers[:] = [_Lines(write)]
    LOGGER.setLevel(level)
    try:
        yield
    finally:
        LOGGER.handlers[:] = before[0]
        LOGGER.setLevel(before[1])
