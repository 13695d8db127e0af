"""Find scans by path, folder or pattern, and read them; the format follows from a file's content."""

import glob
import gzip
import hashlib
import logging
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from switchrecon.config import Config
from switchrecon.core.messages import PROGRESS
from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError, SwitchreconError
from switchrecon.scans.bart import bart_pair, is_bart
from switchrecon.scans.formats import Format, formats, reason_of, suffixes
from switchrecon.scans.names import stem
from switchrecon.scans.scan import Scan
from switchrecon.scans.subjects import subject_in

logger = logging.getLogger(__name__)

ScanInput: TypeAlias = str | Path | Scan
"""A path (a file, a folder or a pattern), or a scan in memory."""

BESIDE = (".json", ".hdr", ".bval", ".bvec", ".tsv")  # suffixes of files that belong to a scan of the same name
MOST_ENDINGS = 6  # most endings that a message names


def recognise(path: Path) -> Format:
    """Return the format of a file, of a folder with a DICOM series, or of BART's two files.

    Raises
    ------
    DataError
        If the path is missing, empty, cannot be read, or is of no known kind.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):  # to open a pipe would wait for ever
        raise DataError(f"{path}: is a pipe or a device; expected a file or a folder")
    for format in formats():
        if _knows(format, path):
            return format
    raise _unknown(path)


def _knows(format: Format, path: Path) -> bool:
    try:
        return format.read is not None and format.sniff(path)
    except Exception as error:  # another package's; it must not disturb the other formats
        logger.warning("%s: the file format '%s' failed to look at it (%s)", path, format.name, reason_of(error))
        return False


def _unknown(path: Path) -> DataError:
    if path.is_dir():
        return DataError(f"{path}: is a folder without DICOM files; expected those of one series")
    try:
        with path.open("rb") as file:
            start = file.read(2)
        if start == b"\x1f\x8b":
            with gzip.open(path) as file:
                file.read(352)
    except FileNotFoundError:
        return DataError(f"{path}: no such file")
    except (OSError, EOFError, zlib.error) as error:
        return DataError(f"{path}: cannot be read ({error})")
    kinds = ", ".join(format.name for format in formats() if format.read)
    return DataError(f"{path}: {'an unknown kind of file' if start else 'an empty file'}; expected {kinds}")


def _looks_like_scan(path: Path) -> bool:
    return path.name.lower().endswith(suffixes()) and not path.name.startswith(".") and path.is_file()


def _scans_in(folder: Path) -> list[Path]:
    files = [path for path in _inside(folder) if _looks_like_scan(path)]
    if _is_scan(folder):
        files.append(folder if folder.name.strip(".") else folder.resolve())  # a scan has a name
    return files


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        logger.warning("%s: left out, as the folder cannot be read (%s)", folder, error.strerror)
        return []


def _tell_skipped(folder: Path, recursive: bool) -> None:
    """Report what else is in a folder, besides the scans that are read, and why it is left out."""
    inside = [path for path in _inside(folder) if not path.name.startswith(".")]
    broken = [path for path in inside if path.is_symlink() and not path.exists()]
    if broken:
        logger.warning("%s: %d links lead nowhere and are left out, such as %s", folder, len(broken), broken[0].name)
    scans = [path for path in inside if _looks_like_scan(path)]
    others = [path for path in inside if path.is_file() and path not in scans and not _belongs(path, scans)]
    if others and not _is_scan(folder):
        endings = sorted({path.suffix.lower() or "no ending" for path in others})
        PROGRESS.info(
            "%s: %s and left out, such as %s (%s)",
            folder,
            "1 file is no scan by its name" if len(others) == 1 else f"{len(others)} files are no scans by their names",
            min(others).name,
            ", ".join(endings[:MOST_ENDINGS]),
        )
    below = [path for path in inside if path.is_dir()]
    if below and not recursive:
        missed = next((path for path in _folders_in(folder) if _scans_in(path)), None)
        if missed is not None:
            name = missed.relative_to(folder)
            logger.warning("%s: scans in its folders, such as %s, are left out; add --recursive", folder, name)


def _belongs(path: Path, scans: Sequence[Path]) -> bool:
    """Return whether a file goes with one of the scans: its JSON, its record, BART's header."""
    return path.suffix in BESIDE and any(path.name.startswith(f"{stem(scan)}.") for scan in scans)


def _is_scan(folder: Path) -> bool:
    """Return whether the folder itself is a scan, such as a DICOM series."""
    return any(_knows(format, folder) for format in formats())


def _folders_in(folder: Path) -> list[Path]:
    """Return all folders below this one, without hidden ones and their content."""
    root = Path(os.path.realpath(folder))
    found, seen = [], {root, *root.parents}
    for place, names, _ in os.walk(folder, followlinks=True):
        for name in sorted(names):
            path = Path(place, name)
            real = Path(os.path.realpath(path))
            if name.startswith(".") or real in seen:  # a link to a folder that is read already, or to one above
                names.remove(name)
            else:
                seen.add(real)
                found.append(path)
    return found


