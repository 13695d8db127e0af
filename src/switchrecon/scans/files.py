"""Find scans by path, folder or pattern, and read and write each by what the file is."""

import glob
import gzip
import hashlib
import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from switchrecon.config import Config
from switchrecon.errors import ConfigError, DataError, nearest
from switchrecon.scans.bart import bart_pair, is_bart, read_bart, write_bart
from switchrecon.scans.bids import bids_name, write_bids
from switchrecon.scans.dicom import dicom_subject, is_dicom, read_dicom
from switchrecon.scans.dicom_write import dicom_folder, write_dicom
from switchrecon.scans.fastmri import fastmri_subject, read_fastmri, write_fastmri
from switchrecon.scans.hdf5 import open_hdf5
from switchrecon.scans.mrd import measurements, mrd_subject, read_mrd
from switchrecon.scans.names import describe_name, named
from switchrecon.scans.nifti import nifti_name, read_nifti, write_nifti
from switchrecon.scans.numpy_files import read_numpy, write_numpy
from switchrecon.scans.png import png_folder, write_png
from switchrecon.scans.scan import Scan, without_padding
from switchrecon.scans.twix import is_twix, read_twix

logger = logging.getLogger(__name__)

SUFFIXES = (".h5", ".hdf5", ".mrd", ".nii", ".nii.gz", ".npy", ".npz", ".cfl", ".dat")


@dataclass(frozen=True)
class Writer:
    """How images are written: the name (of a file or a folder) for the scan's path and number, and the function."""

    name: Callable[[Path, int], str]
    write: Callable[[Scan, np.ndarray, Path], None]


WRITERS = {
    "nifti": Writer(lambda path, number: nifti_name(path), write_nifti),
    "bids": Writer(bids_name, write_bids),
    "dicom": Writer(lambda path, number: dicom_folder(path), write_dicom),
    "numpy": Writer(lambda path, number: named(path, ".npy"), write_numpy),
    "hdf5": Writer(lambda path, number: named(path, ".h5", ".hdf5"), write_fastmri),
    "bart": Writer(lambda path, number: named(path, ".cfl"), lambda scan, images, target: write_bart(images, target)),
    "png": Writer(lambda path, number: png_folder(path), write_png),
}
OWN = "own"  # the format of the scan itself


@dataclass(frozen=True)
class Format:
    """How files of one kind are read, and which of :data:`WRITERS` writes images back in that kind."""

    name: str
    read: Callable[[Path, Config], Scan]
    writer: str
    subject: Callable[[Path], str] = lambda path: path.stem


HDF5 = Format("fastMRI HDF5", read_fastmri, "hdf5", fastmri_subject)
MRD = Format("ISMRMRD", read_mrd, "hdf5", mrd_subject)
NIFTI = Format("NIfTI", read_nifti, "nifti", lambda path: describe_name(path)["subject"])
NUMPY = Format("NumPy", read_numpy, "numpy")
DICOM = Format("DICOM", read_dicom, "dicom", dicom_subject)
BART = Format("BART", read_bart, "bart")
TWIX = Format("Siemens raw data", read_twix, "hdf5")


def _hdf5_format(path: Path) -> Format:
    with open_hdf5(path) as file:
        return MRD if "kspace" not in file and measurements(file) else HDF5


def recognise(path: Path) -> Format:
    """Return the format of a file from its content; its suffix plays no part, but BART's two files have one.

    A folder may be a DICOM series.

    Raises
    ------
    DataError
        If the file is missing, empty, or of no known kind.
    """
    if is_dicom(path):
        return DICOM
    try:
        with path.open("rb") as file:
            start = file.read(352)
        if start[:2] == b"\x1f\x8b":
            with gzip.open(path) as file:
                start = file.read(352)
    except FileNotFoundError:
        if is_bart(path):
            return BART
        raise DataError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if start[:8] == b"\x89HDF\r\n\x1a\n":
        return _hdf5_format(path)
    if start[:6] == b"\x93NUMPY" or start[:4] == b"PK\x03\x04":
        return NUMPY
    if start[344:347] in (b"n+1", b"ni1") or start[4:7] in (b"n+2", b"ni2"):
        return NIFTI
    if is_bart(path):
        return BART
    if is_twix(path):
        return TWIX
    what = "an empty file" if not start else "an unknown kind of file"
    kinds = "fastMRI or ISMRMRD HDF5, NIfTI, DICOM, NumPy, BART or Siemens raw data"
    raise DataError(f"{path}: {what}; expected {kinds}")


