"""Batches: the random draws of each training step, which depend on the number of the step alone."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from switchrecon.config import Config, Pairing
from switchrecon.core.device import PROCESSOR, send
from switchrecon.core.seeds import numpy_random, seed_for, torch_random
from switchrecon.data.augment import DIHEDRAL, FLIPS, distortion_probability
from switchrecon.data.piles import Pile, Slice, TrainingData
from switchrecon.errors import ConfigError
from switchrecon.methods.step import Batch
from switchrecon.physics.intensity import to_network
from switchrecon.physics.masks import draw_mask
from switchrecon.physics.operators import Coils, Encoding, Sampling, stacked, with_as_many_coils
from switchrecon.training.draws import DrawSource, StepDraws
from switchrecon.training.ranks import Share


def symmetries(config: Config, data: TrainingData) -> tuple[int, ...]:
    """Return the symmetries that augmentation draws from, the same for both domains.

    ``auto`` has quarter turns if the matrix is square and no mask has lines: a scanner has no line masks that are
    turned by a quarter.

    Raises
    ------
    ConfigError
        If ``augment`` asks for quarter turns of a matrix that is not square.
    """
    if config.augment == "none":
        return (0,)
    if config.augment == "flips":
        return FLIPS
    square = data.matrix[0] == data.matrix[1]
    lines = list(data.piles.values())[-1].has_lines
    if config.augment == "dihedral":
        if not square:
            raise ConfigError(f"augment 'dihedral' needs a square matrix, found {data.matrix}; use 'flips'")
        if lines:
            raise ConfigError("augment 'dihedral' would turn line masks across the lines; use 'flips'")
        return DIHEDRAL
    return DIHEDRAL if square and not lines else FLIPS


def epoch_length(data: TrainingData) -> int:
    """Slices of an epoch: those of the smaller pile."""
    return min(len(pile.slices) for pile in data.piles.values())


def steps_of(config: Config, data: TrainingData, samples: int) -> int:
    """Return the steps of the whole run, with this number of samples of each pile in a step."""
    if config.steps is not None:
        return config.steps
    return math.ceil((config.epochs or 50) * epoch_length(data) / samples)


class BatchItem(NamedTuple):
    """A sample of a batch: complex images and masks (H, W); how coils see them; x's k-space (n_coils, H, W)."""

    x: Tensor
    y: Tensor
    mask_x: Tensor
    mask_y: Tensor
    coils_x: Coils
    coils_y: Coils
    measured: Tensor


