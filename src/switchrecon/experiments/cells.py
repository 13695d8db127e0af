"""The cells of a cross-validation: one training and its evaluation each, in a folder that can be continued.

A cell's folder holds ``cell.json`` (what it is, with a hash of its settings and scans), ``lock``, ``log.txt``, ``run/``
(the training with its checkpoints), ``evaluation/``, and ``DONE`` once all of it is complete.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout

from switchrecon.config import Config, parse_config
from switchrecon.core.files import write_text
from switchrecon.core.yaml_text import load_yaml
from switchrecon.errors import ConfigError, DataError, RunError, nearest
from switchrecon.evaluation.evaluate import evaluate
from switchrecon.experiments.folds import Fold, split_subjects
from switchrecon.experiments.recipe import Recipe, parse_recipe
from switchrecon.methods.methods import find_method
from switchrecon.metrics.lpips import find_weights
from switchrecon.phantoms.scans import write_heads
from switchrecon.runs.checkpoint import sha256
from switchrecon.runs.folder import method_source
from switchrecon.scans.files import find_files, subject_of
from switchrecon.training.train import train

PLAN = "crossval.yaml"
Scans = dict[str, list[Path]]  # by subject
HASHED = {"scans": "other scans", "method_sha256": "another version of the method's file"}


class CellBusy(RunError):
    """Another process works on this cell."""


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation.

    Attributes
    ----------
    index
        Its place in this grid, from 0.
    setting, row, fold, seed
        Its place in the recipe.
    config
        Its settings.
    full, sub, test
        Scans of disjoint subjects.
    folder
        Where it works.
    threads, test_slices_per_scan
        From the recipe.
    """

    index: int
    setting: str
    row: str
    fold: int
    seed: int
    config: Config
    full: tuple[Path, ...]
    sub: tuple[Path, ...]
    test: tuple[Path, ...]
    folder: Path
    threads: int
    test_slices_per_scan: int | None

    @property
    def key(self) -> str:
        """What ``--cell`` takes; it stays the same when the recipe grows."""
        return f"{self.setting}/{self.row}/{self.fold}/{self.seed}"

    @property
    def name(self) -> str:
        """Setting, row, fold and seed."""
        return f"{self.setting} · {self.row} · fold {self.fold} · seed {self.seed}"

    def identity(self) -> dict[str, Any]:
        """What a result depends on: settings, the method's own file, and name and size of every scan."""
        return {
            "config": self.config.model_dump(mode="json"),
            "scans": _names_and_sizes({role: getattr(self, role) for role in ("full", "sub", "test")}),
            "method_sha256": _method_source(self.config),
            "test_slices_per_scan": self.test_slices_per_scan,
            "threads": self.threads,
        }


@dataclass(frozen=True)
class Grid:
    """A recipe with its data: all cells, a fold's together; ``scans`` is a hash of all scans by subject."""

    recipe: Recipe
    out: Path
    data: Path
    subjects: int
    scans: str
    cells: tuple[Cell, ...]


def write_plan(grid: Grid) -> None:
    """Store what the cells are made from, so that any process can work on one by its key."""
    plan = {
        "recipe": json.loads(grid.recipe.model_dump_json()),
        "data": str(grid.data.resolve()),
        "subjects": grid.subjects,
        "scans": grid.scans,
    }
    write_text(grid.out / PLAN, yaml.safe_dump(plan, sort_keys=False, allow_unicode=True))


def read_plan(out: Path) -> Grid:
    """Read what :func:`write_plan` stored.

    Raises
    ------
    RunError
        If the folder holds no cross-validation, or its scans have changed, so that subjects would change folds.
    """
    file = out / PLAN
    try:
        plan = load_yaml(file.read_text(encoding="utf-8"))
        recipe, data = parse_recipe(plan["recipe"], str(file)), Path(plan["data"])
        subjects, scans = plan["subjects"], plan["scans"]
    except FileNotFoundError:
        raise RunError(f"{out}: holds no cross-validation; start one with --config RECIPE") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError) as error:
        raise RunError(f"{file}: damaged ({' '.join(str(error).split())})") from error
    grid = make_grid(recipe, data, out)
    if grid.scans != scans:
        raise RunError(
            f"{data}: the scans are not those that {out} was begun with ({subjects} subjects then, {grid.subjects} "
            "now); restore them, or choose another --out"
        )
    return grid


