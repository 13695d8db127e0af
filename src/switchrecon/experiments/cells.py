"""The cells of a cross-validation: one training and its evaluation each, in a folder that can be continued.

A cell's folder holds ``cell.json`` (what it is, with a hash of its settings and scans), ``lock``, ``log.txt``, ``run/``
(the training with its checkpoints), ``evaluation/``, and ``DONE`` once all of it is complete.
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import Field

from switchrecon.config import Config
from switchrecon.core.files import write_text
from switchrecon.core.messages import messages_to
from switchrecon.core.records import Record
from switchrecon.core.sentences import first_problem
from switchrecon.core.settings import Settings
from switchrecon.core.threads import set_threads
from switchrecon.errors import ConfigError, RunError
from switchrecon.evaluation.evaluate import evaluate
from switchrecon.metrics.lpips import find_weights
from switchrecon.metrics.table import METRICS, fingerprint
from switchrecon.runs.checkpoint import sha256
from switchrecon.runs.sources import method_source, network_source
from switchrecon.training.train import train

logger = logging.getLogger(__name__)

HASHED = {
    "scans": "other scans",
    "method_sha256": "another version of a mask's or the method's file",
    "network_sha256": "another version of the network's file",
}


@dataclass(frozen=True)
class Options:
    """What the command's options say besides the recipe: results do not depend on it, but for a device's last bits.

    Attributes
    ----------
    device
        See :func:`switchrecon.core.device.find_device`.
    cache
        Folder for prepared slices; see :mod:`switchrecon.data.cache`.
    lpips_weights
        See :func:`switchrecon.metrics.lpips.find_weights`.
    trust_code
        Run the code that the recipe in a folder names, though nobody has named it on this machine.
    """

    device: str | None = None
    cache: Path | None = None
    lpips_weights: Path | None = None
    trust_code: bool = False

    def on(self, device: str | None) -> "Options":
        """Return the same with another device, and with absolute paths, for another process.

        That process need not ask again whether the recipe's code may run: this one has.
        """
        cache, weights = self.cache and self.cache.resolve(), self.lpips_weights and self.lpips_weights.resolve()
        return Options(device, cache, weights, trust_code=True)

    def arguments(self) -> list[str]:
        """Return them as arguments of ``switchrecon crossval``."""
        given = {"--device": self.device, "--cache": self.cache, "--lpips-weights": self.lpips_weights}
        words = [word for name, value in given.items() if value is not None for word in (name, str(value))]
        return [*words, *(["--trust-code"] if self.trust_code else [])]


class Identity(Settings):
    """What a cell's result depends on: settings, name and size of every scan, and the user's files (hashes)."""

    config: Config
    scans: str | None = None
    method_sha256: str | None = None
    network_sha256: str | None = None
    test_slices_per_scan: int | None = None
    threads: int | None = None

    def difference(self, other: "Identity") -> tuple[str, Any, Any] | None:
        """Return the first thing that differs, with its value here and there; hashes that are unknown here count as
        equal.
        """
        for mine, theirs in ((self.config, other.config), (self, other)):
            for name in type(mine).model_fields:
                values = getattr(mine, name), getattr(theirs, name)
                unknown = name in HASHED and values[0] is None
                if name not in ("config", "seed") and not unknown and values[0] != values[1]:
                    return name, *values
        return None


@dataclass(frozen=True)
class Place:
    """A cell's place in the grid: its number from 0, and setting, row, fold and seed of the recipe."""

    index: int
    setting: str
    row: str
    fold: int
    seed: int

    @property
    def key(self) -> str:
        """What ``--cell`` takes; it stays the same when the recipe grows."""
        return f"{self.setting}/{self.row}/{self.fold}/{self.seed}"


class CellBusy(RunError):
    """Another process works on this cell."""


@dataclass(frozen=True)
class Cell(Place):
    """One training and its evaluation.

    Attributes
    ----------
    config
        Its settings.
    full, sub, test
        Scans of disjoint subjects.
    folder
        Where it works.
    threads, test_slices_per_scan, metrics
        From the recipe.
    options
        Of the command.
    """

    config: Config
    full: tuple[Path, ...]
    sub: tuple[Path, ...]
    test: tuple[Path, ...]
    folder: Path
    threads: int
    test_slices_per_scan: int | None
    options: Options
    metrics: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Setting, row, fold and seed."""
        return f"{self.setting} · {self.row} · fold {self.fold} · seed {self.seed}"

    def identity(self) -> Identity:
        """Return what its result depends on."""
        return Identity(
            config=self.config,
            scans=names_and_sizes({"full": self.full, "sub": self.sub, "test": self.test}),
            method_sha256=_hash_of(method_source, self.config),
            network_sha256=_hash_of(network_source, self.config) or None,
            test_slices_per_scan=self.test_slices_per_scan,
            threads=self.threads,
        )


def _hash_of(source: Callable[[Config], str], config: Config) -> str | None:
    """Return the hash of a user's file; None without such a file here, which training refuses."""
    try:
        return source(config)
    except (OSError, ConfigError):
        return None


