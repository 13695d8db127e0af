"""A run that begins with the weights of another one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from switchrecon import Reconstructor
from switchrecon.config import load_config
from switchrecon.errors import RunError
from switchrecon.runs import pretrained
from switchrecon.runs.checkpoint import load_model
from switchrecon.runs.pretrained import run_folder
from switchrecon.training.start import read_start
from switchrecon.training.train import train
from tests.conftest import TRAINED, tiny_config

MakeScan = Callable[..., Path]
Piles = tuple[list[Path], list[Path]]
SMALL = ("method=joint", "unet_width=2", "cascades=1")


@pytest.fixture
def piles(make_scan: MakeScan) -> Piles:
    return [make_scan("full", 1)], [make_scan("sub", 2)]


@pytest.fixture
def first(tmp_path: Path, piles: Piles) -> Path:
    return train(tiny_config(*SMALL, "average=none"), *piles, tmp_path / "first")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder / "model.safetensors")[0]


def close(a: Path, b: Path) -> bool:
    return all(torch.allclose(x, y, atol=1e-3) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


def test_the_first_weights_are_those_of_the_other_run(tmp_path: Path, first: Path, piles: Piles) -> None:
    """With next to no learning rate the weights stay; drawn ones are elsewhere. Network settings need not be said."""
    still = ["steps=2", "learning_rate=1e-9", "final_learning_rate=1e-9", "average=none", "seed=5"]
    begun = train(load_config(None, still), *piles, tmp_path / "begun", start=first)
    drawn = train(load_config(None, [*SMALL, *still]), *piles, tmp_path / "drawn")
    assert close(begun, first)
    assert not close(drawn, first)
    card = load_model(begun / "model.safetensors")[1]
    assert (card.config.unet_width, card.config.cascades, card.config.method) == (2, 1, "joint")
    assert card.began_from == load_model(first / "model.safetensors")[1].weights_sha256


def test_subjects_of_the_other_run_are_remembered(tmp_path: Path, first: Path, make_scan: MakeScan) -> None:
    others = [make_scan("full3", 3)], [make_scan("sub4", 4)]
    begun = train(load_config(None, ["steps=1"]), *others, tmp_path / "begun", start=first)
    card = load_model(begun / "model.safetensors")[1]
    known = [name for name in ("subject1", "subject2", "subject3", "subject4", "subject5") if card.knows(name)]
    assert known == ["subject1", "subject2", "subject3", "subject4"]
    assert "before" not in card.public()


def test_it_resumes_without_the_other_run(tmp_path: Path, first: Path, piles: Piles) -> None:
    settings = load_config(None, ["steps=4", "checkpoint_every=2"])
    whole = train(settings, *piles, tmp_path / "whole", start=first)
    part = train(settings, *piles, tmp_path / "part", start=first)
    for newer in (part / "checkpoints").glob("step-00000004*"):
        newer.unlink()
    (part / "model.safetensors").unlink()
    train(settings, *piles, part, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(part).values(), strict=True))


def test_a_resumed_run_must_have_begun_there(tmp_path: Path, first: Path, piles: Piles) -> None:
    unfinished = tiny_config(*SMALL)
    drawn = train(unfinished, *piles, tmp_path / "drawn")
    (drawn / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"did not begin from .*first"):
        train(unfinished, *piles, drawn, resume=True, start=first)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path, first: Path, piles: Piles) -> None:
    with pytest.raises(RunError, match=r"unet_width = 2 there, 3 here.*leave these settings out"):
        train(load_config(None, ["unet_width=3", "steps=1"]), *piles, tmp_path / "run", start=first)
    other = load_config(None, ["method=switchable", "network=paper", "steps=1"])
    with pytest.raises(RunError, match=r"no AdaIN sites.*--method joint"):
        train(other, *piles, tmp_path / "run", start=first)
    assert not (tmp_path / "run").exists()


def test_code_of_the_other_run_is_not_run(
    tmp_path: Path, first: Path, piles: Piles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its card may name any file."""
    start = read_start(first)
    config = start.card.config.model_copy(update={"network": "evil.py:Net"})
    for changed, sentence in ((config, "network=FILE.py:NAME"), (config.model_copy(update={"method": "a.py:M"}), "")):
        card = start.card.model_copy(update={"config": changed})
        with pytest.raises(RunError, match=sentence or "is in a file"):
            type(start)("other", card, start.weights).settings(load_config(None, []))


def test_runs_of_the_package_have_names(
    tmp_path: Path, first: Path, run_cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    assert pretrained.pretrained() == ["switchrecon:first"]
    assert run_folder("switchrecon:first") == first
    assert run_folder(tmp_path) == tmp_path
    assert Reconstructor.load("switchrecon:first").card.config.unet_width == 2
    with pytest.raises(RunError, match=r"no run 'switchrecon:frist'; did you mean 'switchrecon:first'"):
        run_folder("switchrecon:frist")
    code, _, err = run_cli("calibrate", "switchrecon:first", "--reference", tmp_path / "full")
    assert (code, "copy the folder" in err) == (2, True)
    code, out, _ = run_cli(
        *("train", "--from", "switchrecon:first", "--set", "steps=1", "--full", tmp_path / "full"),
        *("--sub", tmp_path / "sub", "--out", tmp_path / "next"),
    )
    assert code in TRAINED
    assert "begins with the weights of switchrecon:first, trained for 4 steps" in out
