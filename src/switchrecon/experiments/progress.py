"""The live table of a grid's cells, with the time left."""

import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from switchrecon.core.messages import PLAIN_EVERY, PROGRESS
from switchrecon.experiments.cells import Cell
from switchrecon.runs.checkpoint import planned_steps
from switchrecon.runs.log import LogEntry

TAIL = 4096  # bytes that are read at the end of a log; its last line is shorter
SHOWN = 24  # most cells in the live table


class GridProgress(AbstractContextManager["GridProgress"]):
    """Shows the cells in a live table on a terminal; elsewhere it logs a line for each change, and every minute.

    Parameters
    ----------
    cells
        The cells that are to be run.
    done
        Number of the grid's other cells that are done already.
    console
        Console for the table; None: there is none.
    """

    def __init__(self, cells: Sequence[Cell], done: int, console: Console | None = None) -> None:
        self.states = {cell.index: "waiting" for cell in cells}
        self.notes: dict[int, str] = {}
        self.cells = cells
        self.done_before = done
        self.said = time.monotonic()
        self.since: dict[int, float] = {}
        self.durations: list[float] = []
        shown = console is not None and console.is_terminal
        self.live = Live(console=console, auto_refresh=False) if shown else None

    def __enter__(self) -> "GridProgress":
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def set(self, cell: Cell, state: str, note: str = "") -> None:
        """Change a cell's state: waiting, running, done, failed or elsewhere."""
        if state == "running":
            self.since[cell.index] = time.monotonic()
        if state == "done" and cell.index in self.since:
            self.durations.append(time.monotonic() - self.since[cell.index])
        self.states[cell.index] = state
        self.notes[cell.index] = note
        if self.live is None:
            PROGRESS.info(f"{cell.name}: {state}{f' ({note})' if note else ''}")

    def seconds_left(self, running: int) -> float | None:
        """Return the time left for the whole grid, from the running cells' speed and the mean time of other cells."""
        lefts = {}
        for cell in self.cells:
            if self.states[cell.index] in ("done", "failed", "elsewhere"):
                continue
            progress, steps = latest_step(cell.folder / "run"), total_steps(cell)
            if progress is not None and steps:
                step, seconds = progress
                lefts[cell.index] = (seconds, (steps - step) * seconds / max(step, 1))
        whole = [*self.durations, *(seconds + left for seconds, left in lefts.values())]
        if not whole:
            return None
        mean = sum(whole) / len(whole)
        open_cells = [c.index for c in self.cells if self.states[c.index] in ("waiting", "running")]
        total = sum(lefts[i][1] if i in lefts else mean for i in open_cells)
        return total / max(1, running)

    def show(self, running: int) -> None:
        """Update the table, or log a line if a minute has passed."""
        if self.live is not None:
            self.live.update(self.table(running), refresh=True)
        elif time.monotonic() - self.said >= PLAIN_EVERY:
            self.said = time.monotonic()
            PROGRESS.info(self.summary(running))

    def summary(self, running: int) -> str:
        """Return the counts and the time left, in one line."""
        counts = Counter(self.states.values())
        counts["done"] += self.done_before
        left = self.seconds_left(running)
        words = [f"{counts[s]} {s}" for s in ("done", "running", "waiting", "failed", "elsewhere") if counts[s]]
        return f"cells: {', '.join(words)}; " + ("time left unknown" if left is None else f"{left / 60:.0f} min left")

    def table(self, running: int) -> Table:
        """Return the table of the cells that are not done, at most ``SHOWN`` of them."""
        table = Table(title=self.summary(running))
        for column in ("cell", "state", "steps", "left"):
            table.add_column(column, justify="right" if column in ("steps", "left") else "left")
        order = {"running": 0, "failed": 1, "elsewhere": 2, "waiting": 3}
        cells = [c for c in self.cells if self.states[c.index] != "done"]
        cells.sort(key=lambda c: order[self.states[c.index]])
        for cell in cells[:SHOWN]:
            progress = latest_step(cell.folder / "run")
            state = self.states[cell.index]
            steps = left = ""
            if progress is not None:
                step, seconds = progress
                total = total_steps(cell)
                steps = f"{step}/{total}" if total else str(step)
                if state == "running" and step and total:
                    left = f"{(total - step) * seconds / step / 60:.1f} min"
            said = escape(f"{state} {self.notes.get(cell.index, '')}".strip())
            table.add_row(escape(cell.name), said, steps, left)
        if len(cells) > SHOWN:
            table.add_row(f"… and {len(cells) - SHOWN} more", "", "", "")
        return table


def total_steps(cell: Cell) -> int:
    """Return the steps of a cell's training; 0 if they depend on the data and are not known yet."""
    return cell.config.steps or planned_steps(cell.folder / "run") or 0


def latest_step(run: Path) -> tuple[int, float] | None:
    """Return steps done and seconds trained, from the last complete line of a run's log."""
    try:
        with (run / "log.jsonl").open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            entry = LogEntry.model_validate_json(file.read().split(b"\n")[-2])
        return entry.step, entry.seconds
    except (OSError, ValueError, LookupError):
        return None
