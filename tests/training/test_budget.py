"""A budget of time: how many steps it chooses, what it refuses, and that the run is the one of those steps."""

from collections.abc import Callable
from pathlib import Path

import pytest

from switchrecon.config import load_config
from switchrecon.core.durations import duration, parse_duration
from switchrecon.errors import ConfigError
from switchrecon.runs.checkpoint import load_model
from switchrecon.training import budget as budgets
from switchrecon.training.train import train
from tests.conftest import tiny_config

Piles = tuple[list[Path], list[Path]]


@pytest.fixture
def piles(make_scan: Callable[..., Path]) -> Piles:
    return [make_scan("full", 1)], [make_scan("sub", 2)]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5h", 5400), ("1h30m", 5400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["30", "m", "", "1d", "30 m", "-5m", "0m", "1h 30m", "nanm"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError, match=f"'{text}' is not a length of time; expected such as 30m"):
        parse_duration(text)


def test_durations_in_words() -> None:
    assert [duration(seconds) for seconds in (0.2, 40, 720, 12600)] == ["1 s", "40 s", "12 min", "3.5 h"]


def without_steps() -> object:
    config = tiny_config("method=simulated")
    return config.model_copy(update={"steps": None})


def test_the_run_is_the_one_of_the_chosen_steps(
    tmp_path: Path, piles: Piles, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    monkeypatch.setattr(budgets, "step_seconds", lambda *arguments: 100.0)
    config = without_steps()
    run = train(config, *piles, tmp_path / "run", budget=3099 / (1 - budgets.SPARE))  # type: ignore[arg-type]
    steps = load_config(run / "config.yaml").steps
    assert steps == 30  # of 100 s each; reading takes less than the 99 s that are over
    assert any(text.startswith("budget 56 min: 30 steps of 1e+02 s each") for text in messages)
    same = train(tiny_config("method=simulated", "steps=30"), *piles, tmp_path / "same")
    mine, theirs = (load_model(folder / "model.safetensors")[0] for folder in (run, same))
    assert all((mine[name] == theirs[name]).all() for name in theirs)
    # A run that is resumed keeps its steps, whatever the budget.
    assert train(config, *piles, run, resume=True, budget=1000.0) == run  # type: ignore[arg-type]
    assert load_config(run / "config.yaml").steps == 30


def test_real_steps_are_timed(tmp_path: Path, piles: Piles, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is ours: each look at it takes a tenth of a second, and a step is one tenth between two looks."""
    looks = iter(range(10**6))
    monkeypatch.setattr(budgets.time, "perf_counter", lambda: next(looks) / 10)
    run = train(without_steps(), *piles, tmp_path / "run", budget=10.0)  # type: ignore[arg-type]
    # 9.2 s without the spare part, less 0.1 s of reading and 2.1 s of the 20 looks of timing and building.
    assert load_config(run / "config.yaml").steps in range(60, 75)


def test_what_is_refused(tmp_path: Path, piles: Piles, monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ("steps", "epochs"):
        config = load_config(None, ["method=simulated", f"{given}=5"])
        with pytest.raises(ConfigError, match=f"a budget and {given} are both set"):
            train(config, *piles, tmp_path / "run", budget=60.0)
    monkeypatch.setattr(budgets, "step_seconds", lambda *arguments: 10.0)
    with pytest.raises(ConfigError, match="a budget of 60 s allows 5 steps of 10 s each, after 1 s of reading"):
        train(without_steps(), *piles, tmp_path / "run", budget=60.0)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()
