"""The grid of a cross-validation: the cells that a recipe and its scans make; ``crossval.yaml`` stores it."""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from switchrecon.config import Config
from switchrecon.core.files import write_text
from switchrecon.core.reading import ReadOptions
from switchrecon.core.sentences import first_problem
from switchrecon.core.settings import Settings
from switchrecon.core.user_code import is_user_code, known, read_code, remember
from switchrecon.core.yaml_text import load_yaml
from switchrecon.errors import ConfigError, DataError, RunError, nearest
from switchrecon.experiments.cells import Cell, Options, Place, names_and_sizes
from switchrecon.experiments.folds import Fold, split_subjects
from switchrecon.experiments.recipe import Recipe, parse_recipe, parse_recipe_alone
from switchrecon.methods.methods import find_method
from switchrecon.phantoms.scans import write_heads
from switchrecon.scans.files import find_files, subject_of

PLAN = "crossval.yaml"
Scans = dict[str, list[Path]]  # by subject


class StoredGrid(Settings):
    """The content of ``crossval.yaml``: the recipe and the data that a cross-validation was started with."""

    recipe: dict[str, Any]
    data: Path
    subjects: int
    scans: str  # a hash


@dataclass(frozen=True)
class Grid:
    """A recipe with its data: all cells, ordered by fold.

    ``scans`` is a hash of all scans by subject, ``folds`` says how many subjects each fold takes for which purpose.
    """

    recipe: Recipe
    out: Path
    data: Path
    subjects: int
    scans: str
    cells: tuple[Cell, ...]
    options: Options
    folds: tuple[Fold[int], ...] = ()


@dataclass(frozen=True)
class GridLayout:
    """The scans of every subject, and the subjects of every fold."""

    recipe: Recipe
    out: Path
    options: Options
    scans: Scans
    full_scans: Scans
    folds: list[Fold[str]]

    def counted(self) -> tuple[Fold[int], ...]:
        """Return the folds with how many scans each subject has in the place of its name."""

        def scans_of(subjects: Sequence[str]) -> tuple[int, ...]:
            return tuple(len(self.scans[subject]) for subject in subjects)

        return tuple(Fold(scans_of(each.full), scans_of(each.sub), scans_of(each.test)) for each in self.folds)

    def digest(self) -> str:
        """Return a hash of the names and sizes of all scans by subject."""
        every = {f"{role} {s}": got for role, of in (("", self.scans), ("Y", self.full_scans)) for s, got in of.items()}
        return names_and_sizes(every)

    def cell(self, place: Place) -> Cell:
        """Build one cell."""
        recipe, fold, scans = self.recipe, self.folds[place.fold], self.scans
        config = recipe.config(place.setting, place.row, place.seed)
        if self.full_scans is scans or find_method(config).pairing == "paired":
            full = _files(scans, fold.full)
        else:  # Y is from the other domain, also of subjects that are only there; no subject is on both sides
            full = _files(self.full_scans, [s for s in self.full_scans if s in fold.full or s not in scans])
        return Cell(
            **vars(place),
            config=config,
            full=full,
            sub=_files(scans, fold.sub),
            test=_files(scans, fold.test),
            folder=self.out / "cells" / place.setting / place.row / f"fold-{place.fold}" / f"seed-{place.seed}",
            threads=recipe.threads,
            test_slices_per_scan=recipe.test_slices_per_scan,
            options=self.options,
            metrics=recipe.metrics,
        )


def places_of(recipe: Recipe) -> list[Place]:
    """Return the places of all cells, ordered by fold."""
    product = itertools.product(recipe.settings, recipe.used_folds, recipe.seeds, recipe.methods)
    return [Place(i, setting, row, fold, seed) for i, (setting, fold, seed, row) in enumerate(product)]


def write_plan(grid: Grid) -> None:
    """Store the recipe and data of the cells, so that any process can work on a cell by its key."""
    recipe = json.loads(grid.recipe.model_dump_json())
    for what, name in code_of(recipe):  # the user has named it
        remember(read_code(name, what))
    plan = StoredGrid(recipe=recipe, data=grid.data.resolve(), subjects=grid.subjects, scans=grid.scans)
    text = yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(grid.out / PLAN, text)


