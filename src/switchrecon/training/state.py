"""The state of a training run: networks, optimisers, average and counter; saved and restored as one."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from switchrecon.config import Config
from switchrecon.core.device import PROCESSOR
from switchrecon.core.seeds import seed_for
from switchrecon.methods.methods import Method
from switchrecon.methods.players import GENERATOR, Players
from switchrecon.runs.card import Card
from switchrecon.runs.checkpoint import (
    flatten_optimizer,
    load_checkpoint,
    save_checkpoint,
    save_model,
    stored_card,
    unflatten_optimizer,
)
from switchrecon.runs.environment import machine, versions
from switchrecon.runs.folder import check_length, check_same_data
from switchrecon.training.optim import Lookahead, WeightAverage, fast_optimizer
from switchrecon.training.ranks import ALONE, Ranks

logger = logging.getLogger(__name__)


@dataclass
class Course:
    """Events of a run that it has to remember.

    Attributes
    ----------
    setbacks
        Number of returns to an earlier state after divergence; each halves the learning rate.
    quiet
        Number of steps in a row in which D's loss has been almost zero.
    flat
        Whether the loss of contrast in G(x) has been announced.
    remarks
        (step, sentence), for that step's line of the log.
    """

    setbacks: int = 0
    quiet: int = 0
    flat: bool = False
    remarks: list[tuple[int, str]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Factor of the learning rate after the setbacks."""
        return 0.5**self.setbacks

    def remark(self, step: int, sentence: str) -> None:
        """Say a sentence now, and in the log at that step."""
        logger.warning(sentence)
        self.remarks.append((step, sentence))


Value = TypeVar("Value", Tensor, float)
Other = TypeVar("Other", Tensor, float)


@dataclass(frozen=True)
class Measured(Generic[Value]):
    """Measurements of one step before it updates the weights: first tensors on the device, later plain numbers.

    Attributes
    ----------
    losses
        Each objective's value, by name.
    gradients
        The norm of the gradient over all parameters of a group, by the group's name.
    """

    losses: dict[str, Value] = field(default_factory=dict)
    gradients: dict[str, Value] = field(default_factory=dict)

    @property
    def values(self) -> list[Value]:
        """All values, losses first."""
        return list(self.losses.values()) + list(self.gradients.values())

    def having(self, values: Sequence[Other]) -> "Measured[Other]":
        """Return the same names with other values, in the order of :attr:`values`."""
        count = len(self.losses)
        losses = dict(zip(self.losses, values[:count], strict=True))
        return Measured(losses, dict(zip(self.gradients, values[count:], strict=True)))


@dataclass
class State:
    """Everything that training changes."""

    players: Players
    optimizers: dict[str, torch.optim.Optimizer | Lookahead]
    average: WeightAverage
    clip: float | None = None  # largest norm of a group's gradient
    ranks: Ranks = ALONE  # the processes that share each step
    part: float = 1.0  # fraction of each step's samples that this process computes
    step: int = 0
    course: Course = field(default_factory=Course)

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return next(self.players.parameters()).device


def build_state(method: Method, config: Config, device: torch.device = PROCESSOR) -> State:
    """Build networks with weights from the run's seed, and their optimisers.

    Lookahead wraps the fast optimisers of D and H; G is averaged. Weights are drawn on the CPU, so that they do not
    depend on the device.
    """
    torch.manual_seed(seed_for("weights", config.seed))
    players = method.cast.build(config).to(device)
    optimizers: dict[str, torch.optim.Optimizer | Lookahead] = {}
    for name, module in players.groups().items():
        fast = fast_optimizer(module.parameters(), config)
        lookahead = name != GENERATOR
        optimizers[name] = Lookahead(fast, config.lookahead_steps, config.lookahead_rate) if lookahead else fast
    return State(players, optimizers, WeightAverage(players.generator, config.average), config.gradient_clip)


