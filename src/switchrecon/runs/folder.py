"""Run folders: what a run says of itself, and whether a folder may be used for it."""

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from switchrecon.config import Config, load_config, parse_config
from switchrecon.core.device import describe
from switchrecon.core.files import write_text
from switchrecon.core.user_code import digest, is_user_code
from switchrecon.data.piles import TrainingData
from switchrecon.errors import RunError
from switchrecon.methods.methods import Method
from switchrecon.methods.players import Players
from switchrecon.runs.checkpoint import load_model, sha256

LOCK = ".lock"


def check_same_settings(folder: Path, stored: dict[str, Any], config: Config) -> None:
    """Refuse to continue a run with other settings.

    Raises
    ------
    RunError
        Naming the first setting that differs.
    """
    mine = config.model_dump(mode="json")
    for name, value in mine.items():
        if stored.get(name) != value:
            raise RunError(
                f"{folder}: holds a run with {name} = {stored.get(name)!r}, asked for {value!r}; "
                "resume with the same settings or choose another --out"
            )


def model_card(config: Config, method: Method, players: Players, steps: int, data: TrainingData) -> dict[str, Any]:
    """All that reconstruction and reports need to know of a run, without any subject's name.

    Subjects are stored as salted hashes, so that an evaluation can refuse a subject that was trained on.
    """
    salt = os.urandom(16).hex()
    return {
        "config": config.model_dump(mode="json"),
        "adaptive": bool(players.generator.adaptive),
        "extractor": players.extractor is not None,
        "matrix": list(data.matrix),
        "center_fraction": data.centre_fraction(config),
        "coils": data.coils,
        "steps": steps,
        **identity(config, data),
        "pairing": method.pairing,
        "parameters": {n: sum(p.numel() for p in m.parameters()) for n, m in players.groups().items()},
        "data": {
            name: {
                "scans": pile.scans,
                "subjects": len(pile.subjects),
                "slices": len(pile.slices),
                "dropped": pile.dropped,
                "synthetic": pile.synthetic,
                "retrospective": pile.retrospective,
                "acceleration": round(pile.acceleration(), 3),
                "sha256": sorted(pile.digests),
            }
            for name, pile in data.piles.items()
        },
        "salt": salt,
        "subjects": sorted({subject_hash(salt, s) for pile in data.piles.values() for s in pile.subjects}),
        "versions": versions(),
        "machine": machine(next(players.parameters()).device),
    }


def identity(config: Config, data: TrainingData) -> dict[str, str]:
    """What must not change under a run: hashes of its scans and of the user's files that it runs."""
    return {"fingerprint": data.fingerprint(), "method_sha256": method_source(config)}


def method_source(config: Config) -> str:
    """SHA-256 of the user's files that the method and the masks come from; empty where all are the package's."""
    names = [("method", config.method), ("mask", config.mask.kind)]
    names += [] if config.simulated_mask is None else [("mask", config.simulated_mask.kind)]
    hashes = [digest(name, what) for what, name in names if is_user_code(name)]
    return sha256("".join(hashes).encode()) if len(hashes) > 1 else "".join(hashes)


def check_same_data(folder: Path, stored: dict[str, Any], mine: dict[str, Any]) -> None:
    """Refuse to continue a run with other scans, or with a method or mask whose file has changed.

    Raises
    ------
    RunError
        Saying which.
    """
    known = {
        "fingerprint": "the scans, as this version prepares them,",
        "method_sha256": "a mask's or the method's file",
    }
    for name, what in known.items():
        if stored[name] != mine[name]:
            raise RunError(f"{folder}: {what} differ from those of the run in this folder; choose another --out")


def versions_text(card: Mapping[str, Any]) -> str:
    """What a run was trained with, in one line."""
    return ", ".join(f"{name} {number}" for name, number in card["versions"].items())


def subject_hash(salt: str, subject: str) -> str:
    """Salted SHA-256 of a subject's name, 16 hexadecimal digits."""
    return hashlib.sha256(f"{salt}:{subject}".encode()).hexdigest()[:16]


def machine(device: torch.device) -> str:
    """What results and times were made on."""
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{platform.system()} {platform.machine()}, {threads} ({describe(device)})"


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {
        "switchrecon": version("switchrecon"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def holds_something(folder: Path) -> bool:
    """Whether the folder exists and holds more than hidden files."""
    return folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir())


def check_folder(folder: Path, config: Config, resume: bool) -> None:
    """Check that a run may begin or go on in a folder.

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
        check_same_settings(folder, load_config(stored).model_dump(mode="json"), config)


@contextmanager
def open_folder(folder: Path, config: Config, resume: bool) -> Iterator[None]:
    """Make the run folder, and keep other trainings out of it until the block ends, however it ends.

    Raises
    ------
    RunError
        As :func:`check_folder`, or if another training works in it.
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
        check_folder(folder, config, resume)  # the other one may just have ended
        for left in folder.rglob(".partial-*"):  # of a run that was killed while it wrote
            left.unlink()
        write_text(folder / "config.yaml", config.to_yaml())
        yield


def is_finished(folder: Path, config: Config, data: TrainingData) -> bool:
    """Whether the folder holds a finished run with a sound model.

    Raises
    ------
    RunError
        If the model was made with other settings or from other scans.
    """
    try:
        card = load_model(folder / "model.safetensors")[1]
    except RunError:
        return False
    check_same_settings(folder, parse_config(card["config"], str(folder)).model_dump(mode="json"), config)
    check_same_data(folder, card, identity(config, data))
    return card["step"] == card["steps"]
