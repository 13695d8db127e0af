"""A pass: the images of one training step, each computed at most once.

D, G and H are updated in turn. G(x), G(y, A(z)) and H(x) serve several updates; as long as the parameters that
they depend on have not moved, they are computed once. Objectives ask for images by name and know nothing of
this. In the paper's order of updates a step takes 7 images through G, 2 through H and 8 through D; those that can be
made together may go through as one batch, see :mod:`switchrecon.training.batched_calls`.

With ``sharing`` "stale" some images outlive the parameters that made them. When a group moves, an image that depends
on it is kept, as a constant, if no update still to come moves a group that the image depends on. An image that a later
update would differentiate is never kept. In the paper's order these are G(x) and G(y, A(z)): H learns from those that
D and G have just learnt from, one update of G old, and a step takes 5 images through G instead of 7.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from switchrecon.config import Sharing
from switchrecon.methods.players import DISCRIMINATOR, EXTRACTOR, GENERATOR, GROUPS, Call, Players
from switchrecon.physics.intensity import channels_to_complex, complex_to_channels
from switchrecon.physics.operators import Encoding

Drawn = tuple[Tensor, Encoding, Tensor]
Turn = tuple[Tensor, Encoding]


class Draws(Protocol):
    """Draws for objectives that need more than x and y: seeded by the step, so that asking twice gives the same."""

    def pair(self) -> Drawn:
        """y as X would show it: the undersampled image (B, channels, H, W), what encoded it, and its reference."""
        ...

    def split(self) -> Drawn:
        """x's samples in two: the image of the kept ones, their encoding, weights (B, H, W) of the held-out ones."""
        ...

    def turn(self) -> Turn:
        """A symmetry T for each of x's images, and x's coils turned by it, with another mask.

        T is int64 (B, H W), where each pixel comes from: pixel n of T u is pixel T[n] of u.
        """
        ...


@dataclass
class Batch:
    """What one step is made of. Images are (B, channels, H, W) in [−1, 1].

    Attributes
    ----------
    x
        Undersampled images.
    y
        Fully sampled images: of other subjects, or x's own reference in paired and simulated methods.
    z
        Input of the code generator, (B, code_size).
    encoding_x
        How x was measured: x's own mask and coils, for images (B, H, W).
    encoding_y
        The same for y in Eq. (1).
    measured
        x's k-space, complex (B, H, W) or (B, n_coils, H, W); None where x alone gives it: A x.
    draws
        What some objectives draw besides; made when it is asked for.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    encoding_x: Encoding
    encoding_y: Encoding
    measured: Tensor | None = None
    draws: "Draws | None" = None


class _NotYet(Exception):
    """An image that a batch of calls waits for has not been made."""


class _Image:
    """A named image of a pass, kept until a group that it depends on has moved."""

    def __init__(
        self, compute: Callable[["Pass"], Tensor | Call], groups: tuple[str, ...], maker: str | None = None
    ) -> None:
        self.compute = compute
        self.groups = frozenset(groups)
        self.maker = maker
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, step: "Pass | None", owner: type | None = None) -> Tensor:
        if step is None:
            return self  # type: ignore[return-value]
        step.asked[self.name] = None
        if self.name not in step.kept:
            if step.waiting and self.maker is not None:
                raise _NotYet
            with torch.set_grad_enabled(step.differentiates(self.groups)):
                made = self.compute(step)
                step.kept[self.name] = (made if isinstance(made, Tensor) else made.on(step.players), self.groups)
        return step.kept[self.name][0]


def depends_on(*groups: str) -> Callable[[Callable[["Pass"], Tensor]], _Image]:
    """Mark a method of :class:`Pass` as an image that depends on these groups' parameters."""
    return lambda compute: _Image(compute, groups)


def made_by(maker: str, *groups: str) -> Callable[[Callable[["Pass"], Call]], _Image]:
    """Mark a method of :class:`Pass` as the call of this group that makes an image; what goes in depends on others."""
    return lambda compute: _Image(compute, (maker, *groups), maker)


