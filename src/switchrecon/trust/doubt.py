"""Raw doubt: how far the image moves when the scan is changed within what it leaves open.

Some passes leave out measured lines and add noise of the scan's level. The others move the estimate by a symmetry,
measure it again with the same mask and coils, and move the new estimate back (equivariant bootstrap, Tachella and
Pereyra 2023). Raw doubt has no unit of error; a calibration gives it one, see :mod:`switchrecon.trust.calibration`.
What a network always does in the same way moves with the image, and is not doubted.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from switchrecon.core.seeds import numpy_random
from switchrecon.data.augment import move
from switchrecon.physics.measured import brightest
from switchrecon.physics.operators import Encoding
from switchrecon.trust.held_out import Estimate
from switchrecon.trust.sampling import CENTRE, units

PASSES = 8
DROPPED = 0.1  # of the lines or points outside the centre, in a pass
SHIFT = 0.1  # of a side, at most, that a symmetry moves the image by
LEAST = 0.01  # of the 99th percentile: what is added to raw doubt, if the noise is no more


def doubt(
    estimate: Estimate,
    kspace: Tensor,
    encoding: Encoding,
    image: Tensor,
    sigma: Tensor,
    center_fraction: float,
    name: str,
    numbers: Sequence[int],
    passes: int = PASSES,
) -> Tensor:
    """Return the root mean square over the passes of | |x_i| − |x| |, float32 (N, H, W).

    Parameters
    ----------
    estimate
        The reconstruction.
    kspace, encoding
        What was measured, complex (N, n_coils, H, W), and A.
    image
        x, what ``estimate`` made of it, complex (N, H, W).
    sigma
        The noise of each slice, (N,); where it is NaN none is added.
    center_fraction
        The centre of k-space that is never left out.
    name, numbers
        Of the scan and its slices: what each pass is drawn by.
    passes
        K ≥ 1; every second one leaves out lines.
    """
    total = torch.zeros_like(image.abs())
    free = [units(mask, center_fraction) for mask in encoding.mask.cpu().numpy()]
    for each in range(passes):
        draws = [numpy_random("doubt", name, number, each) for number in numbers]
        noise = _noise(kspace, sigma, draws)
        if each % 2 == 0:
            kept = encoding.mask & ~_dropped(free, draws)
            other = estimate((kspace + noise) * kept[:, None], encoding.sampled_by(kept))
        else:
            moves = [_draw_move(random, image.shape[-2:], each // 2) for random in draws]
            moved = torch.stack([_moved(own, *how) for own, how in zip(image, moves, strict=True)])
            again = estimate(encoding(moved) + noise * encoding.mask[:, None], encoding)
            other = torch.stack([_back(own, *how) for own, how in zip(again, moves, strict=True)])
        total += (other.abs() - image.abs()).square()
    return (total / passes).sqrt()


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


def _noise(kspace: Tensor, sigma: Tensor, draws: Sequence[np.random.RandomState]) -> Tensor:
    parts = np.stack([random.normal(size=(2, *kspace.shape[1:])) for random in draws]).astype(np.float32)
    noise = torch.complex(torch.from_numpy(parts[:, 0]), torch.from_numpy(parts[:, 1]))
    return noise * sigma.nan_to_num(0).to(noise.real)[:, None, None, None]


def _dropped(free: Sequence[np.ndarray], draws: Sequence[np.random.RandomState]) -> Tensor:
    """Where samples are left out, boolean (N, H, W): at least one line or point, where there is one."""
    masks = []
    for numbers, random in zip(free, draws, strict=True):
        count = numbers.max() + 1
        chosen = random.permutation(max(count, 1))[: max(round(DROPPED * count), 1)]
        masks.append((numbers != CENTRE) & np.isin(numbers, chosen))
    return torch.from_numpy(np.stack(masks))


def _draw_move(random: np.random.RandomState, matrix: Sequence[int], order: int) -> tuple[int, tuple[int, int]]:
    """A flip, each in its turn, and a shift of rows and columns in pixels."""
    most = [max(round(SHIFT * size), 1) for size in matrix]
    down, along = (int(random.randint(-limit, limit + 1)) for limit in most)
    return (order + 1) % 4, (down, along)


def _moved(image: Tensor, flip: int, shift: tuple[int, int]) -> Tensor:
    return move(image, flip).roll(shift, (-2, -1))


def _back(image: Tensor, flip: int, shift: tuple[int, int]) -> Tensor:
    return move(image.roll((-shift[0], -shift[1]), (-2, -1)), flip)
