"""DICOM series of magnitude images: a folder with the files of one series, or one file. Needs pydicom."""

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from switchrecon.core.limits import check_size
from switchrecon.core.reading import ReadOptions
from switchrecon.errors import ConfigError, DataError, SwitchreconError
from switchrecon.scans.dicom_tags import technical_tags
from switchrecon.scans.formats import Format
from switchrecon.scans.geometry import Geometry
from switchrecon.scans.images import image_scan
from switchrecon.scans.names import identity, stem
from switchrecon.scans.scan import Scan

CLASSIC, ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"  # MR images: one slice, many slices
DIRECTORY = "1.2.840.10008.1.3.10"  # the index of a disc, not an image
NOT_MAGNITUDE = {"P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY"}  # third value of ImageType
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's patient coordinates to RAS+, and back
# Attributes of a slice's position: name, the group that holds it in enhanced files, length.
POSITION = ("ImagePositionPatient", "PlanePositionSequence", 3)
ORIENTATION = ("ImageOrientationPatient", "PlaneOrientationSequence", 6)
SPACING = ("PixelSpacing", "PixelMeasuresSequence", 2)
SHARED = (ORIENTATION, SPACING)  # the same for all slices of a series
NEEDED = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation"),
)
TOLERANCE = 0.05  # largest error of positions, relative to the distance of slices


def pydicom_module() -> Any:
    """Return the optional package pydicom.

    Raises
    ------
    ConfigError
        If it is missing; the message says how to install it.
    """
    try:
        import pydicom
    except ImportError:
        raise ConfigError(
            "DICOM needs the package pydicom; install it with: pip install 'switchrecon[dicom]'"
        ) from None
    return pydicom


