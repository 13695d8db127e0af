"""A budget of time instead of a number of steps: a few steps are timed, and as many as fit are planned."""

import logging
import statistics
import time
from dataclasses import replace

import torch

from switchrecon.config import Config
from switchrecon.core.durations import duration
from switchrecon.core.messages import stage
from switchrecon.errors import ConfigError
from switchrecon.methods.methods import Method
from switchrecon.training.batches import Batches
from switchrecon.training.ready import Ready, begin
from switchrecon.training.state import State
from switchrecon.training.updates import step_taker

logger = logging.getLogger(__name__)

FIRST = 2  # first steps, which are slower and not timed
TIMED = 7
PATIENCE = 10.0  # most seconds of timing; at least one step is timed
SPARE = 0.08  # fraction of the budget for checkpoints, the trial at the end, and a busier machine
FEWEST = 20  # least steps that a budget must allow


def step_seconds(state: State, method: Method, config: Config, batches: Batches) -> float:
    """Take a few steps and return the median time of one; the state has moved afterwards."""
    take = step_taker(state.device, config.calls, batches.pixels, state.ranks.size == 1)
    times: list[float] = []
    for step in range(FIRST + TIMED):
        stage(f"timing step {step + 1} of {FIRST + TIMED}")
        started = time.perf_counter()
        take(state, method.phases, batches.batch(step))
        if state.device.type == "cuda":
            torch.cuda.synchronize(state.device)
        times.append(time.perf_counter() - started)
        if state.ranks.told(sum(times) > PATIENCE):
            break
    return state.ranks.told(statistics.median(times[FIRST:] or times[-1:]))


def check_length(config: Config) -> None:
    """Refuse steps or epochs together with a budget.

    Raises
    ------
    ConfigError
        If one of them is set; the message says which.
    """
    for name in ("steps", "epochs"):
        if getattr(config, name) is not None:
            raise ConfigError(f"a budget and {name} are both set: give one of them")


def within(ready: Ready, budget: float, spent: float) -> Ready:
    """Return the training with as many steps as fit into what is left of a budget.

    The timed steps are taken with other networks, which are then dropped, so that the run is exactly that of a training
    with this number of steps.

    Parameters
    ----------
    ready
        A training without ``steps`` and ``epochs``.
    budget, spent
        Seconds for all of it, and those that reading and preparing took.

    Raises
    ------
    ConfigError
        If too little is left for a training.
    """
    started = time.perf_counter()
    trying = replace(ready, config=ready.config.model_copy(update={"steps": 1_000_000}))
    state, batches = begin(trying, quiet=True)
    seconds = step_seconds(state, ready.method, trying.config, batches)
    left = budget * (1 - SPARE) - spent - (time.perf_counter() - started)
    steps = ready.ranks.told(int(left / seconds))
    if steps < FEWEST:
        raise ConfigError(
            f"a budget of {duration(budget)} allows {max(steps, 0)} steps of {seconds:.2g} s each, after "
            f"{duration(spent)} of reading and preparing; expected at least {FEWEST}: give more time, a smaller "
            "matrix, or a cache"
        )
    logger.info("budget %s: %s steps of %.2g s each", duration(budget), f"{steps:,}", seconds)
    return replace(ready, config=ready.config.model_copy(update={"steps": steps}))
