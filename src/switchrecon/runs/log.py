"""The log of a run as JSON lines, with TensorBoard events beside it, and the progress that is shown meanwhile."""

import json
import logging
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from switchrecon.core.files import write_text
from switchrecon.core.messages import PROGRESS
from switchrecon.errors import RunError

logger = logging.getLogger(__name__)

PLAIN_EVERY = 60.0  # seconds between lines if there is no terminal


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


class TrainingProgress(AbstractContextManager["TrainingProgress"]):
    """A bar with the time left and the losses on a terminal or in a notebook; elsewhere a line a minute is logged.

    Parameters
    ----------
    name
        What is trained.
    done, steps
        Steps already done and steps in all.
    console
        Where the bar is shown; None: nowhere.
    """

    def __init__(self, name: str, done: int, steps: int, console: Console | None = None) -> None:
        self.name, self.steps, self.first = name, steps, done
        self.losses: dict[str, float] = {}
        self.started = self.said = time.monotonic()
        self.bar: Progress | None = None
        if console is not None and (console.is_terminal or console.is_jupyter):
            self.bar = Progress(
                TextColumn("{task.description}", style="bold", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[losses]}"),
                console=console,
            )
            self.task = self.bar.add_task(name, total=steps, completed=done, losses="")

    def __enter__(self) -> "TrainingProgress":
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def advance(self, done: int) -> None:
        """Say how many steps are done, and ``losses``, the latest that were logged."""
        text = "  ".join(f"{name} {value:.3g}" for name, value in self.losses.items())
        if self.bar is not None:
            self.bar.update(self.task, completed=done, losses=text)
        elif time.monotonic() - self.said >= PLAIN_EVERY or done == self.steps:
            self.said = time.monotonic()
            left = (self.said - self.started) / max(done - self.first, 1) * (self.steps - done)
            PROGRESS.info(f"{self.name}: step {done} of {self.steps}, {left / 60:.1f} minutes left; {text}")
