"""Checkpoints: safetensors plus JSON with checksums, written atomically, two generations kept."""

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor

from switchrecon.core.files import atomic_file, write_text
from switchrecon.core.limits import check_file
from switchrecon.errors import ConfigError, RunError
from switchrecon.runs.card import Card, card_from_text, read_card

KEPT = 2
FORMAT = 2
MOST_JSON = 1 << 24  # largest size in bytes of the JSON beside the tensors


def sha256(content: bytes) -> str:
    """Return the SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _seal(description: dict[str, Any]) -> str:
    return sha256(json.dumps(description, sort_keys=True).encode())


def save_tensors(target: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> str:
    """Write a safetensors file atomically and return its SHA-256."""
    content = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata)
    with atomic_file(target) as temporary:
        temporary.write_bytes(content)
    return sha256(content)


def save_checkpoint(folder: Path, step: int, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Write the checkpoint of a step and remove all but the newest two.

    Parameters
    ----------
    folder
        ``checkpoints`` of a run.
    step
        Steps done.
    tensors
        The tensors to store.
    description
        All else, as values for JSON: counters, settings, versions. It is stored with the tensors' checksum and with a
        checksum of itself.
    """
    base = folder / f"step-{step:08d}"
    checksum = save_tensors(base.with_suffix(".safetensors"), tensors)
    sealed = {**description, "format": FORMAT, "step": step, "sha256": checksum}
    write_text(base.with_suffix(".json"), json.dumps({**sealed, "seal": _seal(sealed)}, indent=1))
    for old in sorted(folder.glob("step-*.json"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        check_file(file, MOST_JSON)
        check_file(file.with_suffix(".safetensors"))
        description = json.loads(file.read_text(encoding="utf-8"))
        seal = description.pop("seal")
        content = file.with_suffix(".safetensors").read_bytes()
        if seal != _seal(description) or description["sha256"] != sha256(content):
            raise RunError(f"{file}: the checksum does not match; the checkpoint is damaged")
        return load(content), description
    except RunError:
        raise
    except Exception as error:
        raise RunError(f"{file}: not a readable checkpoint ({error})") from error


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read the newest checkpoint that is not damaged; return None if there is no checkpoint yet.

    Checksums show whether one is damaged; then a warning says so, and the one before it is read.

    Raises
    ------
    RunError
        If there are checkpoints and all are damaged, or another version made them.
    """
    files = sorted(folder.glob("step-*.json"), reverse=True)
    for file in files:
        try:
            tensors, description = _read(file)
        except RunError as error:
            warnings.warn(f"{error}; trying the one before", stacklevel=2)
            continue
        if description["format"] != FORMAT:
            raise RunError(
                f"{file}: a checkpoint of format {description['format']}, which another version of switchrecon made; "
                f"expected {FORMAT}: finish the run with that version, or start anew"
            )
        return tensors, description
    if files:
        raise RunError(f"{folder}: all {len(files)} checkpoints are damaged")
    return None


def stored_card(description: Mapping[str, Any], folder: Path) -> Card:
    """Return the card in the description of a checkpoint.

    Raises
    ------
    RunError, ConfigError
        See :func:`switchrecon.runs.card.read_card`.
    """
    return read_card(description["card"], str(folder))


def _planned(run: Path, number: Callable[[dict[str, Any]], int]) -> int | None:
    """Return a number of the newest card that can be read."""
    for file in sorted(run.glob("checkpoints/step-*.json"), reverse=True):
        with suppress(OSError, ValueError, LookupError, TypeError):
            return int(number(json.loads(file.read_text(encoding="utf-8"))["card"]))
    return None


def planned_steps(run: Path) -> int | None:
    """Return the planned steps of a run with a checkpoint, even a damaged one; None if they cannot be read."""
    return _planned(run, lambda card: card["steps"])


def begun_by(run: Path) -> int | None:
    """Return how many processes began a run that has a checkpoint; None where that cannot be read."""
    return _planned(run, lambda card: card.get("processes", 1))


def save_model(target: Path, tensors: dict[str, Tensor], card: Card) -> None:
    """Write ``model.safetensors``: the weights, and the card with all facts that reconstruction needs."""
    checksum = sha256(b"".join(tensors[name].detach().cpu().numpy().tobytes() for name in sorted(tensors)))
    save_tensors(target, tensors, {"switchrecon": json.dumps({**card.to_json(), "weights_sha256": checksum})})


def load_model(file: Path) -> tuple[dict[str, Tensor], Card]:
    """Read a file that :func:`save_model` wrote.

    Raises
    ------
    RunError
        If the file is missing or damaged, or is no such file.
    ConfigError
        If its settings are not valid in this version.
    """
    if not file.is_file():
        raise RunError(f"{file}: no trained model here; expected a run folder with model.safetensors")
    try:
        check_file(file)
        with file.open("rb") as opened:
            header = int.from_bytes(opened.read(8), "little")
        if header > MOST_JSON:
            raise RunError(f"its header claims {header} bytes; expected at most {MOST_JSON}")
        with safe_open(file, framework="pt") as opened:
            card = card_from_text((opened.metadata() or {})["switchrecon"], str(file))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        checksum = sha256(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors)))
    except ConfigError:
        raise
    except Exception as error:
        raise RunError(f"{file}: not a readable model ({error})") from error
    if checksum != card.weights_sha256:
        raise RunError(f"{file}: the checksum does not match; the model is damaged")
    return tensors, card


def flatten_optimizer(prefix: str, state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimiser's state into named tensors and JSON."""
    tensors = {
        f"{prefix}.state.{index}.{key}": value
        for index, values in state["state"].items()
        for key, value in values.items()
    }
    tensors |= {f"{prefix}.slow.{index}": value for index, value in enumerate(state.get("slow", []))}
    groups = [{**group, "lr": float(group["lr"])} for group in state["param_groups"]]  # on a GPU it is a tensor
    rest = {"param_groups": groups}
    return tensors, rest | ({"count": state["count"]} if "count" in state else {})


def unflatten_optimizer(prefix: str, tensors: dict[str, Tensor], rest: dict[str, Any]) -> dict[str, Any]:
    """Put the state of an optimiser together again: the inverse of :func:`flatten_optimizer`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(f"{prefix}.state."):
            index, key = name.removeprefix(f"{prefix}.state.").split(".", 1)
            state.setdefault(int(index), {})[key] = value
    slow = {n: t for n, t in tensors.items() if n.startswith(f"{prefix}.slow.")}
    ordered = [slow[f"{prefix}.slow.{index}"] for index in range(len(slow))]
    return {**rest, "state": state} | ({"slow": ordered} if "count" in rest else {})
