"""What the person who waits sees: bar, steps, time left and quality in any width, and what is done before."""

import io
import logging
import sys
import types

import pytest
from rich.console import Console

from switchrecon.core.messages import counted, stage, stages_to
from switchrecon.runs.progress import TrainingProgress, fitting, stages_on


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def screen(width: int, height: int = 24) -> Console:
    return Console(force_terminal=True, width=width, height=height, file=io.StringIO(), color_system=None)


def rendered(progress: TrainingProgress) -> list[str]:
    assert progress.console is not None
    with progress.console.capture() as capture:
        progress.console.print(progress.render())
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_bar_steps_time_and_quality_fit_into_a_line(width: int) -> None:
    clock = Clock()
    progress = TrainingProgress("joint-equivariant", 0, 50_000, screen(width), clock)
    progress.quality = "PSNR 28.4 dB (zero-filled 22.1)"
    progress.losses = dict.fromkeys(("simulated_pairs", "held_out_samples", "equivariance", "one_more"), 0.0123)
    clock.now = 600.0
    progress.advance(25_000)
    first, second = rendered(progress)
    assert len(first) <= width - 3  # ^C does not break the line
    for part in ("25,000/50,000", "10 min left", progress.quality, "━"):
        assert part in first
    assert first.startswith("joint-equiv")
    assert len(second) <= width
    assert "simulated_pairs 0.0123" in second
    assert ("one_more" in second) == (width == 120)
    assert ("+1" in second) == (width == 80)


def test_losses_give_way_where_there_is_no_room() -> None:
    low = TrainingProgress("joint", 0, 10, screen(80, height=5), Clock())
    low.losses = {"cycle": 0.25}
    assert len(rendered(low)) == 1
    assert fitting({"a": 1.0, "b": 2.0}, 8) == "a 1  b 2"
    assert fitting({"a": 1.0, "b": 2.0}, 7) == "a 1  +1"
    assert fitting({"a_long_name": 1.0}, 5) == ""


def test_the_time_left_is_that_of_the_steps_taken_now() -> None:
    clock = Clock()
    progress = TrainingProgress("joint", 900, 1000, screen(80), clock)
    assert progress.left == "time left unknown"
    clock.now = 10.0
    progress.advance(920)
    assert progress.left == "40 s left"
    clock.now = 50.0
    progress.advance(1000)
    assert progress.left == "in 50 s"


def test_stages_are_shown_on_a_terminal_and_leave_no_line() -> None:
    console = screen(80)
    with stages_on(console):
        assert list(counted("ab", "reading scan")) == ["a", "b"]
        stage("building the networks")
    assert isinstance(console.file, io.StringIO)
    written = console.file.getvalue()
    for sentence in ("reading scan 1 of 2 …", "reading scan 2 of 2 …", "building the networks …"):
        assert sentence in written


def test_stages_are_details_where_nothing_shows_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "switchrecon")
    with stages_on(None):
        list(counted("ab", "reading scan"))
    assert caplog.messages == ["reading scan 1 of 2", "reading scan 2 of 2"]
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    shown: list[str] = []
    with stages_to(shown.append):
        stage("scaling")
    stage("afterwards")
    assert shown == ["scaling"]


class Shown:
    """What a notebook shows below a cell: the last text of each place."""

    def __init__(self, data: dict[str, str], raw: bool, display_id: bool) -> None:
        assert raw
        assert display_id
        self.texts = [data["text/plain"]]

    def update(self, data: dict[str, str], raw: bool) -> None:
        assert raw
        self.texts.append(data["text/plain"])


def test_a_notebook_shows_text_that_changes_and_needs_no_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[Shown] = []

    def display(data: dict[str, str], raw: bool, display_id: bool) -> Shown:
        places.append(Shown(data, raw, display_id))
        return places[-1]

    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    notebook = Console(force_jupyter=True)
    with stages_on(notebook):
        stage("reading scan 1 of 2")
    with TrainingProgress("joint", 0, 10, notebook, Clock()) as progress:
        progress.quality = "held-out +1.0 dB"
        progress.advance(10)
    stages, bar = places
    assert "reading scan 1 of 2 …" in stages.texts
    assert stages.texts[-1] == ""
    assert bar.texts[-1].startswith("joint ━━━")
    assert "10/10" in bar.texts[-1]
    assert "held-out +1.0 dB" in bar.texts[-1]
