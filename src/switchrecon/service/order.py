"""What the listening process tells a session's process, and what it sees of it."""

from dataclasses import dataclass
from pathlib import Path

from switchrecon.service.asked import Answering
from switchrecon.service.door import Opened
from switchrecon.service.wire import Limits


@dataclass(frozen=True)
class Order:
    """What a worker is told.

    Attributes
    ----------
    opened
        How the session began.
    runs, default
        See :func:`switchrecon.service.asked.chosen_run`.
    answering, limits
        As the server was asked.
    device, resize
        See :meth:`switchrecon.reconstruction.reconstructor.Reconstructor.load`.
    threads
        Number of threads of a session; None: torch decides.
    """

    opened: Opened
    runs: dict[str, Path]
    default: str | None
    answering: Answering
    limits: Limits
    device: str | None = None
    resize: bool = False
    threads: int | None = None


STARTED, WHOLE, READOUTS = range(3)
"""What the board of a session holds: when a message began (0: between two), when the last was there, readouts."""
