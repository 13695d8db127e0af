"""NIfTI volumes, or series of them: magnitude images with geometry."""

import contextlib
import logging
import struct
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from switchrecon.core.files import NOTE, atomic_file
from switchrecon.core.limits import check_size
from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError, SwitchreconError
from switchrecon.scans.formats import Format, first_bytes
from switchrecon.scans.geometry import NiftiSource
from switchrecon.scans.images import image_scan
from switchrecon.scans.names import describe_name, stem
from switchrecon.scans.nifti_series import name_series, series_axes
from switchrecon.scans.scan import Scan, warn_sides
from switchrecon.scans.series import geometry_of_frames, stacked

logger = logging.getLogger(__name__)

MOST_HEADER = 1 << 24  # bytes before the data, extensions included
MOST_ASPECT = 100  # of voxels
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}  # in RAS+ orientation
MILLIMETRES = {1: 1e3, 3: 1e-3}  # of the header's code of a unit, where it is not the millimetre
DESCRIPTION = 80  # characters of the header's text
TIME_UNITS = 0x38  # of the header's units
SCANNER = 1  # code of the scanner's coordinates
UNKNOWN = NOTE + "; geometry unknown"


def _to_slices(volume: np.ndarray, axis: int) -> np.ndarray:
    """RAS+ volume to (slices, rows, columns): upright, anterior or superior on top, patient's right on the left."""
    slices = np.moveaxis(volume, axis, 0)
    return np.flip(slices, (1, 2)).swapaxes(1, 2)


def _volume_index(shape: tuple[int, ...], axis: int) -> np.ndarray:
    """(row, column, slice) of :func:`_to_slices` to the index in the volume, as a (4, 4) matrix."""
    across, down = (i for i in range(3) if i != axis)
    index = np.zeros((4, 4))
    index[axis, 2] = index[3, 3] = 1
    index[down, [0, 3]] = -1, shape[down] - 1
    index[across, [1, 3]] = -1, shape[across] - 1
    return index


def _check_extensions(path: Path) -> None:
    """Refuse a header whose extensions are said to be huge; they would be read whole, out of few packed bytes.

    Raises
    ------
    DataError
        If so; the message names what was found.
    """
    start = first_bytes(path, 540)
    order = "<" if start[:4] in (struct.pack("<i", 348), struct.pack("<i", 540)) else ">"
    second = struct.unpack(f"{order}i", start[:4])[0] == 540
    kind, place = ("q", 168) if second else ("f", 108)
    offset = struct.unpack_from(order + kind, start, place)[0]
    if not 0 <= offset <= MOST_HEADER:
        raise DataError(f"{path}: the data are said to begin at byte {offset:g}; expected at most {MOST_HEADER}")


def is_nifti(path: Path) -> bool:
    """Return whether a file, packed or not, has the magic of NIfTI-1 or NIfTI-2."""
    start = first_bytes(path, 352)
    return start[344:347] in (b"n+1", b"ni1") or start[4:7] in (b"n+2", b"ni2")


def _sound(affine: np.ndarray) -> bool:
    return bool(np.isfinite(affine).all()) and np.linalg.matrix_rank(affine[:3, :3]) == 3


def _with_sound_affine(path: Path, source: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    """Return the volume with its qform where the sform is singular.

    Raises
    ------
    DataError
        Where neither can be used.
    """
    if _sound(source.affine):
        return source
    forms = _forms(source)
    if "qform" not in forms:
        zooms = [float(zoom) for zoom in source.header.get_zooms()[:3]]
        raise DataError(f"{path}: its affine is singular (voxel sizes {zooms}) and there is no qform to use instead")
    logger.warning("%s: the sform is singular; the qform is used", path)
    header = source.header.copy()
    header.set_sform(None, 0)
    return type(source)(source.dataobj, forms["qform"][0], header)


def read_nifti(path: Path, options: ReadOptions) -> Scan:
    """Read magnitude volumes and compute synthetic k-space of their slices.

    Volumes are brought to RAS+ and cut along ``slice_axis``; slices are zero-padded to a square field of view. A
    fourth axis becomes repetitions, contrasts or the like; see :mod:`switchrecon.scans.nifti_series`.

    Raises
    ------
    DataError
        For a file that is damaged, not of three or four dimensions, complex, larger than the limit, or that holds NaN,
        infinity or only zeros.
    """
    try:
        _check_extensions(path)
        source = nibabel.load(path)
        if not isinstance(source, nibabel.Nifti1Image):
            raise DataError(f"{path}: found a {type(source).__name__}, expected a NIfTI-1 or NIfTI-2 volume")
        shape = source.shape
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) not in (3, 4):
            raise DataError(f"{path}: found an array of shape {source.shape}, expected volumes of 3 or 4 dimensions")
        if source.get_data_dtype().names:
            raise DataError(f"{path}: found colours ({', '.join(source.get_data_dtype().names)}), expected grey values")
        if np.issubdtype(source.get_data_dtype(), np.complexfloating):
            raise DataError(f"{path}: found complex values, expected a magnitude volume")
        source = _with_sound_affine(path, source)
        check_size(path, "the volume, as k-space,", shape, np.dtype(np.complex64).itemsize)
        unit = MILLIMETRES.get(int(source.header["xyzt_units"]) & 7, 1.0)
        canonical = nibabel.as_closest_canonical(source)
        # Sizes of the affine, which says where voxels are; those in the header may differ.
        zooms = [float(length) * unit for length in np.linalg.norm(canonical.affine[:3, :3], axis=0)]
        if max(zooms) > MOST_ASPECT * min(zooms):
            raise DataError(f"{path}: found voxel sizes {zooms}, expected similar numbers")
        volumes = np.asarray(canonical.dataobj, dtype=np.float32).reshape(*canonical.shape[:3], -1)
        series = series_axes(path, source.header, volumes.shape[3])
    except SwitchreconError:
        raise
    except Exception as error:  # nibabel raises many kinds for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a readable NIfTI file ({reason})") from error
    axis = AXES[options.slice_axis]
    to_canonical = _volume_index(volumes.shape[:3], axis)
    to_source = inv_ornt_aff(io_orientation(source.affine), source.shape[:3]) @ to_canonical
    scale = np.diag([unit, unit, unit, 1])
    column_spacing, row_spacing = (zooms[i] for i in range(3) if i != axis)
    grid = NiftiSource(
        orientation=io_orientation(to_source),
        affine=scale @ source.affine,
        forms={name: (scale @ form, code) for name, (form, code) in _forms(source).items()},
        zooms=tuple(float(zoom) * unit for zoom in source.header.get_zooms()[:3]),
        time=(float(source.header["pixdim"][4]), int(source.header["xyzt_units"]) & TIME_UNITS),
    )
    return image_scan(
        path,
        describe_name(path)["subject"],
        np.concatenate([_to_slices(volume, axis) for volume in np.moveaxis(volumes, 3, 0)]),
        (row_spacing, column_spacing),
        None if _says_nothing(source) else scale @ canonical.affine @ to_canonical,
        options.phase,
        replace(geometry_of_frames([*series.values()], volumes.shape[axis], [*series]), nifti=grid),
    )