class Pass:
    """One training step's images.

    Parameters
    ----------
    players
        The networks.
    batch
        The data of the step.
    to_come
        The groups that the step updates, in order.
    sharing
        ``exact``: every update sees images of the parameters as they are. ``stale``: see above.
    """

    def __init__(
        self, players: Players, batch: Batch, to_come: Sequence[str] = GROUPS, sharing: Sharing = "exact"
    ) -> None:
        self.players = players
        self.x, self.y, self.z = batch.x, batch.y, batch.z
        self.encoding_x, self.encoding_y = batch.encoding_x, batch.encoding_y
        self.measured = self.encoding_x(channels_to_complex(batch.x)) if batch.measured is None else batch.measured
        self.draws = batch.draws
        self.kept: dict[str, tuple[Tensor, frozenset[str]]] = {}
        self.to_come = list(to_come)
        self.sharing = sharing
        self.asked: dict[str, None] = {}  # the images that have been asked for, in order
        self.waiting = False  # whether an image that a network has not made yet is one to wait for

    def differentiates(self, groups: frozenset[str]) -> bool:
        """Whether an update to come moves one of these groups; otherwise nothing needs the gradient of their images."""
        return torch.is_grad_enabled() and not groups.isdisjoint(self.to_come)

    def make_together(self, names: Sequence[str]) -> None:
        """Make these images now; what goes through the same network at the same time goes through it as one batch.

        A group's calls wait for each other as long as another group has something to do. What needs an image that is
        not among the names is left until it is asked for.
        """
        left = -1
        while (missing := [name for name in names if name not in self.kept]) and len(missing) != left:
            left = len(missing)
            ready = {name: call for name in missing if (call := self._call(name)) is not None}
            behind = {_image(name).maker for name in missing if name not in ready}
            self._run({name: call for name, call in ready.items() if _image(name).maker not in behind} or ready)

    def _call(self, name: str) -> Call | None:
        """The call that makes an image; None while another one is missing. What needs no network is made at once."""
        image = _image(name)
        self.waiting = True
        try:
            if image.maker is None:
                getattr(self, name)
                return None
            with torch.set_grad_enabled(self.differentiates(image.groups)):
                made = image.compute(self)
        except _NotYet:
            return None
        finally:
            self.waiting = False
        assert isinstance(made, Call)
        return made

    def _run(self, calls: dict[str, Call]) -> None:
        for learning in (True, False):
            own = {n: call for n, call in calls.items() if self.differentiates(_image(n).groups) == learning}
            with torch.set_grad_enabled(learning):
                made = self.players.together(list(own.values()))
            self.kept |= {name: (image, _image(name).groups) for name, image in zip(own, made, strict=True)}

    def moved(self, group: str) -> None:
        """Forget the images that depend on a group whose parameters have just been updated."""
        if group in self.to_come:
            self.to_come.remove(group)
        kept = {}
        for name, (image, groups) in self.kept.items():
            if group not in groups:
                kept[name] = image, groups
            elif self.sharing == "stale" and groups.isdisjoint(self.to_come):
                kept[name] = image.detach(), groups
        self.kept = kept

    @made_by(GENERATOR)
    def full_of_x(self) -> Call:
        """G(x)."""
        return Call("to_full", self.x, self.encoding_x)

    @made_by(GENERATOR)
    def sub_of_y(self) -> Call:
        """G(y, A(z))."""
        return Call("to_sub", self.y, self.z)

    @made_by(GENERATOR)
    def cycle_of_x(self) -> Call:
        """G(G(x), A(z))."""
        return Call("to_sub", self.full_of_x, self.z)

    @made_by(GENERATOR)
    def cycle_of_y(self) -> Call:
        """G(G(y, A(z)))."""
        return Call("to_full", self.sub_of_y, self.encoding_y)

    @made_by(EXTRACTOR)
    def noise_of_x(self) -> Call:
        """H(x)."""
        return Call("noise", self.x)

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
        return Call("to_full", self.pseudo_sub, self.encoding_x)

    @made_by(EXTRACTOR, GENERATOR)
    def noise_of_sub_of_y(self) -> Call:
        """H(G(y, A(z)))."""
        return Call("noise", self.sub_of_y)

    @made_by(DISCRIMINATOR)
    def score_of_x(self) -> Call:
        """D_X(x)."""
        return Call("score_sub", self.x)

    @made_by(DISCRIMINATOR)
    def score_of_y(self) -> Call:
        """D_Y(y)."""
        return Call("score_full", self.y)

    @made_by(DISCRIMINATOR, GENERATOR)
    def score_of_full_of_x(self) -> Call:
        """D_Y(G(x))."""
        return Call("score_full", self.full_of_x)

    @made_by(DISCRIMINATOR, GENERATOR)
    def score_of_sub_of_y(self) -> Call:
        """D_X(G(y, A(z)))."""
        return Call("score_sub", self.sub_of_y)

    @made_by(DISCRIMINATOR, EXTRACTOR)
    def score_of_pseudo_full(self) -> Call:
        """D_Y(x − H(x))."""
        return Call("score_full", self.pseudo_full)

    @made_by(DISCRIMINATOR, EXTRACTOR)
    def score_of_pseudo_sub(self) -> Call:
        """D_X(y + H(x))."""
        return Call("score_sub", self.pseudo_sub)

    @made_by(GENERATOR)
    def full_of_pair(self) -> Call:
        """G(x'), x' simulated from y."""
        image, encoding, _ = self.pair
        return Call("to_full", image, encoding)

    @made_by(GENERATOR)
    def full_of_split(self) -> Call:
        """G(x_Θ), of x's kept samples."""
        image, kept, _ = self.split
        return Call("to_full", image, kept)

    @depends_on(GENERATOR)
    def turned(self) -> Tensor:
        """T G(x)."""
        places, _ = self.turn
        return self.full_of_x.flatten(2).gather(2, places[:, None].expand(-1, self.x.shape[1], -1)).view_as(self.x)

    @made_by(GENERATOR)
    def full_of_turned(self) -> Call:
        """G(A'ᴴ A' T G(x))."""
        _, encoding = self.turn
        sampled = encoding.H(encoding(channels_to_complex(self.turned)))
        return Call("to_full", complex_to_channels(sampled), encoding)

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
        """The batch's draws."""
        if self.draws is None:
            raise TypeError("this batch was made without draws, but an objective needs them")
        return self.draws

    def sampled_difference_x(self) -> Tensor:
        """k − A G(x), which is R F (x − G(x)) with one coil; complex, of the shape of x's k-space k."""
        return self.measured - self.encoding_x(channels_to_complex(self.full_of_x))

    def sampled_difference_y(self) -> Tensor:
        """A (y − G(y, A(z))), which is R F (y − G(y, A(z))) with one coil."""
        return self.encoding_y(channels_to_complex(self.y - self.sub_of_y))


def _image(name: str) -> _Image:
    image: _Image = vars(Pass)[name]
    return image
