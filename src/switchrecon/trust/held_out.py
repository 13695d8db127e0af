"""The error on measured samples that the reconstruction did not see: no truth is needed.

The lines (or points) outside the centre are divided into folds. Each fold is left out, the image is reconstructed from
the others and compared with what was measured there. The figure is that of a sparser scan, so it is pessimistic.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from switchrecon.core.seeds import numpy_random
from switchrecon.physics.operators import Encoding
from switchrecon.trust.sampling import CENTRE, FEWEST, is_regular, units, weights

FOLDS = 4
Estimate = Callable[[Tensor, Encoding], Tensor]
"""Measured k-space (N, n_coils, H, W) and what measured it, to images with their phase, complex (N, H, W)."""

REGULAR = "no statement: the samples outside the centre are equally spaced, and those between are never measured"
MISSING = "no statement: a part of k-space outside the centre was never measured"
FEW = "no statement: too few lines or points were measured outside the centre"


@dataclass(frozen=True)
class HeldOut:
    """Errors on samples that were left out.

    Attributes
    ----------
    errors
        One a slice: Σ w (|F S x − y|² − 2σ²) / Σ w |y|², w one over the density of samples, over the samples outside
        the centre, each when it was left out; not under 0. NaN where there is no statement.
    error
        The same over all slices.
    reason
        Why there is no statement for the first slice without one; empty where all have one.
    """

    errors: tuple[float, ...]
    error: float
    reason: str = ""


def held_out(
    estimate: Estimate,
    kspace: Tensor,
    encoding: Encoding,
    sigma: Tensor,
    center_fraction: float,
    name: str,
    numbers: Sequence[int],
    folds: int = FOLDS,
) -> HeldOut:
    """Measure the error on samples that are left out.

    Parameters
    ----------
    estimate
        The reconstruction.
    kspace, encoding
        What was measured, complex (N, n_coils, H, W), and A.
    sigma
        The noise of each slice, (N,); where it is NaN nothing is subtracted.
    center_fraction
        The centre of k-space that is never left out.
    name, numbers
        The name and numbers of the scan and its slices: what the folds are drawn by.
    folds
        So many reconstructions.
    """
    masks = encoding.mask.cpu().numpy()
    reasons, assigned, weighted = [], [], []
    for mask, number in zip(masks, numbers, strict=True):
        free, known = units(mask, center_fraction), weights(mask, center_fraction)
        few = free.max() + 1 < max(FEWEST, folds)
        regular = is_regular(mask, center_fraction)
        reasons.append(FEW if few else REGULAR if regular else MISSING if known is None else "")
        order = numpy_random("held-out folds", name, number).permutation(max(free.max() + 1, 1))
        assigned.append(np.where(free == CENTRE, folds, order[free] % folds))
        weighted.append(np.zeros(mask.shape) if known is None else known)
    spoken = [index for index, reason in enumerate(reasons) if not reason]
    if not spoken:
        return HeldOut((math.nan,) * len(masks), math.nan, reasons[0])
    fold = torch.from_numpy(np.stack(assigned))[spoken]
    weight = torch.from_numpy(np.stack(weighted))[spoken]
    kspace, encoding = kspace[spoken], Encoding(encoding.mask[spoken], encoding.coils.changed(lambda m: m[spoken]))
    variance = 2 * sigma[spoken].double().nan_to_num(0).square()[:, None, None, None]
    error = torch.zeros(len(spoken), dtype=torch.float64)
    for left in range(folds):
        out = fold == left
        kept = encoding.sampled_by(encoding.mask & ~out)
        image = estimate(kspace * ~out[:, None], kept)
        wrong = (encoding.sampled_by(out)(image) - kspace).abs().double().square() - variance
        error += (wrong * (weight * out)[:, None] * _real(encoding)).sum((-3, -2, -1))
    energy = (kspace.abs().double().square() * weight[:, None]).sum((-3, -2, -1))
    errors = torch.full((len(masks),), math.nan, dtype=torch.float64)
    errors[spoken] = torch.where(energy > 0, error / energy, math.nan).clamp_min(0)
    whole = float(error.sum() / energy.sum()) if energy.sum() > 0 else math.nan
    return HeldOut(tuple(errors.tolist()), max(whole, 0.0), next(filter(None, reasons), ""))


def _real(encoding: Encoding) -> Tensor | float:
    """1 for coils and 0 for those that only fill up a batch, (N, n_coils, 1, 1)."""
    maps = encoding.maps
    return 1.0 if maps is None else maps.flatten(-2).any(-1).double()[..., None, None]
