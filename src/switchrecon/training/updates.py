"""One training step: the updates of its phases, in turn."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from switchrecon.config import Calls, Config
from switchrecon.methods.methods import Method, Phase
from switchrecon.methods.step import Batch, Step
from switchrecon.methods.together import Plans, make_together
from switchrecon.training.cuda_graphs import Recorded, TakeStep
from switchrecon.training.guard import check_numbers
from switchrecon.training.optim import Lookahead
from switchrecon.training.state import Measured, State

SMALL = 128 * 128  # pixels of a batch up to which joint calls are faster on a CPU, too


Mean = Callable[[Sequence[Tensor]], None]


def update(
    step: Step,
    phase: Phase,
    optimizer: "torch.optim.Optimizer | Lookahead",
    clip: float | None = None,
    mean: Mean | None = None,
) -> Measured[Tensor]:
    """Run one update: a step of the optimiser on the phase's weighted objectives, for its group's parameters.

    A gradient whose norm is above ``clip`` is scaled down to it; the measured norm is that before. If several processes
    share the step, ``mean`` replaces gradients and losses by those of the whole batch.

    Raises
    ------
    Diverged
        On a CPU, if a loss or gradient is not finite; the weights have not been updated then.
    """
    values = [objective(step) for objective in phase.objectives]
    total = torch.stack([weight * v for weight, v in zip(phase.objectives.values(), values, strict=True)]).sum()
    optimizer.zero_grad()
    parameters = list(getattr(step.players, phase.group).parameters())
    # Only these get a gradient; graphs that later phases share are not changed.
    total.backward(inputs=parameters, retain_graph=True)
    gradients = [p.grad for p in parameters if p.grad is not None]
    values = [value.detach() for value in values]
    if mean is not None:
        values = [value.clone() for value in values]
        mean([*gradients, *values])
    norm = torch.nn.utils.get_total_norm(gradients)
    measured = Measured(dict(zip(phase.names, values, strict=True)), {phase.group: norm})
    if parameters[0].device.type == "cpu":
        check_numbers(measured.having([value.item() for value in measured.values]))
    if clip is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip, norm)
    optimizer.step()
    step.moved(phase.group)
    return measured


def take_step(state: State, phases: Sequence[Phase], batch: Batch, plans: Plans | None = None) -> Measured[Tensor]:
    """Run one training step: the update of every phase in turn, on one batch.

    With ``plans``, images of an update that can be made at the same time go through a network as one batch.
    """
    step = Step(state.players, batch, [phase.group for phase in phases])
    plan = plans(phases, batch) if plans is not None else [()] * len(phases)
    measured: Measured[Tensor] = Measured()
    mean = partial(state.ranks.mean, part=state.part) if state.ranks.size > 1 else None
    for phase, names in zip(phases, plan, strict=True):
        make_together(step, names)
        found = update(step, phase, state.optimizers[phase.group], state.clip, mean)
        measured = Measured(measured.losses | found.losses, measured.gradients | found.gradients)
    return measured


def step_taker(device: torch.device, calls: Calls, pixels: int, alone: bool = True) -> TakeStep:
    """Return the function that runs one training step: :func:`take_step`; on a GPU it is recorded and replayed.

    Parameters
    ----------
    device
        Device of the step.
    calls
        See :class:`switchrecon.config.Config`.
    pixels
        Number of pixels of a batch's x.
    alone
        Whether no other process shares the steps; messages between processes cannot be recorded.
    """
    gpu = device.type == "cuda"
    together = calls == "together" or (calls == "auto" and (gpu or pixels <= SMALL))
    take: TakeStep = partial(take_step, plans=Plans()) if together else take_step
    return Recorded(take) if gpu and alone else take


def phases_of(method: Method, config: Config, step: int, steps: int) -> tuple[Phase, ...]:
    """Return the updates of a step: the method's, after a warm-up of at most a tenth of the run."""
    warming = bool(method.warm_up) and step < min(config.warm_up, steps // 10)
    return method.warm_up if warming else method.phases
