"""Cross-validation: grids of cells that go on where they stopped, and what is written from them."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from filelock import FileLock

from switchrecon.cli.crossval import _print_tables
from switchrecon.errors import ConfigError, RunError
from switchrecon.experiments import engines
from switchrecon.experiments.cells import Cell, CellBusy, Options, begin_cell, is_done, is_wanting, run_cell
from switchrecon.experiments.crossval import (
    Only,
    elsewhere,
    failures,
    open_grid,
    run_grid,
    run_one,
    select,
    write_results,
    write_slurm,
)
from switchrecon.experiments.engines import cell_arguments, slurm_script
from switchrecon.experiments.figures import busiest_square, draw_figures
from switchrecon.experiments.grid import Grid, read_cell, read_plan
from switchrecon.experiments.progress import GridProgress
from switchrecon.experiments.recipe import Recipe, parse_recipe
from switchrecon.experiments.results import RowValues, gather, tabulate
from switchrecon.metrics.statistics import Unit
from switchrecon.phantoms.scans import write_heads
from switchrecon.reports.records import Table
from switchrecon.reports.tables import csv_table, latex, markdown
from switchrecon.runs.checkpoint import load_model
from tests.conftest import hide_lpips, shared_file
from tests.forked import Forked

TINY: dict[str, Any] = {
    "title": "Tiny & quick",
    "paper": "ixi-x4",
    "data": {"heads": 3, "head_slices": 2},
    "folds": 3,
    "run_folds": [0, 2],
    "methods": {"switchable": {}, "supervised": {}},
    "common": {
        "matrix": 64,
        "width": 2,
        "residual_blocks": 1,
        "extractor_depth": 3,
        "steps": 4,
        "checkpoint_every": 2,
        "representation": "magnitude",
        "convention": "slice-max",
    },
}


@pytest.fixture(autouse=True)
def _no_lpips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever this machine has, LPIPS is present only where a test asks for it."""
    hide_lpips(monkeypatch, tmp_path)


def recipe(**changes: Any) -> Recipe:
    return parse_recipe({**TINY, **changes}, "tiny")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    """A grid of four cells and its results."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("finished")
        hide_lpips(patch, folder / "empty")
        out = folder / "out"
        grid = open_grid(recipe(), None, out)
        for cell in grid.cells:
            run_cell(cell)
        write_results(grid)
        yield grid


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The local engine's processes are forks of this one."""
    if sys.platform == "linux":
        monkeypatch.setattr(engines, "subprocess", SimpleNamespace(Popen=Forked))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results without figures, which take most of their time."""
    monkeypatch.setattr("switchrecon.experiments.crossval.draw_figures", lambda *arguments: [])


# A method whose training stops at the fourth step, says so, and goes on when the file "go" is there.
HOLDING = """
import os, time
from pathlib import Path
from switchrecon.methods.methods import GENERATOR, ISCL_SAMPLING, SWITCHABLE_ISCL
HERE, calls = Path(__file__).parent, []

def hold(step):
    calls.append(step)
    if len(calls) >= 4 and not (HERE / "go").exists():
        (HERE / f"holding-{os.getpid()}").touch()
        end = time.monotonic() + 100
        while not (HERE / "go").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
    return 0 * step.full_of_x.abs().mean()

