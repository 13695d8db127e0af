"""The log of a run as JSON lines, with TensorBoard events beside it."""

import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from switchrecon.core.files import write_text
from switchrecon.errors import RunError

logger = logging.getLogger(__name__)


class RunLog:
    """``log.jsonl``, one line for each logged step, in order; and TensorBoard events if that is installed.

    Parameters
    ----------
    folder
        The run folder.
    step
        Steps done: later lines, left by a run that was stopped, are removed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self.file = folder / "log.jsonl"
        self.events: Any = None
        kept = self.rewind(step)
        self.seconds = float(kept[-1]["seconds"]) if kept else 0.0
        self.started = time.monotonic()

    def rewind(self, step: int) -> list[dict[str, Any]]:
        """Remove all lines after a step, and return the others."""
        kept = [entry for entry in read_log(self.folder) if entry["step"] <= step]
        write_text(self.file, "".join(json.dumps(entry) + "\n" for entry in kept))
        self.close()
        self.events = _tensorboard(self.folder / "tensorboard", step)
        return kept

    def entries(self) -> list[dict[str, Any]]:
        """All lines."""
        return read_log(self.folder)

    def elapsed(self) -> float:
        """Return the training time of this run in seconds, with its earlier parts."""
        return self.seconds + time.monotonic() - self.started

    def write(self, entries: list[dict[str, Any]]) -> None:
        """Append entries with ``step``, ``epoch``, ``learning_rate``, ``seconds``, ``losses`` and any ``remarks``."""
        try:
            with self.file.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(entry) + "\n" for entry in entries)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"{self.file}: cannot be written ({error.strerror})") from error
        if self.events is not None:
            for entry in entries:
                for name, value in entry["losses"].items():
                    self.events.add_scalar(f"losses/{name}", value, entry["step"])
                self.events.add_scalar("learning_rate", entry["learning_rate"], entry["step"])

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """Add a picture, shape (H, W) in [0, 1], to the TensorBoard events."""
        if self.events is not None:
            self.events.add_image(name, image[None], step)

    def close(self) -> None:
        """Finish the event file."""
        if self.events is not None:
            self.events.close()


class MemoryLog:
    """The log of a process that writes nothing, in memory.

    Parameters
    ----------
    entries
        What has been logged before.
    step
        Steps done, as of :class:`RunLog`.
    """

    events = None

    def __init__(self, entries: Sequence[dict[str, Any]], step: int) -> None:
        self.kept = list(entries)
        self.rewind(step)

    def entries(self) -> list[dict[str, Any]]:
        """All lines."""
        return self.kept

    def rewind(self, step: int) -> list[dict[str, Any]]:
        """Drop all lines after a step; returns the others."""
        self.kept = [entry for entry in self.kept if entry["step"] <= step]
        return self.kept

    def elapsed(self) -> float:
        """Nothing: another process looks at the clock."""
        return 0.0

    def write(self, entries: list[dict[str, Any]]) -> None:
        """Append entries."""
        self.kept += entries

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    try:
        return SummaryWriter(str(folder), purge_step=step + 1)
    except UnicodeEncodeError:
        logger.warning("%s: TensorBoard takes no name that is not UTF-8; its events are left out", folder)
        return None


def read_log(folder: Path) -> list[dict[str, Any]]:
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
        return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]
    except (ValueError, RecursionError) as error:
        raise RunError(f"{file}: not a readable log ({error})") from error