def find_files(paths: str | Path | Sequence[str | Path], recursive: bool = False) -> list[Path]:
    """Expand files, folders and glob patterns into a sorted list of scans without repeats.

    For a folder these are its files with the suffix of a scan, and the folder itself if it holds DICOM files; if it has
    neither, those of its subfolders. For a pattern they are the files and DICOM folders that match. Broken links, and
    folders with scans beside others, are left out, and a message says so.

    Parameters
    ----------
    paths
        Files, folders or patterns; one or several.
    recursive
        Read the scans of all subfolders, too.

    Raises
    ------
    DataError
        If a path does not exist, a pattern matches nothing, or a folder holds no scan.
    """
    found: set[Path] = set()
    for text in map(str, [paths] if isinstance(paths, str | Path) else paths):
        path = Path(text)
        if not text.strip():
            raise DataError("an empty path was given; expected a file, a folder or a pattern")
        if "\0" in text:
            raise DataError(f"{text!r}: no file has such a name")
        if path.is_dir():
            inside = _scans_in(path)
            below = recursive or not inside
            if below:
                inside += [scan for folder in _folders_in(path) for scan in _scans_in(folder)]
            _tell_skipped(path, below)
            if not inside:
                kinds = ", ".join(suffixes())
                raise DataError(f"{path}: the folder holds no scan; expected DICOM files, or files ending in {kinds}")
            found.update(inside)
        elif is_bart(path):
            found.add(bart_pair(path)[1])
        elif path.exists():
            found.add(path)
        elif any(character in text for character in "*?["):
            matches = [Path(name) for name in glob.glob(text, recursive=True)]
            matches = [match for match in matches if match.is_file() or _is_scan(match)]
            if not matches:
                raise DataError(f"{text}: the pattern matches no file")
            found.update(matches)
        else:
            raise DataError(f"{path}: no such file or folder")
    return _each_once(sorted(found))


def _each_once(paths: list[Path]) -> list[Path]:
    """Return the paths without those that lead to a file of an earlier one."""
    places: dict[str, Path] = {}
    for path in paths:
        places.setdefault(os.path.realpath(path), path)
    return list(places.values())


def several(sources: ScanInput | Sequence[ScanInput]) -> list[ScanInput]:
    """Return a list of sources, with one entry for a single source."""
    return [sources] if isinstance(sources, str | Path | Scan) else list(sources)


def find_scans(sources: ScanInput | Sequence[ScanInput]) -> list[Path | Scan]:
    """Expand paths as :func:`find_files` does; scans in memory come first."""
    sources = several(sources)
    paths = [source for source in sources if not isinstance(source, Scan)]
    scans: list[Path | Scan] = [source for source in sources if isinstance(source, Scan)]
    return scans + (find_files(paths) if paths or not scans else [])


def read_scan(path: ScanInput, options: ReadOptions | Config | None = None, format: Format | None = None) -> Scan:
    """Read one file of any known format, at its matrix.

    Parameters
    ----------
    path
        The scan; a scan in memory is returned unchanged.
    options
        Options for reading, or the settings of a run; None: the defaults.
    format
        Its format, if that is known already.

    Raises
    ------
    DataError
        If the format is not known, or the file cannot be used.
    """
    if isinstance(path, Scan):
        return path
    path = Path(path)
    options = options.reading if isinstance(options, Config) else options
    format = format or recognise(path)
    assert format.read is not None
    logger.debug("reading %s: %s", path, format.name)
    try:
        scan = format.read(path, options or ReadOptions())
    except (SwitchreconError, MemoryError, OSError):
        raise
    except Exception as error:
        raise DataError(f"{path}: not readable as {format.name} ({reason_of(error)})") from error
    scan.format = format
    given = subject_in(options.subjects if options else None, path)
    if given is not None:
        scan.subject, scan.drawn_by = given, scan.subject
    return scan


def file_digest(path: Path | Scan, format: Format | None = None) -> str:
    """Return the SHA-256 of a scan's files (``parts`` of its format, in order), or of its arrays in memory."""
    digest = hashlib.sha256()
    if isinstance(path, Scan):
        for array in (path.kspace, path.mask, path.calibration, path.noise, path.maps):
            digest.update(b"none" if array is None else repr(array.shape).encode() + array.tobytes())
        return digest.hexdigest()
    for part in (format or recognise(path)).parts(path):
        with part.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def subject_of(path: Path, format: Format | None = None, options: ReadOptions | None = None) -> str:
    """Return the subject of a scan without reading its data: from the options' table, or from the file."""
    given = subject_in(options.subjects if options else None, path)
    return (format or recognise(path)).subject(path) if given is None else given
