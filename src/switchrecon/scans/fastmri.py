"""fastMRI HDF5 files: one volume of k-space a file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from switchrecon.core.files import NOTE
from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError
from switchrecon.scans.arrays import ROW_ORDER, Arranged, arranged, choose_variable, is_complex, with_parts
from switchrecon.scans.formats import Format
from switchrecon.scans.hdf5 import is_hdf5, open_hdf5, read_dataset, read_text, write_hdf5
from switchrecon.scans.header import Encoding, crop_field, nearest_samples, parse_header
from switchrecon.scans.maps import Map
from switchrecon.scans.names import identity
from switchrecon.scans.scan import Scan, check_finite, check_not_empty, fitted_mask, inferred_masks, masked
from switchrecon.scans.series import geometry_of_frames


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _subject(path: Path, file: h5py.File) -> str:
    return identity(_text(file.attrs["patient_id"]) if "patient_id" in file.attrs else "") or path.stem


def fastmri_subject(path: Path) -> str:
    """Return the attribute ``patient_id`` where it names someone, or the file's name.

    Raises
    ------
    DataError
        For a damaged file.
    """
    with open_hdf5(path) as file:
        return _subject(path, file)


def _encoding(path: Path, header: str | bytes | None) -> Encoding | None:
    """Return what the header says of the encoding; None where the file has no header, or it says nothing."""
    if header is None:
        return None
    encodings = parse_header(path, header).encodings
    return encodings[0] if encodings else None


def _padding(encoding: Encoding, width: int) -> np.ndarray:
    """Return which columns are zero padding: those outside [left, left + maximum], left = encoded // 2 − centre."""
    centre, maximum, columns = encoding.centre[0], encoding.maximum, np.arange(width)
    if centre is None or maximum is None or encoding.encoded[1] != width:
        return np.zeros(width, dtype=bool)
    left = width // 2 - centre
    return (columns < left) | (columns > left + maximum)


def _without_oversampling(
    kspace: np.ndarray, mask: np.ndarray | None, encoding: Encoding
) -> tuple[np.ndarray, np.ndarray | None]:
    """Crop the readout to the wanted field of view, unless single samples of a readout were skipped."""
    height = kspace.shape[-2]
    size = encoding.without_oversampling(0)
    lines = mask is None or bool((mask == mask[:, :1]).all())
    if encoding.encoded[0] != height or size == height or not lines:
        return kspace, mask
    return crop_field(kspace, -2, size), None if mask is None else mask[:, nearest_samples(height, size)]


def _chosen(path: Path, file: h5py.File, wanted: str | None) -> str:
    """Return the name of the dataset that is read: as asked for, ``kspace``, or the only complex one."""
    if wanted is None and "kspace" in file:
        return "kspace"
    names = sorted(name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink))
    arrays = [name for name in names if isinstance(file[name], h5py.Dataset)]
    complex_arrays = [name for name in arrays if is_complex(file[name].dtype)]
    candidates = arrays if wanted is not None else complex_arrays
    if not candidates:
        raise DataError(f"{path}: no dataset 'kspace'; found {', '.join(sorted(file)) or 'nothing'}")
    return choose_variable(path, wanted, candidates, [name for name in sorted(file) if name not in candidates])


def _arranged(path: Path, name: str, kspace: np.ndarray, layout: str | None) -> Arranged:
    """Complex (slices, coils, H, W)."""
    parts = not np.iscomplexobj(kspace) and kspace.ndim > 3 and kspace.shape[-1] == 2
    if layout is None and not np.iscomplexobj(kspace) and not parts:
        raise DataError(
            f"{path}: {name} has type {kspace.dtype}, expected complex numbers; if one of its axes holds real and "
            "imaginary parts, say so with the setting or option 'layout', such as srhw or scrhw"
        )
    if layout is None and kspace.ndim - parts not in (3, 4):
        raise DataError(f"{path}: {name} has shape {kspace.shape}, expected (slices, H, W) or (slices, coils, H, W)")
    if not kspace.size:
        check_not_empty(path, kspace)
    found = arranged(path, name, kspace, layout, ROW_ORDER)
    if not np.iscomplexobj(found.array):
        raise DataError(f"{path}: {name} has type {kspace.dtype}, expected complex numbers")
    return found


