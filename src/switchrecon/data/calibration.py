"""Calibrated simulation: change images of Y so that they look as if the scanner of X had measured them.

All that is needed comes from parts of X's slices that undersampling does not alias: images of the fully measured
centre of k-space, and the outermost samples. No fully sampled image of X is needed.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from switchrecon.config import CalibratedPart
from switchrecon.data.piles import Pile, Slice
from switchrecon.data.slices import Slices
from switchrecon.physics.fourier import fourier
from switchrecon.physics.intensity import low_resolution
from switchrecon.physics.noise import noise_level

FOREGROUND = 0.1  # brighter than this fraction of the brightest pixel of a slice's low-resolution image
QUANTILES = np.linspace(0, 1, 33)
MOST_SLICES = 500  # slices of a pile whose intensities are used: all their pixels are in memory at once


class Calibrator:
    """Maps images of Y to X's intensities, phases and noise.

    Parameters
    ----------
    full, sub
        Y and X, scaled.
    fraction
        The k-space centre that all of X has measured.
    parts
        What is calibrated: some of ``intensity``, ``noise`` and ``phase``.
    """

    def __init__(self, full: Pile, sub: Pile, fraction: float, parts: Sequence[CalibratedPart]) -> None:
        self.fraction = fraction
        self.parts = frozenset(parts)
        self.slices = sub.slices
        if "intensity" in self.parts:
            self.knots = self._quantiles(full.slices), self._quantiles(sub.slices)
        if "noise" in self.parts:
            levels = [noise_level(one.kspace.numpy(), one.mask.numpy()) for one in sub.slices]
            self.levels = [level for level in levels if np.isfinite(level)]
            everywhere = np.ones(full.slices[0].mask.shape, dtype=bool)
            self.combined = full.slices[0].coils.alike
            self.full_level = float(np.median([noise_level(one.kspace.numpy(), everywhere) for one in full.slices]))

    def image(self, image: Tensor, random: RandomState) -> Tensor:
        """Return an image of Y with the intensities of X and the low-resolution phase of one slice of X.

        Intensities are mapped by the monotone function that takes the quantiles of Y's low-resolution magnitudes to
        those of X. Phase that is finer than the centre of k-space is kept. Complex (H, W) → complex (H, W).
        """
        if "intensity" in self.parts:
            magnitude = image.abs()
            from_y, to_x = self.knots
            mapped = np.interp(magnitude.numpy(), from_y, to_x)
            beyond = magnitude.numpy() > from_y[-1]  # finer details are brighter than any low-resolution image
            mapped[beyond] = magnitude.numpy()[beyond] * (to_x[-1] / from_y[-1])
            image = torch.sgn(image) * torch.from_numpy(mapped.astype(np.float32))
        if "phase" in self.parts:
            phase = torch.sgn(low_resolution(fourier(image), self.fraction))
            other = self.slices[random.randint(len(self.slices))]
            image = image * phase.conj() * torch.sgn(other.low_resolution(self.fraction))
        return image

    def noise(self, image: Tensor, kspace: Tensor, random: RandomState) -> Tensor:
        """Draw noise for k-space (n_coils, H, W) of an image (H, W) of Y, up to the noise level of one slice of X.

        It is zero if the image is already noisier.
        """
        if "noise" not in self.parts or not self.levels:
            return torch.zeros_like(kspace)
        there = self.full_level  # of the coils of Y; a combined image has no noise outside their maps
        if self.combined:
            there = noise_level(fourier(image).numpy(), np.ones(image.shape, dtype=bool))
        wanted = self.levels[random.randint(len(self.levels))]
        missing = max(wanted**2 - there**2, 0.0) ** 0.5 if np.isfinite(there) else wanted
        real, imaginary = random.normal(scale=missing, size=(2, *kspace.shape))
        return torch.complex(torch.from_numpy(real).float(), torch.from_numpy(imaginary).float())

    def _quantiles(self, slices: Sequence[Slice]) -> np.ndarray:
        """Return 0 and the quantiles of foreground magnitudes in evenly spread slices: increasing, float64."""
        magnitudes = (one.low_resolution(self.fraction).abs() for one in Slices.of(slices).thinned(MOST_SLICES))
        foreground = torch.cat([image[image > FOREGROUND * image.max()] for image in magnitudes])
        return np.maximum.accumulate(np.concatenate([[0.0], np.quantile(foreground.double().numpy(), QUANTILES)]))