def _says_nothing(source: nibabel.Nifti1Image) -> bool:
    """Whether a header knows neither where the volume lies nor how large its voxels are.

    It says so (:func:`nifti_image`), or has no form and no unit, and voxels of 1.
    """
    unit = int(source.header["xyzt_units"]) & 7
    silent = not _forms(source) and set(map(float, source.header.get_zooms()[:3])) == {1.0}
    return not unit and (silent or UNKNOWN.encode() in bytes(source.header["descrip"]))


def _forms(source: nibabel.Nifti1Image) -> dict[str, tuple[np.ndarray, int]]:
    """The affines that a header gives, with the code of the space that they lead to (1 scanner, 4 MNI152, ...)."""
    found = {}
    for name, read in (("sform", source.get_sform), ("qform", source.get_qform)):
        with contextlib.suppress(ValueError, nibabel.spatialimages.HeaderDataError):  # a damaged one is left out
            form, code = read(coded=True)
            if code and _sound(form):
                found[name] = (form, int(code))
    return found


def nifti_image(scan: Scan, images: np.ndarray) -> nibabel.Nifti1Image:
    """Magnitudes as a NIfTI volume, float32 and in mm, with nothing of the source's header text.

    Images of a NIfTI file get its shape, orientation, affines and their codes; others are brought to RAS+ with the
    scan's affine. Where that is unknown, they stay (row, column, slice) with the identity, without a unit,
    and the description says so.

    Parameters
    ----------
    scan
        Without padding.
    images
        (slices, H, W), real or complex.
    """
    warn_sides(scan)
    stack, series = stacked(scan, np.abs(images).astype(np.float32))
    volume = stack[0].transpose(1, 2, 0) if len(series) == 1 else stack.transpose(2, 3, 1, 0)
    known = scan.affine if scan.affine is not None else np.eye(4)
    grid = scan.geometry.nifti
    orientation = io_orientation(known) if grid is None else grid.orientation
    affine = known @ inv_ornt_aff(orientation, volume.shape[:3]) if grid is None else grid.affine
    result = nibabel.Nifti1Image(np.ascontiguousarray(apply_orientation(volume, orientation)), affine)
    scanner = dict.fromkeys(("sform", "qform"), (affine, SCANNER)) if scan.affine is not None else {}
    forms = scanner if grid is None else grid.forms
    result.set_sform(*forms.get("sform", (None, 0)))
    result.set_qform(*forms.get("qform", (None, 0)))
    if grid is not None:
        distance = grid.time[0]
        fourth = () if volume.ndim == 3 else (distance if np.isfinite(distance) and distance >= 0 else 0.0,)
        result.header.set_zooms((*grid.zooms, *fourth))
    result.header.set_xyzt_units("unknown" if scan.affine is None else "mm")
    if len(series) > 1 and grid is not None:
        result.header["xyzt_units"] = int(result.header["xyzt_units"]) | grid.time[1]
    text = UNKNOWN if scan.affine is None else NOTE
    if len(series) > 1:
        names = ",".join(series[0].labels)
        name_series(result.header, series[-1].labels)
        text = f"{text}; axis 4: {names}" if len(text) + len(names) + 10 < DESCRIPTION else text
    result.header["descrip"] = text.encode()
    return result


def write_nifti(scan: Scan, images: np.ndarray, target: Path) -> None:
    """Write :func:`nifti_image`.

    Parameters
    ----------
    scan, images
        See there.
    target
        The file.
    """
    with atomic_file(target, suffix=target.name.removeprefix(stem(target))) as temporary:
        nibabel.save(nifti_image(scan, images), temporary)


FORMAT = Format(
    name="NIfTI",
    suffixes=(".nii.gz", ".nii"),
    sniff=is_nifti,
    read=read_nifti,
    subject=lambda path: describe_name(path)["subject"],
    option="nifti",
    all_series=True,
    write_images=write_nifti,
)