def read_fastmri(path: Path, options: ReadOptions) -> Scan:
    """Read k-space of one coil (slices, H, W) or several (slices, coils, H, W), with its ``mask`` where it has one.

    Without a ``mask``, undersampled k-space is recognised by the zeros between its samples. Where ``ismrmrd_header``
    says so, zero-padded columns do not count as measured, and the oversampling of the readout is removed by the ratio
    of the fields of view. The subject is the attribute ``patient_id``, or the file's name.

    Raises
    ------
    DataError
        For a damaged file or header, a missing ``kspace``, a mask that does not fit, NaN, infinity or only zeros.
    """
    with open_hdf5(path) as file:
        name = _chosen(path, file, options.variable)
        kspace, stored = read_dataset(path, file, name), read_dataset(path, file, "mask")
        assert kspace is not None
        encoding = _encoding(path, read_text(path, file, "ismrmrd_header"))
        subject = _subject(path, file)
    found = _arranged(path, f"dataset '{name}'", with_parts(kspace), options.layout)
    kspace = found.array.astype(np.complex64)
    check_finite(path, f"dataset '{name}'", kspace)
    check_not_empty(path, kspace)
    slices, (height, width) = len(kspace), kspace.shape[-2:]
    padding = np.zeros(width, dtype=bool) if encoding is None else _padding(encoding, width)
    if padding.any():
        kspace = np.where(padding, np.complex64(0), kspace)
        check_not_empty(path, kspace)
    if stored is None:
        mask = inferred_masks(kspace)
    else:
        full = fitted_mask(path, "dataset 'mask'", stored, (slices, height, width))
        mask = None if full[..., ~padding].all() else full & ~padding
        kspace = masked(path, kspace, full & ~padding)
    geometry = geometry_of_frames(found.frames, found.slices)
    if encoding is not None:
        kspace, mask = _without_oversampling(kspace, mask, encoding)
        geometry = replace(
            geometry,
            oversampling=height / kspace.shape[-2],
            field_of_view=(encoding.encoded_field[0] * kspace.shape[-2] / height, encoding.encoded_field[1]),
            slice_spacing=encoding.recon_field[2],
        )
    return Scan(path, subject, kspace, mask, geometry=geometry)


def write_fastmri(scan: Scan, images: np.ndarray, target: Path) -> None:
    """Write magnitudes as dataset ``reconstruction``, float32 (slices, H, W), in the scan's units."""
    write_fastmri_maps(scan, [Map("", images, "")], target)


def write_fastmri_maps(scan: Scan, maps: Sequence[Map], target: Path) -> None:
    """Write the images as :func:`write_fastmri` does, and maps under their names, with a ``description``."""
    with write_hdf5(target) as file:
        for each in maps:
            dataset = file.create_dataset(
                each.name or "reconstruction",
                data=np.abs(each.values).astype(np.float32),
                chunks=(1, *each.values.shape[1:]),
                fletcher32=True,
            )
            if each.about:
                dataset.attrs["description"] = each.about
        file.attrs["note"] = NOTE


HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace>{space}</encodedSpace><reconSpace>{space}</reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center>
</kspace_encoding_step_1></encodingLimits><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>
"""
SPACE = """<matrixSize><x>{height}</x><y>{width}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>{field[0]:g}</x><y>{field[1]:g}</y><z>{thickness:g}</z></fieldOfView_mm>"""


def write_fastmri_kspace(scan: Scan, kspace: np.ndarray, target: Path) -> None:
    """Write k-space as fastMRI stores it, with ``mask`` where undersampled and a header of geometry alone.

    Parameters
    ----------
    scan
        Whose mask, field of view and slice spacing are written; nothing of the patient is.
    kspace
        complex64 (slices, coils, H, W).
    target
        The file.
    """
    height, width = scan.matrix
    field, thickness = scan.geometry.field_of_view, scan.geometry.slice_spacing
    space = SPACE.format(height=height, width=width, field=field, thickness=thickness)
    with write_hdf5(target) as file:
        file.create_dataset("kspace", data=kspace, chunks=(1, *kspace.shape[1:]), fletcher32=True)
        file["ismrmrd_header"] = HEADER.format(space=space, last=width - 1, centre=width // 2).encode()
        if scan.mask is not None:
            lines = scan.mask[0, 0]
            file["mask"] = (lines if (scan.mask == lines).all() else scan.mask).astype(np.uint8)


FORMAT = Format(
    name="fastMRI HDF5",
    suffixes=(".h5", ".hdf5"),
    sniff=is_hdf5,
    read=read_fastmri,
    subject=fastmri_subject,
    option="hdf5",
    write_images=write_fastmri,
    write_maps=write_fastmri_maps,
    write_kspace=write_fastmri_kspace,
)
