"""Write images of scans, and maps beside them, in any format; a series gets a file, or a part of one."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from switchrecon.errors import ConfigError, DataError, nearest
from switchrecon.scans.files import recognise
from switchrecon.scans.formats import Format, formats
from switchrecon.scans.images import without_padding
from switchrecon.scans.maps import Map, map_target, shown
from switchrecon.scans.names import named, stem
from switchrecon.scans.scan import Scan
from switchrecon.scans.series import Series, labelled, one_series, series_of

logger = logging.getLogger(__name__)

OWN = "own"  # the format of the scan itself


def image_formats() -> dict[str, Format]:
    """Return the formats that images are written in, by their name after ``--format``."""
    return {format.option: format for format in formats() if format.option and format.write_images}


def image_format(option: str, source: Format | None = None) -> Format:
    """Return the format that images are written in.

    Parameters
    ----------
    option
        A key of :func:`image_formats`, or ``own``.
    source
        The format of the scan, which is used for ``own``.

    Raises
    ------
    ConfigError
        For an unknown format.
    """
    known = image_formats()
    if option == OWN and source is not None:
        return source if source.write_images else known[source.images_as]
    if option not in known:
        raise ConfigError(f"unknown format '{option}'; {nearest(option, [OWN, *known])}")
    return known[option]


def image_target(written: Format, path: Path, out: Path, number: int = 1) -> Path:
    """Return the file or folder in folder ``out`` that images of a scan are written to.

    Parameters
    ----------
    written
        The format of the images; see :func:`image_format`.
    path
        The scan.
    out
        A folder.
    number
        The number of the scan among those that are written together; BIDS uses it for scans without a BIDS name.
    """
    if written.image_name is not None:
        return out / written.image_name(path, number)
    return out / (stem(path) if written.folder else named(path, *written.written))


def targets_of(written: Format, scan: Scan, target: Path) -> list[tuple[Series, Path]]:
    """Return the series of a scan and where each is written, in a format that takes one at a time."""
    found = series_of(scan)
    if len(found) == 1:
        return [(found[0], target)]
    if written.series_name is not None:
        return [(series, written.series_name(target, series.labels)) for series in found]
    ending = "" if written.folder else target.name.removeprefix(stem(target))
    return [(series, labelled(target, series.labels, ending)) for series in found]


def check_absent(targets: Sequence[Path], overwrite: bool) -> None:
    """Refuse targets that exist, unless they may be replaced.

    Raises
    ------
    DataError
        If so; the message names the first of them.
    """
    for target in targets:
        if target.exists() and not overwrite:
            raise DataError(f"{target}: exists already; add --overwrite or choose another name")


def write_images(
    scan: Scan,
    images: np.ndarray,
    out: Path,
    option: str = OWN,
    number: int = 1,
    overwrite: bool = True,
    maps: Sequence[Map] = (),
) -> Path:
    """Write images (slices, H, W) at the scan's matrix, and maps beside them, without the scan's padding.

    Repetitions, contrasts, phases and sets go into one file if the format can tell them from slices, otherwise each
    goes into its file.

    Parameters
    ----------
    scan, images
        The scan, and an image for each of its slices.
    out
        A folder.
    option
        The format; see :func:`image_format`.
    number
        See :func:`image_target`.
    overwrite
        Replace files of series that exist.
    maps
        The maps of the images, on their grid; see :func:`~switchrecon.scans.maps.map_target` for where they go.

    Returns
    -------
    Path
        The file or folder that was written, the first of several.

    Raises
    ------
    DataError
        If a file of a series exists and may not be replaced.
    """
    source = recognise(scan.path) if option == OWN and scan.format is None else scan.format
    written = image_format(option, source)
    target = image_target(written, scan.path, out, number)
    if not maps or written.write_maps is not None:
        places = _write_series(written, scan, [Map("", images, ""), *maps], target, overwrite)
    else:
        for what, values in shown(images, maps):
            marked = replace(scan, shown=what)
            places = _write_series(written, marked, [Map(what.name, values, what.about)], target, overwrite)
    tell_series(scan, places)
    return places[0]


def _write_series(written: Format, scan: Scan, maps: Sequence[Map], target: Path, overwrite: bool) -> list[Path]:
    """Write each series of images or maps; return the files. Several maps are given if they go into one file."""
    plain, _ = without_padding(scan, maps[0].values)
    maps = [replace(each, values=without_padding(scan, each.values)[1]) for each in maps]
    first = maps[0]

    def write(part: Scan, parts: Sequence[Map], place: Path) -> Path:
        place = map_target(written, place, first.name)
        if len(parts) > 1:
            assert written.write_maps is not None
            written.write_maps(part, parts, place)
        else:
            assert written.write_images is not None
            written.write_images(part, parts[0].values, place)
        return place

    if written.all_series:
        return [write(plain, maps, target)]
    found = targets_of(written, plain, target)
    check_absent([map_target(written, place, first.name) for _, place in found if len(found) > 1], overwrite)
    return [
        write(
            one_series(plain, first.values, series)[0],
            [replace(each, values=each.values[series.numbers]) for each in maps],
            place,
        )
        for series, place in found
    ]


def tell_series(scan: Scan, written: Sequence[Path]) -> None:
    """Report the files of the series of a scan, if there are several."""
    if len(written) > 1:
        logger.info("%s: %d series, written to %s", scan.path, len(written), ", ".join(path.name for path in written))
