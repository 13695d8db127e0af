"""Intensities are scaled to the networks' range, and scaled back, here and nowhere else.

A slice's scale is ``headroom · max |u_low|``, where u_low is the low-resolution image of the fully sampled
centre of its k-space. This needs no fully sampled scan and no other slice, so the rule is the same for both domains
and at reconstruction. The headroom is needed because tanh cannot exceed 1, and fine structures are brighter than
in the low-resolution image.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from switchrecon.physics.fourier import inverse_fourier, inverse_fourier_centre
from switchrecon.physics.masks import centre_slice, full_centre_fraction
from switchrecon.physics.operators import ONE_COIL, Coils


def low_resolution(kspace: Tensor, center_fraction: float, mask: Tensor | None = None) -> Tensor:
    """Return low-resolution images of the k-space centre, one for each coil, Hann-weighted against ringing.

    Parameters
    ----------
    kspace
        Complex, shape (..., H, W); with a mask (..., n_coils, H, W).
    center_fraction
        Sides of the centre as fractions of H and W.
    mask
        Boolean (..., H, W), without a coil axis. If a slice's mask has holes in that centre, a smaller centre without
        holes is used for this slice.

    Returns
    -------
    Tensor
        Complex, of the same shape as k-space.
    """
    matrix = kspace.shape[-2], kspace.shape[-1]
    rows, columns = centre_of(matrix, center_fraction)
    return low_resolution_of_centre(kspace[..., rows, columns], matrix, center_fraction, mask)


def low_resolution_of_centre(
    samples: Tensor, matrix: tuple[int, int], center_fraction: float, mask: Tensor | None = None
) -> Tensor:
    """Return :func:`low_resolution` from the centre's samples alone, (..., rows, columns) as :func:`centre_of` says."""
    rows, columns = centre = centre_of(matrix, center_fraction)
    if mask is None:
        window = _window(matrix, center_fraction, center_fraction).to(samples.device)
    else:
        windows = [
            _window(matrix, center_fraction, full_centre_fraction(one, center_fraction))
            for one in mask.reshape(-1, *matrix).cpu().numpy()  # one transfer for all slices
        ]
        window = torch.stack(windows).reshape(*mask.shape[:-2], *windows[0].shape).to(samples.device)
        # If not even the centre sample is measured, the two transforms leave about 1e-8 there instead of zero.
        window = (window * mask[..., rows, columns]).unsqueeze(-3)
    return inverse_fourier_centre(samples * window, centre, matrix)


def centre_of(matrix: tuple[int, int], center_fraction: float) -> tuple[slice, slice]:
    """Return rows and columns of the k-space centre; at least one of each."""
    found = [centre_slice(size, center_fraction) for size in matrix]
    rows, columns = (
        side if side.stop > side.start else slice(size // 2, size // 2 + 1)
        for side, size in zip(found, matrix, strict=True)
    )
    return rows, columns


@lru_cache(64)  # most slices of a pile share one; cached, so never written to
def _window(matrix: tuple[int, int], center_fraction: float, full_fraction: float) -> Tensor:
    """Return Hann weights over the full centre, and zeros around it, in the shape of the centre that was asked for."""
    sides = []
    for whole, full in zip(centre_of(matrix, center_fraction), centre_of(matrix, full_fraction), strict=True):
        side = torch.zeros(whole.stop - whole.start)
        side[full.start - whole.start : full.stop - whole.start] = torch.hann_window(
            full.stop - full.start + 2, periodic=False
        )[1:-1]
        sides.append(side)
    return sides[0][:, None] * sides[1][None, :]


def largest_magnitude(image: Tensor) -> Tensor:
    """Return max |u| of images (..., H, W): float, (..., 1, 1)."""
    plain = not image.is_cuda and not image.requires_grad
    magnitude = torch.from_numpy(np.abs(image.numpy())) if plain else image.abs()  # NumPy is five times as fast
    return magnitude.amax((-2, -1), keepdim=True)


def brightness(kspace: Tensor, center_fraction: float, mask: Tensor | None = None, coils: Coils = ONE_COIL) -> Tensor:
    """Return ``max |u_low|`` of each slice.

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
        Float32, shape (..., 1, 1), in the units of the image. If the centre is zero (not measured), the maximum of
        the zero-filled image takes its place.
    """
    found = largest_magnitude(coils.H(low_resolution(kspace, center_fraction, mask)))
    if (found == 0).any():
        if mask is not None:
            kspace = kspace * mask.unsqueeze(-3)
        found = torch.where(found > 0, found, largest_magnitude(coils.H(inverse_fourier(kspace))))
    return found


def scale_of(bright: Tensor, headroom: float) -> Tensor:
    """Return ``headroom`` times each slice's :func:`brightness`; 1 where that is zero."""
    return torch.where(bright > 0, headroom * bright, torch.ones_like(bright))


def intensity_scale(
    kspace: Tensor,
    center_fraction: float,
    headroom: float,
    mask: Tensor | None = None,
    coils: Coils = ONE_COIL,
) -> Tensor:
    """Return the scale of each slice, ``headroom · max |u_low|``: float32, shape (..., 1, 1).

    See :func:`brightness` for the arguments, and :func:`scale_of` for ``headroom``.
    """
    return scale_of(brightness(kspace, center_fraction, mask, coils), headroom)


def channels_to_complex(image: Tensor) -> Tensor:
    """Return complex (B, H, W) from real and imaginary parts (B, 2, H, W), or from real values (B, 1, H, W)."""
    if image.shape[1] == 2:
        return torch.complex(image[:, 0].contiguous(), image[:, 1].contiguous())
    return torch.complex(image[:, 0], torch.zeros_like(image[:, 0]))


def complex_to_channels(image: Tensor) -> Tensor:
    """Return real and imaginary parts (B, 2, H, W) of complex (B, H, W)."""
    return torch.stack([image.real, image.imag], 1)


def to_network(image: Tensor, representation: str) -> Tensor:
    """Return network images, about in [−1, 1], from complex images (B, H, W) that are divided by their scale.

    ``complex``: real and imaginary part, (B, 2, H, W). ``magnitude``: 2|u| − 1, (B, 1, H, W).
    """
    return complex_to_channels(image) if representation == "complex" else (2 * image.abs() - 1)[:, None]


def from_network(image: Tensor, representation: str) -> Tensor:
    """Invert :func:`to_network`: return images (B, H, W), complex or real magnitudes, still divided by their scale.

    Magnitudes are not negative, so network values below −1 become 0.
    """
    return channels_to_complex(image) if representation == "complex" else ((image[:, 0] + 1) / 2).clamp_min(0)
