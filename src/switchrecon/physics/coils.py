"""Receiver coils: noise whitening, coil compression, coil combination, and where the calibration data lie.

Coil images and multi-coil k-space have shape (..., coils, H, W). Sensitivity maps come from
:mod:`switchrecon.physics.coil_maps`.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from switchrecon.errors import DataError
from switchrecon.physics.masks import centre_slice

CALIBRATION = (24, 24)
"""Rows and columns of the k-space centre that coil compression uses, as BART does by default."""

DEPENDENT = 1e-10  # a coil is dependent if the coils before it leave less of its noise variance unexplained


def noise_covariance(noise: Tensor, scale: float = 1.0) -> Tensor:
    """Return the noise covariance between coils, ``Ψ = N Nᴴ / (n − 1) · scale``.

    Parameters
    ----------
    noise
        N, complex (coils, n): samples without signal, of mean zero.
    scale
        Noise variance of the image data, divided by that of the noise scan. With dwell times t (s) and the relative
        receiver noise bandwidth b of an ISMRMRD header it is ``t_noise / (t_image · b)``, the inverse of the
        ``scale_factor`` of the ISMRMRD tools.

    Returns
    -------
    Tensor
        complex128 (coils, coils), Hermitian, in the squared units of the noise.

    Raises
    ------
    DataError
        If the noise has another shape, too few samples, or values that are not finite.
    """
    if noise.ndim != 2:
        raise DataError(f"the noise scan has shape {tuple(noise.shape)}, expected (coils, samples)")
    coils, samples = noise.shape
    if samples <= coils:
        raise DataError(f"the noise scan has {samples} samples for {coils} coils; expected more samples than coils")
    if not noise.isfinite().all():
        raise DataError("the noise scan holds NaN or infinity; expected finite numbers")
    noise = noise.to(torch.complex128)
    return noise @ noise.mH * (scale / (samples - 1))


def whiten(kspace: Tensor, covariance: Tensor) -> Tensor:
    """Give all coils uncorrelated noise of variance 1: ``L⁻¹ k`` over the coils, where ``Ψ = L Lᴴ`` (Cholesky).

    Parameters
    ----------
    kspace
        Complex (..., coils, H, W), or coil images.
    covariance
        Ψ, complex (coils, coils); see :func:`noise_covariance`.

    Returns
    -------
    Tensor
        Of the same shape and dtype as k-space, in units of the noise's standard deviation.

    Raises
    ------
    DataError
        If the numbers of coils differ, or the covariance is singular because one coil's noise depends on the others'.
    """
    coils = kspace.shape[-3]
    if covariance.shape != (coils, coils):
        raise DataError(f"the noise covariance has shape {tuple(covariance.shape)}, expected {(coils, coils)}")
    deviation = covariance.diagonal().real.to(torch.float64).clamp_min(0).sqrt()
    if not (deviation > 0).all():
        raise DataError(f"coil {int((deviation <= 0).nonzero()[0])} has no noise; expected a positive variance")
    correlation = covariance.to(torch.complex128) / deviation / deviation[:, None]
    root, failed = torch.linalg.cholesky_ex(correlation)
    dependent = root.diagonal().real.square() < DEPENDENT
    if failed or dependent.any():
        where = int(failed) - 1 if failed else int(dependent.nonzero()[0])
        raise DataError(f"the noise covariance is singular: coil {where} repeats the noise of the coils before it")
    matrix = torch.linalg.inv(root) / deviation
    return mix_coils(matrix, kspace)


def mix_coils(matrix: Tensor, kspace: Tensor) -> Tensor:
    """Multiply the coils of (..., coils, H, W) by a matrix (n, coils), in the dtype of k-space."""
    return torch.einsum("nc,...chw->...nhw", matrix.to(kspace.dtype), kspace)


def compress_coils(kspace: Tensor, n: int, calibration: tuple[int, int] = CALIBRATION) -> tuple[Tensor, Tensor]:
    """Reduce coils to the n virtual coils with the most energy in the k-space centre; one matrix for all slices.

    The rows of the matrix are the conjugates of the leading left singular vectors of the centre's samples
    (coils, samples); the energy that is kept is the sum of the n largest squared singular values.

    Parameters
    ----------
    kspace
        Complex (slices, coils, H, W), centred.
    n
        Virtual coils, from 1 to the number of coils.
    calibration
        Rows and columns of the centre, fully measured.

    Returns
    -------
    tuple of Tensor
        K-space (slices, n, H, W), and the matrix (n, coils), complex128 with orthonormal rows.

    Raises
    ------
    DataError
        For another shape or number of virtual coils.
    """
    _check_compression(kspace, n)
    samples = calibration_centre(kspace, calibration).to(torch.complex128).transpose(0, 1).flatten(1)
    matrix = _leading(samples @ samples.mH, n).mH
    return mix_coils(matrix, kspace), matrix


def geometric_compression(kspace: Tensor, n: int, columns: int = CALIBRATION[1]) -> tuple[Tensor, Tensor]:
    """Reduce coils with one matrix for each row along the readout (Zhang et al., Magn Reson Med 2013).

    After a Fourier transform along the readout H, leading singular vectors are computed for each row of the image.
    Those of neighbouring rows are then aligned, from the centre outwards, so that virtual coils are smooth along H.

    Parameters
    ----------
    kspace
        Complex (slices, coils, H, W), centred; each measured line along H is complete.
    n
        Virtual coils, from 1 to the number of coils.
    columns
        Columns of the centre, fully measured, that the matrices are computed from.

    Returns
    -------
    tuple of Tensor
        K-space (slices, n, H, W), and the matrices (H, n, coils), complex128 with orthonormal rows.

    Raises
    ------
    DataError
        For another shape or number of virtual coils.
    """
    _check_compression(kspace, n)
    hybrid = _along_readout(torch.fft.ifft, kspace)
    centre = calibration_centre(hybrid, (kspace.shape[-2], columns)).to(torch.complex128)
    samples = centre.permute(2, 1, 0, 3).flatten(2)  # (H, coils, slices · columns)
    bases = list(_leading(samples @ samples.mH, n))
    middle = len(bases) // 2
    for row in (*range(middle + 1, len(bases)), *range(middle - 1, -1, -1)):
        neighbour = bases[row - 1 if row > middle else row + 1]
        left, _, right = torch.linalg.svd(bases[row].mH @ neighbour)
        bases[row] = bases[row] @ (left @ right)
    matrices = torch.stack(bases).mH
    compressed = torch.einsum("hnc,schw->snhw", matrices.to(kspace.dtype), hybrid)
    return _along_readout(torch.fft.fft, compressed), matrices


def _check_compression(kspace: Tensor, n: int) -> None:
    if kspace.ndim != 4:
        raise DataError(f"k-space has shape {tuple(kspace.shape)}, expected (slices, coils, H, W)")
    if not 1 <= n <= kspace.shape[1]:
        raise DataError(f"cannot make {n} virtual coils of {kspace.shape[1]}; expected 1 to {kspace.shape[1]}")


def _along_readout(transform: Callable[..., Tensor], array: Tensor) -> Tensor:
    shifted = torch.fft.ifftshift(array, dim=-2)
    return torch.fft.fftshift(transform(shifted, dim=-2, norm="ortho"), dim=-2)


def _leading(covariance: Tensor, n: int) -> Tensor:
    """Return the n leading eigenvectors (..., coils, n) of Hermitian (..., coils, coils), the largest first."""
    return torch.linalg.eigh(covariance).eigenvectors[..., -n:].flip(-1)


def calibration_region(mask: np.ndarray, largest: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return the largest fully measured centre of a mask.

    Parameters
    ----------
    mask
        Boolean (H, W).
    largest
        Upper limits of rows and columns, such as :data:`CALIBRATION`; None: no limits.

    Returns
    -------
    tuple of int
        Rows and columns of the largest centred rectangle in which all samples are measured, placed as by
        :func:`switchrecon.physics.masks.centre_slice`; (0, 0) if the centre sample is not measured. For 1-D masks these
        are H and the number of centre lines.
    """
    total = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int64)
    total[1:, 1:] = mask.cumsum(0, dtype=np.int64).cumsum(1)
    ends = []
    for n, most in zip(mask.shape, largest or mask.shape, strict=True):
        centres = [centre_slice(n, count / n) for count in range(1, min(n, most) + 1)]
        ends += [np.array([centre.start for centre in centres]), np.array([centre.stop for centre in centres])]
    top, bottom, left, right = ends
    measured = (total[bottom] - total[top])[:, right] - (total[bottom] - total[top])[:, left]
    area = np.outer(bottom - top, right - left)
    area[measured < area] = 0
    rows, columns = np.unravel_index(area.argmax(), area.shape)
    return (int(rows) + 1, int(columns) + 1) if area[rows, columns] else (0, 0)


def calibration_centre(kspace: Tensor, calibration: tuple[int, int]) -> Tensor:
    """Return the centre (..., rows, columns) of k-space (..., H, W); at most all of it."""
    rows, columns = (centre_slice(n, count / n) for n, count in zip(kspace.shape[-2:], calibration, strict=True))
    return kspace[..., rows, columns]


def root_sum_of_squares(coil_images: Tensor) -> Tensor:
    """Return magnitude images ``√(Σ_c |m_c|²)``: (..., coils, H, W) → real (..., H, W); the gradient at 0 is 0."""
    magnitude = coil_images.abs()
    largest = magnitude.detach().amax((-3, -2, -1), keepdim=True)
    largest = torch.where(largest > 0, largest, torch.ones_like(largest))
    return torch.linalg.vector_norm(magnitude / largest, dim=-3) * largest.squeeze(-3)
