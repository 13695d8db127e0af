"""Convert scans: sorted k-space into another format, or its zero-filled image into an image format."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from switchrecon.config import Config
from switchrecon.core.files import atomic_file
from switchrecon.errors import DataError
from switchrecon.physics.coils import root_sum_of_squares
from switchrecon.physics.fourier import inverse_fourier
from switchrecon.scans.bart import bart_pair, write_bart
from switchrecon.scans.fastmri import write_fastmri_kspace
from switchrecon.scans.files import WRITERS, find_files, read_scan
from switchrecon.scans.scan import Scan, without_padding

KSPACE = (".npy", ".h5", ".hdf5", ".cfl", ".hdr")
IMAGES = {".nii.gz": "nifti", ".nii": "nifti", ".png": "png", ".dcm": "dicom"}


def zero_filled_images(scan: Scan, numbers: Sequence[int]) -> np.ndarray:
    """Images of what was measured, coils combined by the root of their sum of squares; float32 (slices, H, W)."""
    coils = (torch.from_numpy(scan.kspace[number].reshape(-1, *scan.matrix)) for number in numbers)
    return np.stack([root_sum_of_squares(inverse_fourier(own)).numpy() for own in coils])


def write_kspace(scan: Scan, target_format: str, out: Path) -> None:
    """Write the sorted k-space of a scan as complex64 (slices, coils, H, W), oversampling removed.

    Parameters
    ----------
    scan
        Of one coil, which is written as (slices, 1, H, W), or several.
    target_format
        One of :data:`KSPACE`.
    out
        The file.
    """
    kspace = (scan.kspace if scan.kspace.ndim == 4 else scan.kspace[:, None]).astype(np.complex64, copy=False)
    if target_format in (".cfl", ".hdr"):
        write_bart(kspace, out)
    elif target_format == ".npy":
        with atomic_file(out, suffix=".npy") as temporary:
            np.save(temporary, kspace)
    else:
        write_fastmri_kspace(scan, kspace, out)


def _target_format(out: Path) -> str:
    for ending in (*KSPACE, *IMAGES):
        if out.name.lower().endswith(ending) and out.name.lower() != ending:
            return ending
    raise DataError(f"{out}: expected a name ending in {', '.join((*KSPACE, *IMAGES))}")


def convert_file(source: Path, out: Path, overwrite: bool = False) -> tuple[Scan, Path]:
    """Read a scan of any kind and write it as the name of ``out`` says; return the scan and what was written.

    Parameters
    ----------
    source
        The scan.
    out
        ``.npy``, ``.h5`` (fastMRI) or ``.cfl`` (BART) for k-space; ``.nii``, ``.nii.gz``, ``.png`` or ``.dcm`` for the
        zero-filled image. PNG and DICOM have a file for each slice: they go into a folder named without that ending.
    overwrite
        Replace what exists; never the source itself.

    Raises
    ------
    DataError
        For a scan that cannot be read, another ending, or a file that exists.
    """
    target_format = _target_format(out)
    (source,) = find_files([source]) if not source.is_dir() else [source]
    targets = bart_pair(out) if target_format in (".cfl", ".hdr") else (out,)
    if target_format in (".png", ".dcm"):
        targets = (out.with_name(out.name[: -len(target_format)]),)
    for target in targets:
        if target.is_dir() and target == out:
            raise DataError(f"{target}: is a folder; expected the name of a file")
        if target.exists() and source.exists() and target.samefile(source):
            raise DataError(f"{target}: is the scan itself; choose another name")
        if target.exists() and not overwrite:
            raise DataError(f"{target}: exists already; add --overwrite or choose another name")
    scan = read_scan(source, Config())
    if scan.image and target_format in KSPACE:
        raise DataError(f"{source}: holds images; k-space made of them would pass for measured; expected k-space")
    if target_format in IMAGES:
        images = zero_filled_images(scan, range(len(scan.kspace)))
        WRITERS[IMAGES[target_format]].write(*without_padding(scan, images), targets[0])
    else:
        write_kspace(scan, target_format, out)
    return scan, out if out in targets else targets[0]
