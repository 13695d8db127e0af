"""Cross-validation: run a recipe's grid of cells with an engine, and write tables, figures and a page."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from switchrecon.core.files import write_text
from switchrecon.errors import ConfigError, RunError, nearest
from switchrecon.evaluation.volumes import csv_text
from switchrecon.experiments.cells import (
    Cell,
    Options,
    check_cell,
    is_done,
    run_cell,
)
from switchrecon.experiments.engines import fitting_workers, places, run_local, run_ray, slurm_script, unfinished
from switchrecon.experiments.figures import draw_figures
from switchrecon.experiments.grid import PLAN, Grid, make_grid, read_plan, write_plan
from switchrecon.experiments.page import write_crossval_page
from switchrecon.experiments.progress import GridProgress
from switchrecon.experiments.recipe import Recipe
from switchrecon.experiments.results import cell_rows, gather, tabulate
from switchrecon.metrics.conventions import CONVENTIONS
from switchrecon.metrics.table import extra_metrics
from switchrecon.reports.records import Table
from switchrecon.reports.tables import csv_table, latex, markdown

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Only:
    """A part of a grid; an empty field means all of that kind."""

    methods: Sequence[str] = field(default=())
    folds: Sequence[int] = field(default=())
    settings: Sequence[str] = field(default=())
    seeds: Sequence[int] = field(default=())

    def holds(self, cell: Cell) -> bool:
        """Return whether a cell belongs to this part."""
        asked = (
            (self.methods, cell.row),
            (self.folds, cell.fold),
            (self.settings, cell.setting),
            (self.seeds, cell.seed),
        )
        return all(not wanted or value in wanted for wanted, value in asked)


def open_grid(recipe: Recipe | None, data: Path | None, out: Path, options: Options = Options()) -> Grid:
    """Return the grid of a folder: a new one from a recipe, or the one that exists.

    A recipe may get more methods, folds or seeds, as long as existing cells do not change.

    Raises
    ------
    SwitchreconError
        If recipe, data and folder do not fit together; nothing has been written then.
    """
    grid = look_at_grid(recipe, data, out, options)
    if recipe is not None:
        extra_metrics(recipe.metrics)  # a file that cannot be used is refused before the first training
        write_plan(grid)
    return grid


def look_at_grid(
    recipe: Recipe | None, data: Path | None, out: Path, options: Options, heads: Path | None = None
) -> Grid:
    """Return the same grid as :func:`open_grid`, but write nothing except synthetic heads, into ``heads``."""
    if recipe is None:
        if data is not None:
            raise ConfigError("--data goes with --config; the folder remembers its data")
        grid = read_plan(out, options, heads)
    else:
        found = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
        if out.is_file() or (found - {"data"} and PLAN not in found):  # heads are written before anything else
            raise RunError(f"{out}: is not empty and holds no cross-validation; choose another --out")
        grid = make_grid(recipe, data or Path(), out, options, heads)
    for cell in grid.cells:
        check_cell(cell)
    return grid


def select(grid: Grid, only: Only) -> list[Cell]:
    """Return the unfinished cells of a part of the grid.

    Raises
    ------
    ConfigError
        If the part names something that the grid does not have.
    """
    for wanted, valid in (
        (only.methods, list(grid.recipe.methods)),
        (only.settings, list(grid.recipe.settings)),
        ([str(fold) for fold in only.folds], [str(fold) for fold in grid.recipe.used_folds]),
        ([str(seed) for seed in only.seeds], [str(seed) for seed in grid.recipe.seeds]),
    ):
        for name in wanted:
            if name not in valid:
                raise ConfigError(f"the recipe has no '{name}'; {nearest(name, valid)}")
    return [cell for cell in unfinished(grid) if only.holds(cell)]


def run_one(grid: Grid, key: str) -> None:
    """Run one cell of an open grid by its key.

    Raises
    ------
    ConfigError
        If there is no such cell.
    CellBusy
        If another process works on it.
    """
    found = {cell.key: cell for cell in grid.cells}
    if key not in found:
        raise ConfigError(f"the grid has no cell '{key}'; {nearest(key, found)}")
    run_cell(found[key])


def run_grid(
    grid: Grid,
    only: Only = Only(),
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    gpus: float = 0,
    console: Console | None = None,
    threads: int | None = None,
) -> Table:
    """Run the unfinished cells, and write the table, figures and page from all finished cells.

    Parameters
    ----------
    grid
        A grid from :func:`open_grid`.
    only
        The part to run.
    engine
        ``local`` or ``ray``.
    workers
        Number of cells that run at once; None: as many as fit.
    address, gpus
        See :func:`switchrecon.experiments.engines.run_ray`.
    console
        Console for a live table of the progress; None: lines are logged.
    threads
        Cores that the cells share if ``workers`` is None; None: all free cores.

    Returns
    -------
    Table
        The content of ``table.json``.

    Raises
    ------
    ConfigError
        If the engine or the part is unknown.
    """
    if engine not in ENGINES:
        raise ConfigError(f"unknown engine '{engine}'; {nearest(engine, ENGINES)}")
    cells = select(grid, only)
    if cells:
        at_once = workers or fitting_workers(cells, places(grid.options.device), threads)
        with GridProgress(cells, len(grid.cells) - len(unfinished(grid)), console) as progress:
            if engine == "ray":
                run_ray(grid, cells, at_once, progress, address, gpus)
            else:
                run_local(grid, cells, at_once, progress)
    return write_results(grid, only)


def write_results(grid: Grid, only: Only | None = None) -> Table:
    """Write the table in four formats, ``cells.csv``, figures and ``report.html``; return the table.

    ``table.json`` is in the recipe's convention; the files ``table-NAME.*`` beside it are in the other conventions.
    ``only`` is the part that was to be run, for the error message.

    Raises
    ------
    RunError
        If no cell is finished yet, or one is damaged.
    """
    results = gather(grid)
    if len(results.missing) == len(grid.cells):
        reasons = failures(grid) + (elsewhere(grid, only) if only is not None else [])
        raise RunError(f"{grid.out}: no cell is finished; {'; '.join(reasons) or 'nothing has run yet'}")
    cell = next(cell for cell in grid.cells if cell not in results.missing)
    main = cell.config.convention
    tables = {name: tabulate(grid, results, name) for name in sorted(CONVENTIONS, key=lambda name: name != main)}
    for convention, table in tables.items():
        stem = "table" if convention == main else f"table-{convention}"
        table.write(grid.out / f"{stem}.json")
        write_text(grid.out / f"{stem}.csv", csv_table(table))
        write_text(grid.out / f"{stem}.md", markdown(table))
        write_text(grid.out / f"{stem}.tex", latex(table))
    write_text(grid.out / "cells.csv", csv_text(cell_rows(results)))
    figures = draw_figures(grid, results, tables[main])
    write_crossval_page(grid.out, list(tables.values()), figures, failures(grid), grid.folds, grid.cells)
    return tables[main]


def failures(grid: Grid) -> list[str]:
    """Return a sentence for each cell that failed."""
    told = []
    for cell in unfinished(grid):
        try:
            found = json.loads((cell.folder / "failed.json").read_text(encoding="utf-8"))
        except FileNotFoundError:  # another process may just have started the cell again
            continue
        told.append(f"{cell.name} failed: {found['error']}")
    return told


def elsewhere(grid: Grid, only: Only) -> list[str]:
    """Return a sentence about cells of a part that are neither done nor failed, because other processes have them."""
    open_cells = [cell for cell in select(grid, only) if not is_done(cell)]
    names = [cell.name for cell in open_cells if not (cell.folder / "failed.json").is_file()]
    if not names:
        return []
    return [f"not done: {'; '.join(names)}: another process works on this; run the command again once it has ended"]


def write_slurm(grid: Grid, target: Path) -> int:
    """Write a Slurm array script for the unfinished cells, and return their number.

    Raises
    ------
    RunError
        If all cells are done.
    """
    cells = unfinished(grid)
    if not cells:
        raise RunError(f"{grid.out}: all {len(grid.cells)} cells are done; nothing to submit")
    write_text(target, slurm_script(grid, cells))
    return len(cells)
