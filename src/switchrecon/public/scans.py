"""Scans in memory: read from a file, made from arrays, drawn, undersampled."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch

from switchrecon.core.reading import Phase, ReadOptions, SliceAxis
from switchrecon.core.settings import check_settings
from switchrecon.errors import DataError
from switchrecon.phantoms.scans import head_images
from switchrecon.physics.fourier import fourier
from switchrecon.physics.masks import MaskConfig, draw_mask
from switchrecon.scans.files import find_files, read_scan
from switchrecon.scans.inspection import ScanFacts, facts_of, inspect_file
from switchrecon.scans.scan import Scan, check_fully_sampled, fitted_mask, kspace_scan

Arrays: TypeAlias = np.ndarray | tuple[np.ndarray, np.ndarray | None]
"""K-space, or k-space and its mask; see :func:`from_arrays`."""
Scans: TypeAlias = str | Path | Scan | Arrays | Sequence[str | Path | Scan | Arrays]
"""One scan or several: paths, folders, quoted patterns, scans, or arrays."""


def read(
    path: str | Path, *, slice_axis: SliceAxis = "axial", phase: Phase = "none", variable: str | None = None
) -> Scan:
    """Read one scan of any known format.

    Parameters
    ----------
    path
        A file, or the folder of a DICOM series.
    slice_axis, phase, variable
        Options if the file leaves a choice; see the settings of the same names.

    Returns
    -------
    Scan
        ``kspace`` complex64 (slices, coils, H, W), centred; ``mask`` boolean (slices, H, W) or None
        for a fully sampled scan; ``affine`` and ``geometry``; ``subject``.

    Raises
    ------
    DataError
        If the file cannot be used, or the path holds several scans.
    """
    found = find_files([path])
    if len(found) != 1:
        raise DataError(f"{path}: holds {len(found)} scans; expected one")
    return read_scan(found[0], ReadOptions(slice_axis=slice_axis, phase=phase, variable=variable))


def inspect(scan: str | Path | Scan, picture: str | Path | None = None) -> ScanFacts:
    """Return facts about a file or scan, as ``switchrecon inspect --json`` prints them; none is about the patient.

    Parameters
    ----------
    scan
        A path, or a scan from :func:`read`.
    picture
        Write a PNG of what was measured and of the zero-filled image, for a path.
    """
    if isinstance(scan, Scan):
        return facts_of(scan.path, scan)
    return inspect_file(Path(scan), Path(picture) if picture is not None else None)


def mask(matrix: int | tuple[int, int], *, name: str = "", index: int = 0, **settings: Any) -> np.ndarray:
    """Draw the sampling mask of one slice.

    Parameters
    ----------
    matrix
        Side or (H, W).
    name, index
        Name of the scan and index of the slice; the same name, index and settings give the same mask.
    **settings
        ``kind``, ``acceleration``, ``center_fraction``, ``per``, ``seed``; see ``switchrecon settings mask``.

    Returns
    -------
    numpy.ndarray
        Boolean (H, W), True where measured.
    """
    size = (matrix, matrix) if isinstance(matrix, int) else matrix
    return draw_mask(check_settings(MaskConfig, settings, "mask"), size, volume=name, index=index)


def undersample(scan: Scan, mask: np.ndarray | None = None, **settings: Any) -> Scan:
    """Undersample a fully sampled scan.

    Parameters
    ----------
    scan
        A scan from :func:`read` or :func:`phantom`; it is not changed.
    mask
        Not 0 where measured: (W,), (H, W) or (slices, H, W). None: one is drawn for each slice.
    **settings
        Settings of the masks that are drawn; see :func:`mask`.

    Raises
    ------
    DataError
        If the scan is undersampled already, or the mask does not fit.
    """
    check_fully_sampled(scan, "expected a fully sampled scan")
    shape = (len(scan.kspace), *scan.matrix)
    if mask is None:
        chosen = check_settings(MaskConfig, settings, "undersample")
        drawn = [draw_mask(chosen, scan.matrix, volume=scan.name, index=index) for index in range(len(scan.kspace))]
        masks = np.stack(drawn)
    else:
        masks = fitted_mask(scan.path, "mask", mask, shape)
    measured = np.where(masks[:, None], scan.kspace, np.complex64(0))
    return replace(scan, kspace=measured, mask=masks.copy(), maps=None)


def phantom(subject: int = 0, *, slices: int = 6, matrix: int = 64, coils: int = 1) -> Scan:
    """Draw the fully sampled scan of a synthetic head, T2-weighted.

    Parameters
    ----------
    subject
        A number; each number gives another head.
    slices, matrix
        Number of slices, and their side in pixels.
    coils
        Number of receiver coils around the head.
    """
    images = torch.from_numpy(head_images(subject, slices, matrix, coils))
    name = f"phantom-{subject:04d}"
    return Scan(Path(f"{name}.npy"), name, fourier(images).numpy())


def from_arrays(arrays: Arrays, name: str) -> Scan:
    """Make a scan of arrays.

    Parameters
    ----------
    arrays
        Complex centred k-space (H, W), (slices, H, W) or (slices, coils, H, W); with it a mask, not 0 where measured.
        Without a mask, undersampled slices are recognised by the zeros between their samples.
    name
        The name of the scan and its subject.

    Raises
    ------
    DataError
        If type or shape is another one, or values are not finite or all zero.
    """
    kspace, given = arrays if isinstance(arrays, tuple) else (arrays, None)
    kspace = np.asarray(kspace)
    path = Path(name)
    if not np.iscomplexobj(kspace) or kspace.ndim not in (2, 3, 4):
        raise DataError(
            f"{name}: found {kspace.dtype} of shape {kspace.shape}; expected complex k-space (H, W), (slices, H, W) or "
            "(slices, coils, H, W)"
        )
    kspace = np.array(kspace[None] if kspace.ndim == 2 else kspace, np.complex64)  # a copy: callers may change theirs
    if given is None:
        return kspace_scan(path, name, kspace, what="the array")
    shape = (len(kspace), *kspace.shape[-2:])
    return kspace_scan(path, name, kspace, fitted_mask(path, "mask", np.asarray(given), shape), "the array")


def as_scans(scans: Scans, role: str) -> list[str | Path | Scan]:
    """Return paths and scans; arrays become scans that are named by their role and number."""
    alone = isinstance(scans, str | Path | Scan | np.ndarray) or _is_pair(scans)
    several = cast("Sequence[str | Path | Scan | Arrays]", [scans] if alone else scans)
    return [
        each if isinstance(each, str | Path | Scan) else from_arrays(each, f"{role} array {number}")
        for number, each in enumerate(several, 1)
    ]


def _is_pair(scans: object) -> bool:
    """Return whether this is k-space with its mask and not two scans: the mask is not complex."""
    return (
        isinstance(scans, tuple)
        and len(scans) == 2
        and isinstance(scans[0], np.ndarray)
        and (scans[1] is None or (isinstance(scans[1], np.ndarray) and not np.iscomplexobj(scans[1])))
    )
