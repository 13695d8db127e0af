"""Checks before the first step of a training: what it refuses, warns about and reports."""

import logging
from collections.abc import Mapping

from torch import nn

from switchrecon.config import Config
from switchrecon.core.sentences import count
from switchrecon.data.piles import Pile, TrainingData
from switchrecon.errors import ConfigError
from switchrecon.methods.methods import METHODS, Method
from switchrecon.methods.objectives import bypass, cycle, equivariance, held_out_samples, simulated_pairs
from switchrecon.nets.builder import check_consistency, takes_encoding
from switchrecon.physics.masks import find_kind

logger = logging.getLogger(__name__)


def check_estimate(method: Method, config: Config) -> None:
    """Refuse an estimate that the trained run could not give.

    Raises
    ------
    ConfigError
        If that is so; the message names methods that can.
    """
    if config.estimate == "ensemble" and not method.cast.extractor:
        able = ", ".join(name for name, other in METHODS.items() if other.cast.extractor)
        raise ConfigError(
            f"estimate 'ensemble' needs the noise extractor H, which method '{config.method}' has not; choose estimate "
            f"'generator', or one of the methods {able}"
        )


def check_goes_together(method: Method, config: Config, data: TrainingData, network: nn.Module) -> None:
    """Refuse combinations of settings that would run but make no sense.

    Raises
    ------
    ConfigError
        If there is one; the message says what does not fit what.
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
    """Return a sentence for each setting that this method or these scans leave without an effect."""
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


def _acceleration(pile: Pile, matrix: tuple[int, int]) -> str:
    """Of its slices, and that of its files where the matrix has changed it."""
    here, whole = pile.acceleration(), pile.file_acceleration
    if whole is None or abs(whole - here) < 0.01 * here:
        return f"{here:.2f}"
    return f"{here:.2f} in the {matrix[0]}x{matrix[1]} centre of k-space that is kept ({whole:.2f} in the files)"


def synthetic_sentences(piles: Mapping[str, Pile]) -> list[str]:
    """Return which k-space is computed from magnitude images, and what follows."""
    consequence = "computed from magnitude images, so results are optimistic for a scanner"
    if all(pile.synthetic == pile.scans for pile in piles.values()):
        return [f"k-space is synthetic: {consequence}"]
    names = {"full": "fully sampled", "sub": "undersampled"}
    found = [
        f"k-space of {pile.synthetic} of {count(pile.scans, f'{names[name]} scan')} is synthetic: {consequence}"
        for name, pile in piles.items()
        if pile.synthetic
    ]
    mixed = sum(pile.synthetic for pile in piles.values()) > 0
    return found + (["synthetic and measured k-space are mixed: a network may learn the difference"] if mixed else [])


def describe_data(data: TrainingData, config: Config) -> None:
    """Say what was read, once that k-space is synthetic where it is, and masks that differ from the settings."""
    for name, pile in (("fully sampled", data.full), ("undersampled", data.sub)):
        if pile is not None:
            dropped = f", {pile.dropped} near-empty ones dropped" if pile.dropped else ""
            sampled = f", acceleration {_acceleration(pile, data.matrix)}" if pile is data.sub else ""
            found = f"{count(len(pile.slices), 'slice')} of {count(len(pile.subjects), 'subject')}"
            logger.info(f"{name}: {found}{dropped}{sampled}")
    for sentence in synthetic_sentences(data.piles):
        logger.info(sentence)
    if data.sub is not None and data.sub.retrospective < data.sub.scans:
        lines = data.sub.has_lines
        measured = data.sub.acceleration()
        if (
            lines != (find_kind(config.mask.kind).dimensions == 1)
            or not 0.8 < measured / config.mask.acceleration < 1.25
        ):
            logger.warning(
                f"the undersampled scans have {'line' if lines else 'point'} masks of acceleration "
                f"{measured:.2f}, but mask.kind is {config.mask.kind} with acceleration {config.mask.acceleration:g}; "
                "sampling consistency for fully sampled images and evaluation use the settings"
            )
