"""Calibrated simulation: images of Y made to look as the scanner of X would have shown them.

Everything is taken from what X's slices hold without aliases: the images of their fully measured centre, and their
outermost samples. Nothing needs a fully sampled image of X.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from switchrecon.config import Calibration
from switchrecon.data.piles import Pile, Slice
from switchrecon.data.slices import Slices
from switchrecon.physics.fourier import fourier
from switchrecon.physics.intensity import low_resolution
from switchrecon.physics.noise import noise_level

FOREGROUND = 0.1  # of the brightest pixel of a slice's low-resolution image
QUANTILES = np.linspace(0, 1, 33)
MOST_SLICES = 500  # of a pile whose intensities are looked at: all their pixels are in memory together


class Calibrator:
    """Maps images of Y to X's intensities, phases and noise.

    Parameters
    ----------
    full, sub
        Y and X, scaled.
    fraction
        The k-space centre that all of X has measured.
    parts
        Which of ``intensity``, ``noise`` and ``phase`` are calibrated.
    """

    def __init__(self, full: Pile, sub: Pile, fraction: float, parts: Sequence[Calibration]) -> None:
        self.fraction = fraction
        self.parts = frozenset(parts)
        self.slices = sub.slices
        if "intensity" in self.parts:
            self.knots = self._quantiles(full.slices), self._quantiles(sub.slices)
        if "noise" in self.parts:
            levels = [noise_level(own.kspace.numpy(), own.mask.numpy()) for own in sub.slices]
            self.levels = [level for level in levels if np.isfinite(level)]
            everywhere = np.ones(full.slices[0].mask.shape, dtype=bool)
            self.combined = full.slices[0].coils.alike
            self.own_level = float(np.median([noise_level(own.kspace.numpy(), everywhere) for own in full.slices]))

    def image(self, own: Tensor, random: RandomState) -> Tensor:
        """Return an image of Y with X's intensities and the low-resolution phase of one of X's slices; complex (H, W).

        Intensities are mapped by the monotone function that takes the quantiles of Y's low-resolution magnitudes to
        X's; phases keep what is finer than the centre of k-space.
        """
        if "intensity" in self.parts:
            magnitude = own.abs()
            from_y, to_x = self.knots
            mapped = np.interp(magnitude.numpy(), from_y, to_x)
            beyond = magnitude.numpy() > from_y[-1]  # finer details are brighter than any low-resolution image
            mapped[beyond] = magnitude.numpy()[beyond] * (to_x[-1] / from_y[-1])
            own = torch.sgn(own) * torch.from_numpy(mapped.astype(np.float32))
        if "phase" in self.parts:
            own_phase = torch.sgn(low_resolution(fourier(own), self.fraction))
            other = self.slices[random.randint(len(self.slices))]
            own = own * own_phase.conj() * torch.sgn(other.low_resolution(self.fraction))
        return own

    def noise(self, own: Tensor, kspace: Tensor, random: RandomState) -> Tensor:
        """Noise for k-space (n_coils, H, W) of an image (H, W) of Y, up to the level of one of X's slices.

        None is added to an image that is noisier than that.
        """
        if "noise" not in self.parts or not self.levels:
            return torch.zeros_like(kspace)
        there = self.own_level  # of Y's coils; a combined image has no noise outside their maps
        if self.combined:
            there = noise_level(fourier(own).numpy(), np.ones(own.shape, dtype=bool))
        wanted = self.levels[random.randint(len(self.levels))]
        missing = max(wanted**2 - there**2, 0.0) ** 0.5 if np.isfinite(there) else wanted
        real, imaginary = random.normal(scale=missing, size=(2, *kspace.shape))
        return torch.complex(torch.from_numpy(real).float(), torch.from_numpy(imaginary).float())

    def _quantiles(self, slices: Sequence[Slice]) -> np.ndarray:
        """Quantiles of the foreground's magnitudes in evenly spread slices, after a 0: increasing, float64."""
        magnitudes = (own.low_resolution(self.fraction).abs() for own in Slices.of(slices).thinned(MOST_SLICES))
        foreground = torch.cat([own[own > FOREGROUND * own.max()] for own in magnitudes])
        return np.maximum.accumulate(np.concatenate([[0.0], np.quantile(foreground.double().numpy(), QUANTILES)]))
