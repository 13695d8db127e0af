"""Data consistency: an image is moved towards what was measured, as far as the noise allows."""

import torch
from torch import Tensor

from switchrecon.physics.noise import noise_level
from switchrecon.physics.operators import Encoding, Operator
from switchrecon.physics.solvers import conjugate_gradient

ITERATIONS = 15


def data_consistency(operator: Operator, image: Tensor, measured: Tensor, weight: float | Tensor = 1.0) -> Tensor:
    """Move an image towards what was measured: ``u' = u + w Aᴴ(k − Au)``.

    With one coil A Aᴴ is the projection on the measured samples: w = 1 restores them exactly (hard data consistency,
    A u' = k), and w < 1 mixes them with the image's samples (soft). With several coils this is one step of steepest
    descent on ½‖Au − k‖², which never increases it.

    Parameters
    ----------
    operator
        A with ‖A‖ ≤ 1, such as an :class:`Encoding`.
    image
        u, complex, shape (..., H, W).
    measured
        k, in the range of A: zero where nothing was measured.
    weight
        w in [0, 1].

    Returns
    -------
    Tensor
        Complex, of the same shape as the image.
    """
    return image + weight * operator.H(measured - operator(image))


def consistent(encoding: Encoding, image: Tensor, kspace: Tensor, weight: float | Tensor) -> Tensor:
    """Return the image u that minimises ``w ‖Au − k‖² + (1 − w) ‖u − û‖²``, where û is the given image.

    With one coil this is :func:`data_consistency`. With several coils it is solved by conjugate gradients that start at
    û, so that w = 1 keeps the part of û that no coil has measured.

    Parameters
    ----------
    encoding
        A, for images (N, H, W).
    image
        û, complex (N, H, W).
    kspace
        k, complex (N, n_coils, H, W).
    weight
        w in [0, 1]; a number or (N, 1, 1).
    """
    if encoding.projects:
        return data_consistency(encoding, image, kspace, weight)

    def normal(u: Tensor) -> Tensor:
        return weight * encoding.N(u) + (1 - weight) * u

    right = weight * encoding.H(kspace) + (1 - weight) * image
    return conjugate_gradient(normal, right, image, iterations=ITERATIONS)


def trust(image: Tensor, kspace: Tensor, encoding: Encoding) -> Tensor:
    """Return the weight of measured samples against the image's, by least squares: w = e² / (e² + 2σ²).

    σ² is the variance of the noise in the real part, and in the imaginary part; e² is the variance of the image's
    error. It follows from the mean of |k − A u|² over measured samples, which is 2σ² + e² / C with C coils, because
    Σ_c |s_c|² = 1.

    Returns
    -------
    Tensor
        Shape (N, 1, 1), in [0, 1]; 1 where the noise cannot be estimated.
    """
    weights = []
    for number, (u, k) in enumerate(zip(image, kspace, strict=True)):
        operator = encoding[number]
        variance = 2 * noise_level(k.cpu().numpy(), operator.mask.cpu().numpy()) ** 2
        coils = operator.coils.in_use()
        difference = (k - operator(u)).abs().square().sum() / (operator.mask.sum() * coils)
        error = coils * (difference - variance).clamp_min(0)
        weights.append(error / (error + variance) if variance > 0 else torch.ones((), device=k.device))
    return torch.stack(weights).clamp(0, 1)[:, None, None]
