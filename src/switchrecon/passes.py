"""A pass: the images of one training step, each computed at most once.

D, G and H are updated in turn. G(x), G(y, A(z)) and H(x) serve several updates; as long as the parameters that
they depend on have not moved, they are computed once. Objectives ask for images by name and know nothing of
this. In the paper's order of updates a step costs 7 forward calls of G, 2 of H and 8 of D.

With ``sharing`` "stale" some images outlive the parameters that made them. When a group moves, an image that depends
on it is kept, as a constant, if no update still to come moves a group that the image depends on. An image that a later
update would differentiate is never kept. In the paper's order these are G(x) and G(y, A(z)): H learns from those that
D and G have just learnt from, one update of G old, and a step costs 5 forward calls of G instead of 7.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from switchrecon.config import Sharing
from switchrecon.operators import Encoding
from switchrecon.players import EXTRACTOR, GENERATOR, GROUPS, Players
from switchrecon.scaling import channels_to_complex


class Draws(Protocol):
    """Draws for objectives that need more than x and y: seeded by the step, so that asking twice gives the same."""

    def pair(self) -> tuple[Tensor, Encoding, Tensor]:
        """y as X would show it: the undersampled image (B, channels, H, W), what encoded it, and its reference."""
        ...

    def split(self) -> tuple[Tensor, Encoding, Tensor]:
        """x's samples in two: the image of the kept ones, their encoding, weights (B, H, W) of the held-out ones."""
        ...

    def turned(self, image: Tensor) -> tuple[Tensor, Encoding]:
        """An image (B, channels, H, W) moved by a symmetry, and x's coils, moved, with another mask."""
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


class _Image:
    """A named image of a pass, kept until a group that it depends on has moved."""

    def __init__(self, compute: Callable[["Pass"], Tensor], groups: frozenset[str]) -> None:
        self.compute = compute
        self.groups = groups
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, step: "Pass | None", owner: type | None = None) -> Tensor:
        if step is None:
            return self  # type: ignore[return-value]
        if self.name not in step.kept:
            # If no update to come moves a group behind an image, nothing in this step needs its gradient.
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.groups.isdisjoint(step.to_come)):
                step.kept[self.name] = (self.compute(step), self.groups)
        return step.kept[self.name][0]


def depends_on(*groups: str) -> Callable[[Callable[["Pass"], Tensor]], _Image]:
    """Mark a method of :class:`Pass` as an image that depends on these groups' parameters."""
    return lambda compute: _Image(compute, frozenset(groups))


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

    @depends_on(GENERATOR)
    def full_of_x(self) -> Tensor:
        """G(x)."""
        return self.players.to_full(self.x, self.encoding_x)

    @depends_on(GENERATOR)
    def sub_of_y(self) -> Tensor:
        """G(y, A(z))."""
        return self.players.to_sub(self.y, self.z)

    @depends_on(GENERATOR)
    def cycle_of_x(self) -> Tensor:
        """G(G(x), A(z))."""
        return self.players.to_sub(self.full_of_x, self.z)

    @depends_on(GENERATOR)
    def cycle_of_y(self) -> Tensor:
        """G(G(y, A(z)))."""
        return self.players.to_full(self.sub_of_y, self.encoding_y)

    @depends_on(EXTRACTOR)
    def noise_of_x(self) -> Tensor:
        """H(x)."""
        return self.players.noise(self.x)

    @depends_on(EXTRACTOR)
    def pseudo_full(self) -> Tensor:
        """x − H(x)."""
        return self.x - self.noise_of_x

    @depends_on(EXTRACTOR)
    def pseudo_sub(self) -> Tensor:
        """y + H(x)."""
        return self.y + self.noise_of_x

    @depends_on(GENERATOR, EXTRACTOR)
    def full_of_pseudo_sub(self) -> Tensor:
        """G(y + H(x))."""
        return self.players.to_full(self.pseudo_sub, self.encoding_x)

    @depends_on(GENERATOR, EXTRACTOR)
    def noise_of_sub_of_y(self) -> Tensor:
        """H(G(y, A(z)))."""
        return self.players.noise(self.sub_of_y)

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
