"""A scan: the slices of one file, as k-space."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from switchrecon.config import Config
from switchrecon.errors import DataError
from switchrecon.physics.fourier import resize_kspace
from switchrecon.physics.masks import draw_mask, infer_mask, measured_acceleration
from switchrecon.physics.operators import Coils, coils_of
from switchrecon.scans.formats import Format
from switchrecon.scans.geometry import NO_GEOMETRY, Geometry
from switchrecon.scans.maps import Shown

logger = logging.getLogger(__name__)

MOST_WRONG = 0.01  # of the samples, where a mask says another thing than the zeros of k-space


@dataclass
class Scan:
    """The slices of one file.

    Attributes
    ----------
    path
        The file.
    subject
        Who was scanned: from the fields of the file, or from its name. Never written to any output.
    kspace
        complex64 (slices, coils, H, W); centred, in the file's units. (slices, H, W) is taken as that of one coil.
    mask
        Boolean (slices, H, W), True where measured; None for a fully sampled scan.
    synthetic
        Whether the k-space was computed from magnitude images.
    image
        Whether the file holds images and not k-space.
    calibration
        complex64 of the shape of ``kspace``: with lines that were measured for the coils' sensitivities alone, besides
        those of the image; None where there are none.
    maps
        Coil sensitivity maps, complex64 (slices, coils, H, W), where they have been estimated.
    noise
        complex64 (coils, samples) of a noise scan; None where the file has none.
    noise_scale
        K-space has this many times the noise scan's covariance ``N Nᴴ / (samples − 1)``.
    affine
        Float64 (4, 4): (row, column, slice) of this matrix to patient coordinates in mm, RAS+; None where unknown.
    geometry
        Lengths, the order of slices, and what the writer of the file's format needs.
    format
        The format that the file was read as; None for a scan that was made otherwise.
    shown
        What a writer gets with the scan, if it is one of several.
    drawn_by
        The subject that the file names, if a table gave another one.
    """

    path: Path
    subject: str
    kspace: np.ndarray
    mask: np.ndarray | None = None
    synthetic: bool = False
    image: bool = False
    calibration: np.ndarray | None = None
    maps: np.ndarray | None = None
    noise: np.ndarray | None = None
    noise_scale: float = 1.0
    affine: np.ndarray | None = None
    geometry: Geometry = NO_GEOMETRY
    format: Format | None = None
    drawn_by: str = ""
    shown: Shown | None = None

    def __post_init__(self) -> None:
        if self.kspace.ndim == 3:
            self.kspace = self.kspace[:, None]

    @property
    def name(self) -> str:
        """Name from which masks, phase and noise are seeded; see :func:`draw_name`."""
        return draw_name(self.path, self.drawn_by or self.subject)

    @property
    def coils(self) -> int:
        """Number of receiver coils; 1 for coil-combined k-space."""
        return self.kspace.shape[1]

    @property
    def matrix(self) -> tuple[int, int]:
        """(H, W)."""
        return self.kspace.shape[-2], self.kspace.shape[-1]

    def sensitivity(self, which: int | slice | list[int] = slice(None)) -> Coils:
        """How the coils see one slice or several, once maps have been estimated where there are several coils."""
        return coils_of(None if self.maps is None else torch.from_numpy(self.maps[which]))

    @property
    def acceleration(self) -> float:
        """Samples over measured samples, of the slices of which anything was measured; 1 where fully sampled."""
        if self.mask is None:
            return 1.0
        return measured_acceleration(self.mask[self.mask.any((1, 2))])

    def resized(self, matrix: tuple[int, int] | None) -> "Scan":
        """Return the scan at another matrix and the same field of view; k-space is cropped or zero-padded."""
        if matrix is None or tuple(matrix) == self.matrix:
            return self
        kspace = resize_kspace(torch.from_numpy(self.kspace), matrix).numpy()
        calibration = self.calibration
        if calibration is not None:
            calibration = resize_kspace(torch.from_numpy(calibration), matrix).numpy()
        mask = self.mask
        if mask is not None:
            mask = resize_kspace(torch.from_numpy(mask).float(), matrix).numpy() > 0
        affine = _resized_affine(self.affine, self.matrix, matrix)
        return replace(self, kspace=kspace, mask=mask, calibration=calibration, maps=None, affine=affine)


def _resized_affine(affine: np.ndarray | None, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray | None:
    """Return the affine at another matrix with the same field of view and centre, the pixel (H // 2, W // 2)."""
    if affine is None:
        return None
    change = np.eye(4)
    for axis in (0, 1):
        ratio = old[axis] / new[axis]
        change[axis, axis] = ratio
        change[axis, 3] = old[axis] // 2 - (new[axis] // 2) * ratio
    return affine @ change


SCANNERS = (".dat", ".dcm", ".mrd", "")  # of files that a scanner names, by the protocol and not by the subject


def draw_name(path: Path, subject: str) -> str:
    """Return the name that seeds a scan's masks, phase and noise: the file's, as in fastMRI, so that folders can move.

    Scanners give the same name to files of many subjects; then the subject is a part of it.
    """
    return f"{subject}/{path.name}" if path.is_dir() or path.suffix in SCANNERS else path.name


def own_mask(scan: Scan, index: int, config: Config) -> torch.Tensor:
    """Return a slice's sampling mask: the measured one, or the one drawn for it. Boolean (H, W)."""
    if scan.mask is not None:
        return torch.from_numpy(scan.mask[index].copy())
    return torch.from_numpy(draw_mask(config.mask, scan.matrix, volume=scan.name, index=index))


def check_fully_sampled(scan: Scan, expected: str) -> None:
    """Refuse undersampled k-space.

    Raises
    ------
    DataError
        If so; the message names the file, its acceleration, and what was expected.
    """
    if scan.mask is not None:
        raise DataError(f"{scan.path}: undersampled k-space (acceleration {scan.acceleration:.1f}); {expected}")


def description(scan: Scan) -> str:
    """Return what images of a scan, or a map beside them, are, in sentences for the descriptions in files."""
    about = "" if scan.shown is None or not scan.shown.name else f" Map '{scan.shown.name}': {scan.shown.about}"
    return f"from {what_was_measured(scan)}. A network can invent or remove structure.{about}"


def what_was_measured(scan: Scan) -> str:
    """Return what images of a scan come from, for the descriptions in files."""
    kind = "synthetic k-space of magnitude images" if scan.synthetic else "k-space"
    return kind if scan.mask is None else f"undersampled {kind} (acceleration {scan.acceleration:.2f})"


def check_finite(path: Path, what: str, array: np.ndarray) -> None:
    """Refuse NaN and infinity.

    Raises
    ------
    DataError
        If so; the message names the file and the first slice that holds one.
    """
    bad = ~np.isfinite(array)
    if bad.any():
        where = int(np.argwhere(bad)[0][0])
        raise DataError(f"{path}: {what} of slice {where} holds NaN or infinity; expected finite numbers")


def check_not_empty(path: Path, array: np.ndarray) -> None:
    """Refuse a scan without any non-zero sample, or without any sample.

    Raises
    ------
    DataError
        If so; the message names the file.
    """
    if array.size == 0:
        raise DataError(f"{path}: found an empty array of shape {array.shape}; expected at least one slice")
    if not array.any():
        raise DataError(f"{path}: all {len(array)} slices are zero; expected at least one non-zero slice")


def warn_sides(scan: Scan) -> None:
    """Say that what is written may be mirrored, where the vendor's convention is not known."""
    again = scan.shown is not None and scan.shown.name  # it is said of the images themselves
    if scan.affine is not None and not scan.geometry.sides_known and not again:
        logger.warning(
            "%s: left and right may be exchanged, and so may other sides: the file names no vendor whose convention is "
            "known; compare with the scanner's images",
            scan.path,
        )


def inferred_masks(kspace: np.ndarray) -> np.ndarray | None:
    """Find each slice's mask from the zeros of (slices, ..., H, W); None if no slice is undersampled.

    A slice of zeros says nothing: it gets the mask of the nearest slice that does.
    """
    telling = [number for number, each in enumerate(kspace) if each.any()]
    masks = {number: infer_mask(kspace[number]) for number in telling}
    if all(each is None for each in masks.values()):
        return None
    full = np.ones(kspace.shape[-2:], dtype=bool)
    nearest = [min(telling, key=lambda other: abs(other - number)) for number in range(len(kspace))]
    found = [masks[number] for number in nearest]
    return np.stack([full if each is None else each for each in found])


def fitted_mask(path: Path, name: str, stored: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return a stored mask at the shape of k-space.

    Parameters
    ----------
    path, name
        The file and the mask's name in it, for messages.
    stored
        Numbers or booleans, not 0 where measured: (W,), (H, W) or (slices, H, W), where slices and H may be 1. An axis
        of one coil before H, and an axis of length 1 at the end, do no harm.
    shape
        (slices, H, W).

    Returns
    -------
    np.ndarray
        Boolean (slices, H, W), read-only.

    Raises
    ------
    DataError
        For another shape, NaN, what is no number, or a mask without any measured sample.
    """
    mask = np.asarray(stored)
    if mask.ndim == 2 and mask.shape[1] == 1 < mask.shape[0] == shape[1] == shape[2]:
        raise DataError(
            f"{path}: {name} has shape {mask.shape}, which may be one of rows or of columns; expected ({shape[2]},) or "
            f"(1, {shape[2]}) for columns, the phase encode"
        )
    if not (np.issubdtype(mask.dtype, np.number) or mask.dtype == np.bool_):
        raise DataError(f"{path}: {name} holds {mask.dtype}; expected numbers")
    if mask.ndim > 1 and mask.shape[-1] == 1 != shape[-1]:
        mask = mask[..., 0]
    if mask.ndim == 4 and mask.shape[1] == 1:
        mask = mask[:, 0]
    sizes = (1,) * (3 - mask.ndim) + mask.shape
    fits = 1 <= mask.ndim <= 3 and sizes[2] == shape[2] and sizes[1] in (1, shape[1]) and sizes[0] in (1, shape[0])
    if not fits:
        fitting = f"({shape[2]},), {shape[1:]} or {shape}, as k-space"
        raise DataError(f"{path}: {name} has shape {np.shape(stored)}, expected {fitting}")
    if np.isnan(mask).any():
        raise DataError(f"{path}: {name} holds NaN; expected 0 or 1")
    if not mask.any():
        raise DataError(f"{path}: {name} is all zero; expected at least one measured sample")
    return np.broadcast_to(mask != 0, shape)


def masked(path: Path, kspace: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """K-space (slices, coils, H, W) where it was measured, and zeros elsewhere.

    It warns where the mask (slices, H, W) calls samples measured that are zero in all coils, though others around them
    are not: one of both is wrong.

    Raises
    ------
    DataError
        Where nothing but zeros is left: the mask may have the opposite meaning.
    """
    kept = np.where(mask[:, None], kspace, np.complex64(0))
    if not kept.any():
        raise DataError(
            f"{path}: its mask leaves no sample but zeros; expected 0 where nothing was measured, and 1 elsewhere"
        )
    claimed = [each & ~found for each, k in zip(mask, kspace, strict=True) if (found := _gaps(k)) is not None]
    wrong = sum(int(each.sum()) for each in claimed)
    if wrong > MOST_WRONG * mask.size:
        logger.warning(
            "%s: its mask says that %.0f %% of the samples were measured, of which %.0f %% are zero in all coils; they "
            "count as measured; remove the mask if they were not",
            path,
            100 * mask.mean(),
            100 * wrong / mask.sum(),
        )
    return kept


def _gaps(kspace: np.ndarray) -> np.ndarray | None:
    """Return what of one slice is not zero; None where nothing is missing in between, or nothing is there."""
    return infer_mask(kspace) if kspace.any() else None


def kspace_scan(
    path: Path, subject: str, kspace: np.ndarray, mask: np.ndarray | None = None, what: str = "k-space", **more: Any
) -> Scan:
    """Return a scan of k-space that is sorted already.

    Parameters
    ----------
    path, subject
        See :class:`Scan`.
    kspace
        Complex (slices, H, W) or (slices, coils, H, W), centred.
    mask
        Boolean (slices, H, W); samples where it is False become 0. None: undersampled slices are recognised by the
        zeros between their samples.
    what
        Name of the k-space in the file, for messages.
    more
        Other fields of :class:`Scan`.

    Raises
    ------
    DataError
        For NaN, infinity, or only zeros.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # too large becomes infinite, and is refused
        kspace = kspace.astype(np.complex64, copy=False)
    check_finite(path, what, kspace)
    check_not_empty(path, kspace)
    if kspace.ndim == 3:
        kspace = kspace[:, None]
    if mask is None:
        mask = inferred_masks(kspace)
    else:
        kspace = masked(path, kspace, mask)
        mask = None if mask.all() else mask
    return Scan(path, subject, kspace, mask, **more)
