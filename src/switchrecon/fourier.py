"""Centred orthonormal Fourier transform of the last two dimensions, and resizing in k-space."""

from collections.abc import Sequence

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
        K-space of shape (..., H', W'), scaled by √(H'W' / HW) so that image intensities stay as they were.
    """
    height, width = kspace.shape[-2:]
    if (height, width) == tuple(matrix):
        return kspace
    return crop_or_pad(kspace, matrix) * ((matrix[0] * matrix[1]) / (height * width)) ** 0.5


def resize_image(image: Tensor, matrix: tuple[int, int]) -> Tensor:
    """Fourier interpolation of images at a constant field of view; see :func:`resize_kspace`.

    Real images stay real. Shapes (..., H, W) → (..., H', W').
    """
    if tuple(image.shape[-2:]) == tuple(matrix):
        return image
    resized = inverse_fourier(resize_kspace(fourier(image), matrix))
    return resized if image.is_complex() else resized.real