def make_grid(recipe: Recipe, data: Path, out: Path) -> Grid:
    """Find the scans of a recipe and lay out its cells.

    Parameters
    ----------
    recipe
        The experiment.
    data
        Folder that its file patterns start from.
    out
        Folder of the cross-validation; synthetic heads are written there.

    Raises
    ------
    DataError, ConfigError
        If scans are missing or their subjects too few.
    """
    scans = _scans_by_subject(recipe, data, out)
    full_scans = _matching_by_subject(recipe.data.full_files, data) if recipe.data.full_files else scans
    try:
        folds = split_subjects(list(scans), recipe.folds)
    except ValueError as error:
        raise ConfigError(f"{data}: {error}") from error
    cells: list[Cell] = []
    for setting in recipe.settings:
        for number in recipe.used_folds:
            for seed in recipe.seeds:
                for row in recipe.methods:
                    place = (setting, row, number, seed)
                    cells.append(_cell(recipe, len(cells), place, folds[number], scans, full_scans, out))
    every = {f"{role} {subject}": own for role, of in (("", scans), ("Y", full_scans)) for subject, own in of.items()}
    return Grid(recipe, out, data, len(scans), _names_and_sizes(every), tuple(cells))


def _method_source(config: Config) -> str | None:
    """See :func:`~switchrecon.runs.folder.method_source`; None without such a file here, which training refuses."""
    try:
        return method_source(config)
    except OSError:
        return None


def _names_and_sizes(scans: Mapping[str, Sequence[Path]]) -> str:
    """A hash of groups of scans."""
    found = {group: [(path.name, path.stat().st_size) for path in own] for group, own in scans.items()}
    return sha256(json.dumps(found).encode())


def find_cell(grid: Grid, key: str) -> Cell:
    """The cell with this key.

    Raises
    ------
    ConfigError
        If there is none; the message names the nearest one.
    """
    for cell in grid.cells:
        if cell.key == key:
            return cell
    raise ConfigError(f"the grid has no cell '{key}'; {nearest(key, (cell.key for cell in grid.cells))}")


def _cell(
    recipe: Recipe,
    index: int,
    place: tuple[str, str, int, int],
    fold: Fold[str],
    scans: Scans,
    full_scans: Scans,
    out: Path,
) -> Cell:
    setting, row, number, seed = place
    config = recipe.config(setting, row, seed)
    if full_scans is scans or find_method(config).pairing == "paired":
        full = _files(scans, fold.full)
    else:  # Y comes from the other domain, also from subjects that only it has; nobody is on two sides
        full = _files(full_scans, [s for s in full_scans if s in fold.full or s not in scans])
    return Cell(
        index,
        *place,
        config,
        full,
        _files(scans, fold.sub),
        _files(scans, fold.test),
        out / "cells" / setting / row / f"fold-{number}" / f"seed-{seed}",
        recipe.threads,
        recipe.test_slices_per_scan,
    )


def _files(scans: Scans, subjects: Sequence[str]) -> tuple[Path, ...]:
    return tuple(path for subject in subjects for path in scans[subject])


def _scans_by_subject(recipe: Recipe, data: Path, out: Path) -> Scans:
    source = recipe.data
    if source.heads:
        matrix = recipe.config(next(iter(recipe.settings)), next(iter(recipe.methods)), 0).matrix
        files = write_heads(
            out / "data", range(source.heads), source.head_slices, max(matrix or (64,)), source.head_coils
        )
        return _by_subject(files, source.subjects)
    return _matching_by_subject(source.files, data, source.subjects)


def _matching_by_subject(patterns: Sequence[str], data: Path, most: int | None = None) -> Scans:
    if not data.is_dir():
        raise DataError(f"{data}: no such folder; --data DIR is where the recipe's file patterns start")
    files = sorted({path for pattern in patterns for path in _matching(str(data / pattern))})
    if not files:
        raise DataError(f"{data}: no file matches the recipe's patterns {', '.join(patterns)}; give --data DIR")
    return _by_subject(files, most)


