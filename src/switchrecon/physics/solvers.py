"""Iterative solvers for any forward operator: conjugate gradients, CG-SENSE, total variation.

Images have shape (..., H, W); leading dimensions are solved independently of each other.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from switchrecon.physics.operators import Encoding, Operator

PLANE = (-2, -1)
# The primal step τ of total variation is proportional to the size of the image over the bound λ of the dual field, so
# that both converge equally fast; σ = 1 / (8 τ).
STEP, STEPS = 0.02, (1.0, 50.0)
INNER_ITERATIONS, INNER_TOLERANCE = 3, 1e-7


def conjugate_gradient(
    normal: Callable[[Tensor], Tensor],
    right: Tensor,
    start: Tensor | None = None,
    *,
    iterations: int = 30,
    tolerance: float = 1e-6,
) -> Tensor:
    """Solve N u = b by conjugate gradients (Hestenes and Stiefel 1952).

    Parameters
    ----------
    normal
        N, Hermitian and positive (semi)definite: (..., H, W) → (..., H, W), each image independently.
    right
        b, complex (..., H, W).
    start
        First u; None: zero.
    iterations
        Most iterations.
    tolerance
        An image is finished once ‖b − N u‖ ≤ tolerance · ‖b‖; the others go on.

    Returns
    -------
    Tensor
        u, of the same shape and dtype as b. Autograd differentiates through the iterations, with respect to b, the
        start and all that N depends on.
    """
    scale = torch.linalg.vector_norm(right.detach(), dim=PLANE, keepdim=True)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    residual = right / scale
    image = 0 * residual  # so that the result depends on b even without iterations
    if start is not None:
        image = start / scale
        residual = residual - normal(image)
    direction, energy = residual, _inner(residual, residual)
    for _ in range(iterations):
        active = energy > tolerance**2
        if not active.any():
            break
        moved = normal(direction)
        curvature = _inner(direction, moved)
        active = active & (curvature > 0)
        step = _ratio(energy, curvature, active)
        image = image + step * direction
        residual = residual - step * moved
        following = _inner(residual, residual)
        direction = residual + _ratio(following, energy, active) * direction
        energy = torch.where(active, following, 0)
    return image * scale


def _inner(left: Tensor, right: Tensor) -> Tensor:
    return (left.conj() * right).real.sum(PLANE, keepdim=True)


def _ratio(numerator: Tensor, denominator: Tensor, active: Tensor) -> Tensor:
    """Return numerator / denominator where active, 0 elsewhere; the same holds for the gradient."""
    return torch.where(active, numerator, 0) / torch.where(active, denominator, 1)


def sense(
    operator: Operator,
    zero_filled: Tensor,
    regularisation: float | Tensor = 0.0,
    *,
    iterations: int = 30,
    tolerance: float = 1e-6,
) -> Tensor:
    """Return the u that minimises ``‖A u − k‖² + λ ‖u‖²``, by CG-SENSE (Pruessmann et al. 2001).

    Parameters
    ----------
    operator
        A, such as ``Sampling(mask) @ Fourier() @ Sensitivity(maps)``.
    zero_filled
        Aᴴk, complex (..., H, W); k itself is not needed.
    regularisation
        λ ≥ 0; no unit.
    iterations, tolerance
        See :func:`conjugate_gradient`.

    Returns
    -------
    Tensor
        Complex (..., H, W).
    """

    def normal(image: Tensor) -> Tensor:
        return operator.N(image) + regularisation * image

    return conjugate_gradient(normal, zero_filled, iterations=iterations, tolerance=tolerance)


class Gradient(Operator):
    """Periodic forward differences ∇ along rows and columns: (..., H, W) → (2, ..., H, W); ‖∇‖² ≤ 8."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the differences to the next row and to the next column."""
        return torch.stack([image.roll(-1, dim) - image for dim in PLANE])

    def adjoint(self, data: Tensor) -> Tensor:
        """Apply ∇ᴴ: (2, ..., H, W) → (..., H, W)."""
        down, across = (part.roll(1, dim) - part for part, dim in zip(data, PLANE, strict=True))
        return down + across


def _lengths(vectors: Tensor) -> Tensor:
    """√Σ_i |v_i|² of complex (2, ..., H, W); forty times as fast as torch's norm, and differentiable where it is 0."""
    squares = vectors.real.square() + vectors.imag.square()
    return squares.sum(0).clamp_min(torch.finfo(squares.dtype).tiny).sqrt()


def total_variation(operator: Operator, zero_filled: Tensor, weight: float | Tensor, *, iterations: int = 50) -> Tensor:
    """Return the u that minimises ``½ ‖A u − k‖² + λ Σ √(|∂_y u|² + |∂_x u|²)``, periodic.

    It uses the primal-dual method of Chambolle and Pock (2011). The proximal step for the data,
    ``(1 + τ AᴴA) u = v + τ Aᴴk``, is solved by conjugate gradients that start at the last image; with one coil AᴴA is a
    projection P, and the solution is ``w − τ / (1 + τ) P w`` with ``w = v + τ Aᴴk``.

    Parameters
    ----------
    operator, zero_filled
        A and Aᴴk; see :func:`sense`.
    weight
        λ > 0, in the units of the image.
    iterations
        Number of iterations; all of them are done.

    Returns
    -------
    Tensor
        Complex (..., H, W).
    """
    gradient = Gradient()
    bound = torch.as_tensor(weight, device=zero_filled.device).detach()
    primal = (STEP * zero_filled.detach().abs().amax(PLANE, keepdim=True) / bound).clamp(*STEPS)

    def normal(image: Tensor) -> Tensor:
        return image + primal * operator.N(image)

    image = ahead = zero_filled
    dual = torch.zeros_like(gradient(image))
    for _ in range(iterations):
        dual = dual + gradient(ahead) / (8 * primal)
        dual = dual * (weight / _lengths(dual)).clamp_max(1)
        right = image - primal * (gradient.H(dual) - zero_filled)
        if isinstance(operator, Encoding) and operator.projects:
            new = right - primal / (1 + primal) * operator.N(right)
        else:
            new = conjugate_gradient(normal, right, image, iterations=INNER_ITERATIONS, tolerance=INNER_TOLERANCE)
        ahead, image = 2 * new - image, new
    return image
