"""The physics of a scan as linear operators: each has an adjoint, and ``@`` composes them.

The forward model of an accelerated scan, :class:`Encoding`, is ``Sampling(mask) @ Fourier() @ Sensitivity(maps)``. Its
k-space always has a coil axis, (..., n_coils, H, W); a scan of one coil has :class:`OneCoil` instead of maps. Operators
are batched over leading dimensions, complex in and complex out. The Fourier transform is centred and orthonormal.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from switchrecon.errors import DataError
from switchrecon.physics.fourier import PLANE, fourier, inverse_fourier


class Operator:
    """A linear map A with adjoint Aᴴ (``A.H``) and normal AᴴA (``A.N``); ``A @ B`` composes and ``A(u)`` applies.

    Raises
    ------
    DataError
        When an operator is applied to an input that does not fit; the message names the operator.
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
        """The adjoint operator Aᴴ."""
        return Adjoint(self)

    @property
    def N(self) -> "Operator":
        """The normal operator AᴴA."""
        return Normal(self)

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
        """The operator A."""
        return self.operator

    def __repr__(self) -> str:
        return f"({self.operator!r}).H"


class Normal(Operator):
    """The normal operator AᴴA of an operator A; it is self-adjoint."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator

    def forward(self, image: Tensor) -> Tensor:
        """Apply A, then Aᴴ."""
        return self.operator.adjoint(self.operator.forward(image))

    def adjoint(self, data: Tensor) -> Tensor:
        """Apply A, then Aᴴ: the operator is self-adjoint."""
        return self.forward(data)

    @property
    def H(self) -> Operator:
        """The same operator."""
        return self

    def __repr__(self) -> str:
        return f"({self.operator!r}).N"


class Composition(Operator):
    """``A @ B @ C``: C is applied first."""

    def __init__(self, operators: Sequence[Operator]) -> None:
        self.operators: list[Operator] = []
        for operator in operators:
            self.operators += operator.operators if isinstance(operator, Composition) else [operator]

    def forward(self, image: Tensor) -> Tensor:
        """Apply the operators from right to left."""
        try:
            for operator in reversed(self.operators):
                image = operator.forward(image)
        except DataError as error:
            raise DataError(f"{self!r}: {error}") from error
        return image

    def adjoint(self, data: Tensor) -> Tensor:
        """Apply the adjoints from left to right."""
        try:
            for operator in self.operators:
                data = operator.adjoint(data)
        except DataError as error:
            raise DataError(f"({self!r}).H: {error}") from error
        return data

    def __repr__(self) -> str:
        return " @ ".join(map(repr, self.operators))


def _together(first: Tensor, second: Tensor) -> torch.Size | None:
    """Return the shape that two tensors broadcast to; None if they do not fit."""
    try:
        return torch.broadcast_shapes(first.shape, second.shape)
    except RuntimeError:
        return None


def _where(mask: Tensor, kspace: Tensor) -> Tensor:
    """K-space where a mask is True, and zero elsewhere."""
    return torch.where(mask, kspace, torch.zeros((), dtype=kspace.dtype, device=kspace.device))


class Fourier(Operator):
    """The centred orthonormal Fourier transform F of the last two dimensions; Fᴴ = F⁻¹."""

    def forward(self, image: Tensor) -> Tensor:
        """Transform images (..., H, W) to complex k-space (..., H, W)."""
        return fourier(image)

    def adjoint(self, data: Tensor) -> Tensor:
        """Transform complex k-space (..., H, W) to complex images (..., H, W)."""
        return inverse_fourier(data)


class Sampling(Operator):
    """The mask R as a projection: k-space is kept where it was measured, and set to zero elsewhere; Rᴴ = R.

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
        if _together(self.mask, image) != image.shape:
            raise DataError(f"{self!r} does not fit k-space of shape {tuple(image.shape)}")
        return _where(self.mask, image)

    def adjoint(self, data: Tensor) -> Tensor:
        """Set unmeasured samples of k-space to zero: Rᴴ = R."""
        return self.forward(data)

    def __repr__(self) -> str:
        return f"Sampling(mask {'x'.join(map(str, self.mask.shape))})"


