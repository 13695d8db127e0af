"""What the person who waits sees: what is done before the first step, and how far the steps are."""

import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from switchrecon.core.durations import duration
from switchrecon.core.messages import PLAIN_EVERY, PROGRESS, stages_to

REFRESHED = 0.1  # seconds between changes on the screen, at least
ECHO = 3  # columns at the end of a line for what a terminal shows of Ctrl-C, which would else begin a new one
NOTEBOOK = 100  # columns of a notebook's cell
LOWEST, NARROWEST = 6, 60  # lines and columns of a terminal that has room for losses


def shown_on(console: Console | None) -> bool:
    """Return whether something that changes can be shown: on a terminal, or in a notebook."""
    return console is not None and (console.is_terminal or console.is_jupyter)


@contextmanager
def stages_on(console: Console | None) -> Iterator[None]:
    """Show what is being done at the moment in one line that changes; nothing where there is no terminal."""
    if console is None or not shown_on(console):
        yield
        return
    text = Text(no_wrap=True, overflow="ellipsis", style="dim")
    with _live(text, console, transient=True) as live:

        def show(sentence: str) -> None:
            text.plain = f"{sentence} …"
            live.refresh()

        with stages_to(show):
            yield


class TrainingProgress(AbstractContextManager["TrainingProgress"]):
    """A bar on a terminal or in a notebook; elsewhere a line a minute is logged.

    Bar, steps, time left and quality are always shown; the losses in a second line, as many as have room.

    Parameters
    ----------
    name
        What is trained.
    done, steps
        Steps already done and steps in all.
    console
        Where the bar is shown; None: nowhere.
    clock
        Seconds.

    Attributes
    ----------
    losses
        The latest that were logged, by name.
    quality
        How good the run is at present, in few words; empty while that is not known.
    """

    def __init__(
        self,
        name: str,
        done: int,
        steps: int,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.steps, self.first, self.done = name, steps, done, done
        self.losses: Mapping[str, float] = {}
        self.quality = ""
        self.clock = clock
        self.started = self.said = clock()
        self.console = console
        self.live = _live("", console) if console is not None and shown_on(console) else None

    def __enter__(self) -> "TrainingProgress":
        if self.live is not None:
            self.live.start()
            self._refresh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self._refresh()
            self.live.stop()

    @property
    def left(self) -> str:
        """The time left, in words."""
        taken = self.done - self.first
        if self.done >= self.steps:
            return f"in {duration(self.clock() - self.started)}"
        if not taken:
            return "time left unknown"
        return f"{duration((self.clock() - self.started) / taken * (self.steps - self.done))} left"

    def advance(self, done: int) -> None:
        """Say how many steps are done, with :attr:`quality` and :attr:`losses`."""
        self.done = done
        now = self.clock()
        if self.live is not None:
            if now - self.said >= REFRESHED:
                self.said = now
                self._refresh()
        elif now - self.said >= PLAIN_EVERY or done == self.steps:
            self.said = now
            words = [f"{self.name}: step {done:,} of {self.steps:,}", self.left, self.quality, self._losses()]
            PROGRESS.info("; ".join(filter(None, words)))

    def _losses(self) -> str:
        return "  ".join(f"{name} {value:.3g}" for name, value in self.losses.items())

    def _refresh(self) -> None:
        assert self.live is not None
        self.live.update(self.render(), refresh=True)

    def render(self) -> Group:
        """Return what is on the screen."""
        console = self.live.console if isinstance(self.live, _Cell) else self.console or Console()
        line = Table.grid(padding=(0, 1))
        line.width = max(20, console.width - ECHO)
        line.add_column(max_width=max(8, console.width // 2 - 28), no_wrap=True, overflow="ellipsis")
        line.add_column(ratio=1, min_width=4)  # the bar takes what is left, and gives way first
        cells = [f"{self.done:,}/{self.steps:,}", self.left, *([self.quality] if self.quality else [])]
        for _ in cells:
            line.add_column(no_wrap=True, overflow="ellipsis", justify="right")
        bar = ProgressBar(total=self.steps, completed=self.done)
        line.add_row(Text(self.name, style="bold"), bar, *map(Text, cells))
        rows: list[Table | Text] = [line]
        if self.losses and console.height >= LOWEST and console.width >= NARROWEST:
            rows.append(Text(f"  {fitting(self.losses, console.width - 3)}", style="dim", no_wrap=True))
        return Group(*rows)


def fitting(losses: Mapping[str, float], width: int) -> str:
    """As many losses, each whole, as fit into so many characters; how many others there are."""
    words = [f"{name} {value:.3g}" for name, value in losses.items()]
    for count in range(len(words), 0, -1):
        more = "" if count == len(words) else f"  +{len(words) - count}"
        text = "  ".join(words[:count]) + more
        if len(text) <= width:
            return text
    return ""


class _Cell:
    """What changes below a cell of a notebook, as text; what :class:`rich.live.Live` does needs ipywidgets there."""

    def __init__(self, shown: RenderableType, transient: bool = False) -> None:
        self.shown, self.transient = shown, transient
        self.console = Console(file=io.StringIO(), width=NOTEBOOK, color_system=None, force_jupyter=False)
        self.handle: Any = None

    def __enter__(self) -> "_Cell":
        self.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.stop()

    def start(self) -> None:
        """Show it."""
        from IPython.display import display

        self.handle = display(self._text(), raw=True, display_id=True)

    def stop(self) -> None:
        """Leave it as it is, or take it away."""
        if self.transient:
            self.handle.update({"text/plain": ""}, raw=True)

    def update(self, shown: RenderableType, *, refresh: bool = False) -> None:
        """Show something else."""
        self.shown = shown
        self.refresh()

    def refresh(self) -> None:
        """Show it as it is now."""
        self.handle.update(self._text(), raw=True)

    def _text(self) -> dict[str, str]:
        with self.console.capture() as capture:
            self.console.print(self.shown)
        return {"text/plain": capture.get().rstrip("\n")}


def _live(shown: RenderableType, console: Console, transient: bool = False) -> Live | _Cell:
    """Something that changes; other output goes above it on the same terminal, and else where it belongs."""
    if console.is_jupyter:
        return _Cell(shown, transient)
    return Live(
        shown,
        console=console,
        auto_refresh=False,
        transient=transient,
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=sys.stderr.isatty(),
    )
