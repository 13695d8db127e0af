"""Convert scans: sorted k-space into another format, or its zero-filled image into an image format."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from switchrecon.config import Config
from switchrecon.data.bart import bart_pair, write_bart
from switchrecon.data.fastmri import write_fastmri_kspace
from switchrecon.data.files import find_files, read_scan
from switchrecon.data.scan import Scan
from switchrecon.data.write import atomic_file
from switchrecon.errors import DataError
from switchrecon.fourier import inverse_fourier

KSPACE = (".npy", ".h5", ".hdf5", ".cfl", ".hdr")
IMAGES = (".nii.gz", ".nii", ".png", ".dcm")


def zero_filled(scan: Scan, numbers: Sequence[int]) -> np.ndarray:
    """Images of what was measured: the root of the sum over coils of |F⁻¹ k|².

    Parameters
    ----------
    scan
        Of one coil or several.
    numbers
        Which slices.

    Returns
    -------
    np.ndarray
        Float32 (slices, H, W).
    """
    images = []
    for number in numbers:
        coils = torch.from_numpy(scan.kspace[number].reshape(-1, *scan.matrix))
        images.append(torch.linalg.vector_norm(inverse_fourier(coils), dim=0).numpy())
    return np.stack(images)


def write_images(scan: Scan, images: np.ndarray, target_format: str, out: Path) -> None:
    """Write images (slices, H, W) of a scan in an image format, one of :data:`IMAGES`.

    Raises
    ------
    DataError
        Always: image formats are not written yet.
    """
    raise DataError(
        f"{out}: writing {target_format} is not possible yet; expected a name ending in {', '.join(KSPACE)}"
    )


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


def convert_file(source: Path, out: Path, overwrite: bool = False) -> Scan:
    """Read a scan of any kind and write it as the name of ``out`` says; return the scan.

    Parameters
    ----------
    source
        The scan.
    out
        ``.npy``, ``.h5`` (fastMRI) or ``.cfl`` (BART) for k-space; for image formats, the zero-filled image.
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
    for target in targets:
        if target.is_dir():
            raise DataError(f"{target}: is a folder; expected the name of a file")
        if target.exists() and source.exists() and target.samefile(source):
            raise DataError(f"{target}: is the scan itself; choose another name")
        if target.exists() and not overwrite:
            raise DataError(f"{target}: exists already; add --overwrite or choose another name")
    scan = read_scan(source, Config())
    if target_format in IMAGES:
        write_images(scan, zero_filled(scan, range(len(scan.kspace))), target_format, out)
    else:
        write_kspace(scan, target_format, out)
    return scan
