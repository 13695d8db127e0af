"""The demo end to end with two training steps and fewer heads."""

import json
from pathlib import Path

import numpy as np
import pytest

from switchrecon.errors import RunError
from switchrecon.experiments import demo


def test_the_demo_runs_continues_and_ends_with_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SLICES", 2)
    monkeypatch.setattr(demo, "SUBJECTS", {"full": [0], "sub": [1], "test": [2]})
    out = tmp_path / "demo"
    report = demo.run_demo(out, steps=2)
    assert report == out / "report.html"
    metrics = json.loads((out / "metrics.json").read_text())["methods"]
    assert {"zero-filled", "switchable", "switchable/generator", "simulated", "joint"} <= set(metrics)
    page = report.read_text()
    assert "width 12 instead of 32" in page
    assert "not a medical device" in page
    assert np.load(out / "real" / "switchable" / "mr-slice.npy").shape == (256, 256)
    before = (out / "switchable" / "model.safetensors").stat().st_mtime_ns
    demo.run_demo(out, steps=2)
    assert (out / "switchable" / "model.safetensors").stat().st_mtime_ns == before


def test_the_demo_leaves_other_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no demo"):
        demo.run_demo(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_demos_subjects_are_disjoint() -> None:
    drawn = [subject for subjects in demo.SUBJECTS.values() for subject in subjects]
    assert len(drawn) == len(set(drawn))


def test_the_real_slice_is_an_mr_image() -> None:
    image = demo.real_slice()
    assert image.shape == (256, 256)
    assert image.min() == 0
    assert image[:40, :40].max() < 0.1 * image.max()  # air
