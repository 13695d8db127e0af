"""The state of a training run: networks, optimisers, average and counter; saved and restored as one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from switchrecon.checkpoint import flatten_optimizer, load_checkpoint, save_checkpoint, save_model, unflatten_optimizer
from switchrecon.config import Config
from switchrecon.errors import RunError
from switchrecon.methods import Method
from switchrecon.optim import Lookahead, WeightAverage, radam
from switchrecon.players import GENERATOR, Players
from switchrecon.runs import check_same_data
from switchrecon.seeds import seed_for


@dataclass
class State:
    """All that training changes."""

    players: Players
    optimizers: dict[str, torch.optim.RAdam | Lookahead]
    average: WeightAverage
    step: int = 0


def build_state(method: Method, config: Config) -> State:
    """Networks with the weights that the run's seed draws, and their optimisers.

    RAdam for each group; Lookahead around it for D and H; SWA of G.
    """
    torch.manual_seed(seed_for("weights", config.seed))
    players = method.cast.build(config)
    optimizers: dict[str, torch.optim.RAdam | Lookahead] = {}
    for name, module in players.groups().items():
        fast = radam(module.parameters(), config)
        lookahead = name != GENERATOR
        optimizers[name] = Lookahead(fast, config.lookahead_steps, config.lookahead_rate) if lookahead else fast
    return State(players, optimizers, WeightAverage(players.generator))


def save_state(folder: Path, state: State, card: dict[str, Any]) -> None:
    """Write a checkpoint, then the model as it stands.

    Raises
    ------
    RunError
        If a weight is no longer a finite number; the last checkpoint stays.
    """
    for name, weight in state.players.named_parameters():
        if not weight.isfinite().all():
            raise RunError(f"training diverged: {name} is not finite at step {state.step}; try a lower learning_rate")
    tensors = {f"players.{n}": t for n, t in state.players.state_dict().items()}
    tensors |= {f"average.{n}": t for n, t in state.average.averaged.state_dict().items()}
    rests = {}
    for name, optimizer in state.optimizers.items():
        flat, rests[name] = flatten_optimizer(f"optimizer.{name}", optimizer.state_dict())
        tensors |= flat
    description = {"card": card, "optimizers": rests, "threads": torch.get_num_threads()}
    save_checkpoint(folder / "checkpoints", state.step, tensors, description)
    write_model(folder, state, card)


def write_model(folder: Path, state: State, card: dict[str, Any]) -> None:
    """Write what reconstruction needs: the averaged weights of G for X → Y, and H."""
    model = {
        f"generator.{name.removeprefix('full.')}": weight
        for name, weight in state.average.weights(state.players.generator).items()
        if name.startswith("full.")
    }
    if state.players.extractor is not None:
        model |= {f"extractor.{n}": t for n, t in state.players.extractor.state_dict().items()}
    save_model(folder / "model.safetensors", model, card | {"step": state.step})


def restore_state(folder: Path, state: State, card: dict[str, Any]) -> dict[str, Any]:
    """Continue from the newest checkpoint, if there is one.

    The model is written anew, since a run may have been stopped between its checkpoint and its model.

    Returns
    -------
    dict
        The run's card: the stored one, with its salt, where there is a checkpoint.

    Raises
    ------
    RunError
        If the run in this folder has other settings or other scans.
    """
    loaded = load_checkpoint(folder / "checkpoints")
    if loaded is None:
        return card
    tensors, description = loaded
    stored = description["card"]
    check_same_data(folder, stored, card)
    if description["threads"] != torch.get_num_threads():
        print(
            f"{folder}: continued with {torch.get_num_threads()} threads instead of {description['threads']}; "
            "the result is not bit-exact"
        )

    def part(prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

    state.players.load_state_dict(part("players."))
    state.average.averaged.load_state_dict(part("average."))
    for name, optimizer in state.optimizers.items():
        rest = description["optimizers"][name]
        optimizer.load_state_dict(unflatten_optimizer(f"optimizer.{name}", tensors, rest))
    state.step = description["step"]
    write_model(folder, state, stored)
    return stored