SWITCHABLE, SAMPLING = (one.adding(GENERATOR, {hold: 1}) for one in (SWITCHABLE_ISCL, ISCL_SAMPLING))
"""


def holding_plan(folder: Path, *names: str) -> dict[str, Any]:
    """A recipe of such methods, one fold, ten steps with a checkpoint at every third."""
    (folder / "holding.py").write_text(HOLDING)
    methods = {name.lower(): {"method": f"{folder}/holding.py:{name}"} for name in names}
    plan = {**TINY, "common": {**TINY["common"], "steps": 10, "checkpoint_every": 3}, "run_folds": [0]}
    plan["methods"] = methods
    (folder / "recipe.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    return plan


def weights_of(cell: Cell) -> str:
    return load_model(cell.folder / "run" / "model.safetensors")[1].weights_sha256


def test_a_grid_ends_with_table_figures_and_page(finished: Grid) -> None:
    out = finished.out
    table = json.loads((out / "table.json").read_text())
    assert table["convention"] == "slice-max"
    assert list(table["methods"]) == [
        "zero-filled",
        "switchable",
        "switchable/ensemble",
        "switchable/ensemble-hard",
        "switchable/hard",
        "supervised",
        "supervised/hard",
    ]
    assert (table["test_subjects"], table["test_units"], table["missing"]) == (2, 4, [])
    for values in table["methods"].values():
        assert values["psnr"]["mean"] == pytest.approx(np.mean(list(values["psnr"]["folds"].values())))
        assert values["lpips"]["mean"] is None
    assert table["methods"]["switchable"]["steps"] == 4
    assert table["methods"]["switchable"]["images"] == {"full": 2, "sub": 2}
    assert table["methods"]["supervised"]["images"] == {"full": 4}
    for stem in ("fig2", "error-spectrum"):
        assert (out / f"{stem}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert (out / f"{stem}.pdf").read_bytes()[:5] == b"%PDF-"
    page = (out / "report.html").read_text()
    assert "Tiny &amp; quick" in page
    assert "not a medical device" in page
    assert "LPIPS is n/a" in page
    assert "27.47" in page  # the paper's number beside ours
    assert "has the highest mean PSNR of" in page
    stacks = json.loads(page.partition('id="viewer-data">')[2].partition("</script>")[0])["stacks"]
    assert [stack["name"] for stack in stacks] == ["fold 0, scan-001"]
    assert [layer["name"] for layer in stacks[0]["layers"]] == [
        "reference",
        "zero-filled",
        "switchable",
        "supervised",
    ]
    other = json.loads((out / "table-fastmri.json").read_text())
    assert other["test_units"] == 2  # volumes


def test_a_terminal_gets_tables_and_no_markdown(finished: Grid, capsys: pytest.CaptureFixture[str]) -> None:
    _print_tables(Table.read(finished.out / "table.json"))
    out = capsys.readouterr().out
    assert "supervised/hard" in out
    assert "|" not in out
    assert "**" not in out


def test_the_table_is_the_mean_of_the_cells(finished: Grid) -> None:
    table = tabulate(finished, gather(finished), "slice-max")
    means = []
    for cell in finished.cells:
        if cell.row == "supervised":
            rows = csv.DictReader((cell.folder / "evaluation" / "units.csv").read_text().splitlines())
            picked = [r for r in rows if (r["convention"], r["method"]) == ("slice-max", "supervised")]
            means.append(np.mean([float(r["ssim"]) for r in picked]))
    cells = list(csv.DictReader((finished.out / "cells.csv").read_text().splitlines()))
    mine = [float(r["ssim"]) for r in cells if (r["convention"], r["method"]) == ("slice-max", "supervised")]
    assert mine == pytest.approx(means, rel=1e-5)
    assert table.only.methods["supervised"].value("ssim").mean == pytest.approx(np.mean(means))
    assert table.only.methods["supervised"].value("ssim").std == pytest.approx(np.std(means, ddof=1))


def test_a_finished_grid_is_left_alone(finished: Grid) -> None:
    before = {cell.name: (cell.folder / "run" / "model.safetensors").stat().st_mtime_ns for cell in finished.cells}
    again = open_grid(recipe(), None, finished.out)
    assert select(again, Only()) == []
    run_grid(again)
    run_one(again, again.cells[0].key)
    after = {cell.name: (cell.folder / "run" / "model.safetensors").stat().st_mtime_ns for cell in again.cells}
    assert before == after


def test_a_grid_may_grow_but_its_cells_may_not_change(finished: Grid) -> None:
    grown = open_grid(recipe(methods={"iscl": {}, **TINY["methods"]}, seeds=[0, 1]), None, finished.out)
    missing = select(grown, Only())
    assert len(missing) == 12 - 4
    assert select(grown, Only(methods=["iscl"], folds=[2])) == [c for c in missing if (c.row, c.fold) == ("iscl", 2)]
    plan = (finished.out / "crossval.yaml").read_text()
    with pytest.raises(RunError, match=r"was made with width = 2, the recipe now says 3; choose another --out"):
        open_grid(recipe(common={**TINY["common"], "width": 3}), None, finished.out)
    with pytest.raises(RunError, match=r"was made with other scans"):
        open_grid(recipe(data={"heads": 4, "head_slices": 2}, folds=4), None, finished.out)
    assert (finished.out / "crossval.yaml").read_text() == plan
    open_grid(recipe(), None, finished.out)
    with pytest.raises(ConfigError, match="has no 'isc'"):
        select(finished, Only(methods=["isc"]))
    with pytest.raises(ConfigError, match="the recipe has no '7'"):
        select(finished, Only(seeds=[7]))


def test_lpips_is_added_to_a_finished_grid_without_training_again(finished: Grid, tmp_path: Path) -> None:
    weights = shared_file("weights/lpips_alex_v0.1.safetensors")
    cell = finished.cells[1]
    assert is_done(cell)
    with_weights = read_plan(finished.out, Options(lpips_weights=weights))
    copied = with_weights.cells[1]
    trained = (cell.folder / "run" / "model.safetensors").stat().st_mtime_ns
    done = (cell.folder / "DONE").read_text()
    # Until it is there, the table has what it had.
    assert is_done(copied)
    assert is_wanting(copied)
    assert gather(finished).missing == []
    assert [cell.key for cell in select(with_weights, Only())] == [cell.key for cell in finished.cells]
    assert select(finished, Only()) == []
    run_cell(copied)
    assert not is_wanting(copied)
    metrics = json.loads((cell.folder / "evaluation" / "metrics.json").read_text())
    assert 0 < metrics["methods"]["supervised"]["lpips"]["mean"] < 1.5
    assert (cell.folder / "run" / "model.safetensors").stat().st_mtime_ns == trained
    assert (cell.folder / "DONE").read_text() != done


@pytest.mark.usefixtures("forked", "undrawn")
def test_a_cell_that_fails_is_listed_and_stops_no_other(
    run_cli: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "bad.py").write_text("raise ValueError('of the user')\n")
    file = tmp_path / "recipe.yaml"
    methods = {"broken": {"method": f"{tmp_path}/bad.py:MINE"}, "supervised": {}}
    file.write_text(yaml.safe_dump({**TINY, "methods": methods, "run_folds": [1]}))
    code, printed, err = run_cli("crossval", "--config", file, "--out", tmp_path / "out", "--workers", 1)
    assert code == 3
    assert "default · broken · fold 1 · seed 0 failed: " in err
    assert "of the user" in err
    assert err.count("to be tried again") == 1
    assert "| supervised |" in printed
    assert "Missing: 1 cell (" in printed
    log = (tmp_path / "out/cells/default/broken/fold-1/seed-0/log.txt").read_text()
    assert log.count("failed: ConfigError") == 2
    # Mended, it goes on without the recipe, and the old failure is forgotten; changed code is named once more.
    (tmp_path / "bad.py").write_text("from switchrecon.methods.methods import SIMULATED as MINE\n")
    code, _, err = run_cli("crossval", "--out", tmp_path / "out", "--workers", 1)
    assert (code, "its recipe runs code" in err) == (2, True)
    code, printed, err = run_cli("crossval", "--out", tmp_path / "out", "--workers", 1, "--trust-code")
    assert code == 0, err
    assert "| broken |" in printed
    assert "Missing" not in printed


@pytest.mark.skipif(sys.platform != "linux", reason="forks, which are safe on Linux alone")
@pytest.mark.usefixtures("forked", "undrawn")
def test_a_grid_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    plan = holding_plan(tmp_path, "SWITCHABLE")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "switchrecon", "crossval", "--out", str(out), "--workers", "1"]
    process = Forked([*command, "--config", str(tmp_path / "recipe.yaml")], start_new_session=True)
    wait_for(lambda: bool(list(tmp_path.glob("holding-*"))))
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    cell = read_plan(out).cells[0]
    assert not is_done(cell)
    (tmp_path / "go").touch()
    assert Forked(command).wait() == 0
    assert is_done(cell)
    other = open_grid(parse_recipe(plan, "r"), None, tmp_path / "whole").cells[0]
    run_cell(other)
    assert weights_of(cell) == weights_of(other)
    log = cell.folder / "run" / "log.jsonl"
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, 11))


def test_a_grid_that_is_told_to_stop_takes_its_cells_with_it(tmp_path: Path) -> None:
    slow = {**TINY, "common": {**TINY["common"], "steps": 5000}, "methods": {"supervised": {}}, "run_folds": [0]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(slow))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "switchrecon", "crossval", "--out", str(out), "--workers", "1"]
    process = subprocess.Popen([*command, "--config", str(tmp_path / "recipe.yaml")], stderr=subprocess.PIPE, text=True)
    folder = out / "cells/default/supervised/fold-0/seed-0"
    wait_for(lambda: (folder / "run" / "log.jsonl").exists())
    process.terminate()
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "interrupted" in told
    FileLock(folder / "lock").acquire(timeout=20).lock.release()


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)


@pytest.mark.more
def test_ray_gives_the_same_bits_also_when_a_worker_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is an optional extra and not installed")
    plan = holding_plan(tmp_path, "SWITCHABLE", "SAMPLING")
    out = tmp_path / "ray"
    command = [sys.executable, "-m", "switchrecon", "crossval", "--config", str(tmp_path / "recipe.yaml")]
    process = subprocess.Popen(
        [*command, "--out", str(out), "--engine", "ray", "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "RAY_worker_niceness": "0"},
    )
    wait_for(lambda: len(list(tmp_path.glob("holding-*"))) == 2 or process.poll() is not None)
    workers = ray_workers(process.pid)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    (tmp_path / "go").touch()
    printed = process.communicate(timeout=300)[0]
    assert process.returncode == 0, printed
    grid, other = read_plan(out), open_grid(parse_recipe(plan, "r"), None, tmp_path / "local")
    for mine, theirs in zip(grid.cells, other.cells, strict=True):
        run_cell(theirs)
        assert weights_of(mine) == weights_of(theirs)
        units = [(c.folder / "evaluation" / "units.csv").read_bytes() for c in (mine, theirs)]
        assert units[0] == units[1]


def ray_workers(ancestor: int) -> list[int]:
    """Ray processes that work on a task, of the instance that a process has started."""
    parents, titles = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(stat[1])
            titles[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue

    def descends(pid: int) -> bool:
        while pid in parents and pid != ancestor:
            pid = parents[pid]
        return pid == ancestor

    return [pid for pid, title in titles.items() if title.startswith("ray::work") and descends(pid)]


def test_two_processes_never_work_on_one_cell(finished: Grid) -> None:
    cell = finished.cells[0]
    with FileLock(cell.folder / "lock"), pytest.raises(CellBusy, match="another process"):
        run_cell(cell)


@pytest.mark.usefixtures("forked", "undrawn")
def test_a_cell_that_another_process_holds_is_told_and_a_done_one_is_not(
    finished: Grid, tmp_path: Path, run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    assert elsewhere(finished, Only()) == []
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    [held, *_] = read_plan(out).cells
    (held.folder / "DONE").unlink()
    with FileLock(held.folder / "lock"):
        code, printed, err = run_cli("crossval", "--out", out, "--workers", 1)
    assert code == 3
    assert f"not done: {held.name}: another process" in err
    assert "Missing: 1 cell (" in printed
    for cell in read_plan(out).cells:
        shutil.rmtree(cell.folder)
    held.folder.mkdir()
    with FileLock(held.folder / "lock"):
        code, _, err = run_cli(
            *("crossval", "--out", out, "--workers", 1, "--method", held.row, "--fold", held.fold, "--seed", held.seed)
        )
    assert code != 0
    assert f"no cell is finished; not done: {held.name}: another process works on this" in err


def test_a_new_attempt_forgets_an_old_failure_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = open_grid(recipe(), None, tmp_path / "out")
    told = []

    def train(*arguments: Any, **named: Any) -> None:
        told.append(failures(grid))
        raise RunError("no memory")

    monkeypatch.setattr("switchrecon.experiments.cells.train", train)
    for _ in range(2):
        with pytest.raises(RunError, match="no memory"):
            run_cell(grid.cells[0])
    assert told == [[], []]
    assert failures(grid) == [f"{grid.cells[0].name} failed: no memory"]


@pytest.mark.usefixtures("undrawn")
def test_slurm_runs_one_cell_a_task(tmp_path: Path) -> None:
    grid = open_grid(recipe(), None, tmp_path / "out here, 50%")
    run_cell(grid.cells[1])
    script = tmp_path / "array.sh"
    assert write_slurm(grid, script) == 3
    assert "#SBATCH --array=0-2\n" in script.read_text()
    assert "out here, 50%%'/slurm-%a.txt\n" in script.read_text()  # a bare % would begin one of Slurm's own names
    subprocess.run(["bash", script], check=True, env={**os.environ, "SLURM_ARRAY_TASK_ID": "2"})
    assert [is_done(cell) for cell in grid.cells] == [False, True, False, True]
    table = write_results(grid)  # of what there is
    assert table.missing == [grid.cells[0].name, grid.cells[2].name]
    assert "switchable" not in {name for name, row in table.only.methods.items() if row.value("psnr").mean is None}
    with pytest.raises(ConfigError, match="has no cell 'default/switchable/1/0'; did you mean"):
        run_one(grid, "default/switchable/1/0")


@pytest.mark.more
def test_a_slurm_task_that_fails_tries_again_and_is_listed(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("raise ValueError('of the user')\n")
    plan = recipe(methods={"broken": {"method": f"{tmp_path}/bad.py:MINE"}}, run_folds=[0], retries=1)
    grid = open_grid(plan, None, tmp_path / "out")
    script = tmp_path / "array.sh"
    write_slurm(grid, script)
    done = subprocess.run(["bash", script], env={**os.environ, "SLURM_ARRAY_TASK_ID": "0"}, capture_output=True)
    assert done.returncode == 2
    [sentence] = failures(grid)
    assert "of the user" in sentence
    assert (grid.cells[0].folder / "log.txt").read_text().count("failed: ConfigError") == 2


def test_scans_that_change_under_a_grid_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    heads = write_heads(data, range(4), 2, 64)
    spare = heads[3].rename(tmp_path / heads[3].name)
    grid = open_grid(recipe(data={"files": [f"*{spare.suffix}"]}), data, tmp_path / "out")
    assert open_grid(None, None, grid.out).scans == grid.scans
    spare.rename(heads[3])  # a download has ended: the folds would be cut elsewhere
    with pytest.raises(RunError, match=r"was begun with \(3 subjects then, 4 now\); restore them"):
        open_grid(None, None, grid.out)
    with pytest.raises(RunError, match="3 subjects then, 4 now"):
        read_cell(grid.out, grid.cells[0].key)  # as a cell's process does


def test_a_process_for_one_cell_builds_and_checks_that_cell_alone(
    finished: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    real = Recipe.config

    def config(self: Recipe, setting: str, row: str, seed: int) -> Any:
        built.append((setting, row, seed))
        return real(self, setting, row, seed)

    monkeypatch.setattr(Recipe, "config", config)
    wanted = finished.cells[3]
    cell = read_cell(finished.out, wanted.key, Options(device="cpu"))
    assert cell == replace(wanted, options=Options(device="cpu"))
    assert built == [("default", "switchable", 0), ("default", "supervised", 0)]  # the first tells the heads' matrix
    with pytest.raises(ConfigError, match="has no cell 'default/supervised/1/0'; did you mean"):
        read_cell(finished.out, "default/supervised/1/0")


def test_options_reach_the_processes_of_cells_as_arguments(finished: Grid, tmp_path: Path) -> None:
    options = Options("cuda:1", Path("prepared"), Path("/weights/lpips.safetensors"))
    grid = replace(finished, options=options)
    here = str(Path("prepared").resolve())
    arguments = ["--device", "cpu", "--cache", here, "--lpips-weights", "/weights/lpips.safetensors"]
    assert cell_arguments(grid, "a/b/0/1", "cpu")[-7:] == [*arguments, "--trust-code"]  # this process has checked
    assert "--device cuda:1 --cache " + here in slurm_script(grid, grid.cells)
    assert Options().arguments() == []


def test_a_method_file_that_changes_under_a_finished_cell_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from switchrecon.methods.methods import SIMULATED as MINE\n")
    plan = recipe(methods={"mine": {"method": f"{tmp_path}/mine.py:MINE"}}, run_folds=[0])
    grid = open_grid(plan, None, tmp_path / "out")
    run_cell(grid.cells[0])
    open_grid(None, None, grid.out)
    (tmp_path / "mine.py").write_text("from switchrecon.methods.methods import SUPERVISED as MINE\n")
    with pytest.raises(RunError, match="its recipe runs code"):
        open_grid(None, None, grid.out)
    for given, options in ((plan, Options()), (None, Options(trust_code=True))):
        with pytest.raises(RunError, match="made with another version of a mask's or the method's file"):
            open_grid(given, None, grid.out, options)


def test_a_row_that_lacks_seeds_says_so(finished: Grid) -> None:
    results = gather(finished)
    row = results.settings["default"]["switchable"]
    for metric in ("psnr", "ssim", "nmse", "lpips"):
        for unit, value in list(row.by_seed("slice-max", metric)[0].items()):
            row.add("slice-max", metric, 1, unit, value + 1)
    row.spectra |= {(fold, 1): [1.0] * 16 for fold, _ in list(row.spectra)}
    grid = replace(finished, recipe=recipe(seeds=[0, 1]))
    table = tabulate(grid, results, "slice-max")
    assert [table.only.methods[name].seeds for name in ("switchable", "supervised")] == [2, 1]
    text = markdown(table)
    assert "| supervised (1 of 2 seeds) |" in text
    assert "Standard deviation over seeds: switchable 0.71 dB, SSIM 0.707, NMSE 0.7071" in text
    assert "supervised 0" not in text
    assert "| switchable |" in text
    assert "| zero-filled |" in text
    # The difference is that of the seed which both have.
    alone = tabulate(finished, gather(finished), "slice-max").only.differences[-1]
    assert table.only.differences[-1].value("psnr") == alone.value("psnr")


def test_the_part_of_a_gap_is_told_for_each_metric_also_where_less_is_better(finished: Grid) -> None:
    results = gather(finished)
    values = {"supervised": (22.0, 0.4), "zero-filled": (23.0, 0.3), "switchable": (26.0, 0.2)}
    for name, (psnr, lpips) in values.items():
        row = results.settings["default"][name]
        for unit in list(row.by_seed("slice-max", "psnr")[0]):
            row.add("slice-max", "psnr", 0, unit, psnr)
            row.add("slice-max", "lpips", 0, unit, lpips)
    grid = replace(finished, recipe=recipe(gap={"lower": "supervised", "upper": "switchable"}))
    table = tabulate(grid, results, "slice-max")
    found = table.only.methods["zero-filled"].recovered
    assert found is not None
    assert (found["psnr"].mean, found["lpips"].mean) == (pytest.approx(1 / 4), pytest.approx(1 / 2))
    lines = markdown(table).splitlines()
    titles = [f"gap recovered: {title}" for title in ("PSNR", "SSIM", "NMSE", "LPIPS", "HaarPSI")]
    assert f"| {' | '.join(titles)} |" in lines[2]
    assert "| 0.25 [0.25, 0.25] |" in next(line for line in lines if line.startswith("| zero-filled"))


def test_the_error_spectrum_is_the_mean_over_folds_of_means_over_seeds() -> None:
    row = RowValues("a", spectra={(0, 0): [1.0, 2.0], (0, 1): [3.0, 2.0], (1, 0): [8.0, 4.0]})
    assert row.spectrum() == [5.0, 3.0]
    assert row.fewest_seeds() == 1


def test_several_settings_stand_above_their_methods(tmp_path: Path) -> None:
    plan = recipe(
        settings={"x4": {}, "x6": {"mask.acceleration": 6}}, run_folds=[0], methods={"supervised": {}}, paper=None
    )
    grid = open_grid(plan, None, tmp_path / "out")
    for cell in grid.cells:
        run_cell(cell)
    table = write_results(grid)
    assert set(table.settings) == {"x4", "x6"}
    zero = [part.methods["zero-filled"].value("psnr") for part in table.settings.values()]
    assert None not in (zero[0].mean, zero[1].mean)
    assert zero[0].mean > zero[1].mean  # type: ignore[operator]
    assert zero[0].std is None  # one fold
    assert "paper" not in markdown(table)
    assert (tmp_path / "out" / "fig2-x6.png").is_file()


def test_what_is_no_cross_validation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no cross-validation; start one with --config"):
        open_grid(None, None, tmp_path)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty and holds no cross-validation"):
        open_grid(recipe(), None, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(ConfigError, match="--data goes with --config"):
        open_grid(None, tmp_path, tmp_path)
    grid = open_grid(recipe(), None, tmp_path / "out")
    with pytest.raises(RunError, match="no cell is finished; nothing has run yet"):
        write_results(grid)
    assert failures(grid) == []
    with pytest.raises(ConfigError, match="unknown engine 'rai'; did you mean 'ray'"):
        run_grid(grid, engine="rai")
    (tmp_path / "out" / "crossval.yaml").write_text("recipe: [")
    with pytest.raises(RunError, match=r"crossval\.yaml: damaged"):
        read_plan(tmp_path / "out")
    begin_cell(grid.cells[0])
    (grid.cells[0].folder / "run").mkdir()
    (grid.cells[0].folder / "cell.json").write_text("{")
    with pytest.raises(RunError, match=r"cell.json: damaged"):
        begin_cell(grid.cells[0])


def a_table(**changes: Any) -> Table:
    def row(psnr: float | None) -> dict[str, Any]:
        value = {"mean": psnr, "std": None if psnr is None else 0.5, "low": psnr, "high": psnr, "seed_std": None}
        value["folds"] = {"0": psnr, "1": psnr}
        none = {"mean": None, "std": None, "low": None, "high": None, "seed_std": None}
        return {"psnr": value, "ssim": value, "nmse": value, "lpips": none, "seeds": 1}

    pair = {"first": "zero-filled", "second": "a_b"} | {
        m: {"mean": 1.0, "low": -0.5, "high": 2.5, "subjects": 3} for m in ("psnr", "ssim", "nmse", "lpips")
    }
    values = {
        "title": "T & U",
        "convention": "slice-max",
        "convention_text": "slice maximum; mean over slices",
        "folds": [0, 1],
        "seeds": [0],
        "paper": {"zero-filled": {"psnr": 19.2744, "ssim": 0.4547, "lpips": 0.3617}},
        "methods": {"zero-filled": row(20.0), "a_b": {**row(21.0), "parameters": 1_234_567, "training_seconds": 90.0}},
        "differences": [pair],
        "test_subjects": 3,
        "footnotes": ["50 % of nothing"],
        "missing": ["x"],
    }
    return Table.model_validate(values | changes)


def test_tables_as_text() -> None:
    text = markdown(a_table())
    assert (
        "| zero-filled | 20.00 ± 0.50 | 20.000 ± 0.500 | 20.0000 ± 0.5000 | n/a | n/a |  |  | 19.27 | 0.455 | 0.362 |"
        in text
    )
    assert "| 1.23 M | 1.5 min |" in text
    assert "| a_b − zero-filled | +1.00 [-0.50, +2.50] |" in text
    assert "rests on 3 subjects" in text
    assert "1. 50 % of nothing" in text
    lines = csv_table(a_table()).splitlines()
    assert lines[0] == "convention,setting,method,minus,metric,mean,std,low,high,seed_std,paper"
    assert lines[1] == "slice-max,,zero-filled,,psnr,20,0.5,20,20,,19.2744"
    assert "slice-max,,a_b,,lpips,,,,,," in lines
    assert "slice-max,,a_b,zero-filled,psnr,1,,-0.5,2.5,," in lines
    tex = latex(a_table())
    assert r"a\_b & 21.00 $\pm$ 0.50" in tex
    assert r"\caption{T \& U." in tex
    assert tex.count(r"\begin{tabular}") == 2
    # A partial table says so wherever it is pasted.
    assert tex.count(r"\par\footnotesize 1. 50 \% of nothing") == 2
    assert tex.count(r"\par\footnotesize 2. Missing: 1 cell (x).") == 2


def test_latex_escapes_every_special_character() -> None:
    only = a_table().only.methods["a_b"]
    table = a_table(methods={"100%_#{x}~^\\": only}, differences=[])
    body = latex(table).split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert r"100\%\_\#\{x\}\textasciitilde{}\textasciicircum{}\textbackslash{}" in body


def test_the_inset_is_where_the_edges_are() -> None:
    image = np.zeros((40, 50))
    image[25:30, 33:38] = 1
    top, left = busiest_square(image, 10)
    assert top <= 24
    assert top + 10 >= 31
    assert left <= 32
    assert left + 10 >= 39


def test_figure_3_shows_slices_with_lower_psnr_and_better_lpips(finished: Grid) -> None:
    results = gather(finished)
    rows = results.settings["default"]
    table = tabulate(finished, results, "slice-max")
    (finished.out / "fig3.png").write_bytes(b"of an earlier state")
    assert [d.file for d in draw_figures(finished, results, table) if d.name == "fig3"] == [None]
    assert not (finished.out / "fig3.png").exists()
    units = sorted(rows["supervised"].values["slice-max"][0])
    for method, psnr, lpips in (("supervised", 25.0, 0.2), ("switchable", 24.0, 0.1), ("zero-filled", 20.0, 0.4)):
        for place, unit in enumerate(units):
            rows[method].add("slice-max", "psnr", 0, unit, psnr)
            # One slice of the first fold only has better LPIPS.
            rows[method].add("slice-max", "lpips", 0, unit, lpips if place == 0 else 0.3)
    [figure] = [d for d in draw_figures(finished, results, table) if d.name == "fig3"]
    assert figure.file is not None
    assert figure.file.with_suffix(".pdf").is_file()
    assert f"1 of 2 in fold {units[0].fold}" in figure.caption


def test_figures_have_the_same_bytes_each_time(finished: Grid) -> None:
    write_results(finished)
    first = {p.name: p.read_bytes() for p in finished.out.glob("*.p[nd]*")}
    write_results(finished)
    assert first == {p.name: p.read_bytes() for p in finished.out.glob("*.p[nd]*")}
    assert len(first) >= 4


def test_the_claim_checklist_of_a_grid(finished: Grid, run_cli: Callable[..., tuple[int, str, str]]) -> None:
    (finished.out / "table.json").unlink()  # as after a Slurm array
    code, printed, err = run_cli("report", finished.out, "--claim")
    assert code == 0, err
    assert "claim.md" in printed
    text = (finished.out / "claim.md").read_text()
    assert "3 subjects in 3 folds, 2 of which are run, in the order" in text
    assert "For testing: all slices that are not near empty" in text
    assert "clustered by subject" in text
    assert "k-space" in text


def test_progress_tells_counts_and_time_left(finished: Grid, messages: list[str]) -> None:
    progress = GridProgress(finished.cells, 2)
    assert progress.seconds_left(1) is not None  # from the runs' logs
    progress.set(finished.cells[0], "running")
    progress.set(finished.cells[1], "failed", "no reason")
    progress.set(finished.cells[2], "done")
    assert progress.summary(1).startswith("cells: 3 done, 1 running, 1 waiting, 1 failed; ")
    table = progress.table(1)
    assert table.row_count == 3
    assert f"{finished.cells[1].name}: failed (no reason)" in messages


def test_units_order_by_their_fold_first() -> None:
    assert sorted([Unit(1, "a", "a", "1"), Unit(0, "b", "b", "1")])[0].fold == 0
