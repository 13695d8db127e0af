"""What a grid's finished cells say, gathered into one table."""

import collections
import csv
import itertools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from switchrecon.errors import RunError
from switchrecon.evaluation.volumes import ZERO_FILLED
from switchrecon.experiments.cells import Cell, is_done
from switchrecon.experiments.grid import Grid
from switchrecon.experiments.paper import FOOTNOTES, TABLE_1
from switchrecon.metrics.metrics import CONVENTIONS
from switchrecon.metrics.statistics import Unit, difference, over_folds, recovered, seed_average, seed_spread
from switchrecon.runs.card import Card
from switchrecon.runs.checkpoint import load_model

METRICS = ("psnr", "ssim", "nmse", "lpips")
FALLING = ("nmse", "lpips")  # less is better


@dataclass
class Row:
    """All values of one method, or of one of its estimates, in one setting."""

    name: str
    values: dict[tuple[str, str], dict[int, dict[Unit, float]]] = field(default_factory=dict)  # by convention, metric
    spectra: dict[tuple[int, int], Sequence[float]] = field(default_factory=dict)  # by fold and seed
    cards: list[Card] = field(default_factory=list)

    def add(self, convention: str, metric: str, seed: int, unit: Unit, value: float) -> None:
        """Store one value."""
        self.values.setdefault((convention, metric), {}).setdefault(seed, {})[unit] = value

    def averaged(self, convention: str, metric: str) -> dict[Unit, float]:
        """Values by unit, averaged over seeds."""
        return seed_average(list(self.by_seed(convention, metric).values()))

    def rising(self, convention: str, metric: str) -> dict[int, dict[Unit, float]]:
        """Seed → values by unit, with the sign that makes more better."""
        sign = -1 if metric in FALLING else 1
        own = self.by_seed(convention, metric)
        return {seed: {unit: sign * value for unit, value in values.items()} for seed, values in own.items()}

    def by_seed(self, convention: str, metric: str) -> dict[int, dict[Unit, float]]:
        """Seed → values by unit."""
        return self.values.get((convention, metric), {})

    def fewest_seeds(self) -> int:
        """Seeds of the fold that has fewest."""
        return min(collections.Counter(fold for fold, _ in self.spectra).values(), default=0)

    def spectrum(self) -> list[float]:
        """The mean over folds of each fold's mean over seeds."""
        folds: dict[int, list[Sequence[float]]] = {}
        for (fold, _), ratios in sorted(self.spectra.items()):
            folds.setdefault(fold, []).append(ratios)
        return [float(value) for value in np.mean([np.mean(own, axis=0) for own in folds.values()], axis=0)]


@dataclass
class Results:
    """The rows of every setting, and the cells that are missing."""

    settings: dict[str, dict[str, Row]]
    frequency: list[float]
    missing: list[Cell]


def row_name(cell: Cell, method: str) -> str:
    """The table's name of what an evaluation calls ``method``: the recipe's row, with the estimate behind it."""
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
        evaluation = cell.folder / "evaluation"
        rows = results.settings[cell.setting]
        try:
            with (evaluation / "units.csv").open(encoding="utf-8", newline="") as file:
                for line in csv.DictReader(file):
                    name = row_name(cell, line["method"])
                    row = rows.setdefault(name, Row(name))
                    unit = Unit(cell.fold, line["subject"], line["scan"], line["slice"])
                    for metric in METRICS:
                        row.add(line["convention"], metric, cell.seed, unit, float(line[metric]))
            spectrum = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))["error_spectrum"]
        except (OSError, ValueError, LookupError) as error:
            raise RunError(
                f"{evaluation}: damaged ({error}); delete {cell.folder / 'DONE'} to make it again"
            ) from error
        results.frequency = spectrum["frequency"]
        for method, ratios in spectrum["methods"].items():
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


