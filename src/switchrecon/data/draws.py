"""What some objectives draw besides x and y: simulated pairs, split samples, and other masks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from switchrecon.config import Config
from switchrecon.data.augment import move
from switchrecon.data.piles import TrainingData
from switchrecon.fourier import fourier, inverse_fourier
from switchrecon.masks import centre_slice, draw_mask, line_wise
from switchrecon.operators import Sampling
from switchrecon.scaling import to_network
from switchrecon.seeds import numpy_random

if TYPE_CHECKING:
    from switchrecon.passes import Draws

LEAST_DENSITY = 0.02  # of a sample that the pile's masks never have, so that no weight is infinite


class StepDraws:
    """The draws of one step; see :class:`switchrecon.passes.Draws`.

    Parameters
    ----------
    source
        What is the same in every step.
    positions
        Of the batch's samples in the run; they seed the draws.
    x, y
        Complex images (B, H, W).
    mask_x
        x's masks (B, H, W).
    """

    def __init__(self, source: "DrawSource", positions: Sequence[int], x: Tensor, y: Tensor, mask_x: Tensor) -> None:
        self.source = source
        self.positions = positions
        self.x, self.y, self.mask_x = x, y, mask_x

    def pair(self) -> tuple[Tensor, Tensor]:
        """y as X would show it, and the mask that it is sampled with: one of X's own, or drawn by the settings."""
        masks = torch.stack([self.source.mask("pair mask", position) for position in self.positions])
        sampled = inverse_fourier(Sampling(masks)(fourier(self.y)))
        return to_network(sampled, self.source.config.representation), masks

    def split(self) -> tuple[Tensor, Tensor, Tensor]:
        """x's samples in two: the image of the kept ones, their mask, and weights of the held-out ones."""
        own = [self.source.split(mask, p) for mask, p in zip(self.mask_x, self.positions, strict=True)]
        kept, weights = (torch.stack(list(part)) for part in zip(*own, strict=True))
        image = inverse_fourier(Sampling(kept)(fourier(self.x)))
        return to_network(image, self.source.config.representation), kept, weights

    def turned(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The image moved by a symmetry, and another mask."""
        moved, masks = [], []
        for own, position in zip(image, self.positions, strict=True):
            random = numpy_random("turn", self.source.config.seed, position)
            moved.append(move(own, self.source.symmetries[random.randint(len(self.source.symmetries))]))
            masks.append(self.source.mask("turned mask", position))
        return torch.stack(moved), torch.stack(masks)


class DrawSource:
    """What the draws of every step come from: X's masks, their density, and the symmetries.

    Parameters
    ----------
    data
        The piles.
    config
        The run's settings.
    symmetries
        That augmentation draws from.
    """

    def __init__(self, data: TrainingData, config: Config, symmetries: tuple[int, ...]) -> None:
        self.data = data
        self.config = config
        self.symmetries = symmetries
        self.masks = [own.mask for own in data.sub.slices] if data.sub is not None else []
        self.centre = _centre(data, config)
        self._density: Tensor | None = None

    def mask(self, purpose: str, position: int) -> Tensor:
        """One of X's masks, moved by a symmetry; one drawn by the settings where there is no X."""
        random = numpy_random(purpose, self.config.seed, position)
        if self.masks:
            chosen = self.masks[random.randint(len(self.masks))]
            return move(chosen, self.symmetries[random.randint(len(self.symmetries))])
        settings, matrix = self.config.mask, self.data.matrix
        return torch.from_numpy(draw_mask(settings, matrix, volume=purpose, index=0, repeat=position))

    @property
    def density(self) -> Tensor:
        """P(a sample is measured), the mean of X's masks and their symmetric copies; (H, W) in (0, 1]."""
        if self._density is None:
            total = torch.zeros(self.data.matrix)
            for mask in self.masks:
                total += mask
            copies = torch.stack([move(total / len(self.masks), symmetry) for symmetry in self.symmetries])
            self._density = copies.mean(0).clamp_min(LEAST_DENSITY)
        return self._density

    def split(self, mask: Tensor, position: int) -> tuple[Tensor, Tensor]:
        """Kept samples Θ (boolean) and the held-out ones' weights 1 / P(j ∈ Λ | j ∉ Θ), zero elsewhere; both (H, W).

        The centre is always kept. Line masks are split by lines, others by points.
        """
        random = numpy_random("split", self.config.seed, position)
        height, width = mask.shape
        if line_wise(mask):
            rows = bool((mask == mask[:, :1]).all())
            drawn = random.uniform(size=(height, 1) if rows else (1, width)) < self.config.kept_part
        else:
            drawn = random.uniform(size=(height, width)) < self.config.kept_part
        keep = torch.from_numpy(np.broadcast_to(drawn, (height, width)).copy()) | self.centre
        kept, held = mask & keep, mask & ~keep
        part = self.config.kept_part
        weight = (1 - self.density * part) / (self.density * (1 - part))
        return kept, weight * held


def _centre(data: TrainingData, config: Config) -> Tensor:
    """The centre that is never held out: the fully measured one, over both sides."""
    height, width = data.matrix
    fraction = data.centre_fraction(config)
    centre = torch.zeros(height, width, dtype=torch.bool)
    centre[centre_slice(height, fraction), centre_slice(width, fraction)] = True
    lines = data.sub.slices[0].mask if data.sub is not None else None
    if lines is not None and line_wise(lines):
        rows = bool((lines == lines[:, :1]).all())
        if rows:
            centre[centre_slice(height, fraction)] = True
        else:
            centre[:, centre_slice(width, fraction)] = True
    return centre


if TYPE_CHECKING:
    _checked: type[Draws] = StepDraws