def names_and_sizes(scans: Mapping[str, Sequence[Path]]) -> str:
    """Return a hash of groups of scans."""
    found = {group: [(path.name, path.stat().st_size) for path in own] for group, own in scans.items()}
    return sha256(json.dumps(found).encode())


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
    file = cell.folder / "cell.json"
    try:
        stored = Identity.model_validate(json.loads(file.read_text(encoding="utf-8"))["identity"])
    except (OSError, ValueError, LookupError) as error:
        raise RunError(f"{file}: damaged ({first_problem(error)})") from error
    different = cell.identity().difference(stored)
    if different is None:
        return
    name, mine, theirs = different
    if name in HASHED:
        raise RunError(f"{cell.folder}: was made with {HASHED[name]}; choose another --out")
    raise RunError(
        f"{cell.folder}: was made with {name} = {theirs!r}, the recipe now says {mine!r}; choose another --out"
    )


def claim(cell: Cell) -> None:
    """Write ``cell.json``, or :func:`check_claim` where the cell has begun. For the process that works on it alone."""
    check_claim(cell)
    if not _begun(cell):
        facts = {"setting": cell.setting, "row": cell.row, "fold": cell.fold, "seed": cell.seed}
        write_text(
            cell.folder / "cell.json",
            json.dumps({**facts, "identity": cell.identity().model_dump(mode="json")}, indent=1),
        )


def is_done(cell: Cell) -> bool:
    """Return whether training and evaluation are complete."""
    return _done(cell) is not None


def is_wanting(cell: Cell) -> bool:
    """Return whether there is something to do.

    It is unfinished, or was evaluated without LPIPS although its weights are now available, or without a metric of the
    recipe, or with another version of that metric's file.
    """
    done = _done(cell)
    if done is None or (not done.lpips and _weights_are_there(cell)):
        return True
    return any(name not in done.metrics or fingerprint(name) not in (None, done.metrics[name]) for name in cell.metrics)


class Done(Record):
    """``DONE``: whether LPIPS was measured, and the metrics of the recipe and the table, with a hash of their files."""

    lpips: bool
    metrics: dict[str, str | None] = Field(default_factory=dict)


def _weights_are_there(cell: Cell) -> bool:
    return find_weights(cell.options.lpips_weights).exists()


def _done(cell: Cell) -> Done | None:
    """Return what was measured in a finished cell; None for an unfinished one."""
    try:
        return Done.read(cell.folder / "DONE")
    except (OSError, ValueError):
        return None


def run_cell(cell: Cell) -> None:
    """Train and evaluate a cell, or go on where it stopped. What is said goes to the cell's ``log.txt``.

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
    with lock, _said_in(cell.folder / "log.txt"):
        try:
            claim(cell)
            if not is_wanting(cell):
                return
            (cell.folder / "failed.json").unlink(missing_ok=True)  # of an attempt before this one
            set_threads(cell.threads)
            options = cell.options
            train(cell.config, cell.full, cell.sub, cell.folder / "run", True, options.cache, options.device)
            shutil.rmtree(cell.folder / "evaluation", ignore_errors=True)
            evaluate(
                [cell.folder / "run"],
                cell.test,
                cell.folder / "evaluation",
                lpips_weights=options.lpips_weights,
                slices_per_scan=cell.test_slices_per_scan,
                title=cell.name,
                device=options.device,
                metrics=cell.metrics,
            )
        except Exception as error:
            logger.error(f"failed: {type(error).__name__}: {error}")
            mark_failed(cell, str(error) or type(error).__name__)
            raise
        measured = {name: fingerprint(name) for name in (*METRICS, *cell.metrics)}
        Done(lpips=_weights_are_there(cell), metrics=measured).write(cell.folder / "DONE")


@contextmanager
def _said_in(file: Path) -> Iterator[None]:
    """Append the package's messages to a file, and what others print, such as warnings of torch."""
    with (
        file.open("a", encoding="utf-8", buffering=1) as log,
        redirect_stdout(log),
        redirect_stderr(log),
        messages_to(lambda text, progress: log.write(f"{text}\n")),
    ):
        yield


def mark_failed(cell: Cell, message: str) -> None:
    """Note why a cell failed, for the list at the end."""
    write_text(cell.folder / "failed.json", json.dumps({"error": message}, indent=1))
