"""The log of a run as JSON lines, with TensorBoard events beside it."""

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from switchrecon.core.files import write_text
from switchrecon.core.records import IndexedRecord
from switchrecon.core.sentences import first_problem
from switchrecon.errors import RunError
from switchrecon.runs.events import EventFile, event_file

logger = logging.getLogger(__name__)


class LogEntry(IndexedRecord):
    """One step of a run, a line of ``log.jsonl``.

    Attributes
    ----------
    step, epoch
        Number of the step, from 1, and of its pass over the smaller pile, from 0.
    learning_rate
        Learning rate of the step.
    seconds
        Training time of the run after the step.
    losses
        Value of each objective, by name.
    remarks
        Sentences about the step, such as a return to an earlier state.
    """

    step: int
    epoch: int = 0
    learning_rate: float
    seconds: float
    losses: Mapping[str, float]
    remarks: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The entry as JSON with a line break; no remarks if there are none."""
        return json.dumps(self.model_dump(exclude=None if self.remarks else {"remarks"})) + "\n"


class RunLog:
    """``log.jsonl``, one line for each logged step, in order; and TensorBoard events if that is installed.

    Parameters
    ----------
    folder
        The run folder.
    past
        What the file holds, from :func:`read_log`.
    step
        Steps done: later lines, left by a run that was stopped, are removed.
    """

    def __init__(self, folder: Path, past: Sequence[LogEntry], step: int) -> None:
        self.folder = folder
        self.file = folder / "log.jsonl"
        self.events: EventFile | None = None
        self.past = self._keep(past, step)
        self.seconds = self.past[-1].seconds if self.past else 0.0
        self.started = time.monotonic()

    def rewind(self, step: int) -> list[LogEntry]:
        """Remove all lines after a step, and return the others."""
        return self._keep(read_log(self.folder), step)

    def _keep(self, entries: Sequence[LogEntry], step: int) -> list[LogEntry]:
        kept = [entry for entry in entries if entry.step <= step]
        write_text(self.file, "".join(entry.line for entry in kept))
        self.close()
        self.events = event_file(self.folder / "tensorboard", step)
        return kept

    def take_past(self) -> list[LogEntry]:
        """Return the entries before this training, and forget them: the file has them."""
        past, self.past = self.past, []
        return past

    def elapsed(self) -> float:
        """Return the training time of this run in seconds, with its earlier parts."""
        return self.seconds + time.monotonic() - self.started

    def write(self, entries: Sequence[LogEntry]) -> None:
        """Append entries to the file, and to the TensorBoard events.

        Raises
        ------
        RunError
            If the file cannot be written.
        """
        try:
            with self.file.open("a", encoding="utf-8") as file:
                file.writelines(entry.line for entry in entries)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"{self.file}: cannot be written ({error.strerror})") from error
        if self.events is not None:
            for entry in entries:
                for name, value in entry.losses.items():
                    self.events.scalar(f"losses/{name}", value, entry.step)
                self.events.scalar("learning_rate", entry.learning_rate, entry.step)

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """Add a picture, shape (H, W) in [0, 1], to the TensorBoard events."""
        if self.events is not None:
            self.events.picture(name, image, step)

    def close(self) -> None:
        """Finish the event file."""
        if self.events is not None:
            self.events.close()


class MemoryLog:
    """The log of a process that writes no files, in memory.

    Parameters
    ----------
    past
        Entries of the run so far.
    step
        Steps done, as for :class:`RunLog`.
    """

    events = None

    def __init__(self, past: Sequence[LogEntry], step: int) -> None:
        self.kept = list(past)
        self.rewind(step)

    def take_past(self) -> list[LogEntry]:
        """Return the entries so far."""
        return self.kept

    def rewind(self, step: int) -> list[LogEntry]:
        """Remove all entries after a step, and return the others."""
        self.kept = [entry for entry in self.kept if entry.step <= step]
        return self.kept

    def elapsed(self) -> float:
        """Return 0: another process measures the time."""
        return 0.0

    def write(self, entries: Sequence[LogEntry]) -> None:
        """Append entries."""
        self.kept += entries

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def read_log(folder: Path) -> list[LogEntry]:
    """Read ``log.jsonl`` of a run, without a last line that is incomplete; return an empty list if there is no log.

    Raises
    ------
    RunError
        If a complete line is damaged.
    """
    file = folder / "log.jsonl"
    if not file.is_file():
        return []
    try:
        return [LogEntry.model_validate_json(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]
    except ValueError as error:
        raise RunError(f"{file}: not a readable log ({first_problem(error)})") from error
