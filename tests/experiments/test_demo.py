"""The demo end to end with few training steps and fewer, smaller heads; and the run that comes with the package."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from switchrecon.errors import RunError
from switchrecon.experiments import demo
from switchrecon.runs.pretrained import pretrained, run_folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "MATRIX", 64)
    monkeypatch.setattr(demo, "SLICES", 2)
    monkeypatch.setattr(demo, "SUBJECTS", {"full": [0], "sub": [1], "test": [2]})


@pytest.mark.usefixtures("small")
def test_the_demo_runs_continues_and_ends_with_a_report(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    report = demo.run_demo(out, steps=2)
    assert report == out / "report.html"
    metrics = json.loads((out / "metrics.json").read_text())["methods"]
    assert {"zero-filled", "joint", "wavelet"} <= set(metrics)
    page = report.read_text()
    assert "Matrix 64x64 instead of a scanner" in page
    assert "not a medical device" in page
    assert (out / "first" / "report.html").is_file()
    before = (out / "joint" / "model.safetensors").stat().st_mtime_ns
    time.sleep(0.01)
    demo.run_demo(out, steps=2)
    assert (out / "joint" / "model.safetensors").stat().st_mtime_ns == before


def test_the_first_look_is_better_than_zero_filling(
    tmp_path: Path, run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    """Two scans that the run of the package has never seen, at 256x256: a real slice, and a synthetic head."""
    code, out, _ = run_cli("demo", "--quick", "--out", tmp_path)
    assert code == 0
    assert f"report: {tmp_path / 'first' / 'report.html'}" in out
    methods = json.loads((tmp_path / "first" / "metrics.json").read_text())["methods"]
    assert methods["joint"]["psnr"]["mean"] > methods["zero-filled"]["psnr"]["mean"] + 4
    assert methods["joint"]["ssim"]["mean"] > methods["zero-filled"]["ssim"]["mean"] + 0.2
    assert (tmp_path / "first" / "first.png").stat().st_size > 10_000


def test_the_run_of_the_package_says_whose_data_it_learned_from() -> None:
    assert pretrained() == [demo.PRETRAINED]
    folder = run_folder(demo.PRETRAINED)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 3_000_000
    from switchrecon.runs.checkpoint import load_model

    card = load_model(folder / "model.safetensors")[1]
    assert card.finished
    assert card.trial is not None
    assert not card.trial.failed
    for words in ("open_ms_data", "CC BY", "Lesjak"):
        assert words in card.note


def test_the_demo_leaves_other_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for command in (demo.run_demo, demo.quick_look):
        with pytest.raises(RunError, match="holds no demo"):
            command(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_demos_subjects_are_disjoint() -> None:
    drawn = [demo.FIRST_HEAD, *(subject for subjects in demo.SUBJECTS.values() for subject in subjects)]
    assert len(drawn) == len(set(drawn))


def test_the_real_slice_is_an_mr_image() -> None:
    image = demo.real_slice()
    assert image.shape == (256, 256)
    assert image.min() == 0
    assert image[:40, :40].max() < 0.1 * image.max()  # air
    assert np.isfinite(image).all()
