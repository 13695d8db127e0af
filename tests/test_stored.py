"""What an earlier version wrote goes on working, and what it computed comes out again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from switchrecon import Reconstructor
from switchrecon.config import Config, load_config
from switchrecon.experiments.crossval import open_grid
from switchrecon.experiments.recipe import load_recipe
from switchrecon.methods.methods import find_method
from switchrecon.runs.checkpoint import load_model
from switchrecon.training.train import train
from tests.stored.scans import FILES, RUNS, scan, sensitivities, write_scans

# Processors add in different orders: on the one that the files come from, the difference is 1e-6 at most.
TOLERANCE = 1e-5


def stored_settings(name: str) -> Config:
    """All settings of a stored run, those that came later with the value that changes nothing."""
    found = load_config(FILES / "runs" / name / "config.yaml")
    return Config.model_validate(found.model_dump())


def coils_of(name: str) -> int:
    return 2 if name.endswith("coils") else 1


@pytest.mark.parametrize("name", RUNS)
def test_a_stored_run_reconstructs_the_same_images(name: str) -> None:
    coils = coils_of(name)
    kspace, mask = scan(9, slices=2, coils=coils, masked=True)
    maps = np.broadcast_to(sensitivities(coils), kspace.shape) if coils > 1 else None
    loaded = Reconstructor.load(FILES / "runs" / name, device="cpu")
    with np.load(FILES / "outputs.npz") as expected:
        assert np.abs(loaded(kspace, mask, maps) - expected[name]).max() < TOLERANCE
        if name == "switchable":
            other = loaded.using("ensemble", "hard")(kspace, mask)
            assert np.abs(other - expected["switchable-ensemble-hard"]).max() < TOLERANCE


@pytest.mark.parametrize("name", RUNS)
def test_training_gives_the_stored_losses_and_weights(name: str, tmp_path: Path) -> None:
    full, sub = write_scans(tmp_path, coils_of(name), masked=name != "supervised")
    train(stored_settings(name), [full], [sub], tmp_path / "run", device="cpu")
    compare(tmp_path / "run", FILES / "runs" / name)


def test_a_stored_run_can_be_resumed(tmp_path: Path) -> None:
    full, sub = write_scans(tmp_path)
    shutil.copytree(FILES / "runs" / "switchable", tmp_path / "run")
    settings = load_config(None, ["method=switchable"])  # all else is the run's
    (tmp_path / "run" / "model.safetensors").unlink()
    train(settings, [full], [sub], tmp_path / "run", resume=True, device="cpu")
    compare(tmp_path / "run", FILES / "runs" / "switchable")


def compare(run: Path, stored: Path) -> None:
    mine, theirs = load_model(run / "model.safetensors")[0], load_model(stored / "model.safetensors")[0]
    assert mine.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert (mine[name] - tensor).abs().max() < TOLERANCE, name
    lines = [[json.loads(line) for line in (f / "log.jsonl").read_text().splitlines()] for f in (run, stored)]
    for own, other in zip(*lines, strict=True):
        assert own["losses"] == pytest.approx(other["losses"], rel=1e-4)


def test_a_stored_method_file_and_recipe_work(tmp_path: Path) -> None:
    method = find_method(load_config(None, [f"method={FILES / 'method.py'}:MINE"]))
    assert [objective.__name__ for objective in method.phases[1].objectives][-1] == "background"
    grid = open_grid(load_recipe(str(FILES / "recipe.yaml")), None, tmp_path / "grid")
    assert len(grid.cells) == 6
