"""Results of a version that knew four metrics: they open, keep their numbers, and have n/a for a newer metric."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from switchrecon.experiments.cells import is_wanting, run_cell
from switchrecon.experiments.claim import write_claim
from switchrecon.experiments.crossval import open_grid
from switchrecon.experiments.grid import read_plan
from switchrecon.experiments.recipe import parse_recipe
from switchrecon.experiments.results import cell_rows, gather, tabulate
from switchrecon.metrics.conventions import CONVENTIONS
from switchrecon.metrics.statistics import Interval, OverFolds
from switchrecon.reports.evaluation import write_report
from switchrecon.reports.records import Table
from switchrecon.reports.tables import csv_table, latex, markdown
from tests.conftest import hide_lpips
from tests.stored.scans import FILES

STORED = FILES / "grid"
EVALUATION = "cells/default/supervised/fold-0/seed-0/evaluation"
OLD = ("psnr", "ssim", "nmse", "lpips")


@pytest.fixture(autouse=True)
def _no_lpips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hide_lpips(monkeypatch, tmp_path / "empty")


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stored grid; its heads are drawn anew here, and their last bits depend on the processor and its threads."""
    monkeypatch.setattr("switchrecon.runs.folder.check_same_data", lambda *arguments: None)
    return Path(shutil.copytree(STORED, tmp_path / "grid"))


def numbers(value: OverFolds | Interval) -> list[float | None]:
    found = value.model_dump()
    return [*found.pop("folds", {}).values(), *found.values()]


def test_a_stored_table_opens_with_the_same_numbers_and_na() -> None:
    table = Table.read(STORED / "table.json")
    assert [column.name for column in table.all_columns()] == [*OLD, "haarpsi"]
    lines = {line.split(" | ")[0]: line.split(" | ") for line in markdown(table).splitlines()}
    for line in (STORED / "table.md").read_text().splitlines():
        name, *old = line.split(" | ")
        if name.startswith("| s"):  # a row: its numbers are there, and one more cell after LPIPS
            new = [cell.removesuffix(" |") for cell in lines[name][1:]]
            assert new[:4] == [cell.removesuffix(" |") for cell in old[:4]]
            assert new[4] == "n/a"
    old = list(csv.reader((STORED / "table.csv").read_text().splitlines()))
    new = list(csv.reader(csv_table(table).splitlines()))
    assert [row for row in new if row[4] != "haarpsi"] == old
    added = [row for row in new if row[4] == "haarpsi"]
    assert added
    assert not any("".join(row[5:]) for row in added)
    assert r"HaarPSI $\uparrow$" in latex(table)


def test_a_stored_grid_gives_the_stored_tables_and_is_done(grid: Path) -> None:
    plan = read_plan(grid)
    assert not any(is_wanting(cell) for cell in plan.cells)
    results = gather(plan)
    assert results.missing == []
    for convention in CONVENTIONS:
        name = "table.json" if convention == "slice-max" else f"table-{convention}.json"
        table, stored = tabulate(plan, results, convention), Table.read(STORED / name)
        # What texts and tables say of conventions and machines may change, the numbers may not.
        for method, row in stored.only.methods.items():
            mine = table.only.methods[method]
            for metric in OLD:
                assert numbers(mine.value(metric)) == pytest.approx(numbers(row.value(metric)))
            assert mine.value("haarpsi").mean is None
            assert mine.recovered is not None
            assert row.recovered is not None
            assert mine.recovered["psnr"].mean == pytest.approx(row.recovered["psnr"].mean)
        for pair, theirs in zip(table.only.differences, stored.only.differences, strict=True):
            assert numbers(pair.value("ssim")) == pytest.approx(numbers(theirs.value("ssim")))
            assert pair.value("haarpsi").mean is None
        assert table.error_spectrum == stored.error_spectrum
        assert table.missing == []
    rows = cell_rows(results)
    assert all(row["haarpsi"] == "nan" for row in rows)
    stored_rows = list(csv.DictReader((STORED / "cells.csv").read_text().splitlines()))
    assert [{key: str(row[key]) for key in stored_rows[0]} for row in rows] == stored_rows
    assert "HaarPSI n/a" in write_claim(grid).read_text()


def test_a_stored_evaluation_gives_its_report_with_na(grid: Path) -> None:
    page = write_report(grid / EVALUATION).read_text()
    assert '<th scope="col">HaarPSI ↑</th>' in page
    row = page.split('<th scope="row">zero-filled</th>')[1].split("</tr>")[0]
    stored = json.loads((STORED / EVALUATION / "metrics.json").read_text())["methods"]["zero-filled"]
    assert f"{stored['psnr']['mean']:.2f} ±" in row
    assert row.endswith("<td>n/a</td><td>n/a</td>")  # LPIPS and HaarPSI
    assert "HaarPSI of every slice" not in page
    assert "zero-filled: PSNR / dB " in write_claim(grid / EVALUATION).read_text()


def test_a_stored_evaluation_gets_a_newer_metric_on_request(
    grid: Path, run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    code, _, err = run_cli("report", grid / EVALUATION, "--metric", "haarpsi")
    assert code == 0, err
    found = json.loads((grid / EVALUATION / "metrics.json").read_text())["methods"]
    assert 0 < found["supervised"]["haarpsi"]["mean"] < found["zero-filled"]["haarpsi"]["mean"] < 1
    assert found["supervised/hard"]["haarpsi"]["mean"] is None
    code, _, err = run_cli("report", grid, "--metric", "haarpsi")
    assert code == 2
    assert "when it stands under 'metrics' in the recipe" in err


def test_a_grid_with_old_and_new_cells_has_na_only_where_a_cell_lacks_the_metric(grid: Path) -> None:
    plan = read_plan(grid)
    asked = parse_recipe({**plan.recipe.model_dump(mode="json"), "metrics": ["haarpsi"]}, "recipe")
    grown = open_grid(asked, None, grid)
    assert all(is_wanting(cell) for cell in grown.cells)
    for cell in grown.cells:
        if cell.row == "simulated":
            run_cell(cell)
            assert not is_wanting(cell)
    table = tabulate(grown, gather(grown), "slice-max").only
    known = {name for name, row in table.methods.items() if row.value("haarpsi").mean is not None}
    assert known == {"zero-filled", "simulated", "simulated/hard"}  # zero filling stands in the cells of every row
    assert table.methods["supervised"].value("psnr").mean is not None


def test_a_cell_whose_line_is_cut_short_is_damaged(grid: Path) -> None:
    file = grid / EVALUATION / "units.csv"
    file.write_text(file.read_text()[:-12])
    with pytest.raises(Exception, match=r"evaluation: damaged \(units.csv has a line that is cut short\); delete"):
        gather(read_plan(grid))
