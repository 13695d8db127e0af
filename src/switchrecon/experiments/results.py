"""Gather the results of a grid's finished cells into one table."""

import collections
import csv
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from switchrecon.core.sentences import first_problem
from switchrecon.errors import RunError
from switchrecon.evaluation.records import Evaluation
from switchrecon.evaluation.volumes import ZERO_FILLED
from switchrecon.experiments.cells import Cell, is_done
from switchrecon.experiments.grid import Grid
from switchrecon.experiments.paper import FOOTNOTES, METRICS, TABLE_1
from switchrecon.metrics.conventions import CONVENTIONS, explain
from switchrecon.metrics.statistics import Unit, difference, over_folds, recovered, seed_average, seed_spread
from switchrecon.metrics.table import COLUMNS, Column, columns_of
from switchrecon.reports.records import GapRows, Pair, Row, SettingTable, Spectra, Table
from switchrecon.runs.card import Card
from switchrecon.runs.checkpoint import load_model


@dataclass
class RowValues:
    """All values of one row (a method, or one of its estimates) in one setting."""

    name: str
    values: dict[str, dict[int, dict[Unit, dict[str, float]]]] = field(default_factory=dict)  # convention, seed, metric
    spectra: dict[tuple[int, int], Sequence[float]] = field(default_factory=dict)  # by fold and seed
    cards: list[Card] = field(default_factory=list)

    def add(self, convention: str, metric: str, seed: int, unit: Unit, value: float) -> None:
        """Store one value."""
        self.values.setdefault(convention, {}).setdefault(seed, {}).setdefault(unit, {})[metric] = value

    def averaged(self, convention: str, metric: str) -> dict[Unit, float]:
        """Return the values by unit, averaged over seeds."""
        return seed_average(list(self.by_seed(convention, metric).values()))

    def rising(self, convention: str, column: Column) -> dict[int, dict[Unit, float]]:
        """Return seed → values by unit, with a sign so that larger is better."""
        sign = -1 if column.better == "lower" else 1
        found = self.by_seed(convention, column.name)
        return {seed: {unit: sign * value for unit, value in values.items()} for seed, values in found.items()}

    def by_seed(self, convention: str, metric: str) -> dict[int, dict[Unit, float]]:
        """Return seed → values by unit; NaN if a cell was evaluated without the metric."""
        return {
            seed: {unit: values.get(metric, math.nan) for unit, values in units.items()}
            for seed, units in self.values.get(convention, {}).items()
        }

    def fewest_seeds(self) -> int:
        """Return the number of seeds of the fold with the fewest."""
        return min(collections.Counter(fold for fold, _ in self.spectra).values(), default=0)

    def spectrum(self) -> list[float]:
        """Return the mean error spectrum: over folds, of each fold's mean over seeds."""
        folds: dict[int, list[Sequence[float]]] = {}
        for (fold, _), ratios in sorted(self.spectra.items()):
            folds.setdefault(fold, []).append(ratios)
        return [float(value) for value in np.mean([np.mean(each, axis=0) for each in folds.values()], axis=0)]


@dataclass
class Results:
    """The rows of every setting, the cells that are missing, and the metrics that at least one cell has."""

    settings: dict[str, dict[str, RowValues]]
    frequency: list[float]
    missing: list[Cell]
    columns: tuple[Column, ...] = COLUMNS


def row_name(cell: Cell, method: str) -> str:
    """Return the name in the table for an evaluation's ``method``: the recipe's row, and the estimate if it has one."""
    return method if method == ZERO_FILLED else cell.row + method.removeprefix(cell.config.method)


def gather(grid: Grid) -> Results:
    """Read all finished cells.

    Raises
    ------
    RunError
        If a finished cell is damaged.
    """
    results = Results({setting: {} for setting in grid.recipe.settings}, [], [])
    for cell in grid.cells:
        if not is_done(cell):
            results.missing.append(cell)
            continue
        folder = cell.folder / "evaluation"
        rows = results.settings[cell.setting]
        try:
            evaluation = Evaluation.read(folder / "metrics.json")
            with (folder / "units.csv").open(encoding="utf-8", newline="") as file:
                for line in csv.DictReader(file):
                    if None in line.values():
                        raise ValueError("units.csv has a line that is cut short")
                    name = row_name(cell, line["method"])
                    row = rows.setdefault(name, RowValues(name))
                    unit = Unit(cell.fold, line["subject"], line["scan"], line["slice"])
                    for column in evaluation.columns:
                        if column.name in line:  # a cell may be older than the metric
                            value = float(line[column.name])
                            row.add(line["convention"], column.name, cell.seed, unit, value)
        except (OSError, ValueError, LookupError) as error:
            raise RunError(
                f"{folder}: damaged ({first_problem(error)}); delete {cell.folder / 'DONE'} to make it again"
            ) from error
        results.columns = columns_of((), (*results.columns, *evaluation.columns))
        results.frequency = evaluation.error_spectrum.frequency
        for method, ratios in evaluation.error_spectrum.methods.items():
            rows[row_name(cell, method)].spectra[cell.fold, cell.seed] = ratios
        card = load_model(cell.folder / "run" / "model.safetensors")[1]
        for name in rows:
            if name == cell.row or name.startswith(f"{cell.row}/"):
                rows[name].cards.append(card)
    for rows in results.settings.values():
        ordered = sorted(rows.values(), key=lambda row: _order(grid.recipe.methods, row.name))
        rows.clear()
        rows.update({row.name: row for row in ordered})
    return results


