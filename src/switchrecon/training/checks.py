"""What a training refuses, warns of and says before its first step."""

import logging

from torch import nn

from switchrecon.config import Config
from switchrecon.data.piles import TrainingData
from switchrecon.errors import ConfigError
from switchrecon.methods.methods import Method
from switchrecon.methods.objectives import bypass, cycle, equivariance, held_out_samples, simulated_pairs
from switchrecon.nets.builder import check_consistency, takes_encoding
from switchrecon.physics.masks import find_kind

logger = logging.getLogger(__name__)


def check_goes_together(method: Method, config: Config, data: TrainingData, network: nn.Module) -> None:
    """Refuse what would run and mean nothing.

    Raises
    ------
    ConfigError
        Saying what does not go with what.
    """
    objectives = {objective for phase in method.phases for objective in phase.objectives}
    if config.representation == "magnitude" and objectives & {held_out_samples, equivariance}:
        raise ConfigError(
            f"method '{config.method}' needs representation 'complex': magnitudes are not what was measured"
        )
    if held_out_samples in objectives and method.pairing == "simulated":
        raise ConfigError(
            f"method '{config.method}' holds out samples of simulated scans, whose references are known; take an "
            "unpaired, paired or undersampled method for held_out_samples"
        )
    if config.contrast > 0 and "intensity" in config.calibrate:
        raise ConfigError("calibrate 'intensity' would undo contrast; choose one of them")
    if config.contrast > 0 and method.cast.discriminator is not None:
        raise ConfigError(
            f"method '{config.method}' matches G(X) to Y, which must not be shown in random contrasts then; set "
            "contrast to 0, or take a method without a discriminator"
        )
    check_consistency(network, config, data.coils)
    several = [not pile.slices[0].coils.alike for pile in data.piles.values()]
    if simulated_pairs in objectives and several == [False, True]:
        raise ConfigError(
            f"the fully sampled scans have one coil and the undersampled ones several: method '{config.method}' would "
            "simulate pairs that no such scanner measures; give several coils for both, or use self-supervised"
        )
    if data.coils > 1 and takes_encoding(network) and objectives & {cycle, bypass}:
        raise ConfigError(
            f"network '{config.network}' with several coils reconstructs measured images alone, but method "
            f"'{config.method}' gives it others; choose network 'paper' or joint"
        )


def idle_settings(method: Method, config: Config, data: TrainingData) -> list[str]:
    """A sentence for each setting that this method or these scans leave without an effect."""
    objectives = {objective for phase in method.phases for objective in phase.objectives}
    idle = {
        "calibrate": bool(config.calibrate) and (simulated_pairs not in objectives or data.sub is None),
        "corruption": (config.corruption.kind == "none") != (config.corruption.level == 0),  # a kind, or a level, alone
        "simulated_mask": config.simulated_mask is not None
        and method.pairing != "simulated"
        and (simulated_pairs not in objectives or data.sub is not None),
        "distortion": config.distortion > 0 and data.full is None,
        "contrast": config.contrast > 0 and data.full is None,
        "gate": config.gate != "auto" and not method.gated,
    }
    return [f"{name} does nothing here, with method '{config.method}'" for name, found in idle.items() if found]


def describe_data(data: TrainingData, config: Config) -> None:
    """Say what was read, once that k-space is synthetic where it is, and masks that differ from the settings."""
    for name, pile in (("fully sampled", data.full), ("undersampled", data.sub)):
        if pile is not None:
            dropped = f", {pile.dropped} near-empty ones dropped" if pile.dropped else ""
            own = f", acceleration {pile.acceleration():.2f}" if pile is data.sub else ""
            logger.info(f"{name}: {len(pile.slices)} slices of {len(pile.subjects)} subjects{dropped}{own}")
    if any(pile.synthetic for pile in data.piles.values()):
        logger.info("k-space is synthetic: computed from magnitude images, so results are optimistic for a scanner")
    if data.sub is not None and data.sub.retrospective < data.sub.scans:
        lines = data.sub.has_lines
        found = data.sub.acceleration()
        if lines != (find_kind(config.mask.kind).dimensions == 1) or not 0.8 < found / config.mask.acceleration < 1.25:
            logger.warning(
                f"the undersampled scans have {'line' if lines else 'point'} masks of acceleration "
                f"{found:.2f}, but mask.kind is {config.mask.kind} with acceleration {config.mask.acceleration:g}; "
                "sampling consistency for fully sampled images and evaluation use the settings"
            )
