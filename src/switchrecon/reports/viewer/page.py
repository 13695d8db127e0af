"""The viewer's page: one HTML file that holds its images and asks for nothing."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np

from switchrecon.errors import ConfigError
from switchrecon.reports.page import write_page
from switchrecon.reports.viewer.sources import Source
from switchrecon.reports.viewer.stacks import Stack

SCRIPTS: Final = ("viewer.math.js", "viewer.colours.js", "viewer.draw.js", "viewer.js", "viewer.input.js")


@dataclass(frozen=True)
class Part:
    """The viewer as a part of a page.

    Attributes
    ----------
    script, style
        As they stand between their tags.
    script_hash, style_hash
        For the page's Content-Security-Policy.
    data
        JSON that holds no ``<``.
    shown
        How many slices of how many the page holds.
    """

    script: str
    style: str
    script_hash: str
    style_hash: str
    data: str
    shown: tuple[int, int] = (0, 0)


@cache
def _assets() -> tuple[str, str]:
    folder = files("switchrecon") / "templates"
    script = "".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{script}}})();\n', (folder / "viewer.css").read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def as_json(value: Mapping[str, Any]) -> str:
    """JSON for a ``<script>`` element: no text in it can end the element."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def part_of(manifest: Mapping[str, Any], shown: tuple[int, int] = (0, 0)) -> Part:
    """Return the viewer for a manifest.

    Parameters
    ----------
    manifest
        ``remote``: whether planes come from the server; ``embedded``: whether it is a part of a longer page;
        ``stacks``: headers with their planes, or names alone where ``remote``.
    shown
        See :class:`Part`.
    """
    script, style = _assets()
    return Part(script, style, _hash(script), _hash(style), as_json(manifest), shown)


def embed(
    stacks: Sequence[Stack],
    most_bytes: int,
    pick: Sequence[int] | None = None,
    prefer: Mapping[int, Sequence[int]] | None = None,
    embedded: bool = False,
) -> Part:
    """Return the viewer with its images inside, of at most so many bytes.

    Where all slices are too many, evenly spread ones are taken of each stack.

    Parameters
    ----------
    stacks
        What is shown.
    most_bytes
        Most bytes of all planes together, as base64.
    pick
        Numbers of the slices to show; None: all that fit.
    prefer
        By the place of a stack, positions of slices that are among those that fit.
    embedded
        Whether it is a part of a longer page.

    Raises
    ------
    ConfigError
        If slices that were picked do not exist or do not fit, or not one slice of each stack fits.
    """
    wanted = [_picked(stack, pick) for stack in stacks]
    total = sum(map(len, wanted))
    share = 1.0
    while True:
        chosen = [
            _spread(places, share, () if prefer is None else prefer.get(k, ())) for k, places in enumerate(wanted)
        ]
        count = sum(map(len, chosen))
        headers, size = _packed(stacks, chosen, most_bytes)
        if size <= most_bytes:
            break
        if pick is not None or count == len(stacks):
            what = "the slices of --slices" if pick is not None else "one slice of each scan"
            raise ConfigError(
                f"{what} ({count}) would make a page of more than {most_bytes / 1e6:.3g} MB; choose fewer with "
                "--slices or name fewer files, allow more with --limit, or leave out --out for a page on this machine"
            )
        share = min(share * 0.95 * most_bytes / size, (count - 1) / total)
    return part_of({"remote": False, "embedded": embedded, "stacks": headers}, (count, total))


def _picked(stack: Stack, pick: Sequence[int] | None) -> list[int]:
    if pick is None:
        return list(range(len(stack.numbers)))
    places = [place for place, number in enumerate(stack.numbers) if number in set(pick)]
    if not places:
        raise ConfigError(
            f"--slices: {stack.name} has none of these slices; it has {stack.numbers[0]} to {stack.numbers[-1]}"
        )
    return places


def _spread(places: Sequence[int], share: float, prefer: Sequence[int]) -> list[int]:
    """At least one of the places, evenly spread, moved to the nearest preferred ones."""
    count = max(1, int(len(places) * share))
    if count >= len(places):
        return list(places)
    step = len(places) / count
    chosen = {places[int((k + 0.5) * step)] for k in range(count)}
    for place in prefer:
        others = [c for c in chosen if c not in prefer]
        if place in places and place not in chosen and others:
            chosen.remove(min(others, key=lambda other: abs(other - place)))
            chosen.add(place)
    return sorted(chosen)


def _packed(
    stacks: Sequence[Stack], chosen: Sequence[Sequence[int]], most_bytes: int
) -> tuple[list[dict[str, Any]], float]:
    """Headers with their planes, and the bytes of these; extrapolated from what was packed until it was too much."""
    size, done, total = 0, 0, sum(map(len, chosen))
    headers = []
    for stack, places in zip(stacks, chosen, strict=True):
        small = stack.only(places)
        header = small.header()
        planes: list[dict[str, list[str]]] = [{kind: [] for kind in small.kinds(k)} for k in range(len(small.layers))]
        masks: list[str] = []
        for position in range(len(places)):
            before = size
            for k, layer in enumerate(planes):
                for kind in small.kinds(k):
                    layer[kind].append(_base64(small.encoded(k, kind, position)))
                    size += len(layer[kind][-1])
            if small.mask is not None:
                masks.append(_base64(small.encoded(0, "mask", position)))
                size += len(masks[-1])
            done += 1
            if size > 1.5 * most_bytes and size > before:
                return [], size * total / done
        headers.append(header | {"planes": planes, "masks": masks, "of": len(stack.numbers)})
    return headers, float(size)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def save_page(
    sources: Sequence[Source], target: Path, pick: Sequence[int] | None = None, megabytes: float = 24.0
) -> Part:
    """Write one self-contained page; see :func:`embed`.

    Parameters
    ----------
    sources
        What is shown.
    target
        The file.
    pick
        Numbers of slices; None: all that fit.
    megabytes
        What the images may take.

    Raises
    ------
    SwitchreconError
        For a scan that cannot be read, or a page that would be too large.
    """
    part = embed([source.open() for source in sources], int(megabytes * 1e6), pick)
    write_page(target, "viewer.html.j2", {"viewer": part, "remote": False, "title": "switchrecon view"})
    return part


def parse_slices(text: str) -> list[int]:
    """Read numbers and ranges of slices, such as ``3,8,20-30`` or ``0-60:5``.

    Raises
    ------
    ConfigError
        For anything else.
    """
    found: list[int] = []
    try:
        for word in text.split(","):
            span, _, step = word.partition(":")
            first, dash, last = span.partition("-")
            if not dash and step:
                raise ValueError
            found += range(int(first), int(last if dash else first) + 1, int(step or 1))
    except ValueError:
        found = []
    if not found:
        raise ConfigError(f"--slices {text!r}: expected numbers from 0 and ranges, such as 3,8 or 20-30 or 0-60:5")
    return np.unique(found).tolist()
