"""The cells of a cross-validation: each is one training and its evaluation, in a folder that can be continued.

A cell's folder holds ``cell.json`` (the cell's settings, and hashes of its scans), ``lock``, ``log.txt``, ``run/``
(the training with its checkpoints), ``evaluation/``, and ``DONE`` when all of it is complete.
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
    """Options of the command besides the recipe; results do not depend on them, except for the last bits on a GPU.

    Attributes
    ----------
    device
        See :func:`switchrecon.core.device.find_device`.
    cache
        Folder for prepared slices; see :mod:`switchrecon.data.cache`.
    lpips_weights
        See :func:`switchrecon.metrics.lpips.find_weights`.
    trust_code
        Run the code that a folder's recipe names, even if nobody has asked to run it on this machine.
    """

    device: str | None = None
    cache: Path | None = None
    lpips_weights: Path | None = None
    trust_code: bool = False

    def on(self, device: str | None) -> "Options":
        """Return the same options with another device and absolute paths, for another process.

        The other process may run the recipe's code, because this one has checked that.
        """
        cache, weights = self.cache and self.cache.resolve(), self.lpips_weights and self.lpips_weights.resolve()
        return Options(device, cache, weights, trust_code=True)

    def arguments(self) -> list[str]:
        """Return the options as arguments of ``switchrecon crossval``."""
        given = {"--device": self.device, "--cache": self.cache, "--lpips-weights": self.lpips_weights}
        words = [word for name, value in given.items() if value is not None for word in (name, str(value))]
        return [*words, *(["--trust-code"] if self.trust_code else [])]


class CellIdentity(Settings):
    """All that a cell's result depends on: settings, names and sizes of its scans, hashes of the user's files."""

    config: Config
    scans: str | None = None
    method_sha256: str | None = None
    network_sha256: str | None = None
    test_slices_per_scan: int | None = None
    threads: int | None = None

    def difference(self, other: "CellIdentity") -> tuple[str, Any, Any] | None:
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
    """A cell's place in the grid: its number from 0, and the recipe's setting, row, fold and seed."""

    index: int
    setting: str
    row: str
    fold: int
    seed: int

    @property
    def key(self) -> str:
        """The value of ``--cell`` for this cell; it does not change when the recipe gets more rows or folds."""
        return f"{self.setting}/{self.row}/{self.fold}/{self.seed}"


class CellBusy(RunError):
    """Raised if another process works on this cell."""


@dataclass(frozen=True)
class Cell(Place):
    """One training and its evaluation.

    Attributes
    ----------
    config
        Settings of the training.
    full, sub, test
        Scans of disjoint subjects.
    folder
        Folder of the cell.
    threads, test_slices_per_scan, metrics
        The recipe's values.
    options
        Options of the command.
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

    def identity(self) -> CellIdentity:
        """Return all that the cell's result depends on."""
        return CellIdentity(
            config=self.config,
            scans=names_and_sizes({"full": self.full, "sub": self.sub, "test": self.test}),
            method_sha256=_hash_of(method_source, self.config),
            network_sha256=_hash_of(network_source, self.config) or None,
            test_slices_per_scan=self.test_slices_per_scan,
            threads=self.threads,
        )


def _hash_of(source: Callable[[Config], str], config: Config) -> str | None:
    """Return the hash of a user's file; None if the file is missing here, which the training will refuse."""
    try:
        return source(config)
    except (OSError, ConfigError):
        return None


def names_and_sizes(scans: Mapping[str, Sequence[Path]]) -> str:
    """Return a hash of the names and sizes of scans in groups."""
    found = {group: [(path.name, path.stat().st_size) for path in paths] for group, paths in scans.items()}
    return sha256(json.dumps(found).encode())


def _begun(cell: Cell) -> bool:
    return (cell.folder / "cell.json").is_file() and (cell.folder / "run").exists()


def check_cell(cell: Cell) -> None:
    """Check that the folder belongs to this cell, if anything has been trained in it.

    Raises
    ------
    RunError
        If it was made with other settings, scans or user's files; the message names the first difference.
    """
    if not _begun(cell):
        return
    file = cell.folder / "cell.json"
    try:
        stored = CellIdentity.model_validate(json.loads(file.read_text(encoding="utf-8"))["identity"])
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


def begin_cell(cell: Cell) -> None:
    """Write ``cell.json``, or check it if it exists. Only for the process that holds the cell's lock."""
    check_cell(cell)
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
    """Return whether a cell has something left to do.

    That is so if it is unfinished, or was evaluated without LPIPS although its weights are now available, or without a
    metric of the recipe, or with another version of that metric's file.
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
    """Return the record of a finished cell's measurements; None for an unfinished cell."""
    try:
        return Done.read(cell.folder / "DONE")
    except (OSError, ValueError):
        return None


def run_cell(cell: Cell) -> None:
    """Train and evaluate a cell, or continue where it stopped. Messages go to the cell's ``log.txt``.

    Raises
    ------
    CellBusy
        If another process works on it.
    SwitchreconError
        If the training or the evaluation raises it.
    """
    cell.folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(cell.folder / "lock").acquire(timeout=0)
    except Timeout:
        raise CellBusy(f"{cell.folder}: another process works on this cell") from None
    with lock, _said_in(cell.folder / "log.txt"):
        try:
            begin_cell(cell)
            if not is_wanting(cell):
                return
            (cell.folder / "failed.json").unlink(missing_ok=True)  # left by an earlier attempt
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
                overwrite=True,
            )
        except Exception as error:
            logger.error(f"failed: {type(error).__name__}: {error}")
            mark_failed(cell, str(error) or type(error).__name__)
            raise
        measured = {name: fingerprint(name) for name in (*METRICS, *cell.metrics)}
        Done(lpips=_weights_are_there(cell), metrics=measured).write(cell.folder / "DONE")


@contextmanager
def _said_in(file: Path) -> Iterator[None]:
    """Append the package's messages, and all that is printed, such as torch's warnings, to a file."""
    with (
        file.open("a", encoding="utf-8", buffering=1) as log,
        redirect_stdout(log),
        redirect_stderr(log),
        messages_to(lambda text, progress: log.write(f"{text}\n")),
    ):
        yield


def mark_failed(cell: Cell, message: str) -> None:
    """Write down why a cell failed, for the list at the end."""
    write_text(cell.folder / "failed.json", json.dumps({"error": message}, indent=1))
