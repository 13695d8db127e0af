"""What keeps a training sound: numbers that are not finite never stay in the weights, and collapse is announced."""

import math
from collections.abc import Mapping

import torch

from switchrecon.config import Config
from switchrecon.errors import RunError
from switchrecon.methods.methods import Method
from switchrecon.methods.players import DISCRIMINATOR
from switchrecon.methods.step import Batch
from switchrecon.training.state import Measured, State, load_parts, parts

KEEP_EVERY = 50  # steps between copies of the state in memory, which cost less than 0.5 % of their time
MOST_SETBACKS = 3  # of a run, each at half the learning rate of the one before
LARGEST_GRADIENT = 1e18  # its square must fit float32, or the second moments would overflow
QUIET, QUIET_STEPS = 1e-3, 100  # D's loss below this for so many steps: it has nothing left to say
FLAT = 0.01  # Var G(x) / Var x below this: G shows nothing


class Diverged(Exception):
    """A loss, a gradient or a weight is not a finite number; the message says which.

    Parameters
    ----------
    message
        Which.
    step
        In which step, from 1, where that is not the one being taken.
    """

    def __init__(self, message: str, step: int | None = None) -> None:
        super().__init__(message)
        self.step = step


def check_numbers(measured: Measured[float], step: int | None = None) -> None:
    """Refuse losses and gradients that are not finite; ``measured`` holds plain numbers.

    On a processor this is done before the weights move. A GPU would have to be waited for; there it is done some steps
    later, before anything is written or kept, and those steps are undone.

    Raises
    ------
    Diverged
        If a loss is not finite or a gradient is not, or is too large for its square to be.
    """
    for name, value in measured.losses.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value}", step)
    for group, norm in measured.gradients.items():
        if not norm < LARGEST_GRADIENT:
            raise Diverged(f"the gradient of the {group} is {norm}", step)


class Guard:
    """The last good state of a run, in memory.

    What is kept, and when, follows from the step alone, so that a resumed run goes the way of one that was never
    interrupted.

    Parameters
    ----------
    state
        Kept at once.
    """

    def __init__(self, state: State) -> None:
        self.keep(state)

    def keep(self, state: State) -> None:
        """Copy the state.

        Raises
        ------
        Diverged
            If a weight is not finite; what was kept before stays.
        """
        for name, weight in state.players.named_parameters():
            if not weight.isfinite().all():
                raise Diverged(f"{name} is not finite")
        tensors, self.rest = parts(state)
        self.tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    def roll_back(self, state: State, problem: Diverged, step: int) -> None:
        """Return from a step that diverged to what was kept, at half the learning rate.

        Raises
        ------
        RunError
            After the last of the allowed setbacks.
        """
        found = f"{problem} at step {problem.step or step}"
        load_parts(state, {name: tensor.clone() for name, tensor in self.tensors.items()}, self.rest)
        course = state.course
        if course.setbacks == MOST_SETBACKS:
            raise RunError(
                f"training diverged: {found}, after {MOST_SETBACKS} returns to an earlier state at half the learning "
                "rate; the last checkpoint stays; try a lower learning_rate, and look at the scans"
            )
        course.setbacks += 1
        course.remark(
            state.step + 1,
            f"training diverged: {found}; went back to step {state.step} and halved the learning rate "
            f"({course.setbacks} of {MOST_SETBACKS} times)",
        )
        self.rest = parts(state)[1]


def watch_discriminator(state: State, method: Method, step: int, losses: Mapping[str, float]) -> None:
    """Announce once that D's loss has been next to nothing for long: a D that is always right teaches nothing."""
    own = [name for phase in method.phases if phase.group == DISCRIMINATOR for name in phase.names]
    if not own or not losses.keys() >= set(own):
        return
    course = state.course
    course.quiet = course.quiet + 1 if sum(losses[name] for name in own) < QUIET else 0
    if course.quiet == QUIET_STEPS:
        course.remark(step, f"the discriminator's loss has been below {QUIET:g} for {QUIET_STEPS} steps: collapse?")


def watch_generator(state: State, batch: Batch, config: Config, steps: int) -> None:
    """Announce once that G(x) has hardly any contrast left. Not in the first tenth, when G has learnt nothing yet."""
    if state.course.flat or state.step <= max(config.warm_up, steps // 10):
        return
    with torch.no_grad():
        part = (state.players.to_full(batch.x, batch.encoding_x).var() / batch.x.var()).item()
    if part < FLAT:
        state.course.flat = True
        state.course.remark(state.step, f"the variance of G(x) is {part:.2g} of that of x: collapse?")
