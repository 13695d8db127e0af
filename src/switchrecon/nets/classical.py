"""Classical reconstructions with one learned number, the regularisation weight: total variation, wavelets, SENSE.

They take the place of a generator. So training tunes the weight on simulated pairs, and evaluation treats them like any
other method: a learned method should be compared with a reference that is tuned as well.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from switchrecon.physics.intensity import channels_to_complex, complex_to_channels
from switchrecon.physics.operators import Encoding
from switchrecon.physics.solvers import sense, total_variation

START = 0.003  # of the scale of a slice's image


class Regularised(nn.Module, ABC):
    """Base class: minimises ½‖A u − k‖² + λ R(u) over images u; log λ is the one parameter that is learned.

    Parameters
    ----------
    iterations
        Number of iterations of the solver.
    """

    takes_encoding = True

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.log_weight = nn.Parameter(torch.tensor(math.log(START)))

    def forward(self, image: Tensor, encoding: Encoding) -> Tensor:
        """Reconstruct zero-filled images.

        Parameters
        ----------
        image
            Shape (B, 2, H, W): real and imaginary part of Aᴴk.
        encoding
            A, for images (B, H, W).

        Returns
        -------
        Tensor
            Shape (B, 2, H, W).
        """
        return complex_to_channels(self.solve(channels_to_complex(image), encoding, self.log_weight.exp()))

    @abstractmethod
    def solve(self, zero_filled: Tensor, encoding: Encoding, weight: Tensor) -> Tensor:
        """Return the image u, complex (B, H, W), that minimises the sum, from Aᴴk (B, H, W) and the weight λ."""


class TotalVariation(Regularised):
    """Total variation: R(u) = Σ √(|∂_y u|² + |∂_x u|²), periodic; see :mod:`switchrecon.physics.solvers`."""

    def solve(self, zero_filled: Tensor, encoding: Encoding, weight: Tensor) -> Tensor:
        """See :class:`Regularised`."""
        return total_variation(encoding, zero_filled, weight, iterations=self.iterations)


class Sense(Regularised):
    """SENSE with R(u) = ½ ‖u‖², which is CG-SENSE with several coils; see :func:`switchrecon.physics.solvers.sense`."""

    def solve(self, zero_filled: Tensor, encoding: Encoding, weight: Tensor) -> Tensor:
        """See :class:`Regularised`."""
        return sense(encoding, zero_filled, weight, iterations=self.iterations)


class Wavelet(Regularised):
    """Wavelet sparsity: R(u) = ‖W u‖₁ with orthonormal Haar wavelets, solved by FISTA (Beck and Teboulle 2009).

    The image is shifted differently in each iteration (cycle spinning), so that no grid of blocks remains.
    """

    levels = 3

    def solve(self, zero_filled: Tensor, encoding: Encoding, weight: Tensor) -> Tensor:
        """See :class:`Regularised`. The step size is 1, because ‖A‖ = 1."""
        image = zero_filled
        ahead, momentum = image, 1.0
        period = 1 << self.levels
        for iteration in range(self.iterations):
            shift = (iteration * 3 % period, iteration * 5 % period)
            moved = ahead + zero_filled - encoding.N(ahead)
            height, width = image.shape[-2:]
            padded = repeat_to_multiple(moved.roll(shift, (-2, -1)), period)
            shrunk = shrink_haar(padded, weight, self.levels)[..., :height, :width]
            new = shrunk.roll((-shift[0], -shift[1]), (-2, -1))
            following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            ahead = new + (momentum - 1) / following * (new - image)
            image, momentum = new, following
        return image


def repeat_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of (..., H, W) until both sides are multiples."""
    for dim in (-2, -1):
        missing = -image.shape[dim] % multiple
        if missing:
            last = image.narrow(dim, image.shape[dim] - 1, 1)
            image = torch.cat([image, last.repeat_interleave(missing, dim)], dim)
    return image


def shrink_haar(image: Tensor, weight: Tensor, levels: int) -> Tensor:
    """Return Wᴴ S(W u): complex images (..., H, W) with soft-thresholded Haar details; sides are even at each level."""
    if levels == 0:
        return image
    a, b = image[..., ::2, ::2], image[..., ::2, 1::2]
    c, d = image[..., 1::2, ::2], image[..., 1::2, 1::2]
    mean = shrink_haar((a + b + c + d) / 2, weight, levels - 1)
    details = torch.stack([a - b + c - d, a + b - c - d, a - b - c + d]) / 2
    length = details.abs()
    u, v, w = details * (1 - weight / length.clamp_min(weight)).clamp_min(0)
    result = torch.empty_like(image)
    result[..., ::2, ::2] = (mean + u + v + w) / 2
    result[..., ::2, 1::2] = (mean - u + v - w) / 2
    result[..., 1::2, ::2] = (mean + u - v - w) / 2
    result[..., 1::2, 1::2] = (mean - u - v + w) / 2
    return result
