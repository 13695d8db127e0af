"""Maps beside the images of a scan, such as the invented part: what they are, and where they are written."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from switchrecon.scans.formats import Format
from switchrecon.scans.names import stem

WHITE = 99.9  # percentile of the volume: a few bright vessels do not darken the rest


@dataclass(frozen=True)
class Map:
    """A map of a scan, in the units and on the grid of its images.

    Attributes
    ----------
    name
        Name in files, lower-case letters.
    values
        Real or complex (slices, H, W).
    about
        A sentence about the map, for files.
    """

    name: str
    values: np.ndarray
    about: str


@dataclass(frozen=True)
class Shown:
    """Describes what a writer gets, if it is one of several for a scan; without it a scan has images alone.

    Attributes
    ----------
    name, about
        See :class:`Map`; the name is empty for the images themselves.
    order
        0 for the images, from 1 for the maps.
    whole
        Digest of the images, which connects maps with them.
    white
        The magnitude that is shown white, the same for the images and their maps.
    """

    name: str
    about: str
    order: int
    whole: str
    white: float


def white_of(magnitudes: np.ndarray) -> float:
    """Return the magnitude that is shown white: the 99.9th percentile, or the maximum if that is 0, or 1."""
    return float(np.percentile(magnitudes, WHITE) or magnitudes.max() or 1.0)


def shown(images: np.ndarray, maps: Sequence[Map]) -> list[tuple[Shown, np.ndarray]]:
    """Return the maps and, last, the images, with their descriptions; so no image is written before its maps."""
    magnitudes = np.abs(images)
    whole, white = hashlib.sha256(np.ascontiguousarray(magnitudes).tobytes()).hexdigest(), white_of(magnitudes)
    parts = [(Shown(each.name, each.about, order, whole, white), each.values) for order, each in enumerate(maps, 1)]
    return [*parts, (Shown("", "", 0, whole, white), images)]


def map_target(written: Format, target: Path, name: str) -> Path:
    """Return the target of a map: beside the images, ``…_desc-NAME``; without a name the images' target.

    Parameters
    ----------
    written
        The format.
    target
        The images' file or folder.
    name
        The name of the map.
    """
    if not name or written.write_maps is not None:
        return target
    if "_desc-recon" in target.name:  # as BIDS names it
        return target.with_name(re.sub(r"_desc-recon(?=[_.]|$)", f"_desc-{name}", target.name))
    first = target.name if written.folder else stem(target)
    return target.with_name(f"{first}_desc-{name}{target.name[len(first) :]}")
