"""Maps beside the images of a scan, such as what of them was invented: what they are, and where they are written."""

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
        Lower-case letters: what it is called in files.
    values
        Real or complex (slices, H, W).
    about
        A sentence that files say of it.
    """

    name: str
    values: np.ndarray
    about: str


@dataclass(frozen=True)
class Shown:
    """What a writer is given, where it is one of several for a scan; a scan without it is of images alone.

    Attributes
    ----------
    name, about
        See :class:`Map`; the name is empty for the images themselves.
    order
        0 for the images, from 1 for the maps.
    whole
        Digest of the images, which joins them with their maps.
    white
        The magnitude that is shown white, the same for the images and their maps.
    """

    name: str
    about: str
    order: int
    whole: str
    white: float


def white_of(magnitudes: np.ndarray) -> float:
    """Return the magnitude that is shown white: the 99.9th percentile, the maximum where that is 0, or 1."""
    return float(np.percentile(magnitudes, WHITE) or magnitudes.max() or 1.0)


def shown(images: np.ndarray, maps: Sequence[Map]) -> list[tuple[Shown, np.ndarray]]:
    """Return the maps and, last, the images, each with what it is; so that no image is there without its maps."""
    magnitudes = np.abs(images)
    whole, white = hashlib.sha256(np.ascontiguousarray(magnitudes).tobytes()).hexdigest(), white_of(magnitudes)
    parts = [(Shown(own.name, own.about, order, whole, white), own.values) for order, own in enumerate(maps, 1)]
    return [*parts, (Shown("", "", 0, whole, white), images)]


def map_target(written: Format, target: Path, name: str) -> Path:
    """Return where a map is written: beside the images, called ``…_desc-NAME``; the images' place without a name.

    Parameters
    ----------
    written
        The format.
    target
        The images' file or folder.
    name
        Of the map.
    """
    if not name or written.write_maps is not None:
        return target
    if "_desc-recon" in target.name:  # as BIDS names it
        return target.with_name(re.sub(r"_desc-recon(?=[_.]|$)", f"_desc-{name}", target.name))
    first = target.name if written.folder else stem(target)
    return target.with_name(f"{first}_desc-{name}{target.name[len(first) :]}")
