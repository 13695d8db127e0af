"""Further random draws for objectives: simulated pairs, split samples, and other masks."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from switchrecon.config import Config
from switchrecon.core.device import send
from switchrecon.core.seeds import numpy_random
from switchrecon.data.augment import move
from switchrecon.data.calibration import Calibrator
from switchrecon.data.coils import maps_region
from switchrecon.data.piles import TrainingData
from switchrecon.methods.step import Drawn, Draws, Turn
from switchrecon.physics.intensity import to_network
from switchrecon.physics.masks import Direction, centre_slice, draw_mask, line_direction
from switchrecon.physics.operators import Encoding

LEAST_DENSITY = 0.02  # density of samples that no mask of the pile has, so that no weight is infinite


class StepDraws:
    """The draws of one step; see :class:`switchrecon.methods.step.Draws`.

    Parameters
    ----------
    source
        Source of the draws, the same in every step.
    positions
        Positions of the batch's slices in the run; they are the seeds of the draws.
    y
        Complex images (B, H, W).
    encoding_x, encoding_y
        Encoding of x, and an encoding with the coils of y.
    measured
        x's k-space, complex (B, n_coils, H, W).
    """

    def __init__(
        self,
        source: "DrawSource",
        positions: Sequence[int],
        y: Tensor,
        encoding_x: Encoding,
        encoding_y: Encoding,
        measured: Tensor,
    ) -> None:
        self.source = source
        self.positions = positions
        self.y, self.encoding_x, self.encoding_y, self.measured = y, encoding_x, encoding_y, measured

    def pair(self) -> Drawn:
        """y as X would show it, with y's coils and a mask that is one of X's own, or drawn by the settings."""
        masks = [self.source.mask("pair mask", position) for position in self.positions]
        encoding = self.encoding_y.sampled_by(torch.stack(masks))
        images, kspace = self.y, encoding(self.y)
        calibrator = self.source.calibrator
        if calibrator is not None:
            randoms = [numpy_random("calibration", self.source.config.seed, position) for position in self.positions]
            images = torch.stack([calibrator.image(y, random) for y, random in zip(self.y.cpu(), randoms, strict=True)])
            drawn = zip(images, kspace.cpu(), randoms, strict=True)
            noise = torch.stack([calibrator.noise(y, k, random) for y, k, random in drawn])
            images = images.to(self.y.device)
            kspace = encoding(images) + noise.to(self.y.device)
        representation = self.source.config.representation
        return to_network(encoding.H(kspace), representation), encoding, to_network(images, representation)

    def split(self) -> Drawn:
        """Split x's samples: return the image of the kept ones, their encoding, and weights of the others."""
        splits = [self.source.split(mask, p) for mask, p in zip(self.encoding_x.mask, self.positions, strict=True)]
        kept, weights = (torch.stack(list(part)) for part in zip(*splits, strict=True))
        encoding = self.encoding_x.sampled_by(kept)
        return to_network(encoding.H(self.measured), self.source.config.representation), encoding, weights

    def turn(self) -> Turn:
        """Return a symmetry for each image, and the encoding with x's coils turned by it and another mask."""
        symmetries, masks = [], []
        for position in self.positions:
            random = numpy_random("turn", self.source.config.seed, position)
            symmetries.append(self.source.symmetries[random.randint(len(self.source.symmetries))])
            masks.append(self.source.mask("turned mask", position))

        def turned(maps: Tensor) -> Tensor:
            return torch.stack([move(one, symmetry) for one, symmetry in zip(maps, symmetries, strict=True)])

        places = torch.stack([self.source.places[symmetry] for symmetry in symmetries])
        return places, Encoding(torch.stack(masks), self.encoding_x.coils.changed(turned))


