"""The command ``crossval``."""

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from switchrecon.cli.next_steps import say_next
from switchrecon.cli.options import (
    CacheOption,
    DeviceOption,
    DryRunOption,
    LpipsOption,
    OutOption,
    SubjectsOption,
    TrustOption,
    progress_console,
)

if TYPE_CHECKING:
    from switchrecon.reports.records import Table


def crossval(
    out: OutOption,
    config: Annotated[
        str | None,
        typer.Option(
            "--config", metavar="RECIPE", help="A recipe: a YAML file, or ixi-x4, ixi-x6, fastmri-x4 or quick."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Where the recipe's file patterns start. Default: here."),
    ] = None,
    methods: Annotated[list[str], typer.Option("--method", help="Run only this row now. May be repeated.")] = [],  # noqa: B006
    folds: Annotated[list[int], typer.Option("--fold", help="Run only this fold now. May be repeated.")] = [],  # noqa: B006
    parts: Annotated[list[str], typer.Option("--setting", help="Run only this setting now. May be repeated.")] = [],  # noqa: B006
    seeds: Annotated[list[int], typer.Option("--seed", help="Run only this seed now. May be repeated.")] = [],  # noqa: B006
    engine: Annotated[str, typer.Option(help="local: processes here. ray: Ray tasks.")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Cells at once. Default: as many as fit.")] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster whose nodes see DIR under the same path. Default: start one here."),
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each Ray task; parts of one are allowed.")] = 0,
    slurm: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a Slurm array script for the unfinished cells, run nothing."),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(metavar="SETTING/METHOD/FOLD/SEED", help="Run only this cell, as the engines do."),
    ] = None,
    lpips_weights: LpipsOption = None,
    cache: CacheOption = None,
    device: DeviceOption = None,
    trust_code: TrustOption = False,
    dry_run: DryRunOption = False,
    subjects: SubjectsOption = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Cores that cells share, each with as many threads as the recipe says. Default: those that are free.",
        ),
    ] = None,
) -> None:
    """Train and evaluate a grid: methods, settings, folds of subjects and seeds, with tables and figures.

    Continues where it stopped; without --config it goes on with the grid in DIR. Writes table.json, .csv, .md and .tex,
    figures as PNG and PDF, and report.html. Exit code 3: some cells are not done, the others are.

    Example: switchrecon crossval --config quick --out runs/quick

    Example: switchrecon crossval --config mine.yaml --data scans --out runs/mine --dry-run
    """
    from switchrecon.errors import ConfigError
    from switchrecon.experiments.cells import CellBusy, Options, run_cell
    from switchrecon.experiments.crossval import Only, elsewhere, failures, open_grid, run_grid, run_one, write_slurm
    from switchrecon.experiments.dry_run import preview
    from switchrecon.experiments.engines import BUSY
    from switchrecon.experiments.grid import read_cell
    from switchrecon.experiments.recipe import load_recipe
    from switchrecon.metrics.lpips import load_weights
    from switchrecon.reports.tables import markdown

    if lpips_weights is not None:
        load_weights(lpips_weights)
    options = Options(device, cache, lpips_weights, trust_code)

    recipe = load_recipe(config) if config is not None else None
    if subjects is not None:
        if recipe is None:
            raise ConfigError(f"--subjects {subjects}: goes with --config; the folder remembers its table of subjects")
        recipe = recipe.with_subjects(subjects)
    only = Only(methods, folds, parts, seeds)
    if dry_run:
        for line in preview(recipe, data, out, only, options, workers, threads):
            typer.echo(line)
        typer.echo("nothing was written")
        return

    if cell is not None:
        try:
            if config is None and data is None:  # in an engine's process, which builds and checks its cell alone
                run_cell(read_cell(out, cell, options))
            else:
                run_one(open_grid(recipe, data, out, options), cell)
        except CellBusy as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(BUSY) from None
        return
    grid = open_grid(recipe, data, out, options)
    if slurm is not None:
        typer.echo(f"{slurm}: an array of {write_slurm(grid, slurm)} cells; submit it with sbatch")
    else:
        table = run_grid(grid, only, engine, workers, address, gpus, progress_console(), threads)
        if sys.stdout.isatty():
            _print_tables(table)
        else:
            typer.echo(markdown(table))  # for whatever reads it
        typer.echo(f"report: {out / 'report.html'}")
        failed = failures(grid) + elsewhere(grid, only)
        for sentence in failed:
            typer.echo(sentence, err=True)
        if failed:
            say_next("crossval", "--out", out)
            raise typer.Exit(3)
        say_next("view", out)


def _print_tables(table: "Table") -> None:
    """Each table of the page, as a terminal shows tables: the columns that fit beside each other."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Shown
    from rich.text import Text

    from switchrecon.reports.tables import layouts

    console = Console()
    for layout in layouts(table):
        shown = Shown(title=Text(layout.title), box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
        columns = list(zip(layout.header, *layout.rows, strict=True))
        widths = [max(map(len, [*name.split(), *cells])) for name, *cells in columns]
        fit = max(2, sum(width <= console.width for width in itertools.accumulate(width + 3 for width in widths)))
        for number, name in enumerate(layout.header[:fit]):
            shown.add_column(
                Text(name), justify="right" if number else "left", overflow="fold", min_width=widths[number]
            )
        for row in layout.rows:
            shown.add_row(*map(Text, row[:fit]))
        console.print(shown)
        more = f" Not shown here: {', '.join(layout.header[fit:])}; the report has them." if layout.header[fit:] else ""
        console.print(Text(layout.note + more, style="dim"))
