"""Guards of a training: it returns to an earlier state if it diverges, and collapse is announced."""

import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch

from switchrecon.config import Config
from switchrecon.errors import RunError
from switchrecon.methods.methods import Method
from switchrecon.methods.players import DISCRIMINATOR
from switchrecon.methods.step import Batch
from switchrecon.training.state import Measured, State, load_parts, parts

KEEP_EVERY = 50  # steps between copies of the state in memory, which cost less than 0.5 % of their time
MOST_SETBACKS = 3  # most returns of a run; each halves the learning rate
LARGEST_GRADIENT = 1e18  # its square must fit float32, or the second moments would overflow
QUIET, QUIET_STEPS = 1e-3, 100  # if D's loss is below this for this many steps, it teaches nothing
WINDOW = 50  # steps over which a loss is compared with its past
MANY, FEW, SURE = 20.0, 3.0, 10  # see Health
FLAT = 0.01  # if Var G(x) / Var x is below this, G shows nothing


class Diverged(Exception):
    """A number is not finite, or a loss has left its past; the message says which.

    Parameters
    ----------
    message
        Says which number.
    step
        The step, from 1, if it is not the current one.
    """

    def __init__(self, message: str, step: int | None = None) -> None:
        super().__init__(message)
        self.step = step


def check_numbers(measured: Measured[float], step: int | None = None) -> None:
    """Refuse losses and gradients that are not finite; ``measured`` holds plain numbers.

    On a CPU this is done before the weights are updated. On a GPU it is done some steps later, so as not to wait for
    the GPU, but before anything is written or kept; then those steps are undone.

    Raises
    ------
    Diverged
        If a loss or gradient is not finite, or a gradient is so large that its square is not.
    """
    for name, value in measured.losses.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value}", step)
    for group, norm in measured.gradients.items():
        if not norm < LARGEST_GRADIENT:
            raise Diverged(f"the gradient of the {group} is {norm}", step)


@dataclass
class Past:
    """The earlier values of a loss, in short.

    Attributes
    ----------
    first
        Its first :data:`WINDOW` values.
    recent
        Its last :data:`WINDOW` values, without those outside its past.
    best
        The lowest median of ``recent`` so far.
    outside
        Number of steps in a row in which the loss has been outside its past.
    """

    first: list[float] = field(default_factory=list)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    best: float = math.inf
    outside: int = 0

    def add(self, value: float) -> None:
        """Take the next value."""
        if len(self.first) < WINDOW:
            self.first.append(value)
        elif value > max(MANY * self.best, FEW * statistics.median(self.first)):
            self.outside += 1
            return
        self.outside = 0
        self.recent.append(value)
        if len(self.recent) == WINDOW:
            self.best = min(self.best, statistics.median(self.recent))


class Health:
    """Finds out whether the losses of a run stay near their past.

    A loss is outside its past if it is more than :data:`MANY` times its lowest running median and :data:`FEW` times
    its median at the start. One such step can be a strange batch; :data:`SURE` in a row are divergence. What is found
    follows from the logged losses alone, so that a resumed run finds the same.

    Parameters
    ----------
    past
        Losses of the steps so far, from the run's log.
    """

    def __init__(self, past: Iterable[Mapping[str, float]] = ()) -> None:
        self.pasts: dict[str, Past] = {}
        for losses in past:
            self._add(losses)

    @property
    def calm(self) -> bool:
        """Whether no loss is outside its past at present: only then a state is worth keeping."""
        return not any(past.outside for past in self.pasts.values())

    def look(self, losses: Mapping[str, float], step: int) -> None:
        """Take the losses of a step.

        Raises
        ------
        Diverged
            If one of them has been outside its past for :data:`SURE` steps.
        """
        self._add(losses)
        for name, value in losses.items():
            if self.pasts[name].outside == SURE:
                raise Diverged(f"{name} is {value:.3g}, after {self.pasts[name].best:.3g} before,", step)

    def _add(self, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            self.pasts.setdefault(name, Past()).add(value)


class Guard:
    """The last good state of a run, in memory.

    The step alone decides when a state is kept, so that a resumed run does the same as one that was never interrupted.

    Parameters
    ----------
    state
        The state to watch; a copy is kept at once.
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
            If the most allowed returns have been made.
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
    """Announce once that D's loss has been almost zero for long: a D that is always right teaches nothing."""
    names = [name for phase in method.phases if phase.group == DISCRIMINATOR for name in phase.names]
    if not names or not losses.keys() >= set(names):
        return
    course = state.course
    course.quiet = course.quiet + 1 if sum(losses[name] for name in names) < QUIET else 0
    if course.quiet == QUIET_STEPS:
        course.remark(step, f"the discriminator's loss has been below {QUIET:g} for {QUIET_STEPS} steps: collapse?")


def watch_generator(state: State, batch: Batch, config: Config, steps: int) -> None:
    """Announce once that G(x) has hardly any contrast; not in the first tenth, when G has learnt nothing yet."""
    if state.course.flat or state.step <= max(config.warm_up, steps // 10):
        return
    with torch.no_grad():
        part = (state.players.to_full(batch.x, batch.encoding_x).var() / batch.x.var()).item()
    if part < FLAT:
        state.course.flat = True
        state.course.remark(state.step, f"the variance of G(x) is {part:.2g} of that of x: collapse?")