class DrawSource:
    """Source of the draws of all steps: the masks of X, their density, and the symmetries.

    Parameters
    ----------
    data
        The piles, on the CPU, where everything that is computed only once is computed.
    config
        The run's settings.
    symmetries
        Symmetries of augmentation.
    device
        Device on which the draws are used.
    """

    def __init__(
        self,
        data: TrainingData,
        config: Config,
        symmetries: tuple[int, ...],
        device: torch.device,
    ) -> None:
        self.data = data
        self.device = device
        self.config = config
        self.symmetries = symmetries
        self.masked = data.sub.sources if data.sub is not None else ()
        measured = data.sub or data.full  # paired methods sample references with the references' masks
        assert measured is not None
        self.sampled = measured

    def mask(self, purpose: str, position: int) -> Tensor:
        """Return one of X's masks, moved by a symmetry; one drawn by the settings where there is no X."""
        random = numpy_random(purpose, self.config.seed, position)
        if self.masked:
            chosen = send(self.masked[random.randint(len(self.masked))].mask, self.device)
            return move(chosen, self.symmetries[random.randint(len(self.symmetries))])
        settings, matrix = self.config.simulated_mask or self.config.mask, self.data.matrix
        drawn = draw_mask(settings, matrix, volume=purpose, index=0, repeat=position)
        return send(torch.from_numpy(drawn), self.device)

    @cached_property
    def calibrator(self) -> Calibrator | None:
        """Calibrator that makes simulated pairs look like X; None if nothing is calibrated or there is no X."""
        full, sub, parts = self.data.full, self.data.sub, self.config.calibrate
        if not parts or full is None or sub is None:
            return None
        return Calibrator(full, sub, self.data.centre_fraction(self.config), parts)

    @cached_property
    def directions(self) -> set[Direction]:
        """Directions of the lines of X's masks, which no symmetry in use turns; None for points."""
        return {one.line_direction for one in self.sampled.sources}

    @cached_property
    def places(self) -> dict[int, Tensor]:
        """For each symmetry, where each pixel comes from: int64 (H W)."""
        height, width = self.data.matrix
        pixels = torch.arange(height * width, device=self.device).view(height, width)
        return {symmetry: move(pixels, symmetry).flatten() for symmetry in self.symmetries}

    @cached_property
    def centre(self) -> Tensor:
        """The centre that is never held out, (H, W): samples that every mask has, for line masks whole lines.

        With several coils it is at least the region that the coil sensitivity maps were estimated from.
        """
        height, width = self.data.matrix
        fraction = self.data.centre_fraction(self.config)
        parts = (fraction, fraction)
        if not self.sampled.slices[0].coils.alike:
            region = maps_region([one.mask.numpy() for one in self.sampled.sources])
            parts = max(fraction, region[0] / height), max(fraction, region[1] / width)
        rows, columns = centre_slice(height, parts[0]), centre_slice(width, parts[1])
        direction = self.sampled.sources[0].line_direction
        centre = torch.zeros(height, width, dtype=torch.bool)
        centre[rows if direction != "columns" else slice(None), columns if direction != "rows" else slice(None)] = True
        return centre.to(self.device)

    @cached_property
    def density(self) -> Tensor:
        """Probability that a sample is measured: mean of X's masks and their symmetric copies, (H, W) in (0, 1]."""
        total = torch.zeros(self.data.matrix)
        for one in self.sampled.sources:
            total += one.mask
        copies = torch.stack([move(total / len(self.sampled.sources), symmetry) for symmetry in self.symmetries])
        return copies.mean(0).clamp_min(LEAST_DENSITY).to(self.device)

    def split(self, mask: Tensor, position: int) -> tuple[Tensor, Tensor]:
        """Return the kept samples Θ, boolean, and weights 1 / P(j ∈ Λ | j ∉ Θ) of the held-out ones; both (H, W).

        Weights are 0 elsewhere. The centre is always kept. Line masks are split by lines, others by points.
        """
        random = numpy_random("split", self.config.seed, position)
        height, width = mask.shape
        known = self.directions  # so that no mask has to be read from a GPU
        direction = next(iter(known)) if len(known) == 1 else line_direction(mask)
        size = {"rows": (height, 1), "columns": (1, width), None: (height, width)}[direction]
        drawn = random.uniform(size=size) < self.config.kept_part
        keep = send(torch.from_numpy(np.broadcast_to(drawn, (height, width)).copy()), self.device) | self.centre
        kept, held = mask & keep, mask & ~keep
        part = self.config.kept_part
        weight = (1 - self.density * part) / (self.density * (1 - part))
        return kept, weight * held


_checked: type[Draws] = StepDraws  # for the type checker