def _order(methods: Iterable[str], name: str) -> tuple[int, str]:
    row, _, estimate = name.partition("/")
    return (-1 if name == ZERO_FILLED else list(methods).index(row)), estimate


def tabulate(grid: Grid, results: Results, convention: str) -> Table:
    """Return all results in one metric convention, the content of ``table.json``."""
    recipe = grid.recipe
    tables = {
        setting: _setting(grid, rows, convention, results.columns)
        for setting, rows in results.settings.items()
        if ZERO_FILLED in rows
    }
    one = len(recipe.settings) == 1
    paper = TABLE_1.get(recipe.paper or "", {})
    return Table(
        title=recipe.title,
        recipe=recipe.model_dump(mode="json"),
        gap=GapRows(lower=recipe.gap.lower, upper=recipe.gap.upper) if recipe.gap is not None else None,
        convention=convention,
        convention_text=explain(convention, results.columns),
        subjects=grid.subjects,
        folds=list(recipe.used_folds),
        seeds=list(recipe.seeds),
        settings={"": next(iter(tables.values()), SettingTable())} if one else tables,
        error_spectrum=Spectra(
            frequency=results.frequency,
            settings={
                setting: {name: row.spectrum() for name, row in rows.items() if row.spectra}
                for setting, rows in results.settings.items()
            },
        ),
        paper={name: dict(zip(METRICS, values, strict=True)) for name, values in paper.items()},
        footnotes=[*recipe.notes, *FOOTNOTES.get(recipe.paper or "", ())],
        missing=[cell.name for cell in results.missing],
        columns=results.columns,
    )


def _setting(grid: Grid, rows: dict[str, RowValues], convention: str, columns: Sequence[Column]) -> SettingTable:
    gap = grid.recipe.gap
    bounds = [rows[gap.lower], rows[gap.upper]] if gap is not None and {gap.lower, gap.upper} <= rows.keys() else None
    methods = {}
    for name, row in rows.items():
        values: dict[str, Any] = {
            column.name: over_folds(
                row.averaged(convention, column.name),
                seed_spread(list(row.by_seed(convention, column.name).values())),
            )
            for column in columns
        }
        if bounds is not None:
            values["recovered"] = {
                column.name: recovered(*(each.rising(convention, column) for each in (row, *bounds)))
                for column in columns
            }
        methods[name] = Row(**values, **_trained(row.cards), seeds=row.fewest_seeds())
    main = [ZERO_FILLED, *(row for row in grid.recipe.methods if row in rows)]
    every = {unit for units in rows[ZERO_FILLED].values[convention].values() for unit in units}
    return SettingTable(
        methods=methods,
        differences=[
            Pair(
                first=a,
                second=b,
                **{c.name: difference(*(rows[name].by_seed(convention, c.name) for name in (a, b))) for c in columns},
            )
            for a, b in itertools.pairwise(main)
        ],
        test_subjects=len({unit.cluster for unit in every}),
        test_units=len(every),
    )


def _trained(cards: Sequence[Card]) -> dict[str, Any]:
    """Return the facts about a row's trainings; empty if nothing was trained."""
    if not cards:
        return {}
    return {
        "parameters": sum(cards[0].parameters.values()),
        "steps": cards[0].steps,
        "training_seconds": float(np.mean([card.seconds or 0.0 for card in cards])),
        "machines": sorted({card.machine for card in cards}),
        "versions": sorted({card.versions_text for card in cards}),
        "images": {pile: facts.slices for pile, facts in cards[0].data.items()},
    }


def cell_rows(results: Results) -> list[dict[str, Any]]:
    """Return a row for each cell, estimate and convention: the mean of each metric over the cell's units."""
    rows = []
    for setting, methods in results.settings.items():
        for name, row in methods.items():
            for convention in CONVENTIONS:
                by_metric = {column.name: row.by_seed(convention, column.name) for column in results.columns}
                for seed, values in row.values[convention].items():
                    for fold in sorted({unit.fold for unit in values}):
                        units = [unit for unit in values if unit.fold == fold]
                        place = {"setting": setting, "method": name, "fold": fold, "seed": seed}
                        means = {m: f"{np.mean([of[seed][u] for u in units]):.6g}" for m, of in by_metric.items()}
                        rows.append({"convention": convention, **place, "units": len(units), **means})
    return rows
