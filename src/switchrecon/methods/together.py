"""Network calls that are made together: several images of a step go through a network as one batch.

On a GPU one call with several images takes hardly longer than a call with one image. Norms are computed for each
sample, so the results are those of single calls except for the order of sums. In the paper's order of updates a step
makes 7 network calls instead of 17: one call of each network for D's update, one of G and one of D for G's update, and
one of G and one of H for H's update.

:class:`Plans` finds out which images each phase asks for, and :func:`make_together` makes them.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from switchrecon.methods.methods import Phase
from switchrecon.methods.objectives import objective_name
from switchrecon.methods.players import Players
from switchrecon.methods.step import Batch, Call, Step, Waiting, image_of
from switchrecon.physics.operators import Encoding

Plan = Sequence[Sequence[str]]
"""For each phase of a step, the names of the images that it asks for."""


def make_together(step: Step, names: Sequence[str]) -> None:
    """Make these images now; images that can go through the same network at the same time go through as one batch.

    A group waits, to collect its calls, as long as another group has something to do. An image that needs one which is
    not among the names is not made now, but when it is asked for.
    """
    left = -1
    while (missing := [name for name in names if name not in step.kept]) and len(missing) != left:
        left = len(missing)
        ready = {name: call for name in missing if (call := _call(step, name)) is not None}
        behind = {image_of(name).maker for name in missing if name not in ready}
        _make(step, {name: call for name, call in ready.items() if image_of(name).maker not in behind} or ready)


def _call(step: Step, name: str) -> Call | None:
    """Return the call that makes an image; None while another image is missing, or if no network was needed."""
    image = image_of(name)
    step.waiting = True
    try:
        if image.maker is None:
            getattr(step, name)
            return None
        with torch.set_grad_enabled(step.differentiates(image.groups)):
            made = image.compute(step)
    except Waiting:
        return None
    finally:
        step.waiting = False
    assert isinstance(made, Call)
    return made


def _make(step: Step, calls: dict[str, Call]) -> None:
    for learning in (True, False):
        part = {n: call for n, call in calls.items() if step.differentiates(image_of(n).groups) == learning}
        with torch.set_grad_enabled(learning):
            step.kept |= dict(zip(part, call_together(step.players, list(part.values())), strict=True))


def call_together(players: Players, calls: Sequence[Call]) -> list[Tensor]:
    """Make calls, as one batch for each network, and return their results in order."""
    places: dict[Callable[..., Tensor], list[int]] = {}
    for place, call in enumerate(calls):
        places.setdefault(call.verb, []).append(place)
    joined = {verb: _joined([calls[place] for place in known]) for verb, known in places.items()}
    made: dict[Callable[..., Tensor], Tensor] = {}
    for mixed, full, sub in _switchable(players):
        if full in joined and sub in joined:
            others = () if joined[sub].other is None else (joined[sub].other,)
            both = mixed(joined[full].image, joined[sub].image, *others)
            if both is not None:
                count = len(joined[full].image)
                made |= {full: both[:count], sub: both[count:]}
    results: dict[int, Tensor] = {}
    for verb, known in places.items():
        batch = made[verb] if verb in made else joined[verb].make()
        results |= zip(known, batch.split([len(calls[place].image) for place in known]), strict=True)
    return [results[place] for place in range(len(calls))]


def _switchable(players: Players) -> list[tuple[Callable[..., Tensor | None], Any, Any]]:
    """Return, for each group with one network for two verbs, the function that calls both at once, and the verbs."""
    found = []
    for group, full, sub in (
        (getattr(players, "generator", None), players.to_full, players.to_sub),
        (getattr(players, "discriminator", None), players.score_full, players.score_sub),
    ):
        mixed = getattr(group, "mixed", None)
        if mixed is not None:
            found.append((mixed, full, sub))
    return found


def _joined(calls: Sequence[Call]) -> Call:
    """Join calls of one verb into one call with all their images."""
    if len(calls) == 1:
        return calls[0]
    others: list[Any] = [call.other for call in calls]
    other: Any = None
    if isinstance(others[0], Encoding):
        other = Encoding.joined(others)
    elif others[0] is not None:
        other = torch.cat(others)
    return Call(calls[0].verb, torch.cat([call.image for call in calls]), other)


class Shapes:
    """Players that compute nothing; their results have the shapes of the networks' results."""

    def to_full(self, x: Tensor, encoding: Encoding) -> Tensor:
        """Return x in place of a reconstruction."""
        return x

    def to_sub(self, y: Tensor, z: Tensor) -> Tensor:
        """Return y in place of an undersampled image."""
        return y

    def noise(self, x: Tensor) -> Tensor:
        """Return x in place of its noise."""
        return x

    def score_full(self, image: Tensor) -> Tensor:
        """Return a channel of the image in place of scores."""
        return image[:, :1]

    def score_sub(self, image: Tensor) -> Tensor:
        """Return a channel of the image in place of scores."""
        return image[:, :1]


class Plans:
    """Finds out, once for each kind of step, which images each of its phases asks for.

    Each objective is called once on images that no network has made. A user's objective may fail on them, for example
    because it uses the networks' parameters or gradients. Then network calls are made one by one, with a warning.
    """

    def __init__(self) -> None:
        self.known: dict[object, Plan] = {}

    def __call__(self, phases: Sequence[Phase], batch: Batch) -> Plan:
        """Return the names that each phase asks for."""
        key = tuple(phase.kind for phase in phases)
        if key not in self.known:
            self.known[key] = _plan(phases, batch)
        return self.known[key]


@torch.no_grad()
def _plan(phases: Sequence[Phase], batch: Batch) -> Plan:
    step = Step(Shapes(), batch, [phase.group for phase in phases])  # type: ignore[arg-type]
    found = []
    for phase in phases:
        step.asked.clear()
        try:
            for objective in phase.objectives:
                objective(step)
        except Exception as error:  # a fault of the objective shows again with real images
            warnings.warn(
                f"calls of networks are made one by one: {objective_name(objective)} raises {type(error).__name__} on "
                "images that no network has made",
                stacklevel=3,
            )
            return [()] * len(phases)
        found.append(tuple(step.asked))
        step.moved(phase.group)
    return found