class Batches:
    """Draws the batch of any step.

    An epoch is one pass over the smaller pile; as many slices are drawn from the other one. Order, augmentation and z
    are seeded by the run's seed and the epoch or step, masks by mask.seed and the step.

    Parameters
    ----------
    data
        The piles.
    config
        The run's settings.
    pairing
        How x and y belong together.
    device
        Device of the slices and batches. Random draws are made on the CPU, so they do not depend on the device.
    share
        The samples of each step that are drawn here; all ``batch_size`` of them unless several processes share a step.
    """

    def __init__(
        self,
        data: TrainingData,
        config: Config,
        pairing: Pairing,
        device: torch.device = PROCESSOR,
        share: Share | None = None,
    ) -> None:
        self.share = share or Share(0, config.batch_size, config.batch_size)
        self.data = data.to(device)
        self.device = device
        self.config = config
        self.pairing = pairing
        changed = next((name for name in ("distortion", "contrast") if getattr(config, name) > 0), None)
        if pairing == "paired" and changed is not None and config.corruption.kind != "none":
            raise ConfigError(f"{changed} would undo the corruption of paired scans; do without one of them")
        self.symmetries = symmetries(config, data)
        self.center_fraction = data.centre_fraction(config)
        self.per_epoch = epoch_length(data)
        self.source = DrawSource(data, config, self.symmetries, device)
        size = (1, config.code_size)
        self.code = torch.randn(size, generator=torch_random("code", config.seed))

    @property
    def pixels(self) -> int:
        """Number of pixels of a batch's x."""
        return len(self.share) * math.prod(self.data.matrix)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return steps_of(self.config, self.data, self.share.total)

    def epoch(self, step: int) -> int:
        """Return the epoch that a step begins in."""
        return step * self.share.total // self.per_epoch

    def _draw(self, pile: Pile, domain: str, position: int) -> tuple[Slice, Slice]:
        """Return the slice at a position of the run, and the same moved by a symmetry."""
        epoch, place = divmod(position, self.per_epoch)
        order = numpy_random("order", domain, self.config.seed, epoch).permutation(len(pile.slices))
        choice = seed_for("symmetry", domain, self.config.seed, position) % len(self.symmetries)
        unmoved = pile.slices[order[place]]
        moved = unmoved.moved(self.symmetries[choice])
        if domain == "full" and self.config.distortion > 0:
            progress = position / (self.steps * self.share.total)
            random = numpy_random("distortion", self.config.seed, position)
            moved = moved.distorted(random, distortion_probability(self.config.distortion, progress))
        if domain == "full" and self.config.contrast > 0:
            random = numpy_random("contrast", self.config.seed, position)
            if random.uniform() < self.config.contrast:
                moved = moved.in_another_contrast(random, self.center_fraction)
        return unmoved, moved

    @property
    def _sub(self) -> Pile:
        assert self.data.sub is not None
        return self.data.sub

    def _equation_1_mask(self, unmoved: Slice, position: int) -> Tensor:
        """R for y in Eq. (1)."""
        kind, matrix = self.config.sampling_consistency_mask, self.data.matrix
        if kind == "slice":
            return unmoved.mask
        settings = self.config.mask.model_copy(update={"per": "dataset"})
        repeat = position if kind == "fresh" else None
        drawn = draw_mask(settings, matrix, volume=unmoved.volume, index=unmoved.index, repeat=repeat)
        return send(torch.from_numpy(drawn), self.device)

    def _z(self, position: int) -> Tensor:
        """Return one fixed random vector, plus noise drawn anew in every epoch or step; shape (1, code_size)."""
        period = position // self.per_epoch if self.config.code_renewed == "epoch" else position
        random = torch_random("code noise", self.config.seed, period)
        return send(self.code + self.config.code_noise * torch.randn(self.code.shape, generator=random), self.device)

    def _example(self, position: int) -> BatchItem:
        """Return x, y and their encodings."""
        if self.pairing in ("unpaired", "undersampled"):
            _, x = self._draw(self._sub, "sub", position)
            if self.data.full is None:  # X alone: y is not used
                return BatchItem(x.image, x.image, x.mask, x.mask, x.coils, x.coils, x.kspace)
            unmoved, y = self._draw(self.data.full, "full", position)
            mask_y = self._equation_1_mask(unmoved, position)
            return BatchItem(x.image, y.image, x.mask, mask_y, x.coils, y.coils, x.kspace)
        assert self.data.full is not None
        unmoved, y = self._draw(self.data.full, "full", position)
        mask = y.mask
        if self.pairing == "simulated":
            settings = self.config.simulated_mask or self.config.mask
            drawn = draw_mask(settings, self.data.matrix, volume=unmoved.volume, index=unmoved.index, repeat=position)
            mask = send(torch.from_numpy(drawn), self.device)
        encoding = Encoding(mask, y.coils)
        measured = Sampling(mask)(y.kspace)
        return BatchItem(encoding.H(measured), y.image, mask, mask, y.coils, y.coils, measured)

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, or this process's share of it, the same whenever it is asked for."""
        first = step * self.share.total
        positions = range(first + self.share.start, first + self.share.stop)
        examples = [self._example(p) for p in positions]
        x, y = torch.stack([e.x for e in examples]), torch.stack([e.y for e in examples])
        mask_x, mask_y = torch.stack([e.mask_x for e in examples]), torch.stack([e.mask_y for e in examples])
        measured = torch.stack(with_as_many_coils([e.measured for e in examples]))
        encoding_x = Encoding(mask_x, stacked([e.coils_x for e in examples]))
        encoding_y = Encoding(mask_y, stacked([e.coils_y for e in examples]))
        representation = self.config.representation
        z = torch.cat([self._z(p) for p in positions])
        draws = StepDraws(self.source, positions, y, encoding_x, encoding_y, measured)
        images = to_network(x, representation), to_network(y, representation)
        if representation == "magnitude":  # has no coils; Eq. (1) compares the Fourier transforms of magnitudes
            return Batch(*images, z, Encoding(mask_x), Encoding(mask_y), draws=draws)
        return Batch(*images, z, encoding_x, encoding_y, measured, draws)
