"""Coil sensitivity maps, from the k-space centre (ESPIRiT) or from coil images (Walsh)."""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from switchrecon.errors import DataError
from switchrecon.physics.coils import CALIBRATION, calibration_centre

PIXELS = 1 << 13  # processed together, to bound memory: each needs coils² numbers


def espirit(
    kspace: Tensor,
    calibration: tuple[int, int] = CALIBRATION,
    *,
    kernel: int = 6,
    threshold: float = 0.001,
    crop: float = 0.8,
) -> Tensor:
    """Estimate one set of coil sensitivity maps by ESPIRiT (Uecker et al., Magn Reson Med 2014).

    Patches of the calibration region span a space of few dimensions, with an orthonormal basis V. Projecting every
    patch of k-space on that space and averaging the results does not change k-space. In the image this operation
    multiplies each pixel by a matrix over the coils, whose eigenvector of eigenvalue 1 is the sensitivity.

    Parameters
    ----------
    kspace
        Complex (coils, H, W), centred; only the calibration region is used.
    calibration
        Rows and columns of the centre, fully measured.
    kernel
        Side of the square patches.
    threshold
        V holds the singular vectors with σ² > threshold · σ²_max, as BART counts it.
    crop
        Maps are 0 where the eigenvalue is at most this.

    Returns
    -------
    Tensor
        Maps s, of the same shape and dtype as k-space. ``Σ_c |s_c|²`` is 1, or 0 outside the object. The phase is
        relative to the first principal coil: ``Σ_c p̄_c s_c`` is real and positive, where p is the first principal
        component of the calibration region, whose largest entry is real and positive.

    Raises
    ------
    DataError
        If k-space has another shape, or the calibration region is smaller than the kernel.
    """
    if kspace.ndim != 3:
        raise DataError(f"k-space has shape {tuple(kspace.shape)}, expected (coils, H, W)")
    centre = calibration_centre(kspace, calibration).to(torch.complex128)
    size = tuple(centre.shape[1:])
    if min(size) < kernel:
        raise DataError(
            f"the calibration region has {size[0]}x{size[1]} samples; ESPIRiT needs at least {kernel}x{kernel}"
        )
    if not centre.any():
        return torch.zeros_like(kspace)
    spectrum = _matrix_kernel(centre, kernel, threshold)
    height, width = kspace.shape[-2:]
    across = spectrum @ _waves(width, kernel).to(kspace.device).mT  # (2 kernel − 1, coils, coils, W)
    down = _waves(height, kernel).to(kspace.device)
    maps = torch.empty_like(kspace)
    reference = _principal_coil(centre)
    rows = max(1, PIXELS // width)
    for top in range(0, height, rows):
        matrices = torch.einsum("hd,dcew->hwce", down[top : top + rows], across)
        value, vector = _dominant(matrices)
        vector = torch.where(value[..., None] > crop, _turned(vector, reference), 0)
        maps[:, top : top + rows] = vector.permute(2, 0, 1).to(maps.dtype)
    return maps


def _matrix_kernel(centre: Tensor, kernel: int, threshold: float) -> Tensor:
    """Return coefficients (rows, coils, coils, columns) of the pixels' matrices, which are trigonometric polynomials.

    The average of projections of patches, ``Σ_r Rᴴ_r V Vᴴ R_r / kernel²``, is a convolution over the coils whose
    coefficient at shift d is the sum of V Vᴴ over pairs of patch places d apart.
    """
    coils = len(centre)
    patches = centre.unfold(1, kernel, 1).unfold(2, kernel, 1)
    patches = patches.permute(3, 4, 0, 1, 2).reshape(kernel * kernel * coils, -1)  # one a column
    value, vector = torch.linalg.eigh(patches @ patches.mH)
    basis = vector[:, value > threshold * value[-1]]
    projection = (basis @ basis.mH).reshape(kernel, kernel, coils, kernel, kernel, coils)
    spectrum = projection.new_zeros(2 * kernel - 1, coils, coils, 2 * kernel - 1)
    for row in range(kernel):
        for column in range(kernel):
            place = (slice(kernel - 1 - row, 2 * kernel - 1 - row), slice(kernel - 1 - column, 2 * kernel - 1 - column))
            spectrum[place[0], :, :, place[1]] += projection[:, :, :, row, column].permute(0, 2, 3, 1)
    return spectrum / kernel**2


def _waves(size: int, kernel: int) -> Tensor:
    """Return exp(2πi x d / size), complex128 (size, 2 kernel − 1), for pixels x from the centre and shifts d."""
    pixels = torch.arange(size, dtype=torch.float64) - size // 2
    shifts = torch.arange(1 - kernel, kernel, dtype=torch.float64)
    angle = 2 * math.pi / size * torch.outer(pixels, shifts)
    return torch.polar(torch.ones_like(angle), angle)


def walsh(coil_images: Tensor, window: int = 7) -> Tensor:
    """Estimate coil sensitivity maps by adaptive combination (Walsh et al., Magn Reson Med 2000).

    Each pixel's map is the leading eigenvector of ``Σ m mᴴ`` over the coil images m in a window around it.

    Parameters
    ----------
    coil_images
        Complex (coils, H, W), such as the low-resolution images of the calibration region.
    window
        Side of the square window, odd.

    Returns
    -------
    Tensor
        Maps s, of the same shape and dtype as the images. ``Σ_c |s_c|²`` is 1, or 0 where the window holds no signal.
        The phase is defined as for :func:`espirit`, with the images instead of the calibration region.

    Raises
    ------
    DataError
        If the images have another shape, or the window is even.
    """
    if coil_images.ndim != 3 or window % 2 == 0:
        raise DataError(
            f"coil images have shape {tuple(coil_images.shape)} and the window {window}; expected (coils, H, W) and an "
            "odd number"
        )
    images = coil_images.to(torch.complex128)
    images = images / images.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
    reference = _principal_coil(images)
    maps = torch.empty_like(coil_images)
    coils, height, width = images.shape
    rows, margin = max(1, PIXELS // width), window // 2
    for top in range(0, height, rows):
        begin, end = max(0, top - margin), min(height, top + rows + margin)
        strip = images[:, begin:end]
        products = torch.view_as_real(strip[:, None] * strip[None].conj()).permute(0, 1, 4, 2, 3)
        pooled = avg_pool2d(products.flatten(0, 2)[None], window, 1, margin)[0].unflatten(0, (coils, coils, 2))
        pooled = pooled[..., top - begin : min(top + rows, height) - begin, :]
        matrices = torch.complex(*pooled.permute(3, 4, 0, 1, 2).unbind(-1))
        value, vector = _dominant(matrices)
        vector = torch.where(value[..., None] > 0, _turned(vector, reference), 0)
        maps[:, top : top + rows] = vector.permute(2, 0, 1).to(maps.dtype)
    return maps


def _dominant(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalue (...) and its unit vector (..., coils) of Hermitian (..., coils, coils)."""
    value, vector = torch.linalg.eigh(matrices)
    return value[..., -1], vector[..., -1]


def _principal_coil(samples: Tensor) -> Tensor:
    """Return the first principal component (coils,) of (coils, ...), its largest entry real and positive."""
    samples = samples.flatten(1)
    component = _dominant(samples @ samples.mH)[1]
    largest = component[component.abs().argmax()]
    return component * (largest.conj() / largest.abs())


def _turned(vectors: Tensor, reference: Tensor) -> Tensor:
    """Return vectors (..., coils) with the phase that makes their product with the reference real and positive."""
    product = vectors @ reference.conj()
    return vectors * torch.where(product != 0, product.conj().sgn(), 1)[..., None]
