"""Optimisation: the fast optimiser of each group, Lookahead around it, the learning rate, and averages of weights."""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from switchrecon.config import Average, Config

RISE = 0.02  # fraction of the steps in which the cosine schedule rises to the learning rate
DECAY = 0.999  # largest decay of the exponential moving average


class Lookahead:
    """Lookahead (Zhang et al. 2019): every k fast steps, slow ← slow + α (fast − slow) and fast ← slow.

    Parameters
    ----------
    optimizer
        The fast optimiser.
    steps
        k.
    rate
        α.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, steps: int = 6, rate: float = 0.5) -> None:
        self.optimizer = optimizer
        self.steps = steps
        self.rate = rate
        self.count = 0
        self.slow = [p.detach().clone() for p in self.parameters()]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The fast optimiser's parameter groups."""
        return self.optimizer.param_groups

    def parameters(self) -> list[nn.Parameter]:
        """Return all parameters, in order."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def due(self) -> bool:
        """Whether the next step ends with a slow one."""
        return (self.count + 1) % self.steps == 0

    def zero_grad(self) -> None:
        """Set the gradients to None."""
        self.optimizer.zero_grad()

    @torch.no_grad()
    def step(self) -> None:
        """Take one fast step, and the slow step when it is due."""
        self.optimizer.step()
        due = self.due
        self.count += 1
        if due:
            for slow, fast in zip(self.slow, self.parameters(), strict=True):
                slow.lerp_(fast, self.rate)
                fast.copy_(slow)

    def state_dict(self) -> dict[str, Any]:
        """Return the fast optimiser's state, with the slow weights and the count beside it."""
        return {**self.optimizer.state_dict(), "slow": self.slow, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.optimizer.load_state_dict({key: state[key] for key in ("state", "param_groups")})
        self.count = state["count"]
        for mine, stored in zip(self.slow, state["slow"], strict=True):
            mine.copy_(stored)


FAST: Mapping[str, Callable[..., torch.optim.Optimizer]] = MappingProxyType(
    {"radam": torch.optim.RAdam, "adamw": partial(torch.optim.AdamW, weight_decay=1e-4)}
)
"""The fast optimisers, by the setting ``optimizer``; all with β = (0.9, 0.999)."""


def fast_optimizer(parameters: Iterable[nn.Parameter], config: Config) -> torch.optim.Optimizer:
    """Return the fast optimiser of a group.

    On a GPU its counters and its learning rate are tensors there, so that a step can be recorded and replayed.
    """
    known = list(parameters)
    device = known[0].device
    gpu = device.type == "cuda"
    rate = torch.tensor(config.learning_rate, device=device) if gpu else config.learning_rate
    return FAST[config.optimizer](known, lr=rate, betas=(0.9, 0.999), foreach=True, capturable=gpu)


def learning_rate(config: Config, step: int, steps: int) -> float:
    """Return the learning rate of a step, from ``learning_rate`` at step 0 to the final one at step ``steps`` − 1.

    ``linear``: a straight line. ``cosine``: half a period of a cosine, after a rise in the first 2 % of the steps.
    """
    part = step / max(steps - 1, 1)
    first, last = config.learning_rate, config.final_learning_rate
    if config.schedule == "linear":
        return first + (last - first) * part
    rise = min(1.0, (step + 1) / max(RISE * steps, 1))
    return rise * (last + (first - last) * (1 + math.cos(math.pi * part)) / 2)


def set_learning_rate(optimizer: "torch.optim.Optimizer | Lookahead", value: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value


class WeightAverage:
    """An average of a module's parameters over the steps.

    ``swa``: the mean (stochastic weight averaging, Izmailov et al. 2018). ``ema``: an exponential moving average with
    decay min(0.999, (1 + n) / (10 + n)) at update n. ``none``: the module's current weights.

    Parameters
    ----------
    module
        Module whose parameters are averaged, from the first :meth:`update`.
    kind
        One of the above.
    """

    def __init__(self, module: nn.Module, kind: Average = "swa") -> None:
        self.averaged = torch.optim.swa_utils.AveragedModel(module)
        self.kind = kind

    @property
    def count(self) -> int:
        """Number of updates so far."""
        return int(self.averaged.n_averaged)

    def update(self, module: nn.Module) -> None:
        """Add the module's weights to the average."""
        if self.kind == "none":
            return
        mean: list[Tensor] = list(self.averaged.module.parameters())
        new: list[Tensor] = list(module.parameters())
        if self.kind == "swa" and mean[0].device.type != "cuda":
            self.averaged.update_parameters(module)
            return
        count = self.count
        decay = min(DECAY, (1 + count) / (10 + count)) if self.kind == "ema" and count else count / (count + 1)
        with torch.no_grad():  # for swa the same mean as torch's, whose code would wait for the GPU
            torch._foreach_lerp_(mean, new, 1 - decay)
        self.averaged.n_averaged += 1

    def weights(self, module: nn.Module) -> dict[str, Tensor]:
        """Return the mean, or the module's weights if nothing has been averaged yet."""
        return (self.averaged.module if self.count else module).state_dict()
