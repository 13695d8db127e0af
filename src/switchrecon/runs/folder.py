"""Run folders: checks before a folder is used for a run, and the lock on it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from switchrecon.config import Config, load_config
from switchrecon.core.files import write_text
from switchrecon.data.piles import FINGERPRINT, TrainingData
from switchrecon.errors import RunError
from switchrecon.runs.card import Card, Identity, identity
from switchrecon.runs.checkpoint import load_model

LOCK = ".lock"


LENGTHS = ("steps", "epochs")


def check_same_settings(folder: Path, stored: Config, config: Config) -> None:
    """Refuse to continue a run with other settings; only how long it is may change, see :func:`check_length`.

    Raises
    ------
    RunError
        If settings differ; the message names the first one.
    """
    theirs = stored.model_dump(mode="json")
    for name, value in config.model_dump(mode="json").items():
        if theirs[name] != value and name not in LENGTHS:
            raise RunError(
                f"{folder}: holds a run with {name} = {theirs[name]!r}, asked for {value!r}; "
                "resume with the same settings (only steps or epochs may become more), or choose another --out"
            )


def check_length(folder: Path, card: Card, steps: int) -> None:
    """Refuse fewer steps than a run has done.

    Raises
    ------
    RunError
        Saying how many that are.
    """
    if steps < card.step or (steps == card.step and steps != card.steps):
        raise RunError(
            f"{folder}: holds a run that has done {card.step} steps, asked for {steps} in all; give more, such as "
            f"--set steps={2 * card.step}, or choose another --out"
        )


def check_same_data(folder: Path, stored: Card, mine: Identity, files: Mapping[str, Sequence[str]]) -> None:
    """Refuse to continue a run with other scans, or with a user's file that has changed.

    Parameters
    ----------
    folder, stored
        The run and its card.
    mine, files
        Of the scans that are to be used now; SHA-256 of each pile's files in rising order. Runs of earlier versions are
        compared by their files alone.

    Raises
    ------
    RunError
        If one has changed; the message says which.
    """
    known = {
        "fingerprint": "the scans, as this version prepares them,",
        "method_sha256": "a mask's or the method's file",
        "network_sha256": "the network's file",
    }
    if stored.fingerprint and not stored.fingerprint.startswith(FINGERPRINT):
        theirs = {name: tuple(pile.sha256) for name, pile in stored.data.items()}
        same = theirs == {name: tuple(found) for name, found in files.items()}
        mine = mine.model_copy(update={"fingerprint": stored.fingerprint if same else ""})
    for name, what in known.items():
        if getattr(stored, name) != getattr(mine, name):
            raise RunError(f"{folder}: {what} differ from those of the run in this folder; choose another --out")


def holds_something(folder: Path) -> bool:
    """Return whether the folder exists and holds files that are not hidden."""
    return folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir())


def check_folder(folder: Path, config: Config, resume: bool) -> None:
    """Check that a run may start or continue in a folder.

    Raises
    ------
    RunError
        If the folder holds a run and ``resume`` is off, something that is not a run, or a run with other settings.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file, expected a folder for the run")
    if holds_something(folder):
        stored = folder / "config.yaml"
        if not stored.is_file():
            raise RunError(f"{folder}: is not empty and holds no run; choose another --out")
        if not resume:
            raise RunError(f"{folder}: already holds a run; add --resume to continue it, or choose another --out")
        check_same_settings(folder, load_config(stored), config)


@contextmanager
def open_folder(folder: Path, config: Config, resume: bool) -> Iterator[None]:
    """Make the run folder and lock it against other trainings until the block ends.

    Raises
    ------
    RunError
        As :func:`check_folder`, or if another training uses the folder.
    """
    check_folder(folder, config, resume)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / LOCK).acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"{folder}: another training works in this folder; wait for it or choose another --out"
        ) from None
    with lock:
        check_folder(folder, config, resume)  # another training may just have ended
        for left in folder.rglob(".partial-*"):  # left by a run that was killed while writing
            left.unlink()
        write_text(folder / "config.yaml", config.to_yaml())
        yield


def is_finished(folder: Path, config: Config, data: TrainingData, steps: int) -> bool:
    """Return whether the folder holds a sound model of a run that has done all its steps.

    Raises
    ------
    RunError
        If the model was made with other settings or from other scans, or has done more steps.
    """
    try:
        card = load_model(folder / "model.safetensors")[1]
    except RunError:
        return False
    check_same_settings(folder, card.config, config)
    check_same_data(folder, card, identity(config, data), {n: sorted(p.digests) for n, p in data.piles.items()})
    check_length(folder, card, steps)
    return card.finished and card.steps == steps