def _by_subject(files: Sequence[Path], most: int | None) -> Scans:
    scans: Scans = {}
    for path in files:
        scans.setdefault(subject_of(path), []).append(path)
    return dict(list(scans.items())[:most])


def _matching(pattern: str) -> list[Path]:
    try:
        return find_files([pattern])
    except DataError:
        return []  # another pattern of the recipe may match


def _begun(cell: Cell) -> bool:
    return (cell.folder / "cell.json").is_file() and (cell.folder / "run").exists()


def check_claim(cell: Cell) -> None:
    """Check that the folder belongs to this cell, if anything has been trained in it.

    Raises
    ------
    RunError
        If it was made with other settings, scans or another method file, naming the first that differs.
    """
    if not _begun(cell):
        return
    file, mine = cell.folder / "cell.json", cell.identity()
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))["identity"]
        stored["config"] = parse_config(stored["config"], str(file)).model_dump(mode="json")
    except (OSError, ValueError, LookupError) as error:
        raise RunError(f"{file}: damaged ({error})") from error
    theirs = {**stored, **stored["config"]}
    for name, value in ({**mine, **mine["config"]}).items():
        unknown = name in HASHED and value is None
        if name in ("config", "seed") or unknown or theirs.get(name) == value:
            continue
        if name in HASHED:
            raise RunError(f"{cell.folder}: was made with {HASHED[name]}; choose another --out")
        raise RunError(
            f"{cell.folder}: was made with {name} = {theirs.get(name)!r}, the recipe now says {value!r}; "
            "choose another --out"
        )


def claim(cell: Cell) -> None:
    """Write ``cell.json``, or :func:`check_claim` where the cell has begun. For the process that works on it alone."""
    check_claim(cell)
    if not _begun(cell):
        facts = {"setting": cell.setting, "row": cell.row, "fold": cell.fold, "seed": cell.seed}
        write_text(cell.folder / "cell.json", json.dumps({**facts, "identity": cell.identity()}, indent=1))


def is_done(cell: Cell) -> bool:
    """Whether training and evaluation are complete."""
    return _done_with_lpips(cell) is not None


def is_wanting(cell: Cell) -> bool:
    """Whether there is something to do: it is not done, or has no LPIPS, whose weights are there now."""
    has_lpips = _done_with_lpips(cell)
    return has_lpips is None or (not has_lpips and find_weights().exists())


def _done_with_lpips(cell: Cell) -> bool | None:
    """Whether a cell that is done has LPIPS; None where it is not done."""
    try:
        return bool(json.loads((cell.folder / "DONE").read_text(encoding="utf-8"))["lpips"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def run_cell(cell: Cell) -> None:
    """Train and evaluate a cell, or go on where it stopped. Prints go to the cell's ``log.txt``.

    Raises
    ------
    CellBusy
        If another process works on it.
    SwitchreconError
        For whatever training or evaluation refuse.
    """
    cell.folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(cell.folder / "lock").acquire(timeout=0)
    except Timeout:
        raise CellBusy(f"{cell.folder}: another process works on this cell") from None
    with lock, (cell.folder / "log.txt").open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        try:
            claim(cell)
            if not is_wanting(cell):
                return
            (cell.folder / "failed.json").unlink(missing_ok=True)  # of an attempt before this one
            torch.set_num_threads(cell.threads)
            train(cell.config, cell.full, cell.sub, cell.folder / "run", resume=True)
            shutil.rmtree(cell.folder / "evaluation", ignore_errors=True)
            evaluate(
                [cell.folder / "run"],
                cell.test,
                cell.folder / "evaluation",
                slices_per_scan=cell.test_slices_per_scan,
                title=cell.name,
            )
        except Exception as error:
            print(f"failed: {type(error).__name__}: {error}", flush=True)
            mark_failed(cell, str(error) or type(error).__name__)
            raise
        write_text(cell.folder / "DONE", json.dumps({"lpips": find_weights().exists()}))


def mark_failed(cell: Cell, message: str) -> None:
    """Note why a cell failed, for the list at the end."""
    write_text(cell.folder / "failed.json", json.dumps({"error": message}, indent=1))
