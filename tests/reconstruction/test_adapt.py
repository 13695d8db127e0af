"""Test-time adaptation: what it learns from, what it may not touch, and when it stops."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from switchrecon.config import load_config
from switchrecon.errors import ConfigError, DataError
from switchrecon.physics.masks import draw_mask
from switchrecon.reconstruction.adapt import adapt
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.files import read_scan
from switchrecon.scans.scan import Scan
from switchrecon.training.train import train

MakeScan = Callable[..., Path]
RunCli = Callable[..., tuple[int, str, str]]
SETTINGS = ["unet_width=4", "cascades=2", "learning_rate=1e-3", "augment=none", "mask.acceleration=3"]


def measured(make_scan: MakeScan, subject: int = 9) -> Scan:
    settings = load_config(None, SETTINGS).mask
    mask = draw_mask(settings, (64, 64), volume="new", index=0)
    return read_scan(make_scan("new", subject, mask=mask))


@pytest.fixture
def run(tmp_path: Path, make_scan: MakeScan) -> Path:
    config = load_config(None, [*SETTINGS, "steps=20"], method="joint")
    return train(config, [make_scan("full", 1)], [make_scan("sub", 2)], tmp_path / "run")


def test_the_error_at_samples_kept_apart_falls_and_the_run_stays(run: Path, make_scan: MakeScan) -> None:
    loaded, scan = Reconstructor.load(run), measured(make_scan)
    weights = {name: tensor.clone() for name, tensor in loaded.generator.state_dict().items()}
    adapted, told = adapt(loaded, scan, 60)
    assert told.after < 0.98 * told.before
    assert told.steps <= 60
    assert "held-out measured samples" in str(told)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.generator.state_dict().items())
    again, same = adapt(Reconstructor.load(run), scan, 60)
    assert (same.before, same.after) == (told.before, told.after)
    images = [r(scan.kspace, scan.mask, scan.sensitivity()) for r in (adapted, again, loaded)]
    np.testing.assert_array_equal(images[0], images[1])
    assert np.abs(images[0] - images[2]).max() > 0


def test_weights_that_help_nobody_are_not_kept(run: Path, make_scan: MakeScan) -> None:
    loaded, scan = Reconstructor.load(run), measured(make_scan)
    wild = Reconstructor(
        loaded.generator, None, loaded.config.model_copy(update={"learning_rate": 10.0}), loaded.card, False
    )
    adapted, told = adapt(wild, scan, 200)
    assert told.after == told.before
    assert told.steps <= 50  # five checks without a better one
    np.testing.assert_array_equal(
        adapted(scan.kspace, scan.mask, scan.sensitivity()), loaded(scan.kspace, scan.mask, scan.sensitivity())
    )


def test_what_cannot_be_adapted_is_refused(tmp_path: Path, run: Path, make_scan: MakeScan) -> None:
    magnitudes = load_config(None, ["width=2", "steps=2", "representation=magnitude"], method="simulated")
    other = train(magnitudes, [make_scan("full", 1)], [], tmp_path / "magnitudes")
    with pytest.raises(ConfigError, match="'magnitude' cannot be adapted"):
        adapt(Reconstructor.load(other), measured(make_scan), 5)
    centre = np.zeros((64, 64), dtype=bool)
    centre[30:35, 30:35] = True
    scan = read_scan(make_scan("centre", 3, mask=centre | (np.random.RandomState(0).uniform(size=(64, 64)) < 0.1)))
    scan.mask[:] = centre  # type: ignore[index]
    with pytest.raises(DataError, match="no measured samples outside the centre"):
        adapt(Reconstructor.load(run), scan, 5)


def test_the_command_says_what_it_gave(run: Path, make_scan: MakeScan, tmp_path: Path, run_cli: RunCli) -> None:
    path = measured(make_scan).path
    code, out, _ = run_cli("reconstruct", run, path, "--out", tmp_path / "images", "--adapt", 20)
    assert code == 0
    assert "adapted in 20 steps" in out
    assert np.load(tmp_path / "images" / path.name).shape == (3, 64, 64)
