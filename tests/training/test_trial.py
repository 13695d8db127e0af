"""A finished run is tried: worse than zero filling is said in the log, the card and at every use, with exit code 3."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from switchrecon.data.piles import read_training_data
from switchrecon.methods.methods import find_method, with_method_settings
from switchrecon.runs.card import Trial
from switchrecon.runs.checkpoint import load_model
from switchrecon.training.batches import Batches
from switchrecon.training.state import build_state
from switchrecon.training.trial import SHORTEST, try_out
from tests.conftest import tiny_config

Cli = Callable[..., tuple[int, str, str]]


def tried(name: str, full: Path, sub: Path, spoil: float | None = None) -> Trial:
    """The trial of a network at its start, or with all weights multiplied by a number."""
    config = with_method_settings(
        tiny_config(f"method={name}", "cascades=1", "unet_width=2", f"steps={SHORTEST}"),
        find_method(tiny_config(f"method={name}")),
    )
    method = find_method(config)
    data = read_training_data([full], [sub], config, method.pairing)
    state = build_state(method, config)
    if spoil is not None:
        with torch.no_grad():
            for weight in state.players.generator.parameters():
                weight.mul_(spoil)
    return try_out(state, method, Batches(data, config, method.pairing))


def test_what_is_tried(make_scan: Callable[..., Path]) -> None:
    full, sub = make_scan("full", 1), make_scan("sub", 2)
    joint = tried("joint", full, sub)
    assert joint.pairs is not None
    assert joint.held_out is not None
    alone = tried("self-supervised", full, sub)
    assert alone.pairs is None
    assert alone.held_out is not None
    for name in ("supervised", "simulated", "switchable"):
        other = tried(name, full, sub)
        assert other.pairs is not None
        assert other.held_out is None


def test_a_network_that_changes_nothing_has_zero_fillings_error(make_scan: Callable[..., Path]) -> None:
    """An unrolled network whose U-Net gives zero returns x: hard data consistency changes nothing in it."""
    trial = tried("joint", make_scan("full", 1), make_scan("sub", 2), spoil=0.0)
    assert trial.pairs == pytest.approx(1, abs=1e-4)
    assert trial.held_out == pytest.approx(1, abs=1e-4)


def test_a_spoilt_network_fails(make_scan: Callable[..., Path]) -> None:
    trial = tried("joint", make_scan("full", 1), make_scan("sub", 2), spoil=50.0)
    assert trial.failed
    assert trial.sentence.startswith("the run is worse than zero filling: its error is ")
    assert Trial(pairs=float("nan")).failed
    assert not Trial(pairs=0.4, held_out=0.9).failed
    assert not Trial().failed


def test_a_run_that_is_worse_says_so_everywhere(tmp_path: Path, make_scan: Callable[..., Path], run_cli: Cli) -> None:
    full, sub, run = make_scan("full", 1), make_scan("sub", 2), tmp_path / "run"
    small = ["width=2", "residual_blocks=1", "extractor_depth=3", f"steps={SHORTEST}", "learning_rate=1e-6"]
    words = ["--method", "simulated", "--full", full, "--sub", sub, "--out", run, *(f"--set={s}" for s in small)]
    code, out, err = run_cli("train", *words)
    assert code == 3
    card = load_model(run / "model.safetensors")[1]
    assert card.trial is not None
    assert card.trial.failed
    sentence = card.trial.sentence
    assert sentence in out + err
    [*_, last] = (run / "log.jsonl").read_text().splitlines()
    assert json.loads(last)["remarks"] == [sentence]
    assert run_cli("train", *words, "--resume")[0] == 3
    code, out, err = run_cli(
        "reconstruct", run, make_scan("test", 3), "--out", tmp_path / "out", "--undersample", "run"
    )
    assert code == 0
    assert sentence in out + err
    code, _, _ = run_cli("evaluate", run, "--reference", make_scan("test", 3), "--out", tmp_path / "evaluation")
    assert code == 0
    assert sentence in (tmp_path / "evaluation" / "evaluation.json").read_text()
