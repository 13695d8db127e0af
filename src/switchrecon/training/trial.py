"""The trial at the end of a run: is it better than zero filling, if that can be measured?"""

import torch
from torch import Tensor, nn

from switchrecon.methods.methods import Method
from switchrecon.methods.objectives import Objective, held_out_samples, simulated_pairs, supervised
from switchrecon.methods.step import Step
from switchrecon.physics.operators import Encoding
from switchrecon.runs.card import Trial
from switchrecon.training.batches import Batches
from switchrecon.training.state import State

BATCHES = 8
SHORTEST = 100  # steps from which a run is expected to be better


class _Averaged:
    """Players with the generator alone, with its averaged weights, as it is stored."""

    def __init__(self, generator: nn.Module) -> None:
        self.generator = generator

    def to_full(self, x: Tensor, encoding: Encoding) -> Tensor:
        """Return G(x)."""
        made: Tensor = self.generator.to_full(x, encoding)  # type: ignore[operator]
        return made


class _ZeroFilling:
    """Players that return x instead of a reconstruction."""

    def to_full(self, x: Tensor, encoding: Encoding) -> Tensor:
        """Return x."""
        return x


def _tasks(method: Method, batches: Batches) -> dict[str, Objective]:
    """Return the objectives for the trial of a run, by the field of :class:`Trial`."""
    learned = {objective for phase in method.phases for objective in phase.objectives}
    found: dict[str, Objective] = {}
    if batches.data.full is not None:
        found["pairs"] = simulated_pairs if batches.pairing == "unpaired" else supervised
    if held_out_samples in learned and batches.data.sub is not None:
        found["held_out"] = held_out_samples
    return found


@torch.no_grad()
def try_out(state: State, method: Method, batches: Batches) -> Trial:
    """Compare the run's error with that of zero filling, on draws that training has not seen.

    A run of fewer than :data:`SHORTEST` steps is not tried, because it is too short to become better.

    Pairs are simulated from Y as in training, with other masks. Samples of X are held out if the method learns from
    held-out samples. The subjects are those of the training, so this finds runs that went wrong, but does not say how
    good the others are.

    Returns
    -------
    Trial
        Each error, divided by that of zero filling.
    """
    if batches.steps < SHORTEST:
        return Trial()
    generator = state.average.averaged.module if state.average.count else state.players.generator
    ratios = {}
    for name, objective in _tasks(method, batches).items():
        errors = []
        for players in (_Averaged(generator), _ZeroFilling()):
            steps = [Step(players, batches.batch(batches.steps + n)) for n in range(BATCHES)]  # type: ignore[arg-type]
            errors.append(sum(objective(step).item() for step in steps))
        run, zero_filling = errors
        ratios[name] = run / zero_filling if zero_filling > 0 else float(run > 0)
    return Trial(**ratios)
