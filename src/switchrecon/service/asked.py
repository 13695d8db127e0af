"""What a client may ask for: a run by a listed name, and how its images come back."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from switchrecon.errors import DataError, SwitchreconError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ZERO_FILLED = "zero-filled"  # a run that every server has
MODEL = "model.safetensors"
DEEPEST = 16  # levels of JSON; parameters have two
MOST = 64  # parameters

Pixels = Literal["integer", "float", "complex"]
Outside = Literal["refuse", "zero-filled"]
Series = Literal["all", "image"]


@dataclass(frozen=True)
class Answering:
    """How images come back.

    Attributes
    ----------
    pixels
        ``integer``: uint16 with RescaleSlope; ``float``: the magnitude; ``complex``.
    bits
        Bits of integers: 12 or 16.
    series
        ``all``: images and maps, a series each; ``image``: images alone.
    outside
        What becomes of a scan outside what the run was trained for.
    """

    pixels: Pixels = "integer"
    bits: int = 12
    series: Series = "all"
    outside: Outside = "refuse"


def listed_runs(folder: Path) -> dict[str, Path]:
    """The runs that may be asked for, by name: the subfolders of a folder that hold a model, or the folder itself.

    Raises
    ------
    DataError
        For a folder that is absent or holds no run.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one that holds run folders")
    found = [folder] if (folder / MODEL).is_file() else [each for each in folder.iterdir() if (each / MODEL).is_file()]
    runs = {each.resolve().name if each is folder else each.name: each for each in sorted(found)}
    runs = {name: each for name, each in runs.items() if NAME.fullmatch(name) and name != ZERO_FILLED}
    if not runs:
        raise DataError(
            f"{folder}: holds no run; expected folders with {MODEL}, named with letters, digits, '.', '_' and '-'"
        )
    return runs


def parameters_in(text: bytes) -> dict[str, str]:
    """The parameters of a TEXT message, ``{"parameters": {"config": "a-run", ...}}``; none where it is no such JSON."""
    if text[:1] != b"{" or max(text.count(b"{"), text.count(b"[")) > DEEPEST * MOST:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    inside = found.get("parameters", {}) if isinstance(found, dict) else {}
    if not isinstance(inside, dict):
        return {}
    plain = {key: value for key, value in inside.items() if isinstance(value, (str, int, float))}
    return {key: str(value) for key, value in list(plain.items())[:MOST]}


def asked_name(config: bytes, parameters: Iterable[Mapping[str, str]]) -> str:
    """The run that a client asks for: the last of the configuration and the parameters ``config`` that say one.

    Parameters
    ----------
    config
        The configuration message: a name, perhaps ending in ``.xml``, or JSON with parameters.
    parameters
        The parameters of the header and of TEXT messages, in this order.
    """
    names = [parameters_in(config).get("config") or config.decode("utf-8", "replace").strip().removesuffix(".xml")]
    names += [each["config"] for each in parameters if each.get("config")]
    return names[-1]


def chosen_run(asked: str, runs: Mapping[str, Path], default: str | None) -> str:
    """The listed name of a run.

    Parameters
    ----------
    asked
        By the client; it is compared with the list and goes nowhere else.
    runs
        See :func:`listed_runs`.
    default
        What ``default``, ``openrecon`` and an empty name stand for; None: nothing.

    Raises
    ------
    SwitchreconError
        For a name that is not listed.
    """
    if asked in runs or asked == ZERO_FILLED:
        return asked
    if asked.lower() in ("", "default", "openrecon") and default is not None:
        return default
    shown = f"'{asked}'" if NAME.fullmatch(asked) else "another text"
    raise SwitchreconError(f"no run is called so: found {shown}, expected one of {', '.join([*runs, ZERO_FILLED])}")


def answering(given: Answering, parameters: Iterable[Mapping[str, str]]) -> Answering:
    """How images come back, as the server says it and then the client's parameters.

    Raises
    ------
    SwitchreconError
        For a value that does not exist.
    """
    values: dict[str, str] = {}
    for each in parameters:
        values |= {key.lower(): value for key, value in each.items()}
    if "bitsstored" in values:  # as scanners call it
        values.setdefault("bits", values["bitsstored"])
    for name, valid in (("pixels", get_args(Pixels)), ("series", get_args(Series)), ("bits", ("12", "16"))):
        if name not in values:
            continue
        if values[name] not in valid:
            raise SwitchreconError(f"parameter {name}: expected one of {', '.join(valid)}")
        value: Any = int(values[name]) if name == "bits" else values[name]
        given = replace(given, **{name: value})
    return given


def serving(pixels: str, bits: int, series: str, outside: str) -> Answering:
    """What a server is told on its command line.

    Raises
    ------
    SwitchreconError
        For a value that does not exist.
    """
    if outside not in get_args(Outside):
        raise SwitchreconError(f"outside '{outside}': expected one of {', '.join(get_args(Outside))}")
    given = {"pixels": pixels, "bits": str(bits), "series": series}
    return replace(answering(Answering(), [given]), outside="zero-filled" if outside == "zero-filled" else "refuse")