def _looks_like_scan(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file()


def _scans_in(folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if _looks_like_scan(path)]
    if is_dicom(folder):
        files.append(folder if folder.name.strip(".") else folder.resolve())  # a scan has a name
    return files


def _folders_in(folder: Path) -> list[Path]:
    """All folders under this one, but for hidden ones and what is in them."""
    folders = [path for path in folder.rglob("*") if path.is_dir()]
    return [path for path in folders if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def find_files(paths: Sequence[str | Path]) -> list[Path]:
    """Expand files, folders and glob patterns into a sorted list of scans without repeats.

    A folder gives the files in it whose names end as scans' names do, and itself where it holds DICOM files; where it
    has none of both, those of its subfolders. A pattern gives the files and DICOM folders that it matches.

    Raises
    ------
    DataError
        If a path does not exist, a pattern matches nothing, or a folder holds no scan.
    """
    found: set[Path] = set()
    for text in map(str, paths):
        path = Path(text)
        if not text.strip():
            raise DataError("an empty path was given; expected a file, a folder or a pattern")
        if "\0" in text:
            raise DataError(f"{text!r}: no file has such a name")
        if path.is_dir():
            inside = _scans_in(path)
            inside = inside or [scan for folder in _folders_in(path) for scan in _scans_in(folder)]
            if not inside:
                kinds = ", ".join(SUFFIXES)
                raise DataError(f"{path}: the folder holds no scan; expected DICOM files, or files ending in {kinds}")
            found.update(inside)
        elif is_bart(path):
            found.add(bart_pair(path)[1])
        elif path.exists():
            found.add(path)
        elif any(character in text for character in "*?["):
            matches = [Path(name) for name in glob.glob(text, recursive=True)]
            matches = [match for match in matches if match.is_file() or is_dicom(match)]
            if not matches:
                raise DataError(f"{text}: the pattern matches no file")
            found.update(matches)
        else:
            raise DataError(f"{path}: no such file or folder")
    return sorted(found)


def read_scan(path: Path, config: Config) -> Scan:
    """Read one file, whatever its kind, at its own matrix."""
    format = recognise(path)
    logger.debug("reading %s: %s", path, format.name)
    return format.read(path, config)


def file_digest(path: Path) -> str:
    """SHA-256 of what a scan was read from: a file, BART's two, or a DICOM series' files in the order of names."""
    parts = sorted(path.iterdir()) if path.is_dir() else bart_pair(path) if is_bart(path) else (path,)
    digest = hashlib.sha256()
    for part in parts:
        if part.is_file():
            with part.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def subject_of(path: Path) -> str:
    """The subject that a scan is of, without reading its data."""
    return recognise(path).subject(path)


def _writer(path: Path, format: str) -> Writer:
    if format != OWN and format not in WRITERS:
        raise ConfigError(f"unknown format '{format}'; {nearest(format, [OWN, *WRITERS])}")
    return WRITERS[recognise(path).writer if format == OWN else format]


def target_for(path: Path, out: Path, format: str = OWN, number: int = 1) -> Path:
    """The file or folder in folder ``out`` that images of this scan are written to.

    Parameters
    ----------
    path
        The scan.
    out
        A folder.
    format
        One of :data:`WRITERS`, or ``own`` for the scan's own format.
    number
        Of the scan among those that are written together; names one that BIDS has no name for.

    Raises
    ------
    ConfigError
        For an unknown format.
    """
    return out / _writer(path, format).name(path, number)


def write_images(scan: Scan, images: np.ndarray, out: Path, format: str = OWN, number: int = 1) -> Path:
    """Write images (slices, H, W) at the scan's matrix, without its padding; see :func:`target_for` for the path."""
    target = target_for(scan.path, out, format, number)
    _writer(scan.path, format).write(*without_padding(scan, images), target)
    return target
