"""The measured and the invented part of an image, and how well the image explains the measured samples.

``P = (AᴴA + λI)⁻¹ AᴴA`` keeps the part of an image that the scan has measured. The rest, ``x − P x``, was invented by
the method that made the image. With one coil and λ = 0 the rest is what lies in unmeasured k-space. With several coils,
a sample that was not measured is partly known from the measured ones; λ sets how strong that information must be: below
the noise it does not count as measured. The invented part is not the error: zero filling invents nothing and is wrong.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from switchrecon.physics.noise import noise_level
from switchrecon.physics.operators import Encoding
from switchrecon.physics.solvers import conjugate_gradient

FOREGROUND = 0.1  # of the 99th percentile of a slice's magnitudes
BRIGHT = 0.99
ITERATIONS, TOLERANCE = 50, 1e-5
LEAST = 1e-6  # the smallest λ with several coils: what single precision resolves


@dataclass(frozen=True)
class Residual:
    """How far images x are from the measured samples y; float32 (N,), one value for each slice.

    Attributes
    ----------
    relative
        ‖A x − y‖ / ‖y‖; 0 if all measured samples are zero.
    chi_square
        ``‖A x − y‖² / (2σ² · measured samples)``. About 1: the image is as far from y as the noise is. Less: it has
        fitted the noise. Much more: it contradicts the scan, or the coil sensitivity maps are wrong. NaN if the noise
        is not known. :func:`~switchrecon.physics.noise.noise_level` is an upper bound, so this may be too small.
    """

    relative: Tensor
    chi_square: Tensor


def brightest(image: Tensor) -> Tensor:
    """Return the 99th percentile of each image's magnitudes: (..., H, W) → (..., 1, 1)."""
    magnitude = image.abs().flatten(-2)
    return magnitude.kthvalue(math.ceil(BRIGHT * magnitude.shape[-1]), dim=-1).values[..., None, None]


def foreground(image: Tensor) -> Tensor:
    """Return where an image is brighter than 10 % of its 99th percentile; all figures of trust are over these pixels.

    Parameters
    ----------
    image
        Real or complex (..., H, W): a reconstruction, not the truth, so that the rule needs no truth.

    Returns
    -------
    Tensor
        Boolean (..., H, W); False everywhere for an image that is zero.
    """
    return image.abs() > FOREGROUND * brightest(image)


def noise_levels(kspace: Tensor, encoding: Encoding) -> Tensor:
    """Return σ of each slice's noise in the real (or imaginary) part: float32 (N,); NaN where unknown or zero."""
    masks = encoding.mask.cpu().numpy()
    levels = [noise_level(one, mask) for one, mask in zip(kspace.cpu().numpy(), masks, strict=True)]
    return torch.tensor([level if level > 0 else math.nan for level in levels], device=kspace.device)


def regularisation(image: Tensor, sigma: Tensor) -> Tensor:
    """Return λ = 2σ² / τ², where τ² is the mean power of the image's foreground; no unit, (N, 1, 1).

    A Wiener filter for images of that power in that noise has this λ. If the noise is not known, or the image is zero,
    λ is the smallest that single precision resolves.

    Parameters
    ----------
    image
        Complex (N, H, W).
    sigma
        (N,), see :func:`noise_levels`.
    """
    inside = foreground(image)
    power = (image.abs().square() * inside).sum((-2, -1)) / inside.sum((-2, -1)).clamp_min(1)
    ratio = 2 * sigma.square() / power
    known = torch.isfinite(ratio) & (ratio > LEAST)
    return torch.where(known, ratio, torch.full_like(ratio, LEAST))[:, None, None]


def measured_part(
    encoding: Encoding,
    image: Tensor,
    weight: float | Tensor = 0.0,
    *,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """Return ``P x = (AᴴA + λI)⁻¹ AᴴA x``; P is self-adjoint, with eigenvalues from 0 to 1.

    Parameters
    ----------
    encoding
        A, for images (N, H, W).
    image
        x, complex (N, H, W).
    weight
        λ ≥ 0, a number or (N, 1, 1); positive with several coils, see :func:`regularisation`.
    iterations, tolerance
        For the conjugate gradients that several coils need; see
        :func:`~switchrecon.physics.solvers.conjugate_gradient`.

    Returns
    -------
    Tensor
        Complex (N, H, W); the image minus this is the invented part.
    """
    projected = encoding.N(image)
    if encoding.projects:
        return projected / (1 + weight)  # AᴴA is a projection, so nothing has to be solved
    return conjugate_gradient(
        lambda u: encoding.N(u) + weight * u, projected, projected, iterations=iterations, tolerance=tolerance
    )


def invented_part(encoding: Encoding, image: Tensor, sigma: Tensor) -> Tensor:
    """Return ``x − P x``, the part of an image that the scan has not measured.

    With one coil this is exactly the part in unmeasured k-space (λ = 0); with several, :func:`regularisation` gives λ.

    Parameters
    ----------
    encoding
        A, for images (N, H, W).
    image
        x, complex (N, H, W).
    sigma
        (N,), see :func:`noise_levels`.

    Returns
    -------
    Tensor
        Complex (N, H, W), in the units of the image.
    """
    weight = 0.0 if encoding.projects else regularisation(image, sigma)
    return image - measured_part(encoding, image, weight)


def residual(encoding: Encoding, image: Tensor, kspace: Tensor, sigma: Tensor) -> Residual:
    """Return how far images are from the measured samples.

    Parameters
    ----------
    encoding
        A, for images (N, H, W).
    image
        x, complex (N, H, W), with its phase.
    kspace
        y, complex (N, n_coils, H, W), zero where nothing was measured.
    sigma
        (N,), see :func:`noise_levels`.
    """
    difference = (encoding(image) - kspace).abs().square().sum((-3, -2, -1))
    energy = kspace.abs().square().sum((-3, -2, -1))
    samples = encoding.mask.sum((-2, -1)) * encoding.coils.in_use()
    relative = torch.where(energy > 0, difference / energy, torch.zeros_like(energy)).sqrt()
    return Residual(relative, difference / (2 * sigma.square() * samples))


def share(part: Tensor, image: Tensor) -> float:
    """Return ‖part‖ / ‖image‖ over the :func:`foreground` of all slices; 0 for images that are zero.

    Parameters
    ----------
    part, image
        Real or complex (..., H, W).
    """
    inside = foreground(image)
    of, whole = (float(each.abs()[inside].double().square().sum()) for each in (part, image))
    return math.sqrt(of / whole) if whole > 0 else 0.0