def is_dicom(path: Path) -> bool:
    """Return whether a file has DICOM's magic, or a folder holds such a file."""
    if path.is_dir():
        return any(is_dicom(file) for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


@dataclass
class _Frame:
    """One image of a series: the ``number``-th of its file, whose attributes are ``header``."""

    file: Path
    header: Any
    number: int
    groups: tuple[Any, ...]

    def find(self, name: str, group: str = "") -> Any:
        """Return an attribute: of the frame itself, of all frames, or of the file; None where there is none."""
        for entry in self.groups:
            for item in entry.get(group) or []:
                if name in item:
                    return item.get(name)
        return self.header.get(name)

    def vector(self, name: str, group: str, length: int) -> np.ndarray | None:
        value = self.find(name, group)
        if value is None or value == "":
            return None
        vector = np.array([float(v) for v in np.atleast_1d(value)])
        if vector.shape != (length,) or not np.isfinite(vector).all():
            raise DataError(f"{self.file}: {name} is {vector.tolist()}, expected {length} finite numbers")
        return vector


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn pydicom's errors about damaged files into one sentence, and silence its warnings and log.

    They may quote values of attributes, which may name a person, so none of them is shown.
    """
    log = logging.getLogger("pydicom")
    silent, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SwitchreconError:
        raise
    except Exception as error:
        raise DataError(f"{path}: not a readable DICOM file ({type(error).__name__}); it may be truncated") from error
    finally:
        log.disabled = silent


def _files(path: Path) -> list[Path]:
    """Return the files of a series. One that lost its magic is an error, not a missing slice."""
    if not path.is_dir():
        return [path]
    inside = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    files = [file for file in inside if is_dicom(file)]
    kinds = {file.suffix.lower() for file in files}
    for file in inside:
        if file not in files and (file.suffix.lower() in kinds or not file.stat().st_size):
            raise DataError(f"{file}: not a DICOM file, among {len(files)} that are; it may be damaged")
    return files


def _header(file: Path) -> Any | None:
    """Return a file's attributes without its pixels; None for the index of a disc."""
    pydicom = pydicom_module()
    with _reading(file):
        meta = pydicom.filereader.read_file_meta_info(file)
        if meta.MediaStorageSOPClassUID == DIRECTORY:
            return None
        if meta.MediaStorageSOPClassUID not in (CLASSIC, ENHANCED):
            kind = meta.MediaStorageSOPClassUID
            found = "an unknown kind of object" if kind.name == kind else f"'{kind.name}'"
            raise DataError(f"{file}: found {found}, expected MR Image Storage or Enhanced MR Image Storage")
        syntax = meta.TransferSyntaxUID
        if syntax.is_deflated or (syntax.is_compressed and not pydicom.pixels.get_decoder(syntax).is_available):
            raise DataError(
                f"{file}: compressed as '{syntax.name}', which cannot be read here; install pylibjpeg[all], or "
                "decompress the file"
            )
        header = pydicom.dcmread(file, stop_before_pixels=True)
        missing = [name for name in NEEDED if header.get(name) is None]
        if missing:
            raise DataError(f"{file}: says nothing of {', '.join(missing)}; expected an image with its attributes")
        if header.get("SamplesPerPixel") != 1 or header.get("PhotometricInterpretation") != "MONOCHROME2":
            raise DataError(f"{file}: found colours or another palette, expected grey images (MONOCHROME2)")
        types = [str(t).upper() for t in np.atleast_1d(header.get("ImageType") or [])]
        if NOT_MAGNITUDE & {*types[2:3], str(header.get("ComplexImageComponent", "")).upper()}:
            raise DataError(f"{file}: found a phase, real or imaginary image, expected magnitude images")
        if "MOSAIC" in types:
            raise DataError(f"{file}: found a mosaic of slices, expected one slice an image")
    return header


def _frames(path: Path) -> list[_Frame]:
    frames: list[_Frame] = []
    for file in _files(path):
        header = _header(file)
        if header is None:
            continue
        with _reading(file):
            shared = tuple(header.get("SharedFunctionalGroupsSequence") or ())
            each = list(header.get("PerFrameFunctionalGroupsSequence") or [])
            count = int(header.get("NumberOfFrames") or 1)
            if count < 1 or (each and len(each) != count):
                raise DataError(f"{file}: {count} frames with attributes of {len(each)}; expected as many")
            check_size(path, "the series", (len(frames) + count, int(header.Rows), int(header.Columns)), 4)
            frames += [_Frame(file, header, i, (*each[i : i + 1], *shared)) for i in range(count)]
    if not frames:
        raise DataError(f"{path}: holds no DICOM image")
    return frames


def _check_one_series(path: Path, frames: list[_Frame]) -> None:
    first = frames[0]
    series = {str(frame.header.get("SeriesInstanceUID", "")) for frame in frames}
    if len(series) > 1:
        raise DataError(f"{path}: holds {len(series)} series; expected one series a folder")
    patients = {str(frame.header.get("PatientID") or "") for frame in frames}
    if len(patients) > 1:
        raise DataError(f"{path}: holds images of {len(patients)} patients; expected one a folder")
    for frame in frames:
        for name, group, length in SHARED:
            entry, other = (np.array(f.vector(name, group, length), dtype=float) for f in (frame, first))
            if entry.shape != other.shape or not np.allclose(entry, other, atol=1e-4, equal_nan=True):
                raise DataError(f"{frame.file}: {name} differs from {first.file.name}; expected parallel, equal slices")
        size = (frame.header.Rows, frame.header.Columns)
        if size != (first.header.Rows, first.header.Columns):
            raise DataError(
                f"{frame.file}: {size[0]}x{size[1]} pixels, unlike {first.file.name}; expected equal slices"
            )


def _sorted(path: Path, frames: list[_Frame]) -> tuple[list[_Frame], np.ndarray | None]:
    """Return the frames in order along their normal, and the matrix from (row, column, slice) to RAS+ in mm.

    With X and Y the directions of a row and of a column and Δ the spacing, a pixel lies at position + Y Δ_row row +
    X Δ_column column (DICOM PS3.3, C.7.6.2.1.1), in LPS.
    """
    orientation, spacing = frames[0].vector(*ORIENTATION), frames[0].vector(*SPACING)
    found = [frame.vector(*POSITION) for frame in frames]
    if spacing is not None and not (spacing > 0).all():
        raise DataError(f"{path}: PixelSpacing is {spacing.tolist()}, expected positive numbers")
    if orientation is None or spacing is None or any(position is None for position in found):
        if len(frames) > 1:
            raise DataError(f"{path}: {len(frames)} slices without position, orientation or spacing; cannot sort them")
        return frames, None
    along_row, along_column = orientation[:3], orientation[3:]
    normal = np.cross(along_row, along_column)
    if abs(np.linalg.norm(normal) - 1) > 1e-3:
        raise DataError(
            f"{path}: ImageOrientationPatient is {orientation.tolist()}, expected perpendicular unit vectors"
        )
    positions = np.stack([np.asarray(position) for position in found])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 3] = along_column * spacing[0], along_row * spacing[1], positions[0]
    affine[:3, 2] = normal * _thickness(frames[0]) if len(frames) == 1 else _step(path, positions, normal)
    return [frames[i] for i in order], LPS @ affine


def _thickness(frame: _Frame) -> float:
    for name in ("SpacingBetweenSlices", "SliceThickness"):
        value = frame.vector(name, "PixelMeasuresSequence", 1)
        if value is not None and value[0] > 0:
            return float(value[0])
    return 1.0


