"""A metric from a user's file: the code of docs/how-to/metric.md, run as it stands there."""

import csv
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from switchrecon.errors import ConfigError, DataError
from switchrecon.evaluation.records import Evaluation
from switchrecon.experiments.cells import Cell, is_wanting, run_cell
from switchrecon.experiments.drawing import DrawnFigure
from switchrecon.experiments.grid import read_plan
from switchrecon.experiments.results import gather
from switchrecon.metrics.conventions import slice_metrics
from switchrecon.metrics.table import Column, Metric, find_metrics
from switchrecon.phantoms.scans import write_heads
from switchrecon.reports.records import Table
from tests.conftest import hide_lpips
from tests.pages import code_of, commands_of
from tests.stored.scans import FILES

CODE = code_of("how-to/metric.md")
RUN = FILES / "grid/cells/default/supervised/fold-0/seed-0/run"
RunCli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder as the page has it: ``hfen.py``, a run, an older evaluation, a grid and its recipe."""
    monkeypatch.chdir(tmp_path)
    hide_lpips(monkeypatch, tmp_path / "empty")
    (tmp_path / "hfen.py").write_text(CODE["hfen.py"])
    (tmp_path / "recipe.yaml").write_text((FILES / "grid.yaml").read_text() + CODE["recipe.yaml"])
    write_heads(tmp_path / "scans" / "test", [7], 2, 32)
    shutil.copytree(RUN, tmp_path / "runs" / "first")
    shutil.copytree(RUN.parent / "evaluation", tmp_path / "runs" / "older")
    shutil.copytree(FILES / "grid", tmp_path / "runs" / "grid")
    return tmp_path


def test_the_page_s_metric_has_its_column_everywhere(
    folder: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The stored grid's heads are drawn anew here, and their last bits depend on the processor and its threads.
    monkeypatch.setattr("switchrecon.runs.folder.check_same_data", lambda *arguments: None)

    def here(grid: Any, cells: Sequence[Cell], *rest: object) -> None:  # not in processes that start Python anew
        for cell in cells:
            run_cell(cell)

    monkeypatch.setattr("switchrecon.experiments.crossval.run_local", here)
    for name in ("loss_figure", "comparison_figure"):  # drawings without metrics take most of the time
        monkeypatch.setattr(f"switchrecon.reports.figures.{name}", lambda *values, **options: b"")
    for name in ("_fig_2", "spectrum_plot"):
        monkeypatch.setattr(f"switchrecon.experiments.figures.{name}", lambda *values: DrawnFigure("none", "", None))
    trained = {file: file.stat().st_mtime_ns for file in folder.rglob("model.safetensors")}
    printed = []
    for title in ("evaluate", "later", "crossval"):
        [command] = commands_of(CODE[title])
        code, out, err = run_cli(*command)
        assert code == 0, err
        printed.append(out)

    # Evaluation and report
    assert "HFEN" in printed[0]
    evaluation = Evaluation.read(folder / "runs/evaluation/metrics.json")
    assert evaluation.columns[-1] == Column("hfen", "HFEN", "lower", digits=3)
    value = evaluation.value("zero-filled", "hfen").mean
    assert value is not None
    assert 0 < value < 2
    for name in ("metrics.csv", "units.csv"):
        rows = list(csv.DictReader((folder / "runs/evaluation" / name).read_text().splitlines()))
        assert all(float(row["hfen"]) > 0 for row in rows)
    page = (folder / "runs/evaluation/report.html").read_text()
    assert '<th scope="col">HFEN ↓</th>' in page
    assert f"<td>{value:.3f}" in page or f"</span>{value:.3f}" in page
    assert "HFEN of every slice" in page  # the plot

    # Later, from stored images
    older = Evaluation.read(folder / "runs/older/metrics.json")
    assert older.value("supervised", "hfen").mean is not None
    assert older.value("supervised/hard", "hfen").mean is None
    assert '<th scope="col">HFEN ↓</th>' in (folder / "runs/older/report.html").read_text()

    # Cross-validation: table, CSV, LaTeX, page and plot; nothing was trained again
    grid = folder / "runs/grid"
    assert trained == {file: file.stat().st_mtime_ns for file in folder.rglob("model.safetensors")}
    table = Table.read(grid / "table.json")
    found = table.only.methods["supervised"].value("hfen")
    assert found.mean is not None
    assert len(found.folds) == 2
    assert "| HFEN ↓ |" in (grid / "table.md").read_text()
    assert f"{found.mean:.3f} ± {found.std:.3f}" in (grid / "table.md").read_text()
    assert "HFEN $\\downarrow$" in (grid / "table.tex").read_text()
    lines = csv.DictReader((grid / "table.csv").read_text().splitlines())
    assert any(line["metric"] == "hfen" and line["method"] == "supervised" and line["mean"] for line in lines)
    assert '<th scope="col">HFEN ↓</th>' in (grid / "report.html").read_text()
    assert all(float(row["hfen"]) > 0 for row in csv.DictReader((grid / "cells.csv").read_text().splitlines()))
    assert (grid / "metrics.png").is_file()
    # Done; it is open again once the file has changed, and not because the file is gone.
    [cell, *_] = read_plan(grid).cells
    assert not is_wanting(cell)
    (folder / "hfen.py").write_text(CODE["hfen.py"] + "\n# changed\n")
    assert is_wanting(cell)
    (folder / "hfen.py").unlink()
    assert not is_wanting(cell)
    again = gather(read_plan(grid))
    assert again.columns == table.columns


def test_the_page_s_metric_is_what_it_says(folder: Path) -> None:
    [hfen] = [metric for metric in find_metrics(["hfen.py:HFEN"]) if metric.name == "hfen"]
    reference = np.random.RandomState(0).uniform(size=(24, 20))
    assert hfen(reference, reference, 1.0) == 0
    assert hfen(reference, np.zeros_like(reference), 1.0) == 1
    assert hfen(reference, reference + 5, 1.0) == pytest.approx(0, abs=1e-12)  # no edge differs


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("absent.py:A", "metric 'absent.py:A': no such file absent.py; expected FILE.py:NAME"),
        ("bad.py:A", "bad.py raised ValueError: of the user"),
        ("hfen.py:HFFN", "hfen.py defines no 'HFFN'; did you mean 'HFEN'?"),
        ("hfen.py:hfen", "metric 'hfen.py:hfen': is a function; expected a switchrecon.metrics.Metric"),
        ("haarpsy", "unknown metric 'haarpsy'; did you mean 'haarpsi'?, or give FILE.py:NAME"),
        ("again.py:A", "metric 'again.py:A': there is a metric 'psnr' already; choose another name"),
        ("named.py:A", "a metric's name cannot be 'slice'"),
        ("digits.py:A", "metric 'a' has 12 digits; expected 0 to 9"),
        ("better.py:A", "metric 'a' has 'hihger'; did you mean 'higher'?"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(folder: Path, spec: str, message: str) -> None:
    head = "from switchrecon.metrics import Column, Metric\n"
    files = {
        "bad.py": "raise ValueError('of the user')\n",
        "again.py": head + "A = Metric(Column('psnr', 'P'), max)\n",
        "named.py": head + "A = Metric(Column('slice', 'S'), max)\n",
        "digits.py": head + "A = Metric(Column('a', 'A', digits=12), max)\n",
        "better.py": head + "A = Metric(Column('a', 'A', 'hihger'), max)\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        find_metrics([spec])


def test_a_recipe_s_metric_that_cannot_be_used_is_refused_before_any_training(folder: Path, run_cli: RunCli) -> None:
    recipe = yaml.safe_load((FILES / "grid.yaml").read_text()) | {"metrics": ["hfen.py:NONE"]}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    code, _, err = run_cli("crossval", "--config", "recipe.yaml", "--out", "runs/other")
    assert code == 2
    assert "hfen.py defines no 'NONE'" in err
    assert not (folder / "runs/other/cells").exists()


def test_a_metric_that_fails_says_which_and_where() -> None:
    def broken(reference: np.ndarray, image: np.ndarray, maximum: float) -> float:
        raise IndexError("out of range")

    images = np.ones((1, 9, 8))
    with pytest.raises(DataError, match="metric 'mine' failed on 9x8 pixels: IndexError: out of range"):
        slice_metrics(images, images, "slice-max", metrics=[Metric(Column("mine", "Mine"), broken)])


def test_a_metric_of_a_whole_volume_gets_all_slices_at_once(folder: Path, run_cli: RunCli) -> None:
    (folder / "shape.py").write_text(
        "from switchrecon.metrics import Column, Metric\n"
        "SHAPE = Metric(Column('axes', 'Axes', pooled='volume', digits=0), lambda r, u, maximum: r.ndim)\n"
    )
    command = ("evaluate", "runs/first", "--reference", "scans/test", "--out", "out", "--metric", "shape.py:SHAPE")
    code, printed, err = run_cli(*command)
    assert code == 0, err
    found = json.loads((folder / "out/metrics.json").read_text())["conventions"]
    assert found["slice-max"]["zero-filled"]["axes"]["mean"] == 2
    assert found["fastmri"]["zero-filled"]["axes"] == {"mean": 3, "std": None}  # one scan: no spread
    assert "± 0" not in printed
