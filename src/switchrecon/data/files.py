"""Find scans by path, folder or pattern, and read and write each by what the file is."""

import glob
import gzip
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from switchrecon.config import Config
from switchrecon.data.bart import bart_name, bart_pair, is_bart, read_bart, write_bart
from switchrecon.data.fastmri import fastmri_subject, read_fastmri, write_fastmri
from switchrecon.data.hdf5 import open_hdf5
from switchrecon.data.mrd import measurements, mrd_subject, read_mrd
from switchrecon.data.nifti import describe_name, nifti_name, read_nifti, write_nifti
from switchrecon.data.numpy_files import numpy_name, read_numpy, write_numpy
from switchrecon.data.scan import Scan
from switchrecon.data.twix import is_twix, read_twix
from switchrecon.errors import DataError

SUFFIXES = (".h5", ".hdf5", ".mrd", ".nii", ".nii.gz", ".npy", ".npz", ".cfl", ".dat")


@dataclass(frozen=True)
class Format:
    """How files of one kind are read and how images are written back in that kind."""

    name: str
    read: Callable[[Path, Config], Scan]
    write: Callable[[Scan, np.ndarray, Path], None]
    name_for: Callable[[Path], str] = lambda path: path.name
    subject: Callable[[Path], str] = lambda path: path.stem


HDF5 = Format("fastMRI HDF5", read_fastmri, write_fastmri, subject=fastmri_subject)
NIFTI = Format("NIfTI", read_nifti, write_nifti, nifti_name, lambda path: describe_name(path)["subject"])
NUMPY = Format("NumPy", read_numpy, write_numpy, numpy_name)
MRD = Format("ISMRMRD", read_mrd, write_fastmri, lambda path: f"{path.stem}.h5", mrd_subject)
TWIX = Format("Siemens raw data", read_twix, write_fastmri, lambda path: f"{path.stem}.h5")
BART = Format("BART", read_bart, lambda scan, images, target: write_bart(images, target), bart_name)


def _hdf5_format(path: Path) -> Format:
    with open_hdf5(path) as file:
        return MRD if "kspace" not in file and measurements(file) else HDF5


def recognise(path: Path) -> Format:
    """Return the format of a file from its content; its suffix plays no part, but BART's two files have one.

    Raises
    ------
    DataError
        If the file is missing, empty, or of no known kind.
    """
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
    raise DataError(f"{path}: {what}; expected fastMRI or ISMRMRD HDF5, NIfTI, NumPy, BART or Siemens raw data")


def _looks_like_scan(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file()


def find_files(paths: Sequence[str | Path]) -> list[Path]:
    """Expand files, folders and glob patterns into a sorted list of files without repeats.

    A folder gives the files in it whose names end as scans' names do, or where it has none, those in its
    subfolders; a pattern gives what it matches.

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
        if path.is_dir():
            inside = [p for p in path.iterdir() if _looks_like_scan(p)]
            inside = inside or [p for p in path.rglob("*") if _looks_like_scan(p)]
            if not inside:
                raise DataError(f"{path}: the folder holds no scan; expected files ending in {', '.join(SUFFIXES)}")
            found.update(inside)
        elif is_bart(path):
            found.add(bart_pair(path)[1])
        elif path.exists():
            found.add(path)
        elif any(character in text for character in "*?["):
            matches = [Path(name) for name in glob.glob(text, recursive=True) if Path(name).is_file()]
            if not matches:
                raise DataError(f"{text}: the pattern matches no file")
            found.update(matches)
        else:
            raise DataError(f"{path}: no such file or folder")
    return sorted(found)


def read_scan(path: Path, config: Config) -> Scan:
    """Read one file, whatever its kind, at its own matrix."""
    return recognise(path).read(path, config)


def subject_of(path: Path) -> str:
    """The subject that a scan is of, without reading its data."""
    return recognise(path).subject(path)


def target_for(path: Path, out: Path) -> Path:
    """The file in folder ``out`` that images of this scan are written to."""
    return out / recognise(path).name_for(path)


def write_scan(scan: Scan, images: np.ndarray, out: Path) -> Path:
    """Write images (slices, H, W) in the format, matrix and geometry of the scan's own file; return the path."""
    target = target_for(scan.path, out)
    recognise(scan.path).write(scan, images, target)
    return target
