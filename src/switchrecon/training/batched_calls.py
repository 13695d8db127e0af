"""Which images each update of a step asks for, found out beforehand, so that they can be made together.

On a GPU one network call of several images takes hardly longer than one of a single image. In the paper's order a step
makes 7 network calls instead of 17: one of each network for D's update, one of G and one of D for G's, and one of G and
one of H for H's.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from switchrecon.config import Sharing
from switchrecon.methods.methods import Phase
from switchrecon.methods.step import Batch, Pass
from switchrecon.physics.operators import Encoding

Plan = Sequence[Sequence[str]]


class _Listener:
    """Players that compute nothing: their results have the shapes that objectives work with."""

    def to_full(self, x: Tensor, encoding: Encoding) -> Tensor:
        """Instead of a reconstruction, x."""
        return x

    def to_sub(self, y: Tensor, z: Tensor) -> Tensor:
        """Instead of an undersampled image, y."""
        return y

    def noise(self, x: Tensor) -> Tensor:
        """Instead of its noise, x."""
        return x

    def score_full(self, image: Tensor) -> Tensor:
        """Instead of scores, a channel."""
        return image[:, :1]

    def score_sub(self, image: Tensor) -> Tensor:
        """Instead of scores, a channel."""
        return image[:, :1]


class Plans:
    """The images that each phase of a kind of step asks for, found out once.

    For that, each objective is called once on images that no network has made. One of the user's own that cannot bear
    them (that looks into the networks, or differentiates) is no reason to fail: nothing is made together then.
    """

    def __init__(self) -> None:
        self.known: dict[object, Plan] = {}  # by phases and sharing

    def __call__(self, phases: Sequence[Phase], batch: Batch, sharing: Sharing) -> Plan:
        """The names that each phase asks for."""
        key = sharing, tuple(phase.kind for phase in phases)
        if key not in self.known:
            self.known[key] = _listen(phases, batch, sharing)
        return self.known[key]


@torch.no_grad()
def _listen(phases: Sequence[Phase], batch: Batch, sharing: Sharing) -> Plan:
    images = Pass(_Listener(), batch, [phase.group for phase in phases], sharing)  # type: ignore[arg-type]
    found = []
    for phase in phases:
        images.asked.clear()
        try:
            for objective in phase.objectives:
                objective(images)
        except Exception as error:  # a real one comes again with real images
            warnings.warn(
                f"calls of networks are made one by one: {objective.__name__} says {type(error).__name__} to images "
                "that no network has made",
                stacklevel=3,
            )
            return [()] * len(phases)
        found.append(tuple(images.asked))
        images.moved(phase.group)
    return found
