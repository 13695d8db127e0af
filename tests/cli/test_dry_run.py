"""``--dry-run``: everything is said, nothing is written."""

from collections.abc import Callable
from pathlib import Path

import yaml

from switchrecon.config import parse_config
from switchrecon.nets.builder import NETWORKS
from switchrecon.training.dry_run import duration, plan_training
from tests.conftest import tiny_config

RunCli = Callable[..., tuple[int, str, str]]
TINY = {"width": 2, "residual_blocks": 1, "extractor_depth": 3, "steps": 40, "matrix": 64}


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_training_is_described_and_nothing_written(
    run_cli: RunCli, tmp_path: Path, make_scan: Callable[..., Path]
) -> None:
    full, sub = make_scan("full", 1), make_scan("sub", 2)
    make_scan("sub", 3)
    settings = [f"--set={name}={value}" for name, value in TINY.items()]
    before = files(tmp_path)
    words = ["train", "--method", "joint", "--full", full, "--sub", sub.parent, "--out", tmp_path / "run"]
    code, out, err = run_cli(*words, *settings, "--set", "cascades=2", "--dry-run", "--quiet")
    assert code == 0, err
    assert files(tmp_path) == before
    text, _, told = out.partition("\n\n")
    config = parse_config(yaml.safe_load(text))
    assert (config.method, config.network, config.cascades, config.steps) == ("joint", "unrolled", 2, 40)
    lines = told.splitlines()
    assert lines[0] == "fully sampled: 1 scan of 1 subject, 3 slices"
    assert lines[1].startswith("undersampled: 2 scans of 2 subjects, 6 slices, acceleration ")
    assert lines[2] == "matrix 64x64, 1 coil"
    assert lines[4].startswith("expected time: about ")
    assert "for 40 steps (an estimate: " in lines[4]
    assert lines[5].startswith("expected memory: about ")
    assert lines[-1] == "nothing was written"


def test_the_numbers_of_a_plan_are_those_of_the_training(
    tmp_path: Path, make_scan: Callable[..., Path], trained: Callable[..., Path]
) -> None:
    from switchrecon.runs.checkpoint import load_model

    plan = plan_training(tiny_config("method=switchable"), [make_scan("full", 1)], [make_scan("sub", 2)])
    card = load_model(trained() / "model.safetensors")[1]
    assert plan.parameters == card.parameters
    assert (plan.steps, plan.matrix, plan.coils) == (4, (64, 64), 1)
    assert plan.seconds == 4 * plan.step_seconds > 0


def test_what_a_training_refuses_a_dry_run_refuses(run_cli: RunCli, make_scan: Callable[..., Path]) -> None:
    full, sub = make_scan("full", 1), make_scan("sub", 2)
    words = ["train", "--method", "switchable", "--full", full, "--sub", sub, "--dry-run"]
    code, _, err = run_cli(*words, "--out", full)
    assert (code, "is a file, expected a folder" in err) == (2, True)
    code, _, err = run_cli(*words, "--out", full.parent / "run", "--set", "contrast=1")
    assert (code, "must not be shown in random contrasts" in err) == (2, True)


def test_a_grid_is_described_and_nothing_written(run_cli: RunCli, tmp_path: Path) -> None:
    recipe = {"title": "t", "data": {"heads": 3, "head_slices": 1}, "folds": 3, "run_folds": [0, 2]}
    methods = {"supervised": {}, "joint": {"cascades": 2, "unet_width": 2}}
    (tmp_path / "recipe.yaml").write_text(
        yaml.safe_dump({**recipe, "methods": methods, "common": TINY}, sort_keys=False)
    )
    before = files(tmp_path)
    words = ["crossval", "--config", tmp_path / "recipe.yaml", "--out", tmp_path / "out", "--workers", "2"]
    code, out, err = run_cli(*words, "--dry-run", "--quiet")
    assert code == 0, err
    assert files(tmp_path) == before
    assert "4 of 4 cells to run, 3 subjects" in out
    assert "# default · supervised: 2 cells" in out
    joint = out.split("# default · joint: 2 cells\n# the settings of the first row, but\n")[1]
    changed = yaml.safe_load(joint.split("\n\n")[0])
    own = {"method": "joint", "network": "unrolled", "cascades": 2, "unet_width": 2}
    assert changed == own | dict(NETWORKS["unrolled"].recommended)
    assert "undersampled: 1 scan of 1 subject, 1 slice, acceleration" in joint
    assert out.splitlines()[-2].startswith("expected time of all trainings: about ")
    assert " with 2 at once " in out.splitlines()[-2]


def test_durations_are_told_in_words() -> None:
    assert [duration(s) for s in (0.2, 40, 720, 12600)] == ["1 s", "40 s", "12 min", "3.5 h"]
