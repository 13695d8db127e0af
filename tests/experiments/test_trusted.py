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
from switchrecon.experiments.trusted import crossval_calibration, crossval_lesions
from switchrecon.trust.calibration import Calibration
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
    done = next(cell for cell in grid.cells if cell.row == "quick").folder / "DONE"
    text = done.read_text()
    done.unlink()
    code, out, err = run_cli("lesions", grid.out, "--slices", 1, "--overwrite")
    assert (code, "default · quick: left out: not all of its folds are finished" in out + err) == (0, True)
    study = json.loads((grid.out / "lesions" / "lesions.json").read_text())
    assert list(study["methods"]) == ["zero-filled", "wavelet"]
    done.write_text(text)
    code, _, err = run_cli("lesions", grid.out, "--reference", grid.out, "--overwrite")
    assert (code, "a crossval stands alone" in err) == (2, True)


def test_cross_fitted_calibrations_say_what_is_true_for_a_fold(grid: Grid, run_cli: RunCli, tmp_path: Path) -> None:
    code, out, _ = run_cli("calibrate", grid.out)
    assert code == 0
    assert "4 slices of 4 subjects" in out
    cells = [cell for cell in grid.cells if cell.row == "wavelet"]
    made = [Calibration.read(cell.folder / "run" / "calibration.json") for cell in cells]
    assert [(own.kind, own.subjects, own.fold_subjects, own.percent) for own in made] == [
        ("cross-fitted", 4, 2, 66)
    ] * 2
    assert made[0].scores == made[1].scores
    assert made[0].factor == made[0].scores[-1]
    assert made[0].weights_sha256 != made[1].weights_sha256
    assert "at least 66 %" in made[0].claim
    folder = grid.out / "calibration" / "default" / "wavelet" / "seed-0"
    assert sorted(path.name for path in folder.iterdir()) == [
        "calibration-study.json",
        "calibration.csv",
        "report.html",
    ]
    page = (folder / "report.html").read_text()
    assert "cross-fitted" in page
    assert "phantom-00" not in page
    source = cells[0].test[0]
    command = ("reconstruct", cells[0].folder / "run", source, "--undersample", "run", "--out", tmp_path / "out")
    code, out, _ = run_cli(*command)
    assert code == 0
    assert made[0].claim in out
    said = json.loads((tmp_path / "out" / f"{source.stem}.trust.json").read_text())
    assert (said["calibrated_on"], said["percent"], said["claim"]) == ("cross-fitted", 66, made[0].claim)
    assert run_cli("report", grid.out)[0] == 0
    page = (grid.out / "report.html").read_text()
    assert "default · quick · seed-0" in page
    assert ">Lesions</h2>" in page
    code, _, err = run_cli("calibrate", grid.out, "--reference", source)
    assert (code, "is calibrated with its own test scans" in err) == (2, True)


def test_a_grid_without_a_finished_fold(tmp_path: Path) -> None:
    out = tmp_path / "out"
    open_grid(parse_recipe(RECIPE, "trust"), None, out)
    with pytest.raises(RunError, match="no row is finished in all its folds"):
        crossval_lesions(out, out / "lesions", 1)
    with pytest.raises(RunError, match="no row is finished in all its folds"):
        crossval_calibration(out, out / "calibration")
    assert not (out / "lesions").exists()
    assert yaml.safe_load((out / "crossval.yaml").read_text())["recipe"]["title"] == "Trust"
