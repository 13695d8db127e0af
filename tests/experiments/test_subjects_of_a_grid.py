"""A table of who was scanned counts in every command that divides subjects."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
import yaml

from switchrecon.errors import ConfigError, DataError
from switchrecon.experiments.cells import Options
from switchrecon.experiments.crossval import look_at_grid, open_grid
from switchrecon.experiments.grid import read_cell, read_plan
from switchrecon.experiments.page import write_crossval_page
from switchrecon.experiments.recipe import Recipe, parse_recipe
from switchrecon.reports.records import Table
from tests.scans.mrd_files import random_kspace

RunCli = Callable[..., tuple[int, str, str]]
COMMON = {
    "matrix": 16,
    "steps": 2,
    "width": 2,
    "convention": "slice-max",
    "mask": {"kind": "random-1d", "center_fraction": 0.3},
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight files that all name one subject, two files of each of four subjects by the table."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = ["file,subject"]
    for number in range(8):
        with h5py.File(folder / f"{number}.h5", "w") as file:
            file["kspace"] = random_kspace(4, 16, 16, seed=number)
            file.attrs["patient_id"] = "STUDY-7"
        rows.append(f"{number}.h5,person {number // 2}")
    (tmp_path / "who.csv").write_text("\n".join(rows))
    return folder


def recipe(**changes: object) -> Recipe:
    plain = {"title": "T", "data": {"files": ["*.h5"]}, "folds": 4, "methods": {"joint": {}}, "common": COMMON}
    return parse_recipe({**plain, **changes}, "r")


def test_a_grid_divides_subjects_by_the_table(tmp_path: Path, data: Path) -> None:
    with pytest.raises(ConfigError, match="1 subjects are too few"):
        look_at_grid(recipe(), data, tmp_path / "a", Options())
    grid = open_grid(recipe().with_subjects(tmp_path / "who.csv"), data, tmp_path / "b")
    assert grid.subjects == 4
    for cell in grid.cells:
        piles = [{int(path.stem) // 2 for path in part} for part in (cell.full, cell.sub, cell.test)]
        assert [len(part) for part in (cell.full, cell.sub, cell.test)] == [2 * len(pile) for pile in piles]
        assert not piles[0] & piles[1] | piles[0] & piles[2] | piles[1] & piles[2]
        assert cell.config.reading.subjects == tmp_path / "who.csv"
    assert [own.test for own in grid.folds] == [(2,)] * 4
    again = read_plan(tmp_path / "b")  # without the option, as an engine's process does it
    assert [cell.test for cell in again.cells] == [cell.test for cell in grid.cells]
    assert read_cell(tmp_path / "b", grid.cells[0].key).sub == grid.cells[0].sub


def test_a_recipe_may_name_the_table_itself(tmp_path: Path, data: Path) -> None:
    named = recipe(common={**COMMON, "subjects": str(tmp_path / "who.csv")})
    assert open_grid(named, data, tmp_path / "b").subjects == 4
    missing = recipe().with_subjects(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"none\.csv: the table of subjects cannot be read"):
        open_grid(missing, data, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_the_page_shows_the_folds_and_names_no_one(tmp_path: Path, data: Path) -> None:
    grid = open_grid(recipe().with_subjects(tmp_path / "who.csv"), data, tmp_path / "b")
    fields = {
        "title": "T",
        "convention": "slice-max",
        "convention_text": "x; y",
        "folds": [0],
        "seeds": [0],
        "subjects": 4,
    }
    table = Table.model_validate({**fields, "settings": {}, "recipe": json.loads(grid.recipe.model_dump_json())})
    page = write_crossval_page(tmp_path, [table], [], [], grid.folds).read_text()
    assert "Who was scanned is from the table who.csv." in page
    assert '<th scope="row">3</th><td>1 (2)</td>' in page
    assert "person 1" not in page


def test_crossval_takes_the_option(tmp_path: Path, data: Path, run_cli: RunCli) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(json.loads(recipe().model_dump_json())))
    command = ("crossval", "--config", tmp_path / "r.yaml", "--data", data, "--out", tmp_path / "out")
    assert "1 subjects are too few" in run_cli(*command)[2]
    slurm = ("--slurm", tmp_path / "job.sh")
    code, said, err = run_cli(*command, "--subjects", tmp_path / "who.csv", *slurm)
    assert (code, "an array of 4 cells" in said) == (0, True), err
    code, _, err = run_cli("crossval", "--out", tmp_path / "out", "--subjects", tmp_path / "who.csv", *slurm)
    assert (code, "goes with --config" in err) == (2, True)


def test_compare_domains_takes_the_option(tmp_path: Path, data: Path, run_cli: RunCli) -> None:
    full = [word for n in (0, 1, 2, 3) for word in ("--full", data / f"{n}.h5")]
    sub = [word for n in (4, 5, 6, 7) for word in ("--sub", data / f"{n}.h5")]
    command = ("compare-domains", *full, *sub, "--out", tmp_path / "out", "--set", "mask.center_fraction=0.3")
    assert "one subject is in both" in run_cli(*command)[2]
    code, said, err = run_cli(*command, "--subjects", tmp_path / "who.csv")
    assert (code, "2 subjects in --full, 2 subjects in --sub" in said) == (0, True), err
