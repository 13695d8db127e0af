"""Intensities: the one place where they are scaled to the networks' range, and scaled back.

A slice's scale is ``headroom · max |u_low|``, where u_low is the low-resolution image of the fully sampled
centre of its k-space. It needs no fully sampled scan and no other slice, so it is the same rule for both domains
and at reconstruction. The headroom is there because tanh cannot exceed 1 and fine structures are brighter than
their low-resolution image.
"""

import torch
from torch import Tensor

from switchrecon.fourier import inverse_fourier
from switchrecon.masks import centre_slice


def low_resolution(kspace: Tensor, center_fraction: float, mask: Tensor | None = None) -> Tensor:
    """Image of the k-space centre, Hann-weighted against ringing.

    Parameters
    ----------
    kspace
        Complex, shape (..., H, W).
    center_fraction
        Sides of the centre as a part of H and W.
    mask
        Boolean, broadcasts to k-space. Where a slice's mask has holes in that centre, the centre shrinks, for
        this slice alone, until it has none.

    Returns
    -------
    Tensor
        Complex, shape (..., H, W).
    """
    height, width = kspace.shape[-2:]
    rows, columns = centre_slice(height, center_fraction), centre_slice(width, center_fraction)

    def window(shrink: int) -> Tensor:
        return _window(height, rows, shrink)[:, None] * _window(width, columns, shrink)[None, :]

    if mask is None:
        return inverse_fourier(kspace * window(0).to(kspace.device))
    masks = mask.expand(kspace.shape).reshape(-1, height, width)
    windows = []
    for own in masks:
        shrink = 0
        while not own[_shrunk(rows, shrink), _shrunk(columns, shrink)].all():
            shrink += 1
        windows.append(window(shrink))
    return inverse_fourier(kspace * torch.stack(windows).reshape(kspace.shape).to(kspace.device))


def _shrunk(region: slice, by: int) -> slice:
    centre = (region.start + region.stop) // 2
    return slice(min(region.start + by, centre), max(region.stop - by, centre))


def _window(size: int, region: slice, shrink: int) -> Tensor:
    """Hann weights over a region of one dimension; one sample at the centre where the region is empty."""
    region = _shrunk(region, shrink)
    start, stop = (region.start, region.stop) if region.stop > region.start else (size // 2, size // 2 + 1)
    window = torch.zeros(size)
    window[start:stop] = torch.hann_window(stop - start + 2, periodic=False)[1:-1]
    return window


def intensity_scale(kspace: Tensor, center_fraction: float, headroom: float, mask: Tensor | None = None) -> Tensor:
    """Scale of each slice: ``headroom · max |u_low|``.

    Parameters
    ----------
    kspace, center_fraction, mask
        See :func:`low_resolution`.
    headroom
        Ratio of the scale to the maximum of the low-resolution image.

    Returns
    -------
    Tensor
        Float32, shape (..., 1, 1), in the units of the image. Where the centre is zero (not measured), the maximum
        of the whole image takes its place; 1 where that is zero, too.
    """

    def largest(image: Tensor) -> Tensor:
        return image.abs().amax((-2, -1), keepdim=True)

    scale = headroom * largest(low_resolution(kspace, center_fraction, mask))
    if (scale == 0).any():
        scale = torch.where(scale > 0, scale, largest(inverse_fourier(kspace)))
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def to_network(image: Tensor, representation: str) -> Tensor:
    """Complex images already divided by their scale, (B, H, W), to network images in about [−1, 1].

    ``complex``: real and imaginary part, (B, 2, H, W). ``magnitude``: 2|u| − 1, (B, 1, H, W).
    """
    if representation == "complex":
        return torch.stack([image.real, image.imag], 1)
    return (2 * image.abs() - 1)[:, None]


def from_network(image: Tensor, representation: str) -> Tensor:
    """The inverse of :func:`to_network`, still divided by the scale: complex, or real magnitude, (B, H, W).

    Magnitudes are not negative, so what lies under −1 becomes 0.
    """
    if representation == "complex":
        return torch.complex(image[:, 0].contiguous(), image[:, 1].contiguous())
    return ((image[:, 0] + 1) / 2).clamp_min(0)
