"""Scans of magnitude images, with computed k-space."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from switchrecon.core.limits import check_size
from switchrecon.core.reading import Phase
from switchrecon.core.seeds import numpy_random
from switchrecon.physics.fourier import fourier, slice_by_slice
from switchrecon.scans.geometry import NO_GEOMETRY, Geometry
from switchrecon.scans.scan import Scan, check_finite, check_not_empty, draw_name

logger = logging.getLogger(__name__)


def warn_negative(path: Path, images: np.ndarray) -> None:
    """Warn if images hold negative values, whose sign is lost when magnitudes are written."""
    negative = float((images < 0).mean())
    if negative:
        logger.warning(
            "%s: %.2g %% of its values are negative, down to %.4g; what is written of it are magnitudes, without sign",
            path,
            100 * negative,
            float(images.min()),
        )


def smooth_phase(matrix: tuple[int, int], name: str, index: int) -> np.ndarray:
    """Return a random smooth phase of one slice; its seed is the file's name and the slice's number.

    A random linear and quadratic polynomial plus a few low-frequency waves: about ±π over the field of view.

    Returns
    -------
    np.ndarray
        Float32 (H, W), radians.
    """
    random = numpy_random("smooth phase", name, index)
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, n) for n in matrix), indexing="ij")
    phase = random.uniform(-np.pi, np.pi) * np.ones(matrix)
    for term in (rows, columns, rows * columns, rows**2, columns**2):
        phase += random.normal(scale=0.8) * term
    for _ in range(4):
        frequency = random.uniform(-1.5, 1.5, size=2)
        wave = np.pi * (frequency[0] * rows + frequency[1] * columns) + random.uniform(0, 2 * np.pi)
        phase += random.normal(scale=0.4) * np.sin(wave)
    return phase.astype(np.float32)


def synthetic_kspace(images: np.ndarray, phase: Phase, name: str) -> np.ndarray:
    """Compute k-space of magnitude images by the Fourier transform.

    Parameters
    ----------
    images
        Real (slices, H, W).
    phase
        ``smooth`` gives the images a smooth phase first. Without it their k-space is conjugate symmetric, which helps
        a reconstruction in a way that no scanner offers.
    name
        The file's name, which seeds the phase.

    Returns
    -------
    np.ndarray
        complex64 (slices, H, W).
    """
    complex_images = images.astype(np.complex64)
    if phase == "smooth":
        for index, image in enumerate(complex_images):
            image *= np.exp(1j * smooth_phase(image.shape, name, index))
    return slice_by_slice(fourier, torch.from_numpy(complex_images)).numpy()


def image_scan(
    path: Path,
    subject: str,
    images: np.ndarray,
    spacing: tuple[float, float],
    affine: np.ndarray | None,
    phase: Phase,
    geometry: Geometry = NO_GEOMETRY,
) -> Scan:
    """Return a scan of magnitude images, with synthetic k-space.

    Slices are zero-padded to a square field of view, so that resizing their k-space keeps proportions; the
    geometry's ``window`` says where they are in it.

    Parameters
    ----------
    path, subject
        See :class:`Scan`.
    images
        Float32 (slices, H, W).
    spacing
        The spacing of rows and of columns, in mm.
    affine
        (row, column, slice) of the images to RAS+ in mm, or None.
    phase
        See :func:`synthetic_kspace`.
    geometry
        Further facts from the file, without a window.

    Raises
    ------
    DataError
        If there is no slice, values are not finite or all zero, or the padded size is above the limit.
    """
    check_not_empty(path, images)
    check_finite(path, "the image", images)
    warn_negative(path, images)
    height, width = images.shape[1:]
    field = max(height * spacing[0], width * spacing[1])
    rows, columns = max(height, round(field / spacing[0])), max(width, round(field / spacing[1]))
    check_size(path, "the image at a square field of view", (len(images), rows, columns), 8)
    above, left = (rows - height) // 2, (columns - width) // 2
    padding = ((0, 0), (above, rows - height - above), (left, columns - width - left))
    return Scan(
        path=path,
        subject=subject,
        kspace=synthetic_kspace(np.pad(images, padding), phase, draw_name(path, subject)),
        synthetic=True,
        image=True,
        affine=_moved(affine, -above, -left),
        geometry=replace(geometry, window=(above, left, height, width)),
    )


def without_padding(scan: Scan, images: np.ndarray) -> tuple[Scan, np.ndarray]:
    """Return a scan and its images (slices, H, W) without the padding of :func:`image_scan`."""
    if scan.geometry.window is None:
        return scan, images
    above, left, height, width = scan.geometry.window
    geometry = replace(scan.geometry, window=None)
    cropped = images[:, above : above + height, left : left + width]
    return replace(scan, affine=_moved(scan.affine, above, left), geometry=geometry), cropped


def _moved(affine: np.ndarray | None, rows: int, columns: int) -> np.ndarray | None:
    """Return the affine of a matrix whose first element is at (rows, columns) of the old one."""
    if affine is None:
        return None
    return np.column_stack([affine[:, :3], affine @ (rows, columns, 0, 1)])