class Coils(Operator):
    """Base class: how the receiver coils see an image, (..., H, W) → (..., n_coils, H, W).

    Attributes
    ----------
    alike
        Whether there is one coil with the same sensitivity everywhere, so that nothing is multiplied.
    maps
        Coil sensitivity maps, complex (..., n_coils, H, W); None if ``alike``.
    """

    alike: bool
    maps: Tensor | None

    @property
    def number(self) -> int:
        """Number of coils."""
        raise NotImplementedError

    def in_use(self) -> Tensor:
        """Return the number of coils without those of zeros that fill up a batch: float32 (...), at least 1."""
        raise NotImplementedError

    def spread(self, error: Tensor) -> Tensor:
        """Return Σ_c e_c / √C of (..., n_coils, H, W) with C coils in use, about as large as the image's error."""
        raise NotImplementedError

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Coils":
        """Return coils whose maps are ``change(maps)``, for example moved, on a device, or a part of a batch."""
        raise NotImplementedError


class Sensitivity(Coils):
    """Coils with sensitivity maps: (Su)_c = s_c · u and Sᴴv = Σ_c s̄_c · v_c.

    Parameters
    ----------
    maps
        Complex, shape (..., n_coils, H, W), with Σ_c |s_c|² = 1 or, outside the object, 0, so that ‖S‖ ≤ 1.
    """

    alike = False
    maps: Tensor

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps

    @property
    def number(self) -> int:
        """See :class:`Coils`."""
        return self.maps.shape[-3]

    def in_use(self) -> Tensor:
        """See :class:`Coils`."""
        return self.maps.flatten(-2).any(-1).sum(-1).clamp_min(1).float()

    def spread(self, error: Tensor) -> Tensor:
        """See :class:`Coils`."""
        return error.sum(-3) / self.in_use().sqrt()[..., None, None]

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Sensitivity":
        """See :class:`Coils`."""
        return Sensitivity(change(self.maps))

    def forward(self, image: Tensor) -> Tensor:
        """Return the coil images (..., n_coils, H, W) of an image (..., H, W)."""
        if image.shape[-2:] != self.maps.shape[-2:] or _together(image[..., None, :, :], self.maps) is None:
            raise DataError(f"{self!r} does not fit an image of shape {tuple(image.shape)}")
        return self.maps * image.unsqueeze(-3)

    def adjoint(self, data: Tensor) -> Tensor:
        """Combine coil images (..., n_coils, H, W) into one image (..., H, W)."""
        if data.shape[-3:] != self.maps.shape[-3:]:
            raise DataError(f"{self!r} does not fit coil images of shape {tuple(data.shape)}")
        return (self.maps.conj() * data).sum(-3)

    def __repr__(self) -> str:
        return f"Sensitivity(maps {'x'.join(map(str, self.maps.shape))})"


