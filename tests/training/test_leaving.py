"""A training is left with what it has done, and goes on from there, also beyond its end."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from switchrecon.errors import RunError
from switchrecon.runs.checkpoint import load_model
from switchrecon.runs.log import read_log
from switchrecon.training import train as training
from switchrecon.training.leaving import Leaving
from switchrecon.training.train import train
from tests.conftest import tiny_config

MakeScan = Callable[..., Path]


@pytest.fixture
def piles(make_scan: MakeScan) -> tuple[list[Path], list[Path]]:
    return [make_scan("full", 1)], [make_scan("sub", 2)]


@pytest.fixture(autouse=True)
def _plain_signals() -> Iterator[None]:
    """A shell's background process ignores Ctrl-C, and so would the tests in it."""
    plain = ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL))
    before = [signal.signal(number, handler) for number, handler in plain]
    yield
    for (number, _), handler in zip(plain, before, strict=True):
        signal.signal(number, handler)


def interrupted_at(monkeypatch: pytest.MonkeyPatch, step: int, number: signal.Signals = signal.SIGINT) -> None:
    """Send a signal to this process while a step is taken."""
    plain = training.step_taker

    def step_taker(*arguments: Any) -> Any:
        take = plain(*arguments)

        def taking(state: Any, *rest: Any) -> Any:
            if state.step + 1 == step:
                os.kill(os.getpid(), number)
            return take(state, *rest)

        return taking

    monkeypatch.setattr(training, "step_taker", step_taker)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_before_it_leaves_and_the_run_goes_on_to_the_same_bits(
    tmp_path: Path, piles: tuple[list[Path], list[Path]], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    config = tiny_config("steps=9", "checkpoint_every=100")
    straight = train(config, *piles, tmp_path / "straight")
    handlers = [signal.getsignal(own) for own in (signal.SIGINT, signal.SIGTERM)]
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupted_at(patch, 5, number)
        with pytest.raises(KeyboardInterrupt):
            train(config, *piles, run)
    assert [signal.getsignal(own) for own in (signal.SIGINT, signal.SIGTERM)] == handlers
    [saved] = (run / "checkpoints").glob("*.json")
    assert saved.stem in ("step-00000005", "step-00000006")  # a signal may arrive as the next step begins
    assert load_model(run / "model.safetensors")[1].step == len(read_log(run)) < 9
    train(config, *piles, run, resume=True)
    first, second = (load_file(own / "checkpoints/step-00000009.safetensors") for own in (straight, run))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [entry.losses for entry in read_log(run)] == [entry.losses for entry in read_log(straight)]


def test_a_second_interrupt_ends_at_once() -> None:
    with Leaving() as leaving:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # within a second: a terminal and a grid have both sent one
        assert leaving.asked
        leaving.since -= 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_another_programs_handler_and_other_threads_are_left_alone() -> None:
    mine: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: mine.append(number))
    try:
        with Leaving() as leaving:
            os.kill(os.getpid(), signal.SIGINT)
        assert (mine, leaving.asked) == ([signal.SIGINT], False)
    finally:
        signal.signal(signal.SIGINT, before)
    failed: list[BaseException] = []

    def enter() -> None:
        try:
            with Leaving():
                pass
        except ValueError as error:  # what Python says to signal handlers in a thread
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not failed


def test_the_first_checkpoint_comes_soon_and_changes_nothing(
    tmp_path: Path, piles: tuple[list[Path], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("steps=6", "checkpoint_every=100")
    saved: list[int] = []
    plain = training.save_state
    monkeypatch.setattr(training, "save_state", lambda *given: (saved.append(given[1].step), plain(*given))[1])
    late = train(config, *piles, tmp_path / "late")
    assert saved == [6]
    saved.clear()
    monkeypatch.setattr(training, "FIRST_CHECKPOINT", 0.0)
    soon = train(config, *piles, tmp_path / "soon")
    assert saved == [1, 6]
    first, second = (load_file(run / "checkpoints/step-00000006.safetensors") for run in (late, soon))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_finished_run_is_trained_on(
    tmp_path: Path, piles: tuple[list[Path], list[Path]], messages: list[str]
) -> None:
    run = train(tiny_config("steps=4"), *piles, tmp_path / "run")
    salt = load_model(run / "model.safetensors")[1].salt
    train(tiny_config("steps=4"), *piles, run, resume=True)
    assert "the run is finished after 4 steps; give more to train on, such as --set steps=8" in messages[-1]
    train(tiny_config("steps=10"), *piles, run, resume=True)
    card = load_model(run / "model.safetensors")[1]
    assert (card.step, card.steps, card.config.steps, card.salt) == (10, 10, 10, salt)
    log = read_log(run)
    assert [entry.step for entry in log] == list(range(1, 11))
    assert [remark for entry in log for remark in entry.remarks] == [
        "goes on to 10 steps, where 4 were planned: the learning rate is that of the new plan, and the average of the "
        "weights begins anew"
    ]
    rates = [entry.learning_rate for entry in log]
    assert rates[3] < 1e-6 < rates[4] == pytest.approx(1e-4 + (1e-7 - 1e-4) * 4 / 9)
    with pytest.raises(RunError, match=r"has done 10 steps, asked for 6 in all; give more, such as --set steps=20"):
        train(tiny_config("steps=6"), *piles, run, resume=True)
    with pytest.raises(RunError, match=r"width = 2, asked for 3; .*only steps or epochs may become more"):
        train(tiny_config("steps=20", "width=3"), *piles, run, resume=True)


def test_a_run_that_goes_on_is_the_same_however_often_it_is_interrupted(
    tmp_path: Path, piles: tuple[list[Path], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [train(tiny_config("steps=4"), *piles, tmp_path / name) for name in ("first", "second")]
    train(tiny_config("steps=12"), *piles, runs[0], resume=True)
    with monkeypatch.context() as patch:
        interrupted_at(patch, 8)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_config("steps=12"), *piles, runs[1], resume=True)
    train(tiny_config("steps=12"), *piles, runs[1], resume=True)
    first, second = (load_file(run / "model.safetensors") for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)
