"""Centred orthonormal Fourier transform of the last two dimensions, and resizing in k-space."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from switchrecon.errors import DataError

PLANE = (-2, -1)


def fourier(image: Tensor, dim: Sequence[int] = PLANE) -> Tensor:
    """Transform images to k-space: ``k = fftshift(fft2(ifftshift(u)))``, orthonormal.

    Parameters
    ----------
    image
        Real or complex images, shape (..., H, W); the centre is at (H // 2, W // 2).
    dim
        Which dimensions are transformed, where not the last two.

    Returns
    -------
    Tensor
        Complex k-space of the same shape and energy (‖k‖₂ = ‖u‖₂), its centre at (H // 2, W // 2).
    """
    shifted = torch.fft.ifftshift(image, dim=dim)
    return torch.fft.fftshift(torch.fft.fftn(shifted, dim=dim, norm="ortho"), dim=dim)


def inverse_fourier(kspace: Tensor, dim: Sequence[int] = PLANE) -> Tensor:
    """Transform k-space to images: the inverse, and the adjoint, of :func:`fourier`.

    Parameters
    ----------
    kspace
        Complex k-space, shape (..., H, W), centred.
    dim
        Which dimensions are transformed, where not the last two.

    Returns
    -------
    Tensor
        Complex images of the same shape.
    """
    shifted = torch.fft.ifftshift(kspace, dim=dim)
    return torch.fft.fftshift(torch.fft.ifftn(shifted, dim=dim, norm="ortho"), dim=dim)


def slice_by_slice(transform: Callable[[Tensor], Tensor], volume: Tensor) -> Tensor:
    """Apply :func:`fourier` or :func:`inverse_fourier` to a volume (slices, ...), one slice at a time; complex64.

    The numbers are those of one call for the whole volume, but it needs less memory and up to half the time, because
    the copies of one slice fit into the processor's cache.
    """
    found = torch.empty(volume.shape, dtype=torch.complex64)
    for one, place in zip(volume, found, strict=True):
        place.copy_(transform(one))
    return found


WIDE = torch.complex128  # or the last bits of matrix products would depend on threads, and TF32 would round them
KINDS = {torch.float64: torch.complex128, torch.complex128: torch.complex128}


@lru_cache(64)
def _rows(size: int, first: int, last: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return rows ``first`` to ``last`` − 1 of the transform's matrix along one dimension, and their conjugates."""
    frequency, place = torch.arange(first, last) - size // 2, torch.arange(size) - size // 2
    angle = -2 * math.pi / size * torch.outer(frequency, place).double()
    rows = torch.polar(torch.full_like(angle, size**-0.5), angle).to(device)
    return rows, rows.conj().resolve_conj()  # cached, so never written to


def fourier_centre(image: Tensor, centre: tuple[slice, slice]) -> Tensor:
    """Return a small rectangle of k-space, ``fourier(image)[..., rows, columns]``; other samples are not computed.

    Parameters
    ----------
    image
        Real or complex images, shape (..., H, W).
    centre
        Rows and columns, each from a start to a stop.

    Returns
    -------
    Tensor
        Complex, shape (..., rows, columns).
    """
    (rows, _), (columns, _) = (
        _rows(size, part.start, part.stop, image.device) for size, part in zip(image.shape[-2:], centre, strict=True)
    )
    return (rows @ image.to(WIDE) @ columns.mT).to(KINDS.get(image.dtype, torch.complex64))


def inverse_fourier_centre(samples: Tensor, centre: tuple[slice, slice], matrix: tuple[int, int]) -> Tensor:
    """Return images (..., H, W) of k-space that is zero outside a rectangle: the adjoint of :func:`fourier_centre`."""
    (_, rows), (_, columns) = (
        _rows(size, part.start, part.stop, samples.device) for size, part in zip(matrix, centre, strict=True)
    )
    return (rows.mT @ samples.to(WIDE) @ columns).to(KINDS.get(samples.dtype, torch.complex64))


def crop_or_pad(array: Tensor, matrix: tuple[int, int]) -> Tensor:
    """Crop or zero-pad the last two dimensions about the centre sample (n // 2).

    Parameters
    ----------
    array
        Any tensor, shape (..., H, W).
    matrix
        The wanted (H', W').

    Returns
    -------
    Tensor
        Shape (..., H', W'); element (H' // 2, W' // 2) is the old element (H // 2, W // 2).
    """
    if min(matrix) < 1:
        raise DataError(f"cannot resize to a matrix of {matrix[0]}x{matrix[1]}: both sides must be at least 1")
    for dim, wanted in zip(PLANE, matrix, strict=True):
        size = array.shape[dim]
        if wanted < size:
            array = array.narrow(dim, size // 2 - wanted // 2, wanted)
        elif wanted > size:
            before = wanted // 2 - size // 2
            padded = array.new_zeros([wanted if d == array.ndim + dim else n for d, n in enumerate(array.shape)])
            padded.narrow(dim, before, size).copy_(array)
            array = padded
    return array


def resize_kspace(kspace: Tensor, matrix: tuple[int, int]) -> Tensor:
    """Change the matrix at a constant field of view, by cropping or zero-padding k-space.

    Parameters
    ----------
    kspace
        Complex k-space, shape (..., H, W).
    matrix
        The wanted (H', W').

    Returns
    -------
    Tensor
        K-space of shape (..., H', W'), multiplied by √(H'W' / HW) so that image intensities do not change.
    """
    height, width = kspace.shape[-2:]
    if (height, width) == tuple(matrix):
        return kspace
    return crop_or_pad(kspace, matrix) * ((matrix[0] * matrix[1]) / (height * width)) ** 0.5


def resize_image(image: Tensor, matrix: tuple[int, int]) -> Tensor:
    """Resize images by Fourier interpolation at a constant field of view; see :func:`resize_kspace`.

    Real images stay real. Shapes (..., H, W) → (..., H', W').
    """
    if tuple(image.shape[-2:]) == tuple(matrix):
        return image
    resized = inverse_fourier(resize_kspace(fourier(image), matrix))
    return resized if image.is_complex() else resized.real
