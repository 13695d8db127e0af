"""One training step's images: G(x), G(y, A(z)), H(x), …, each computed at most once, when first asked for.

D, G and H are updated in turn. G(x), G(y, A(z)) and H(x) serve several updates. Each is computed once, and again only
after parameters that it depends on have been updated. Objectives ask for images by name and need not know this. In the
paper's order of updates one step sends 7 images through G, 2 through H and 8 through D. Images that can be made at the
same time may go through a network as one batch, see :mod:`switchrecon.methods.together`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from switchrecon.methods.players import DISCRIMINATOR, EXTRACTOR, GENERATOR, GROUPS, Players
from switchrecon.physics.intensity import channels_to_complex, complex_to_channels
from switchrecon.physics.operators import Encoding

Drawn = tuple[Tensor, Encoding, Tensor]
Turn = tuple[Tensor, Encoding]


class Draws(Protocol):
    """Random draws for objectives that need more than x and y; the step is the seed, so asking twice gives the same."""

    def pair(self) -> Drawn:
        """Return y as a scan of X: the undersampled image (B, channels, H, W), its encoding, and its reference."""
        ...

    def split(self) -> Drawn:
        """Split x's samples: return the image of the kept ones, their encoding, and weights (B, H, W) of the others."""
        ...

    def turn(self) -> Turn:
        """Return a symmetry T for each image of x, and the encoding with coils turned by T and another mask.

        T is int64 (B, H W) and says where each pixel comes from: pixel n of T u is pixel T[n] of u.
        """
        ...


@dataclass
class Batch:
    """The data of one step. Images are (B, channels, H, W) in [−1, 1].

    Attributes
    ----------
    x
        Undersampled images.
    y
        Fully sampled images: of other subjects, or the reference of x in paired and simulated methods.
    z
        Input of the code generator, (B, code_size).
    encoding_x
        How x was measured: its mask and coils, for images (B, H, W).
    encoding_y
        The encoding that Eq. (1) applies to y.
    measured
        k-space of x, complex (B, n_coils, H, W); None if it equals A x.
    draws
        Further random draws for some objectives; made when they are asked for.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    encoding_x: Encoding
    encoding_y: Encoding
    measured: Tensor | None = None
    draws: "Draws | None" = None


@dataclass(frozen=True)
class Call:
    """A network call that has not been made yet.

    Attributes
    ----------
    verb
        A method of the players, such as ``players.to_full``.
    image
        (B, channels, H, W).
    other
        The encoding, or z, that goes with the image.
    """

    verb: Callable[..., Tensor]
    image: Tensor
    other: Encoding | Tensor | None = None

    def make(self) -> Tensor:
        """Call the network."""
        return self.verb(self.image) if self.other is None else self.verb(self.image, self.other)


class Waiting(Exception):
    """Raised inside a step when an image depends on another image that has not been made yet."""


class Image:
    """A named image of a step, kept until the parameters of a group that it depends on are updated.

    Parameters
    ----------
    compute
        Function that makes the image, or the :class:`Call` that will make it.
    groups
        The groups whose parameters the image depends on.
    maker
        The group whose network makes it; None where no network is called.
    """

    def __init__(
        self, compute: Callable[["Step"], Tensor | Call], groups: tuple[str, ...], maker: str | None = None
    ) -> None:
        self.compute = compute
        self.groups = frozenset(groups)
        self.maker = maker
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, step: "Step | None", owner: type | None = None) -> Tensor:
        if step is None:
            return self  # type: ignore[return-value]
        step.asked[self.name] = None
        if self.name not in step.kept:
            if step.waiting and self.maker is not None:
                raise Waiting
            with torch.set_grad_enabled(step.differentiates(self.groups)):
                made = self.compute(step)
                step.kept[self.name] = made.make() if isinstance(made, Call) else made
        return step.kept[self.name]


def depends_on(*groups: str) -> Callable[[Callable[["Step"], Tensor]], Image]:
    """Mark a method of :class:`Step` as an image that depends on these groups' parameters."""
    return lambda compute: Image(compute, groups)


def made_by(maker: str, *groups: str) -> Callable[[Callable[["Step"], Call]], Image]:
    """Mark a method of :class:`Step` as a call of the group ``maker``; its input depends on the other groups."""
    return lambda compute: Image(compute, (maker, *groups), maker)