class OneCoil(Coils):
    """One coil with the same sensitivity everywhere: (Su)_1 = u. It only adds and removes the coil axis."""

    alike = True
    maps = None

    @property
    def number(self) -> int:
        """See :class:`Coils`."""
        return 1

    def in_use(self) -> Tensor:
        """See :class:`Coils`."""
        return torch.ones(())

    def spread(self, error: Tensor) -> Tensor:
        """See :class:`Coils`."""
        return error.squeeze(-3)

    def changed(self, change: Callable[[Tensor], Tensor]) -> "OneCoil":
        """Return the same coil: it has no maps to change."""
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Return an image (..., H, W) as (..., 1, H, W)."""
        return image.unsqueeze(-3)

    def adjoint(self, data: Tensor) -> Tensor:
        """Return (..., 1, H, W) as an image (..., H, W)."""
        if data.ndim < 3 or data.shape[-3] != 1:
            raise DataError(f"{self!r} does not fit coil images of shape {tuple(data.shape)}")
        return data.squeeze(-3)


ONE_COIL = OneCoil()


def coils_of(maps: Tensor | None) -> Coils:
    """Return coils with these sensitivity maps; without maps :class:`OneCoil`."""
    return ONE_COIL if maps is None else Sensitivity(maps)


class EncodingNormal(Normal):
    """AᴴA of an :class:`Encoding`: the same numbers as one after the other, to rounding, in a third of the time.

    F⁻¹ R F is a periodic convolution, which commutes with the shifts that centre the transforms: they cancel, but for
    that of the mask. Where the mask measures whole lines, the transforms along them cancel, too.
    """

    operator: "Encoding"

    def forward(self, image: Tensor) -> Tensor:
        """Images (..., H, W) → the same shape."""
        own = self.operator
        if _together(own.mask, image) != image.shape:
            return super().forward(image)  # says what does not fit
        coil_images = own.coils(image)
        kspace = torch.fft.fftn(coil_images, dim=own.transformed, norm="ortho")
        kept = _where(own.shifted_mask, kspace)
        return own.coils.adjoint(torch.fft.ifftn(kept, dim=own.transformed, norm="ortho"))


class Encoding(Composition):
    """The forward model of a scan: ``A = R F S`` with its mask R and coils S.

    Parameters
    ----------
    mask
        Boolean (..., H, W), True where measured.
    coils
        The receiver coils, for images (..., H, W).
    """

    def __init__(self, mask: Tensor, coils: Coils = ONE_COIL) -> None:
        self.mask = mask.bool()
        self.coils = coils
        super().__init__([Sampling(mask.unsqueeze(-3)), Fourier(), coils])

    @property
    def maps(self) -> Tensor | None:
        """The coils' sensitivity maps; see :class:`Coils`."""
        return self.coils.maps

    @property
    def N(self) -> Operator:
        """The normal operator AᴴA, quicker than Aᴴ after A."""
        return EncodingNormal(self)

    @cached_property
    def shifted_mask(self) -> Tensor:
        """The mask (..., 1, H, W) as an uncentred transform has it."""
        return torch.fft.ifftshift(self.mask, PLANE).unsqueeze(-3)

    @cached_property
    def transformed(self) -> tuple[int, ...]:
        """The dimensions along which the mask is not the same everywhere; both on a GPU, which is not waited for."""
        if self.mask.device.type != "cpu":
            return PLANE
        same = [(self.mask == edge).all() for edge in (self.mask[..., :1, :], self.mask[..., :, :1])]
        return tuple(dim for dim, alike in zip(PLANE, same, strict=True) if not alike)

    @property
    def projects(self) -> bool:
        """Whether AᴴA is a projection, so that measured samples can be kept exactly; only with :class:`OneCoil`."""
        return self.coils.alike

    def sampled_by(self, mask: Tensor) -> "Encoding":
        """Return the same coils with another mask (..., H, W)."""
        return Encoding(mask, self.coils)

    def __getitem__(self, which: int | slice) -> "Encoding":
        """Return the encoding of one image of a batch, or of some of them."""
        return Encoding(self.mask[which], self.coils.changed(lambda maps: maps[which]))

    def to(self, device: torch.device) -> "Encoding":
        """Return the same encoding on a device."""
        return Encoding(self.mask.to(device), self.coils.changed(lambda maps: maps.to(device)))

    @staticmethod
    def joined(encodings: "Sequence[Encoding]") -> "Encoding":
        """Join the encodings of batches (B, H, W) into one; coils of zeros make the numbers of coils equal."""
        mask = torch.cat([encoding.mask for encoding in encodings])
        if all(encoding.coils.alike for encoding in encodings):
            return Encoding(mask)
        maps = [part.coils(torch.ones_like(part.mask, dtype=torch.complex64)) for part in encodings]  # s_c · 1
        return Encoding(mask, Sensitivity(torch.cat(with_as_many_coils(maps))))


def stacked(coils: Sequence[Coils]) -> Coils:
    """Stack the coils of single images for a batch; coils of zeros make the numbers of coils equal."""
    maps = [each.maps for each in coils if isinstance(each, Sensitivity)]
    return Sensitivity(torch.stack(with_as_many_coils(maps))) if maps else ONE_COIL


def with_as_many_coils(arrays: Sequence[Tensor]) -> list[Tensor]:
    """Return arrays (..., n_coils, H, W) of equally many coils: coils of zeros are added where there are fewer."""
    return [F.pad(a, (0, 0, 0, 0, 0, max(b.shape[-3] for b in arrays) - a.shape[-3])) for a in arrays]
