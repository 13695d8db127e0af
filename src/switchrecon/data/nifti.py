"""NIfTI volumes: magnitude images with geometry. IXI and BIDS file names are understood."""

import gzip
import re
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from switchrecon.config import Config
from switchrecon.data.limits import check_size
from switchrecon.data.scan import Scan, check_finite, check_not_empty, synthetic_kspace
from switchrecon.data.write import atomic_file
from switchrecon.errors import DataError

MOST_HEADER = 1 << 24  # bytes before the data, extensions included
MOST_ASPECT = 100  # of voxels
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}  # in RAS+ orientation
# The subject is taken from the start of the name alone, so that a derived file keeps its subject.
IXI = re.compile(r"^(?P<subject>IXI\d{3})(?:-(?P<site>Guys|HH|IOP))?(?:-\d{4}-(?P<contrast>T1|T2|PD|MRA|DTI-\d\d))?")
BIDS = re.compile(r"^sub-(?P<subject>[^_.]+)(?:_[^.]*?(?P<contrast>[A-Za-z0-9]+)(?:\.|$))?")


def stem(path: Path) -> str:
    """The file's name without ``.nii`` or ``.nii.gz``."""
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def describe_name(path: Path) -> dict[str, str]:
    """Read subject, and site and contrast where given, from an IXI or BIDS file name.

    Any other name is the subject itself.
    """
    name = stem(path)
    for pattern in (IXI, BIDS):
        if match := pattern.match(name):
            return {key: value for key, value in match.groupdict().items() if value}
    return {"subject": name}


def _to_slices(volume: np.ndarray, axis: int) -> np.ndarray:
    """RAS+ volume to (slices, rows, columns): upright, anterior or superior on top, patient's right on the left."""
    slices = np.moveaxis(volume, axis, 0)
    return np.flip(slices, (1, 2)).swapaxes(1, 2)


def _from_slices(slices: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(np.flip(slices.swapaxes(1, 2), (1, 2)), 0, axis)


def _square(height: int, width: int, spacing: tuple[float, float]) -> tuple[int, int]:
    """The padded (H, W) whose field of view is square, so that resizing k-space keeps proportions."""
    field = max(height * spacing[0], width * spacing[1])
    return max(height, round(field / spacing[0])), max(width, round(field / spacing[1]))


def _check_extensions(path: Path) -> None:
    """Refuse a header whose extensions are said to be huge; they would be read whole, out of few packed bytes.

    Raises
    ------
    DataError
        Naming what was found.
    """
    with path.open("rb") as file:
        start = file.read(540)
    if start[:2] == b"\x1f\x8b":
        with gzip.open(path) as unpacked:
            start = unpacked.read(540)
    order = "<" if start[:4] in (struct.pack("<i", 348), struct.pack("<i", 540)) else ">"
    second = struct.unpack(f"{order}i", start[:4])[0] == 540
    kind, place = ("q", 168) if second else ("f", 108)
    offset = struct.unpack_from(order + kind, start, place)[0]
    if not 0 <= offset <= MOST_HEADER:
        raise DataError(f"{path}: the data are said to begin at byte {offset:g}; expected at most {MOST_HEADER}")


def read_nifti(path: Path, config: Config) -> Scan:
    """Read a magnitude volume and compute synthetic k-space of its slices.

    The volume is brought to RAS+ and cut along ``slice_axis``; slices are zero-padded to a square field of view.

    Raises
    ------
    DataError
        For a file that is damaged, not three-dimensional, complex, or holds NaN, infinity or only zeros.
    """
    try:
        _check_extensions(path)
        source = nibabel.load(path)
        if not isinstance(source, nibabel.Nifti1Image):
            raise DataError(f"{path}: found a {type(source).__name__}, expected a NIfTI-1 or NIfTI-2 volume")
        canonical = nibabel.as_closest_canonical(source)
        shape = canonical.shape
        if len(shape) == 4 and shape[3] == 1:
            shape = shape[:3]
        if len(shape) != 3:
            raise DataError(f"{path}: found an array of shape {canonical.shape}, expected a 3-D volume")
        if np.issubdtype(source.get_data_dtype(), np.complexfloating):
            raise DataError(f"{path}: found complex values, expected a magnitude volume")
        check_size(path, "the volume, as k-space,", shape, np.dtype(np.complex64).itemsize)
        zooms = [float(zoom) for zoom in canonical.header.get_zooms()[:3]]
        sizes = [zoom for zoom in zooms if zoom]  # 0 stands for unknown
        if not all(np.isfinite(sizes)) or (sizes and max(sizes) > MOST_ASPECT * min(sizes)):
            raise DataError(f"{path}: found voxel sizes {zooms}, expected finite and similar numbers")
        volume = np.asarray(canonical.dataobj, dtype=np.float32).reshape(shape)
    except DataError:
        raise
    except Exception as error:  # nibabel raises many kinds for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a readable NIfTI file ({reason})") from error
    axis = AXES[config.slice_axis]
    slices = np.ascontiguousarray(_to_slices(volume, axis))
    check_not_empty(path, slices)
    check_finite(path, "the image", slices)
    column_spacing, row_spacing = (zooms[i] or 1.0 for i in range(3) if i != axis)
    height, width = slices.shape[1:]
    padded_height, padded_width = _square(height, width, (row_spacing, column_spacing))
    check_size(path, "the image, padded to a square field of view,", (len(slices), padded_height, padded_width), 8)
    above, left = (padded_height - height) // 2, (padded_width - width) // 2
    padding = ((0, 0), (above, padded_height - height - above), (left, padded_width - width - left))
    return Scan(
        path=path,
        subject=describe_name(path)["subject"],
        kspace=synthetic_kspace(np.pad(slices, padding), config, path.name),
        synthetic=True,
        image=True,
        geometry={"axis": axis, "window": (above, left, height, width)},
    )


def nifti_name(path: Path) -> str:
    """The name of a NIfTI file written for a source: its own, with a suffix where it has none."""
    return path.name if path.name != stem(path) else f"{path.name}.nii.gz"


def write_nifti(scan: Scan, images: np.ndarray, target: Path) -> None:
    """Write magnitudes with the source's shape, orientation and affine, as float32.

    Parameters
    ----------
    scan
        Read by :func:`read_nifti`.
    images
        (slices, H, W) at the scan's matrix, real or complex.
    target
        The file; named as :func:`nifti_name` says.
    """
    source: Any = nibabel.load(scan.path)
    above, left, height, width = scan.geometry["window"]
    slices = np.abs(images[:, above : above + height, left : left + width]).astype(np.float32)
    canonical = _from_slices(slices, scan.geometry["axis"])
    to_source = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(nibabel.as_closest_canonical(source).affine),
        nibabel.io_orientation(source.affine),
    )
    volume = nibabel.orientations.apply_orientation(canonical, to_source)
    result = nibabel.Nifti1Image(np.ascontiguousarray(volume), source.affine)
    result.header.set_zooms(source.header.get_zooms()[:3])
    result.header.set_xyzt_units("mm")
    result.header["descrip"] = b"switchrecon: research use only, not for diagnosis"
    with atomic_file(target, suffix=target.name.removeprefix(stem(target))) as temporary:
        nibabel.save(result, temporary)
