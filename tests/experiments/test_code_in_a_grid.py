"""A cross-validation's folder may come from anybody: the code that it names runs only where the user asked."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from switchrecon.experiments.cells import Options
from switchrecon.experiments.grid import code_of
from switchrecon.experiments.recipe import parse_recipe

Cli = Callable[..., tuple[int, str, str]]
METHOD = """
from pathlib import Path
from switchrecon.methods import SIMULATED
Path({mark!r}).write_text("was run")
MINE = SIMULATED
"""


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Cli) -> tuple[Path, Path]:
    """A grid's folder as somebody else made it, and the file that its code writes."""
    mark = tmp_path / "mark"
    (tmp_path / "mine.py").write_text(METHOD.format(mark=str(mark)))
    recipe = {
        "title": "t",
        "data": {"heads": 3, "head_slices": 2},
        "folds": 3,
        "run_folds": [0],
        "methods": {"mine": {"method": f"{tmp_path / 'mine.py'}:MINE"}},
        "common": {"matrix": 64, "steps": 2, "width": 2, "residual_blocks": 1},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
    code, _, err = run_cli("crossval", "--config", tmp_path / "recipe.yaml", "--out", tmp_path / "grid")
    assert code == 0, err
    mark.unlink()
    monkeypatch.setattr("switchrecon.core.user_code._run_here", set())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "ours"))
    return tmp_path / "grid", mark


def test_nothing_runs_because_a_folder_names_it(strange: tuple[Path, Path], run_cli: Cli, tmp_path: Path) -> None:
    grid, mark = strange
    for words in (
        ["crossval", "--out", grid],
        ["crossval", "--out", grid, "--cell", "default/mine/0/0"],
        ["crossval", "--out", grid, "--dry-run"],
        ["report", grid, "--claim"],
    ):
        code, out, err = run_cli(*words)
        assert (code, mark.exists()) == (2, False), (words, out, err)
        assert "its recipe runs code, the method '" in err
        assert err.count("\n") == 1
    assert run_cli("crossval", "--out", grid, "--trust-code")[0] == 0
    assert run_cli("report", grid)[0] == 0  # it is known now
    assert Options().on("cpu").arguments() == ["--device", "cpu", "--trust-code"]


def test_all_code_of_a_recipe_is_found() -> None:
    recipe = parse_recipe(
        {
            "title": "a: b",
            "data": {"heads": 3},
            "folds": 3,
            "methods": {"one": {"method": "supervised"}, "two": {"method": "simulated"}},
        },
        "r",
    )
    assert list(code_of(recipe.model_dump(mode="json"))) == []
    plain = {
        "title": "a.py:B",
        "methods": {"m": {"method": "a.py:A", "mask.kind": "b.py:B"}},
        "settings": {"x": {"simulated_mask": {"kind": "c.py:C"}}},
        "common": {"network": "d.py:D", "mask": {"kind": "random-1d"}},
        "metrics": ["haarpsi", "e.py:E"],
    }
    found = [("method", "a.py:A"), ("mask", "b.py:B"), ("mask", "c.py:C"), ("network", "d.py:D"), ("metric", "e.py:E")]
    assert list(code_of(plain)) == found