def tabulate(grid: Grid, results: Results, convention: str) -> dict[str, Any]:
    """The whole table as data, in one metric convention.

    Returns
    -------
    dict
        What ``table.json`` holds: ``methods`` → name → metric → mean, std, low, high, with the setting above them
        where there are several; differences, parameters and times, the paper's numbers, and what is missing.
    """
    recipe = grid.recipe
    tables = {
        setting: _setting(grid, rows, convention) for setting, rows in results.settings.items() if ZERO_FILLED in rows
    }
    paper = TABLE_1.get(recipe.paper or "", {})
    one = len(recipe.settings) == 1
    return {
        "title": recipe.title,
        "recipe": json.loads(recipe.model_dump_json()),
        "gap": recipe.gap.model_dump() if recipe.gap is not None else None,
        "convention": convention,
        "convention_text": CONVENTIONS[convention],
        "subjects": grid.subjects,
        "folds": list(recipe.used_folds),
        "seeds": list(recipe.seeds),
        **(next(iter(tables.values()), {"methods": {}}) if one else {"settings": tables}),
        "error_spectrum": {
            "frequency": results.frequency,
            "settings": {
                setting: {name: row.spectrum() for name, row in rows.items() if row.spectra}
                for setting, rows in results.settings.items()
            },
        },
        "paper": {name: dict(zip(("psnr", "ssim", "lpips"), values, strict=True)) for name, values in paper.items()},
        "footnotes": [*recipe.notes, *FOOTNOTES.get(recipe.paper or "", ())],
        "missing": [cell.name for cell in results.missing],
    }


def _setting(grid: Grid, rows: dict[str, Row], convention: str) -> dict[str, Any]:
    methods = {}
    for name, row in rows.items():
        summary: dict[str, Any] = {metric: over_folds(row.averaged(convention, metric)) for metric in METRICS}
        for metric in METRICS:
            summary[metric]["seed_std"] = seed_spread(list(row.by_seed(convention, metric).values()))
        summary["seeds"] = row.fewest_seeds()
        if row.cards:
            seconds = [card.seconds or 0.0 for card in row.cards]
            summary["parameters"] = sum(row.cards[0].parameters.values())
            summary["steps"] = row.cards[0].steps
            summary["training_seconds"] = float(np.mean(seconds))
            summary["machines"] = sorted({card.machine for card in row.cards})
            summary["versions"] = sorted({card.versions_text for card in row.cards})
            summary["images"] = {pile: facts.slices for pile, facts in row.cards[0].data.items()}
        methods[name] = summary
    main = [ZERO_FILLED, *(row for row in grid.recipe.methods if row in rows)]
    gap = grid.recipe.gap
    if gap is not None and {gap.lower, gap.upper} <= rows.keys():
        for name in methods:
            methods[name]["recovered"] = {
                metric: recovered(*(rows[row].rising(convention, metric) for row in (name, gap.lower, gap.upper)))
                for metric in METRICS
            }
    units = rows[ZERO_FILLED].averaged(convention, "psnr")
    return {
        "methods": methods,
        "differences": [
            {"first": a, "second": b}
            | {m: difference(rows[a].by_seed(convention, m), rows[b].by_seed(convention, m)) for m in METRICS}
            for a, b in itertools.pairwise(main)
        ],
        "test_subjects": len({unit.cluster for unit in units}),
        "test_units": len(units),
    }


def cell_rows(results: Results) -> list[dict[str, Any]]:
    """A row for each cell, estimate and convention: the mean of each metric over the cell's units."""
    rows = []
    for setting, methods in results.settings.items():
        for name, row in methods.items():
            for convention in CONVENTIONS:
                for seed, values in row.values[convention, METRICS[0]].items():
                    for fold in sorted({unit.fold for unit in values}):
                        units = [unit for unit in values if unit.fold == fold]
                        place = {"setting": setting, "method": name, "fold": fold, "seed": seed}
                        means = {
                            m: f"{np.mean([row.values[convention, m][seed][u] for u in units]):.6g}" for m in METRICS
                        }
                        rows.append({"convention": convention, **place, "units": len(units), **means})
    return rows


def finite(value: float | None) -> bool:
    """Whether there is a number to print."""
    return value is not None and math.isfinite(value)
