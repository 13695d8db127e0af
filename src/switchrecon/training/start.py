"""Start a run with the weights of another run, instead of drawn ones."""

import logging
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from switchrecon.config import Config, NetworkSettings, parse_config
from switchrecon.core.user_code import is_user_code
from switchrecon.errors import RunError
from switchrecon.runs.card import Card
from switchrecon.runs.checkpoint import load_model
from switchrecon.runs.pretrained import run_folder

logger = logging.getLogger(__name__)

TAKEN = ("method", "representation", "headroom", *NetworkSettings.model_fields)
"""Settings that the new run takes from the other run, because the weights depend on them."""


@dataclass(frozen=True)
class Start:
    """A run to start from: its name as the user gave it, its card, and the weights of its generator."""

    run: str
    card: Card
    weights: dict[str, Tensor]

    def settings(self, config: Config) -> Config:
        """Return the settings with this run's values of :data:`TAKEN`, unless the user has set them.

        Raises
        ------
        RunError
            If the network is a user's file that the settings do not name: code runs only if the user names it.
        """
        theirs = self.card.config
        if is_user_code(theirs.network) and "network" not in config.model_fields_set:
            raise RunError(
                f"{self.run}: its network is in a file, {theirs.network}; say that it may be run with "
                "--set network=FILE.py:NAME"
            )
        if is_user_code(theirs.method) and "method" not in config.model_fields_set:
            raise RunError(
                f"{self.run}: its method is in a file, {theirs.method}; say which to use with --method FILE.py:NAME"
            )
        taken = {name: value for name, value in theirs.model_dump().items() if name in TAKEN}
        return parse_config({**taken, **config.model_dump(exclude_unset=True)})

    def give(self, network: nn.Module, adaptive: bool, config: Config) -> None:
        """Copy the weights into the network for X → Y, which may have AdaIN sites; the other networks keep theirs.

        Raises
        ------
        RunError
            If they do not fit; the message names the settings that differ.
        """
        theirs = self.card.config
        if self.card.adaptive != adaptive:
            has = "has AdaIN sites" if self.card.adaptive else "has no AdaIN sites"
            raise RunError(
                f"{self.run}: its network {has}, unlike that of method '{config.method}'; "
                f"begin with --method {theirs.method}"
            )
        try:
            network.load_state_dict(self.weights)
        except RuntimeError as error:
            names = ("representation", *NetworkSettings.model_fields)
            other = [
                f"{name} = {getattr(theirs, name)!r} there, {getattr(config, name)!r} here"
                for name in names
                if getattr(theirs, name) != getattr(config, name)
            ]
            raise RunError(
                f"{self.run}: its weights do not fit this network ({'; '.join(other) or 'another version made them'}); "
                "leave these settings out to take the run's"
            ) from error
        logger.info("begins with the weights of %s, trained for %s steps", self.run, f"{self.card.step:,}")


def read_start(run: str | Path) -> Start:
    """Read a run to begin from: a folder, or ``switchrecon:NAME``.

    Raises
    ------
    RunError
        If there is no model, or a damaged one.
    """
    tensors, card = load_model(run_folder(run) / "model.safetensors")
    prefix = "generator."
    return Start(str(run), card, {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
