"""Batches: what is drawn for each training step, from the step's number alone."""

import math

import torch
from torch import Tensor

from switchrecon.config import Config
from switchrecon.data.augment import DIHEDRAL, FLIPS, move
from switchrecon.data.draws import DrawSource, StepDraws
from switchrecon.data.piles import Pile, Slice, TrainingData
from switchrecon.errors import ConfigError
from switchrecon.fourier import fourier, inverse_fourier
from switchrecon.masks import draw_mask, line_wise
from switchrecon.methods import Pairing
from switchrecon.operators import Sampling
from switchrecon.passes import Batch
from switchrecon.scaling import to_network
from switchrecon.seeds import numpy_random, seed_for, torch_random


def symmetries(config: Config, data: TrainingData) -> tuple[int, ...]:
    """The symmetries that augmentation draws from, the same for both domains.

    ``auto`` takes quarter turns where the matrix is square and no mask is line-wise: a quarter turn of a line
    mask is not a mask that the scanner has.

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
    lines = any(line_wise(s.mask) for s in list(data.piles.values())[-1].slices)
    if config.augment == "dihedral":
        if not square:
            raise ConfigError(f"augment 'dihedral' needs a square matrix, found {data.matrix}; use 'flips'")
        if lines:
            raise ConfigError("augment 'dihedral' would turn line masks across the lines; use 'flips'")
        return DIHEDRAL
    return DIHEDRAL if square and not lines else FLIPS


class Batches:
    """Draws the batch of any step.

    An epoch is one pass over the smaller pile; as many slices are drawn from the other one. Order, augmentation,
    fresh masks and z are seeded by the run's seed and the epoch or step.

    Parameters
    ----------
    data
        The piles.
    config
        The run's settings.
    pairing
        How x and y belong together.
    """

    def __init__(self, data: TrainingData, config: Config, pairing: Pairing) -> None:
        self.data = data
        self.config = config
        self.pairing = pairing
        self.symmetries = symmetries(config, data)
        self.per_epoch = min(len(pile.slices) for pile in data.piles.values())
        self.source = DrawSource(data, config, self.symmetries)
        size = (1, config.code_size)
        self.code = torch.randn(size, generator=torch_random("code", config.seed))

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        if self.config.steps is not None:
            return self.config.steps
        return math.ceil((self.config.epochs or 50) * self.per_epoch / self.config.batch_size)

    def epoch(self, step: int) -> int:
        """The epoch that a step begins in."""
        return step * self.config.batch_size // self.per_epoch

    def _draw(self, pile: Pile, domain: str, position: int) -> tuple[Slice, int]:
        """The slice at a position of the run, and its symmetry."""
        epoch, place = divmod(position, self.per_epoch)
        order = numpy_random("order", domain, self.config.seed, epoch).permutation(len(pile.slices))
        choice = seed_for("symmetry", domain, self.config.seed, position) % len(self.symmetries)
        return pile.slices[order[place]], self.symmetries[choice]

    @property
    def _sub(self) -> Pile:
        assert self.data.sub is not None
        return self.data.sub

    def _equation_1_mask(self, own: Slice, position: int) -> Tensor:
        """R for y in Eq. (1)."""
        kind, matrix = self.config.sampling_consistency_mask, self.data.matrix
        if kind == "slice":
            return own.mask
        settings = self.config.mask.model_copy(update={"per": "dataset"})
        repeat = position if kind == "fresh" else None
        drawn = draw_mask(settings, matrix, volume=own.volume, index=own.index, repeat=repeat)
        return torch.from_numpy(drawn)

    def _z(self, position: int) -> Tensor:
        """One fixed random vector, plus noise drawn anew in every epoch or step; shape (1, code_size)."""
        period = position // self.per_epoch if self.config.code_renewed == "epoch" else position
        random = torch_random("code noise", self.config.seed, period)
        return self.code + self.config.code_noise * torch.randn(self.code.shape, generator=random)

    def _example(self, position: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Complex x and y, and their masks, each (H, W)."""
        if self.data.full is None:  # X alone: there is no y, and nothing looks at it
            sub, sub_symmetry = self._draw(self._sub, "sub", position)
            x, mask = move(sub.image, sub_symmetry), move(sub.mask, sub_symmetry)
            return x, x, mask, mask
        own, symmetry = self._draw(self.data.full, "full", position)
        y = move(own.image, symmetry)
        if self.pairing == "unpaired":
            sub, sub_symmetry = self._draw(self._sub, "sub", position)
            mask_y = self._equation_1_mask(own, position)
            return move(sub.image, sub_symmetry), y, move(sub.mask, sub_symmetry), mask_y
        if self.pairing == "paired":
            mask = move(own.mask, symmetry)
        else:
            drawn = draw_mask(self.config.mask, self.data.matrix, volume=own.volume, index=own.index, repeat=position)
            mask = torch.from_numpy(drawn)
        return inverse_fourier(Sampling(mask)(fourier(y))), y, mask, mask

    def batch(self, step: int) -> Batch:
        """The batch of a step, the same whenever it is asked for."""
        first = step * self.config.batch_size
        positions = range(first, first + self.config.batch_size)
        x, y, mask_x, mask_y = (
            torch.stack(list(part)) for part in zip(*(self._example(p) for p in positions), strict=True)
        )
        representation = self.config.representation
        z = torch.cat([self._z(p) for p in positions])
        draws = StepDraws(self.source, positions, x, y, mask_x)
        return Batch(to_network(x, representation), to_network(y, representation), z, mask_x, mask_y, draws)
