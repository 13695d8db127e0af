"""The physics: linear operators with an adjoint, composed with ``@``.

The forward model of an accelerated scan, :class:`Encoding`, is ``Sampling(mask) @ Fourier() @ Sensitivity(maps)``; with
one coil, ``Sampling(mask) @ Fourier()``. Operators are batched over leading dimensions, complex in and complex
out. The Fourier transform is centred and orthonormal.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from switchrecon.errors import DataError
from switchrecon.physics.fourier import fourier, inverse_fourier


class Operator:
    """A linear map A with adjoint Aᴴ (``A.H``); ``A @ B`` composes and ``A(u)`` applies.

    Raises
    ------
    DataError
        From a call, when an input does not fit; the message names the operator.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Apply A."""
        raise TypeError(f"{self!r} has no forward")

    def adjoint(self, data: Tensor) -> Tensor:
        """Apply Aᴴ, so that ⟨Au, v⟩ = ⟨u, Aᴴv⟩."""
        raise TypeError(f"{self!r} has no adjoint")

    def __call__(self, image: Tensor) -> Tensor:
        return self.forward(image)

    def __matmul__(self, other: "Operator") -> "Operator":
        return Composition([self, other])

    @property
    def H(self) -> "Operator":
        """The adjoint operator."""
        return Adjoint(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Adjoint(Operator):
    """The adjoint of an operator, as an operator."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator

    def forward(self, image: Tensor) -> Tensor:
        """Apply Aᴴ."""
        return self.operator.adjoint(image)

    def adjoint(self, data: Tensor) -> Tensor:
        """Apply A."""
        return self.operator.forward(data)

    @property
    def H(self) -> Operator:
        """A itself."""
        return self.operator

    def __repr__(self) -> str:
        return f"{self.operator!r}.H"


class Composition(Operator):
    """``A @ B @ C``: C is applied first."""

    def __init__(self, operators: Sequence[Operator]) -> None:
        self.operators: list[Operator] = []
        for operator in operators:
            self.operators += operator.operators if isinstance(operator, Composition) else [operator]

    def forward(self, image: Tensor) -> Tensor:
        """Apply the operators from right to left."""
        for operator in reversed(self.operators):
            image = operator.forward(image)
        return image

    def adjoint(self, data: Tensor) -> Tensor:
        """Apply the adjoints from left to right."""
        for operator in self.operators:
            data = operator.adjoint(data)
        return data

    def __repr__(self) -> str:
        return " @ ".join(map(repr, self.operators))


class Fourier(Operator):
    """The centred orthonormal Fourier transform F of the last two dimensions; Fᴴ = F⁻¹."""

    def forward(self, image: Tensor) -> Tensor:
        """Images (..., H, W) to complex k-space (..., H, W)."""
        return fourier(image)

    def adjoint(self, data: Tensor) -> Tensor:
        """Complex k-space (..., H, W) to complex images (..., H, W)."""
        return inverse_fourier(data)


class Sampling(Operator):
    """The mask R as a projection: k-space is kept where it was measured and zero elsewhere; Rᴴ = R.

    Parameters
    ----------
    mask
        Boolean, True where measured; broadcasts against k-space (..., H, W): (H, W), (W,) for lines along H,
        or with leading dimensions.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask.bool()

    def forward(self, image: Tensor) -> Tensor:
        """Set unmeasured samples of k-space to zero."""
        mask = self.mask
        try:
            fits = torch.broadcast_shapes(mask.shape, image.shape) == image.shape
        except RuntimeError:
            fits = False
        if not fits:
            raise DataError(f"{self!r} does not fit k-space of shape {tuple(image.shape)}")
        return torch.where(mask, image, torch.zeros((), dtype=image.dtype, device=image.device))

    def adjoint(self, data: Tensor) -> Tensor:
        """The same: a mask is its own adjoint."""
        return self.forward(data)

    def __repr__(self) -> str:
        return f"Sampling(mask {'x'.join(map(str, self.mask.shape))})"


class Sensitivity(Operator):
    """Multiplication by coil sensitivity maps: (Su)_c = s_c · u and Sᴴv = Σ_c s̄_c · v_c.

    Parameters
    ----------
    maps
        Complex, shape (..., n_coils, H, W).
    """

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps

    def forward(self, image: Tensor) -> Tensor:
        """One image (..., H, W) to coil images (..., n_coils, H, W)."""
        if image.shape[-2:] != self.maps.shape[-2:]:
            raise DataError(f"{self!r} does not fit an image of shape {tuple(image.shape)}")
        return self.maps * image.unsqueeze(-3)

    def adjoint(self, data: Tensor) -> Tensor:
        """Coil images (..., n_coils, H, W) to one image (..., H, W)."""
        if data.shape[-3:] != self.maps.shape[-3:]:
            raise DataError(f"{self!r} does not fit coil images of shape {tuple(data.shape)}")
        return (self.maps.conj() * data).sum(-3)

    def __repr__(self) -> str:
        return f"Sensitivity(maps {'x'.join(map(str, self.maps.shape))})"


class Encoding(Composition):
    """The forward model of a scan: ``A = R F S`` with its mask R and coil sensitivity maps S; one coil: ``A = R F``.

    Parameters
    ----------
    mask
        Boolean (..., H, W), True where measured.
    maps
        Complex (..., n_coils, H, W) with Σ_c |s_c|² = 1 or, outside the object, 0, so that ‖A‖ ≤ 1; None for one coil.
    """

    def __init__(self, mask: Tensor, maps: Tensor | None = None) -> None:
        self.mask = mask.bool()
        self.maps = maps
        if maps is None:
            super().__init__([Sampling(mask), Fourier()])
        else:
            super().__init__([Sampling(mask.unsqueeze(-3)), Fourier(), Sensitivity(maps)])

    def sampled_by(self, mask: Tensor) -> "Encoding":
        """The same coils with another mask (..., H, W)."""
        return Encoding(mask, self.maps)

    @staticmethod
    def joined(encodings: "Sequence[Encoding]") -> "Encoding":
        """Of several batches (B, H, W) as one; where the numbers of coils differ, coils of zeros are added."""
        mask = torch.cat([own.mask for own in encodings])
        known = [own.maps for own in encodings if own.maps is not None]
        if not known:
            return Encoding(mask)
        # The only coil of a scan sees all places alike.
        maps = [known[0].new_ones(own.mask[:, None].shape) if own.maps is None else own.maps for own in encodings]
        return Encoding(mask, torch.cat(with_as_many_coils(maps)))


def with_as_many_coils(arrays: Sequence[Tensor]) -> list[Tensor]:
    """Arrays (..., n_coils, H, W), with coils of zeros added to all but those with most."""
    most = max(own.shape[-3] for own in arrays)
    return [F.pad(own, (0, 0, 0, 0, 0, most - own.shape[-3])) for own in arrays]


def data_consistency(operator: Operator, image: Tensor, measured: Tensor, weight: float | Tensor = 1.0) -> Tensor:
    """Move an image towards what was measured: ``u' = u + w Aᴴ(k − Au)``.

    With one coil A Aᴴ is the projection on the measured samples, so that w = 1 replaces them exactly (hard data
    consistency, A u' = k) and w < 1 takes a part of each (soft). With several it is a step of steepest descent on
    ½‖Au − k‖², which never increases it.

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
        Complex, of the image's shape.
    """
    return image + weight * operator.H(measured - operator(image))
