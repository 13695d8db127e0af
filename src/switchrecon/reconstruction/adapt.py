"""Test-time adaptation: train the network of a run further, on one undersampled scan alone."""

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from switchrecon.config import Config
from switchrecon.core.device import set_up
from switchrecon.data.piles import Pile, Slice, TrainingData, slices_of, usable_slices
from switchrecon.errors import ConfigError, DataError
from switchrecon.methods.methods import SELF_SUPERVISED
from switchrecon.methods.objectives import held_out_samples
from switchrecon.methods.step import Step
from switchrecon.nets.builder import run
from switchrecon.physics.intensity import channels_to_complex, to_network
from switchrecon.physics.operators import Encoding
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.scan import Scan
from switchrecon.training.batches import Batches

CHECKED_PART = 0.1  # fraction of the measured samples outside the centre that decide when to stop
CHECK_EVERY = 10
PATIENCE = 5  # checks without an improvement before training stops

Check = tuple[Slice, Slice, Tensor]
"""A slice, the same slice without the check samples, and the check samples, boolean (H, W)."""


@dataclass(frozen=True)
class Adaptation:
    """The result of an adaptation: errors at samples that were not learned from, first and best, and its cost."""

    before: float
    after: float
    steps: int
    seconds: float

    def __str__(self) -> str:
        gain = 100 * (1 - self.after / self.before) if self.before else 0.0
        return (
            f"adapted in {self.steps} steps and {self.seconds:.0f} s; error at held-out measured samples "
            f"{self.before:.4g} → {self.after:.4g} ({gain:.1f} % less)"
        )


class _Network(nn.Module):
    """Players with the generator alone."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def to_full(self, x: Tensor, encoding: Encoding) -> Tensor:
        """Reconstruct x."""
        return run(self.generator, x, encoding)


def adapt(reconstructor: Reconstructor, scan: Scan, steps: int) -> tuple[Reconstructor, Adaptation]:
    """Train a copy of a run's network on one scan with :func:`switchrecon.methods.objectives.held_out_samples`.

    A tenth of the measured samples outside the centre is not learned from, but used for checks. Every ten steps the
    error at these samples is computed. The weights with the smallest error are kept (those of the run if the error
    never falls), and training stops after five checks without an improvement.

    Parameters
    ----------
    reconstructor
        A trained run with representation ``complex``.
    scan
        Undersampled scan at the run's matrix, with maps if it has several coils.
    steps
        Most steps, with the run's learning rate.

    Raises
    ------
    ConfigError
        If the run's images are magnitudes, which are not consistent with k-space.
    DataError
        If the scan has another matrix than the run and that is not allowed, no usable slice, or no sample to keep
        apart.
    """
    started, config = time.monotonic(), reconstructor.config
    trained = reconstructor.card.matrix
    if scan.matrix != trained and not reconstructor.resize:
        found, expected = ("x".join(map(str, matrix)) for matrix in (scan.matrix, trained))
        raise DataError(
            f"{scan.path}: a matrix of {found}, but the run was trained at {expected}; add --resize (in Python "
            "resize=True), or train at this matrix"
        )
    # Scaled by the centre that the run's images were scaled by.
    mask = config.mask.model_copy(update={"center_fraction": reconstructor.card.center_fraction})
    config = config.model_copy(update={"mask": mask})
    if config.representation != "complex":
        raise ConfigError(f"a run with representation '{config.representation}' cannot be adapted; it needs 'complex'")
    slices = slices_of(scan, usable_slices(scan, config), config, undersample=True)
    if not slices:
        raise DataError(f"{scan.path}: no usable slice to adapt to")
    learning, checks = _kept_apart(slices, config)
    if not any(apart.any() for *_, apart in checks):
        raise DataError(f"{scan.path}: no measured samples outside the centre to keep apart; it cannot be adapted to")
    device = reconstructor.device
    set_up(device, config.precision)
    batches = Batches(learning, config.model_copy(update={"batch_size": 1}), SELF_SUPERVISED.pairing, device)
    network = _Network(copy.deepcopy(reconstructor.generator))
    optimizer = torch.optim.RAdam(network.parameters(), lr=config.learning_rate)
    checks = [(a.to(device), b.to(device), apart.to(device)) for a, b, apart in checks]
    best, best_step = _error(network, checks, config), 0
    before, weights = best, copy.deepcopy(network.generator.state_dict())
    done = 0
    while done < steps and done - best_step < PATIENCE * CHECK_EVERY:
        optimizer.zero_grad()
        held_out_samples(Step(network, batches.batch(done))).backward()  # type: ignore[arg-type]
        optimizer.step()
        done += 1
        if done % CHECK_EVERY == 0 or done == steps:
            error = _error(network, checks, config)
            if not math.isfinite(error):
                break
            if error < best:
                best, best_step, weights = error, done, copy.deepcopy(network.generator.state_dict())
    network.generator.load_state_dict(weights)
    facts = reconstructor.config, reconstructor.card, reconstructor.resize, device
    adapted = Reconstructor(network.generator, reconstructor.extractor, *facts)
    return adapted, Adaptation(before, best, done, time.monotonic() - started)


def _kept_apart(slices: Sequence[Slice], config: Config) -> tuple[TrainingData, list[Check]]:
    """Return the slices without the check samples, for learning, and the checks."""
    scaled = TrainingData(None, Pile(list(slices))).scaled(config)
    assert scaled.sub is not None
    source = Batches(scaled, config.model_copy(update={"kept_part": 1 - CHECKED_PART}), SELF_SUPERVISED.pairing).source
    learning, checks = [], []
    for position, whole in enumerate(scaled.sub.slices):
        kept, weight = source.split(whole.mask, position)
        learning.append(whole.sampled_by(kept))
        checks.append((whole, learning[-1], weight > 0))
    return TrainingData(None, Pile(learning)), checks


@torch.no_grad()
def _error(network: _Network, checks: Sequence[Check], config: Config) -> float:
    """Return the mean absolute error at the check samples, of images that were reconstructed without them."""
    total = count = 0.0
    for whole, seen, apart in checks:
        encoding = Encoding(seen.mask[None], whole.coils.changed(lambda maps: maps[None]))
        image = network.to_full(to_network(seen.image[None], config.representation), encoding)
        difference = encoding.sampled_by(apart[None])(channels_to_complex(image))[0] - whole.kspace * apart
        total += float(difference.abs().sum())
        count += float(apart.sum()) * whole.coils.number
    return total / count