class Step:
    """One training step's images.

    Parameters
    ----------
    players
        The networks.
    batch
        The data of the step.
    to_come
        The groups that the step updates, in order.
    """

    def __init__(self, players: Players, batch: Batch, to_come: Sequence[str] = GROUPS) -> None:
        self.players = players
        self.x, self.y, self.z = batch.x, batch.y, batch.z
        self.encoding_x, self.encoding_y = batch.encoding_x, batch.encoding_y
        self.measured = self.encoding_x(channels_to_complex(batch.x)) if batch.measured is None else batch.measured
        self.draws = batch.draws
        self.kept: dict[str, Tensor] = {}
        self.to_come = list(to_come)
        self.asked: dict[str, None] = {}  # the images that have been asked for, in order
        self.waiting = False  # raise Waiting instead of calling a network

    def differentiates(self, groups: frozenset[str]) -> bool:
        """Return whether the images of these groups need gradients: a later update of the step moves one of them."""
        return torch.is_grad_enabled() and not groups.isdisjoint(self.to_come)

    def moved(self, group: str) -> None:
        """Forget the images that depend on a group whose parameters have just been updated."""
        if group in self.to_come:
            self.to_come.remove(group)
        self.kept = {name: image for name, image in self.kept.items() if group not in image_of(name).groups}

    @made_by(GENERATOR)
    def full_of_x(self) -> Call:
        """G(x)."""
        return Call(self.players.to_full, self.x, self.encoding_x)

    @made_by(GENERATOR)
    def sub_of_y(self) -> Call:
        """G(y, A(z))."""
        return Call(self.players.to_sub, self.y, self.z)

    @made_by(GENERATOR)
    def cycle_of_x(self) -> Call:
        """G(G(x), A(z))."""
        return Call(self.players.to_sub, self.full_of_x, self.z)

    @made_by(GENERATOR)
    def cycle_of_y(self) -> Call:
        """G(G(y, A(z)))."""
        return Call(self.players.to_full, self.sub_of_y, self.encoding_y)

    @made_by(EXTRACTOR)
    def noise_of_x(self) -> Call:
        """H(x)."""
        return Call(self.players.noise, self.x)

    @depends_on(EXTRACTOR)
    def pseudo_full(self) -> Tensor:
        """x − H(x)."""
        return self.x - self.noise_of_x

    @depends_on(EXTRACTOR)
    def pseudo_sub(self) -> Tensor:
        """y + H(x)."""
        return self.y + self.noise_of_x

    @made_by(GENERATOR, EXTRACTOR)
    def full_of_pseudo_sub(self) -> Call:
        """G(y + H(x))."""
        return Call(self.players.to_full, self.pseudo_sub, self.encoding_x)

    @made_by(EXTRACTOR, GENERATOR)
    def noise_of_sub_of_y(self) -> Call:
        """H(G(y, A(z)))."""
        return Call(self.players.noise, self.sub_of_y)

    @made_by(DISCRIMINATOR)
    def score_of_x(self) -> Call:
        """D_X(x)."""
        return Call(self.players.score_sub, self.x)

    @made_by(DISCRIMINATOR)
    def score_of_y(self) -> Call:
        """D_Y(y)."""
        return Call(self.players.score_full, self.y)

    @made_by(DISCRIMINATOR, GENERATOR)
    def score_of_full_of_x(self) -> Call:
        """D_Y(G(x))."""
        return Call(self.players.score_full, self.full_of_x)

    @made_by(DISCRIMINATOR, GENERATOR)
    def score_of_sub_of_y(self) -> Call:
        """D_X(G(y, A(z)))."""
        return Call(self.players.score_sub, self.sub_of_y)

    @made_by(DISCRIMINATOR, EXTRACTOR)
    def score_of_pseudo_full(self) -> Call:
        """D_Y(x − H(x))."""
        return Call(self.players.score_full, self.pseudo_full)

    @made_by(DISCRIMINATOR, EXTRACTOR)
    def score_of_pseudo_sub(self) -> Call:
        """D_X(y + H(x))."""
        return Call(self.players.score_sub, self.pseudo_sub)

    @made_by(GENERATOR)
    def full_of_pair(self) -> Call:
        """G(x') with x' simulated from y."""
        image, encoding, _ = self.pair
        return Call(self.players.to_full, image, encoding)

    @made_by(GENERATOR)
    def full_of_split(self) -> Call:
        """G(x_Θ), where x_Θ is made from the kept samples of x."""
        image, kept, _ = self.split
        return Call(self.players.to_full, image, kept)

    @depends_on(GENERATOR)
    def turned(self) -> Tensor:
        """T G(x), the reconstruction turned by the symmetry T."""
        places, _ = self.turn
        return self.full_of_x.flatten(2).gather(2, places[:, None].expand(-1, self.x.shape[1], -1)).view_as(self.x)

    @made_by(GENERATOR)
    def full_of_turned(self) -> Call:
        """G(A'ᴴ A' T G(x))."""
        _, encoding = self.turn
        sampled = encoding.N(channels_to_complex(self.turned))
        return Call(self.players.to_full, complex_to_channels(sampled), encoding)

    @cached_property
    def pair(self) -> Drawn:
        """See :meth:`Draws.pair`."""
        return self.drawn.pair()

    @cached_property
    def split(self) -> Drawn:
        """See :meth:`Draws.split`."""
        return self.drawn.split()

    @cached_property
    def turn(self) -> Turn:
        """See :meth:`Draws.turn`."""
        return self.drawn.turn()

    @property
    def drawn(self) -> Draws:
        """The draws of the batch; a TypeError if it was made without them."""
        if self.draws is None:
            raise TypeError("this batch was made without draws, but an objective needs them")
        return self.draws

    def sampled_difference_x(self) -> Tensor:
        """Return k − A G(x), complex, in the shape of x's k-space k; with one coil it is R F (x − G(x))."""
        return self.measured - self.encoding_x(channels_to_complex(self.full_of_x))

    def sampled_difference_y(self) -> Tensor:
        """Return A (y − G(y, A(z))), complex; with one coil it is R F (y − G(y, A(z)))."""
        return self.encoding_y(channels_to_complex(self.y - self.sub_of_y))


def image_of(name: str) -> Image:
    """Return the entry of a named image: the groups that it depends on and the group that makes it."""
    image: Image = vars(Step)[name]
    return image