def code_of(recipe: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the user's code that a recipe (plain data) names: (method, network, mask or metric; ``FILE.py:NAME``)."""
    kinds = {"method": "method", "network": "network", "kind": "mask", "metrics": "metric"}
    if isinstance(recipe, dict):
        for name, value in recipe.items():
            yield from code_of(value, str(name).rpartition(".")[2])
    elif isinstance(recipe, list | tuple):
        for value in recipe:
            yield from code_of(value, key)
    elif isinstance(recipe, str) and key in kinds and is_user_code(recipe):
        yield kinds[key], recipe


def _check_code(plan: StoredGrid, out: Path, trust: bool) -> None:
    """Refuse code that only a folder names, because the folder may come from anybody."""
    for what, name in code_of(plan.recipe):
        try:
            code = read_code(name, what)
        except ConfigError:  # a missing file runs nothing; whoever needs it reports it
            continue
        if trust:
            remember(code)
        elif not known(code.sha256, code.name):
            raise RunError(
                f"{out}: its recipe runs code, the {what} '{name}', that you have not asked for on this machine; give "
                "crossval the recipe with --config or, if you trust who made the folder, --trust-code"
            )


def _read_plan(out: Path, trust_code: bool) -> StoredGrid:
    file = out / PLAN
    try:
        plan = StoredGrid.model_validate(load_yaml(file.read_text(encoding="utf-8")))
        _check_code(plan, out, trust_code)
        return plan
    except FileNotFoundError:
        raise RunError(f"{out}: holds no cross-validation; start one with --config RECIPE") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunError(f"{file}: damaged ({first_problem(error)})") from error


def read_plan(out: Path, options: Options = Options(), heads: Path | None = None) -> Grid:
    """Read the grid that :func:`write_plan` stored.

    Raises
    ------
    RunError
        If the folder holds no cross-validation, or its scans have changed, so that subjects would change folds.
    """
    plan = _read_plan(out, options.trust_code)
    recipe = parse_recipe(plan.recipe, str(out / PLAN))
    grid = make_grid(recipe, plan.data, out, options, heads)
    _check_scans(out, plan, grid.subjects, grid.scans)
    return grid


def read_cell(out: Path, key: str, options: Options = Options()) -> Cell:
    """Build and check one cell of the grid in a folder, without the other cells.

    Raises
    ------
    ConfigError
        If the grid has no such cell, or the cell's settings are wrong.
    RunError
        As for :func:`read_plan`.
    """
    plan = _read_plan(out, options.trust_code)
    recipe = parse_recipe_alone(plan.recipe, str(out / PLAN))
    found = {place.key: place for place in places_of(recipe)}
    if key not in found:
        raise ConfigError(f"the grid has no cell '{key}'; {nearest(key, found)}")
    layout = lay_out(recipe, plan.data, out, options)
    _check_scans(out, plan, len(layout.scans), layout.digest())
    return layout.cell(found[key])


def _check_scans(out: Path, plan: StoredGrid, subjects: int, scans: str) -> None:
    if scans != plan.scans:
        raise RunError(
            f"{plan.data}: the scans are not those that {out} was begun with ({plan.subjects} subjects then, "
            f"{subjects} now); restore them, or choose another --out"
        )


def lay_out(
    recipe: Recipe, data: Path, out: Path, options: Options = Options(), heads: Path | None = None
) -> GridLayout:
    """Find the scans of a recipe and split their subjects; see :func:`make_grid`."""
    scans = _scans_by_subject(recipe, data, heads or out / "data")
    full_scans = scans
    if recipe.data.full_files:
        full_scans = _matching_by_subject(recipe.data.full_files, data, _first_config(recipe).reading)
    try:
        folds = split_subjects(list(scans), recipe.folds)
    except ValueError as error:
        raise ConfigError(f"{data}: {error}") from error
    return GridLayout(recipe, out, options, scans, full_scans, folds)


def make_grid(recipe: Recipe, data: Path, out: Path, options: Options = Options(), heads: Path | None = None) -> Grid:
    """Find the scans of a recipe and build its cells.

    Parameters
    ----------
    recipe
        The experiment.
    data
        Folder in which its file patterns are searched.
    out
        Folder of the cross-validation.
    options
        Options of the command, for every cell.
    heads
        Folder for synthetic heads; None: ``data`` in ``out``.

    Raises
    ------
    DataError, ConfigError
        If scans are missing, or there are too few subjects.
    """
    layout = lay_out(recipe, data, out, options, heads)
    cells = tuple(layout.cell(place) for place in places_of(recipe))
    return Grid(recipe, out, data, len(layout.scans), layout.digest(), cells, options, layout.counted())


def _files(scans: Scans, subjects: Sequence[str]) -> tuple[Path, ...]:
    return tuple(path for subject in subjects for path in scans[subject])


def _scans_by_subject(recipe: Recipe, data: Path, heads: Path) -> Scans:
    source = recipe.data
    if source.heads:
        config = _first_config(recipe)
        side = max(config.matrix or (64,))
        files = write_heads(heads, range(source.heads), source.head_slices, side, source.head_coils)
        return _by_subject(files, config.reading, source.subjects)
    return _matching_by_subject(source.files, data, _first_config(recipe).reading, source.subjects)


def _first_config(recipe: Recipe) -> Config:
    """Return the settings of the first cell, by which scans are read."""
    return recipe.config(next(iter(recipe.settings)), next(iter(recipe.methods)), 0)


def _matching_by_subject(patterns: Sequence[str], data: Path, options: ReadOptions, most: int | None = None) -> Scans:
    if not data.is_dir():
        raise DataError(f"{data}: no such folder; --data DIR is where the recipe's file patterns start")
    files = sorted({path for pattern in patterns for path in _matching(str(data / pattern))})
    if not files:
        raise DataError(f"{data}: no file matches the recipe's patterns {', '.join(patterns)}; give --data DIR")
    return _by_subject(files, options, most)


def _by_subject(files: Sequence[Path], options: ReadOptions, most: int | None) -> Scans:
    scans: Scans = {}
    for path in files:
        scans.setdefault(subject_of(path, options=options), []).append(path)
    return dict(list(scans.items())[:most])


def _matching(pattern: str) -> list[Path]:
    try:
        return find_files([pattern])
    except DataError:
        return []  # another pattern of the recipe may match
