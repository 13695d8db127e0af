"""Optimisation: RAdam with a linear decay, Lookahead around it, and the settings of each group."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from switchrecon.config import Config


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
        """The fast optimiser's groups."""
        return self.optimizer.param_groups

    def parameters(self) -> list[nn.Parameter]:
        """All parameters, in order."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def due(self) -> bool:
        """Whether the next step ends with a slow one."""
        return (self.count + 1) % self.steps == 0

    def zero_grad(self) -> None:
        """Drop the gradients."""
        self.optimizer.zero_grad()

    @torch.no_grad()
    def step(self) -> None:
        """One fast step, and the slow one when it is due."""
        self.optimizer.step()
        due = self.due
        self.count += 1
        if due:
            for slow, fast in zip(self.slow, self.parameters(), strict=True):
                slow.lerp_(fast, self.rate)
                fast.copy_(slow)

    def state_dict(self) -> dict[str, Any]:
        """The fast optimiser's state, with the slow weights and the count beside it."""
        return {**self.optimizer.state_dict(), "slow": self.slow, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.optimizer.load_state_dict({key: state[key] for key in ("state", "param_groups")})
        self.count = state["count"]
        for mine, stored in zip(self.slow, state["slow"], strict=True):
            mine.copy_(stored)


def radam(parameters: Iterable[nn.Parameter], config: Config) -> torch.optim.RAdam:
    """RAdam with β = (0.9, 0.999), the optimiser of every group.

    On a GPU its counters and its learning rate are tensors there, so that a step can be recorded and replayed.
    """
    own = list(parameters)
    device = own[0].device
    rate = torch.tensor(config.learning_rate, device=device) if device.type == "cuda" else config.learning_rate
    return torch.optim.RAdam(own, lr=rate, betas=(0.9, 0.999), foreach=True, capturable=device.type == "cuda")


def learning_rate(config: Config, step: int, steps: int) -> float:
    """Linear decay from the learning rate at step 0 to the final one at the last step, steps − 1."""
    part = step / max(steps - 1, 1)
    return config.learning_rate + (config.final_learning_rate - config.learning_rate) * part


def set_learning_rate(optimizer: "torch.optim.Optimizer | Lookahead", value: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value


class WeightAverage:
    """Stochastic weight averaging: the running mean of a module's parameters (Izmailov et al. 2018).

    Parameters
    ----------
    module
        Averaged; nothing is averaged before the first :meth:`update`.
    """

    def __init__(self, module: nn.Module) -> None:
        self.averaged = torch.optim.swa_utils.AveragedModel(module)

    @property
    def count(self) -> int:
        """How many updates there have been."""
        return int(self.averaged.n_averaged)

    def update(self, module: nn.Module) -> None:
        """Add the module's weights to the mean."""
        own: list[Tensor] = list(self.averaged.module.parameters())
        new: list[Tensor] = list(module.parameters())
        if own[0].device.type != "cuda":
            self.averaged.update_parameters(module)
            return
        with torch.no_grad():  # the same mean, but torch's own would wait for the GPU
            torch._foreach_lerp_(own, new, 1 / (self.count + 1))
        self.averaged.n_averaged += 1

    def weights(self, module: nn.Module) -> dict[str, Tensor]:
        """The mean, or the module's own weights where nothing has been averaged yet."""
        return (self.averaged.module if self.count else module).state_dict()
