"""Trust over a cross-validation: lesions of all rows, and cross-fitted calibrations."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from switchrecon.errors import RunError
from switchrecon.experiments.cells import run_cell
from switchrecon.experiments.crossval import open_grid
from switchrecon.experiments.grid import Grid
from switchrecon.experiments.recipe import parse_recipe
from switchrecon.experiments.trusted import crossval_lesions
from tests.conftest import hide_lpips

RunCli = Callable[..., tuple[int, str, str]]
RECIPE = {
    "title": "Trust",
    "data": {"heads": 4, "head_slices": 1},
    "folds": 2,
    "methods": {"wavelet": {}, "quick": {"method": "wavelet", "iterations": 1}},
    "common": {"matrix": 64, "steps": 1, "iterations": 2, "mask.kind": "random-1d", "checkpoint_every": 1},
}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    """A finished grid: two rows of one method, two folds of two subjects."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trusted")
        hide_lpips(patch, folder / "empty")
        made = open_grid(parse_recipe(RECIPE, "trust"), None, folder / "out")
        for cell in made.cells:
            run_cell(cell)
        return made


def test_lesions_of_every_row_and_fold_in_one_table(grid: Grid, run_cli: RunCli) -> None:
    code, out, _ = run_cli("lesions", grid.out, "--slices", 1)
    assert code == 0
    assert f"report: {grid.out / 'lesions' / 'report.html'}" in out
    study = json.loads((grid.out / "lesions" / "lesions.json").read_text())
    assert list(study["methods"]) == ["zero-filled", "wavelet", "quick"]
    assert (study["subjects"], study["slices"]) == (4, 4)
    assert [len(own) for own in study["weights_sha256"].values()] == [2, 2]
    assert {method["total"]["lesions"] for method in study["methods"].values()} == {4 * 18}
    with (grid.out / "lesions" / "lesions.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3 * 4 * 18
    code, _, err = run_cli("lesions", grid.out)
    assert (code, "exists already; add --overwrite" in err) == (2, True)
    code, _, err = run_cli("lesions", grid.out, "--reference", grid.out, "--overwrite")
    assert (code, "a crossval stands alone" in err) == (2, True)


def test_a_grid_without_a_finished_fold(tmp_path: Path) -> None:
    out = tmp_path / "out"
    open_grid(parse_recipe(RECIPE, "trust"), None, out)
    with pytest.raises(RunError, match="no fold has all its rows finished"):
        crossval_lesions(out, out / "lesions", 1)
    assert not (out / "lesions").exists()
    assert yaml.safe_load((out / "crossval.yaml").read_text())["recipe"]["title"] == "Trust"
