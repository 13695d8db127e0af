"""Intensities: the one place where they are scaled to the networks' range, and scaled back.

A slice's scale is ``headroom · max |u_low|``, where u_low is the low-resolution image of the fully sampled
centre of its k-space. It needs no fully sampled scan and no other slice, so it is the same rule for both domains
and at reconstruction. The headroom is there because tanh cannot exceed 1 and fine structures are brighter than
their low-resolution image.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from switchrecon.physics.fourier import inverse_fourier, inverse_fourier_centre
from switchrecon.physics.masks import centre_slice, full_centre_fraction
from switchrecon.physics.operators import ONE_COIL, Coils


def low_resolution(kspace: Tensor, center_fraction: float, mask: Tensor | None = None) -> Tensor:
    """Images of the k-space centre, Hann-weighted against ringing; of each coil by itself.

    Parameters
    ----------
    kspace
        Complex, shape (..., H, W); with a mask (..., n_coils, H, W).
    center_fraction
        Sides of the centre as a part of H and W.
    mask
        Boolean (..., H, W), without the coils. Where a slice's mask has holes in that centre, the centre shrinks, for
        this slice alone, until it has none.

    Returns
    -------
    Tensor
        Complex, of the shape of k-space.
    """
    matrix = kspace.shape[-2], kspace.shape[-1]
    rows, columns = centre_of(matrix, center_fraction)
    return low_resolution_of_centre(kspace[..., rows, columns], matrix, center_fraction, mask)


def low_resolution_of_centre(
    samples: Tensor, matrix: tuple[int, int], center_fraction: float, mask: Tensor | None = None
) -> Tensor:
    """:func:`low_resolution` of nothing but the samples of the centre, (..., rows, columns) of :func:`centre_of`."""
    rows, columns = centre = centre_of(matrix, center_fraction)
    if mask is None:
        window = _window(matrix, center_fraction, center_fraction).to(samples.device)
    else:
        windows = [
            _window(matrix, center_fraction, full_centre_fraction(own, center_fraction))
            for own in mask.reshape(-1, *matrix).cpu().numpy()  # one transfer, not one a slice
        ]
        window = torch.stack(windows).reshape(*mask.shape[:-2], *windows[0].shape).to(samples.device)
        # Not even the centre sample may be measured; a transform there and back leaves a rest of about 1e-8 there.
        window = (window * mask[..., rows, columns]).unsqueeze(-3)
    return inverse_fourier_centre(samples * window, centre, matrix)


def centre_of(matrix: tuple[int, int], center_fraction: float) -> tuple[slice, slice]:
    """Rows and columns of the k-space centre; one of either where it would be empty."""
    found = [centre_slice(size, center_fraction) for size in matrix]
    rows, columns = (
        own if own.stop > own.start else slice(size // 2, size // 2 + 1)
        for own, size in zip(found, matrix, strict=True)
    )
    return rows, columns


@lru_cache(64)  # most slices of a pile share one; never written to
def _window(matrix: tuple[int, int], center_fraction: float, own_fraction: float) -> Tensor:
    """Hann weights over a centre, which may be smaller, at its place in the centre of ``center_fraction``."""
    sides = []
    for whole, own in zip(centre_of(matrix, center_fraction), centre_of(matrix, own_fraction), strict=True):
        side = torch.zeros(whole.stop - whole.start)
        side[own.start - whole.start : own.stop - whole.start] = torch.hann_window(
            own.stop - own.start + 2, periodic=False
        )[1:-1]
        sides.append(side)
    return sides[0][:, None] * sides[1][None, :]


def largest_magnitude(image: Tensor) -> Tensor:
    """max |u| of images (..., H, W): float, (..., 1, 1)."""
    plain = not image.is_cuda and not image.requires_grad
    magnitude = torch.from_numpy(np.abs(image.numpy())) if plain else image.abs()  # NumPy is five times as fast
    return magnitude.amax((-2, -1), keepdim=True)


def brightness(kspace: Tensor, center_fraction: float, mask: Tensor | None = None, coils: Coils = ONE_COIL) -> Tensor:
    """Of each slice: ``max |u_low|``.

    Parameters
    ----------
    kspace
        Complex, shape (..., n_coils, H, W).
    center_fraction, mask
        See :func:`low_resolution`.
    coils
        How the coils see the slices.

    Returns
    -------
    Tensor
        Float32, shape (..., 1, 1), in the units of the image. Where the centre is zero (not measured), the maximum
        of the whole image takes its place.
    """
    found = largest_magnitude(coils.H(low_resolution(kspace, center_fraction, mask)))
    if (found == 0).any():
        if mask is not None:
            kspace = kspace * mask.unsqueeze(-3)
        found = torch.where(found > 0, found, largest_magnitude(coils.H(inverse_fourier(kspace))))
    return found


def scale_of(bright: Tensor, headroom: float) -> Tensor:
    """``headroom`` times each slice's :func:`brightness`; 1 where that is zero."""
    return torch.where(bright > 0, headroom * bright, torch.ones_like(bright))


def intensity_scale(
    kspace: Tensor,
    center_fraction: float,
    headroom: float,
    mask: Tensor | None = None,
    coils: Coils = ONE_COIL,
) -> Tensor:
    """Scale of each slice: ``headroom · max |u_low|``; float32, shape (..., 1, 1).

    See :func:`brightness`, and :func:`scale_of` for the ``headroom``.
    """
    return scale_of(brightness(kspace, center_fraction, mask, coils), headroom)


def channels_to_complex(image: Tensor) -> Tensor:
    """(B, 2, H, W) real and imaginary parts, or (B, 1, H, W) real values, to complex (B, H, W)."""
    if image.shape[1] == 2:
        return torch.complex(image[:, 0].contiguous(), image[:, 1].contiguous())
    return torch.complex(image[:, 0], torch.zeros_like(image[:, 0]))


def complex_to_channels(image: Tensor) -> Tensor:
    """Complex (B, H, W) to real and imaginary parts (B, 2, H, W)."""
    return torch.stack([image.real, image.imag], 1)


def to_network(image: Tensor, representation: str) -> Tensor:
    """Complex images already divided by their scale, (B, H, W), to network images in about [−1, 1].

    ``complex``: real and imaginary part, (B, 2, H, W). ``magnitude``: 2|u| − 1, (B, 1, H, W).
    """
    return complex_to_channels(image) if representation == "complex" else (2 * image.abs() - 1)[:, None]


def from_network(image: Tensor, representation: str) -> Tensor:
    """The inverse of :func:`to_network`, still divided by the scale: complex, or real magnitude, (B, H, W).

    Magnitudes are not negative, so what lies under −1 becomes 0.
    """
    return channels_to_complex(image) if representation == "complex" else ((image[:, 0] + 1) / 2).clamp_min(0)