def parts(state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state as named tensors, not copied, and what JSON holds."""
    tensors = {f"players.{n}": t for n, t in state.players.state_dict().items()}
    tensors |= {f"average.{n}": t for n, t in state.average.averaged.state_dict().items()}
    rests = {}
    for name, optimizer in state.optimizers.items():
        flat, rests[name] = flatten_optimizer(f"optimizer.{name}", optimizer.state_dict())
        tensors |= flat
    return tensors, {"optimizers": rests, "step": state.step, "course": asdict(state.course)}


def load_parts(state: State, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
    """Put parts from :func:`parts` into a state, in place; optimisers continue with these tensors."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

    state.players.load_state_dict(part("players."))
    state.average.averaged.load_state_dict(part("average."))
    for name, optimizer in state.optimizers.items():
        stored = unflatten_optimizer(f"optimizer.{name}", tensors, rest["optimizers"][name])
        current = [{name: group[name] for name in ("lr", "capturable")} for group in optimizer.param_groups]
        # These two depend on this device, not on that of the checkpoint; the loop sets the learning rate again.
        stored["param_groups"] = [{**g, **mine} for g, mine in zip(stored["param_groups"], current, strict=True)]
        optimizer.load_state_dict(stored)
    state.step = rest["step"]
    state.course = Course(**{**rest["course"], "remarks": [(step, text) for step, text in rest["course"]["remarks"]]})


def check_alike(state: State) -> None:
    """Check that all processes that share the steps have the same weights.

    Raises
    ------
    RunError
        If they have not.
    """
    if state.ranks.size > 1:
        digest = hashlib.sha256()
        for weight in state.players.parameters():
            digest.update(weight.detach().cpu().numpy().tobytes())
        state.ranks.check_same(digest.hexdigest(), f"weights after step {state.step}")


def conditions(state: State) -> dict[str, Any]:
    """Return what the bits of a training depend on beside its settings and scans."""
    return {"machine": machine(state.device), "versions": versions(), "processes": state.ranks.size}


def save_state(folder: Path, state: State, card: Card) -> None:
    """Write a checkpoint, then the current model."""
    tensors, rest = parts(state)
    save_checkpoint(folder / "checkpoints", state.step, tensors, {"card": card.to_json(), **rest, **conditions(state)})
    write_model(folder, state, card)


def write_model(folder: Path, state: State, card: Card) -> None:
    """Write the weights that reconstruction needs: the averaged ones of G for X → Y, and those of H."""
    model = {
        f"generator.{name.removeprefix('full.')}": weight
        for name, weight in state.average.weights(state.players.generator).items()
        if name.startswith("full.")
    }
    if state.players.extractor is not None:
        model |= {f"extractor.{n}": t for n, t in state.players.extractor.state_dict().items()}
    save_model(folder / "model.safetensors", model, card.model_copy(update={"step": state.step}))


def restore_state(folder: Path, state: State, card: Card) -> Card:
    """Continue from the newest checkpoint, if there is one; the first process reads it, for all.

    The model is written again, because the run may have been stopped between its checkpoint and its model.

    Returns
    -------
    Card
        The run's card: the stored one, with its salt, where there is a checkpoint; its steps and settings are those
        of ``card``, whose steps may be others.

    Raises
    ------
    RunError
        If the run in this folder has other settings or other scans.
    """
    ranks = state.ranks
    loaded = ranks.told(load_checkpoint(folder / "checkpoints") if ranks.first else None)
    if loaded is None:
        return card
    tensors, description = loaded
    stored = stored_card(description, folder)
    check_same_data(folder, stored, card, {name: pile.sha256 for name, pile in card.data.items()})
    load_parts(state, tensors, description)
    if card.steps != stored.steps:
        check_length(folder, stored.model_copy(update={"step": state.step}), card.steps)
        state.course.remark(
            state.step + 1,
            f"goes on to {card.steps:,} steps, where {stored.steps:,} were planned: the learning rate is that of the "
            "new plan, and the average of the weights begins anew",
        )
        state.average = WeightAverage(state.players.generator, card.config.average)
        stored = stored.model_copy(update={"config": card.config, "steps": card.steps, "trial": None})
    if not ranks.first:
        return stored
    description.setdefault("processes", 1)  # of earlier versions
    changed = [
        f"{name} {description.get(name)} then, {value} now"
        for name, value in conditions(state).items()
        if description.get(name) != value
    ]
    if changed:
        state.course.remark(state.step + 1, f"continued where the result is not bit-exact: {'; '.join(changed)}")
    write_model(folder, state, stored)
    return stored
