"""File formats: the class of a format, and the table of all formats.

A format is an object of :class:`Format`. It is a part of this package, or comes from another package by an entry point
of the group ``switchrecon.formats``, or from Python by :func:`register`.
"""

import gzip
import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from switchrecon.core.reading import ReadOptions
from switchrecon.errors import ConfigError, SwitchreconError

if TYPE_CHECKING:
    from switchrecon.scans.maps import Map
    from switchrecon.scans.scan import Scan

logger = logging.getLogger(__name__)

GROUP = "switchrecon.formats"  # group of the entry points


def _never(path: Path) -> bool:
    return False


def _name(path: Path) -> str:
    return path.stem


def _one_file(path: Path) -> tuple[Path, ...]:
    return (path,)


@dataclass(frozen=True)
class Format:
    """One file format: how its files are recognised, read and written.

    Attributes
    ----------
    name
        Name for users.
    suffixes
        Endings of file names, in lower case, that are looked for in a folder.
    sniff
        Function that says whether a path holds this format, from the content and not from the name. The path may be a
        folder, or may not exist. It should not raise errors.
    read
        Function that reads a file. None if this format is only written.

        Raises :class:`~switchrecon.errors.DataError` for a file that cannot be used.
    subject
        Function that returns the subject without reading the data; by default the file's name.
    parts
        Function that returns all files that belong to a path.
    option
        Name of the format after ``--format``; empty if it has none.
    write_images
        Function that writes images (slices, H, W), real or complex, at the scan's matrix, to a path. None if it writes
        no images.
    image_name
        Function that names the file or folder of images, from the scan's path and its number among those written
        together. None: the scan's name with the first of ``endings``.
    folder
        Whether images are written as a folder with one file for each slice.
    all_series
        Whether ``write_images`` takes all series of a scan (repetitions, contrasts, ...) at once; otherwise it is
        called for each of them.
    series_name
        Function that returns the target of one series, from the scan's target and the series' labels. None: labels are
        added to the end of the name.
    write_maps
        Function that writes maps to one path, for a format that holds several in a file; the map without a name is the
        images. None: ``write_images`` writes maps beside the images, with a scan whose ``shown`` says what they are.
    write_kspace
        Function that writes k-space, complex64 (slices, coils, H, W), to a path. None if it writes no k-space.
    endings
        Endings of the names of files that are written; None: ``suffixes``.
    images_as
        ``option`` of the format for images of scans of this format, if it writes no images.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    sniff: Callable[[Path], bool] = _never
    read: "Callable[[Path, ReadOptions], Scan] | None" = None
    subject: Callable[[Path], str] = _name
    parts: Callable[[Path], tuple[Path, ...]] = _one_file
    option: str = ""
    write_images: "Callable[[Scan, np.ndarray, Path], None] | None" = None
    image_name: Callable[[Path, int], str] | None = None
    folder: bool = False
    all_series: bool = False
    series_name: "Callable[[Path, dict[str, int]], Path] | None" = None
    write_maps: "Callable[[Scan, Sequence[Map], Path], None] | None" = None
    write_kspace: "Callable[[Scan, np.ndarray, Path], None] | None" = None
    endings: tuple[str, ...] | None = None
    images_as: str = "hdf5"

    @property
    def written(self) -> tuple[str, ...]:
        """Endings of the names of files that are written."""
        return self.suffixes if self.endings is None else self.endings


@cache
def _built_in() -> tuple[Format, ...]:
    """Return the formats of this package without plain HDF5."""
    from switchrecon.scans import bart, bids, dicom, matlab, mrd, nifti, numpy_files, png, twix

    return (
        dicom.FORMAT,
        matlab.FORMAT,
        mrd.FORMAT,
        numpy_files.FORMAT,
        nifti.FORMAT,
        bart.FORMAT,
        twix.FORMAT,
        bids.FORMAT,
        png.FORMAT,
    )


@cache
def _any_hdf5() -> Format:
    """Return the format of plain HDF5, which is asked last: it takes every HDF5 file that no other format knows."""
    from switchrecon.scans import fastmri

    return fastmri.FORMAT


_registered: list[Format] = []


@cache
def _installed() -> tuple[Format, ...]:
    """Return the formats of other packages. One that cannot be loaded is named in a warning and left out."""
    found: list[Format] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            format = point.load()
            _check(format, (*_built_in(), *found, _any_hdf5()))
        except Exception as error:  # a plugin may raise anything
            logger.warning("%s cannot be used: %s", _plugin(point), reason_of(error))
        else:
            found.append(format)
    return tuple(found)


def _plugin(point: EntryPoint) -> str:
    package = f" of the package '{point.dist.name}'" if point.dist is not None else ""
    return f"the file format '{point.name}'{package} ({point.value})"


def reason_of(error: Exception) -> str:
    """Return one line that says what went wrong; the package's errors are one sentence already."""
    text = " ".join(str(error).split())
    return text if isinstance(error, SwitchreconError) else f"{type(error).__name__}: {text}" if text else repr(error)


def _check(format: Any, others: tuple[Format, ...]) -> None:
    if not isinstance(format, Format):
        raise ConfigError(f"found a {type(format).__name__}; expected a switchrecon.scans.formats.Format")
    if not format.name or (format.read is None and format.write_images is None and format.write_kspace is None):
        raise ConfigError("it has no name, or neither reads nor writes")
    for other in others:
        if other.name == format.name or (format.option and other.option == format.option):
            raise ConfigError(f"there is a format of this name or option already ('{other.name}')")


def register(format: Format) -> None:
    """Add a format for this Python process.

    Raises
    ------
    ConfigError
        If it is not a :class:`Format`, can neither read nor write, or its name or option is taken.
    """
    _check(format, formats())
    _registered.append(format)


def formats() -> tuple[Format, ...]:
    """Return all formats, in the order in which their ``sniff`` is called.

    Those of other packages come after the built-in ones, but before plain HDF5, so that they may take HDF5 files of
    a special layout.
    """
    return (*_built_in(), *_installed(), *_registered, _any_hdf5())


def suffixes() -> tuple[str, ...]:
    """Return the endings of the names of scan files."""
    return tuple(dict.fromkeys(suffix for format in formats() if format.read for suffix in format.suffixes))


def known_endings() -> tuple[str, ...]:
    """Return the endings of the names of all files that are read or written."""
    return tuple({end for format in formats() for end in (*format.suffixes, *format.written)})


def first_bytes(path: Path, count: int) -> bytes:
    """Return the first bytes of a file, unpacked if it is a gzip file; no bytes if they cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(count)
        if start[:2] == b"\x1f\x8b":
            with gzip.open(path) as file:
                start = file.read(count)
        return start
    except (OSError, EOFError, zlib.error, ValueError):
        return b""
