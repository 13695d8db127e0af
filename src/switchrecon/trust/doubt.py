"""Raw doubt: how far the image moves when a part of what was measured is left out.

Raw doubt has no unit of error; a calibration gives it one, see :mod:`switchrecon.trust.calibration`. What a network
always does in the same way is not doubted.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from switchrecon.core.seeds import numpy_random
from switchrecon.physics.measured import brightest
from switchrecon.physics.operators import Encoding
from switchrecon.trust.held_out import Estimate
from switchrecon.trust.sampling import CENTRE, units

PASSES = 8
DROPPED = 0.4  # of the lines or points outside the centre, in a pass
SIDE = 5  # pixels of the square that squares are averaged over: eight passes say little of a single pixel
LEAST = 0.01  # of the 99th percentile: what is added to raw doubt, if the noise is no more


def doubt(
    estimate: Estimate,
    kspace: Tensor,
    encoding: Encoding,
    image: Tensor,
    center_fraction: float,
    name: str,
    numbers: Sequence[int],
    passes: int = PASSES,
) -> Tensor:
    """Return the root mean square, over passes and neighbours, of | |x_i| − |x| |: float32 (N, H, W).

    Parameters
    ----------
    estimate
        The reconstruction.
    kspace, encoding
        What was measured, complex (N, n_coils, H, W), and A.
    image
        x, what ``estimate`` made of it, (N, H, W).
    center_fraction
        The centre of k-space that is never left out.
    name, numbers
        Of the scan and its slices: what each pass is drawn by.
    passes
        K ≥ 1 reconstructions.
    """
    total = torch.zeros_like(image.abs())
    free = [units(mask, center_fraction) for mask in encoding.mask.cpu().numpy()]
    for each in range(passes):
        kept = encoding.mask & ~_dropped(free, [numpy_random("doubt", name, number, each) for number in numbers])
        total += (estimate(kspace * kept[:, None], encoding.sampled_by(kept)).abs() - image.abs()).square()
    near = F.avg_pool2d(total[:, None] / passes, SIDE, 1, SIDE // 2, count_include_pad=False)
    return near[:, 0].sqrt()


def softened(raw: Tensor, image: Tensor, sigma: Tensor) -> Tensor:
    """Raw doubt + ε: ε is σ, but at least 1 % of the slice's 99th percentile, so that no pixel is beyond doubt.

    Parameters
    ----------
    raw, image
        (N, H, W).
    sigma
        (N,); NaN where unknown.
    """
    return raw + torch.maximum(LEAST * brightest(image), sigma.nan_to_num(0)[:, None, None].to(raw))


def _dropped(free: Sequence[np.ndarray], draws: Sequence[np.random.RandomState]) -> Tensor:
    """Where samples are left out, boolean (N, H, W): at least one line or point, where there is one."""
    masks = []
    for numbers, random in zip(free, draws, strict=True):
        count = numbers.max() + 1
        chosen = random.permutation(max(count, 1))[: max(round(DROPPED * count), 1)]
        masks.append((numbers != CENTRE) & np.isin(numbers, chosen))
    return torch.from_numpy(np.stack(masks))