def _step(path: Path, positions: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Return the vector from one slice to the next, if they are evenly spaced."""
    gaps = np.diff(positions @ normal)
    usual = float(gaps.min())
    if usual <= TOLERANCE * gaps.max():
        raise DataError(
            f"{path}: several images lie at one position (echoes, time points?); expected one image a slice"
        )
    missing = int(np.rint(gaps / usual).sum()) - len(gaps)
    if missing > 0:
        raise DataError(f"{path}: {missing} slices are missing between the {len(positions)} that are there")
    step = (positions[-1] - positions[0]) / len(gaps)
    expected = positions[0] + np.arange(len(positions))[:, None] * step
    if np.abs(positions - expected).max() > TOLERANCE * usual:
        raise DataError(f"{path}: slices are not evenly spaced ({gaps.min():g} to {gaps.max():g} mm)")
    return np.asarray(step)


def _pixels(frames: list[_Frame]) -> np.ndarray:
    """Return float32 (slices, H, W), rescaled as the files say."""
    pydicom = pydicom_module()
    images: list[np.ndarray] = []
    file, stored = None, np.empty(0)
    for frame in frames:
        with _reading(frame.file):
            if frame.file != file:
                file, dataset = frame.file, pydicom.dcmread(frame.file)
                if "PixelData" not in dataset:
                    raise DataError(f"{file}: holds no pixels; it may be truncated")
                stored = dataset.pixel_array.reshape(-1, frame.header.Rows, frame.header.Columns)
            group = "PixelValueTransformationSequence"
            slope, intercept = (frame.vector(f"Rescale{what}", group, 1) for what in ("Slope", "Intercept"))
            image = stored[frame.number].astype(np.float32)
            images.append(image * np.float32(1 if slope is None else slope[0]))
            images[-1] += np.float32(0 if intercept is None else intercept[0])
    return np.stack(images)


def _subject(path: Path, header: Any) -> str:
    """Return a hash of PatientID, because messages may name the subject; the scan's name if PatientID names no one."""
    patient = identity(str(header.get("PatientID") or ""))
    if not patient:
        return stem(path)
    return f"patient-{hashlib.sha256(f'switchrecon subject {patient}'.encode()).hexdigest()[:12]}"


def dicom_subject(path: Path) -> str:
    """Return the subject without the images; see :func:`read_dicom`.

    Raises
    ------
    DataError
        For a damaged file, or one that is not an MR image.
    """
    for file in _files(path):
        if header := _header(file):
            with _reading(file):
                return _subject(path, header)
    raise DataError(f"{path}: holds no DICOM image")


def read_dicom(path: Path, options: ReadOptions) -> Scan:
    """Read the magnitude images of one MR series and compute synthetic k-space of its slices.

    Slices are sorted along their normal and zero-padded to a square field of view. The subject is a hash of PatientID,
    or the scan's name if PatientID names no one.

    Parameters
    ----------
    path
        A folder with the files of a series (MR Image Storage), or one file (also Enhanced MR Image Storage).
    options
        Options for computing k-space from magnitude images.

    Raises
    ------
    ConfigError
        If pydicom is not installed.
    DataError
        For damaged files, several series, missing slices, several images at one position, other objects than MR
        images, colour, phase images, compressed pixels that cannot be decoded, or more data than the limit.
    """
    frames = _frames(path)
    with _reading(path):
        _check_one_series(path, frames)
        frames, affine = _sorted(path, frames)
        header = frames[0].header
        spacing, tags, subject = frames[0].vector(*SPACING), technical_tags(header), _subject(path, header)
    images = _pixels(frames)
    rows, columns = (1.0, 1.0) if spacing is None else (float(spacing[0]), float(spacing[1]))
    return image_scan(path, subject, images, (rows, columns), affine, options.phase, Geometry(dicom=tags))


def _parts(path: Path) -> tuple[Path, ...]:
    return tuple(sorted(file for file in path.iterdir() if file.is_file())) if path.is_dir() else (path,)


def _write(scan: Scan, images: np.ndarray, target: Path) -> None:
    from switchrecon.scans.dicom_write import write_dicom  # which imports this module

    write_dicom(scan, images, target)


def _folder(path: Path, number: int) -> str:
    pydicom_module()  # it must be installed before anything is reconstructed
    return stem(path)


FORMAT = Format(
    name="DICOM",
    sniff=is_dicom,
    read=read_dicom,
    subject=dicom_subject,
    parts=_parts,
    option="dicom",
    write_images=_write,
    image_name=_folder,
    folder=True,
    all_series=True,
    endings=(".dcm", ".ima"),
)
