"""Raw doubt: how far the image moves when less is measured, and when it is itself measured and reconstructed again.

Two kinds of passes see different errors. *Left-out lines* show what depends on single samples. *Mirrored images* show
what the masks cannot tell: the image is mirrored, measured as the scan was, reconstructed and mirrored back; a network
that were right about it would give it back (Tachella and Pereyra 2023, the equivariant bootstrap without noise). Their
geometric mean ranked the errors of synthetic heads better than either, and than their root mean square.

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

KIND = "left-out lines and mirrored images"
PASSES = 8
FLIPS = ((-1,), (-2,), (-2, -1))  # the axes that are mirrored in a pass
DROPPED = 0.4  # of the lines or points outside the centre, in a pass
SIDE = 5  # pixels of the square that squares are averaged over: a few passes say little of a single pixel
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
    """Return raw doubt ``√(a b |x| / p)``, float32 (N, H, W).

    a and b are root mean squares of ``| |x_i| − |x| |`` over passes and 5×5 neighbours: a over passes with samples left
    out, b over passes with the image mirrored; p is the slice's 99th percentile. Of K passes ``min(3, K // 2)`` mirror;
    with one pass b is a.

    Parameters
    ----------
    estimate
        The reconstruction.
    kspace, encoding
        What was measured, complex (N, n_coils, H, W), and A.
    image
        x, what ``estimate`` made of it, with its phase: complex (N, H, W).
    center_fraction
        The centre of k-space that is never left out.
    name, numbers
        The name and numbers of the scan and its slices: what each pass is drawn by.
    passes
        K ≥ 1 reconstructions.
    """
    flips = FLIPS[: passes // 2]
    fewer = left_out(estimate, kspace, encoding, center_fraction, name, numbers, passes - len(flips))
    lines = _spread(image, fewer)
    mirrors = _spread(image, [mirrored(estimate, encoding, image, axes) for axes in flips]) if flips else lines
    white = brightest(image)
    relative = image.abs() / torch.where(white > 0, white, torch.ones_like(white))
    return (lines * mirrors * relative).sqrt()


def left_out(
    estimate: Estimate,
    kspace: Tensor,
    encoding: Encoding,
    center_fraction: float,
    name: str,
    numbers: Sequence[int],
    passes: int,
) -> list[Tensor]:
    """Reconstruct so many times, each time without two fifths of the lines or points outside the centre.

    Parameters are those of :func:`doubt`.
    """
    free = [units(mask, center_fraction) for mask in encoding.mask.cpu().numpy()]
    images = []
    for number in range(passes):
        kept = encoding.mask & ~_dropped(free, [numpy_random("doubt", name, each, number) for each in numbers])
        images.append(estimate(kspace * kept[:, None], encoding.sampled_by(kept)))
    return images


def mirrored(estimate: Estimate, encoding: Encoding, image: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Mirror an image along some axes, measure it as the scan was, reconstruct it, and mirror it back.

    Other parameters are those of :func:`doubt`.
    """
    moved = Encoding(encoding.mask, encoding.coils.changed(lambda maps: maps.flip(axes)))  # the coils move along
    return estimate(moved(image.flip(axes)), moved).flip(axes)


def _spread(image: Tensor, passes: Sequence[Tensor]) -> Tensor:
    """Return the root mean square of the magnitudes' change over passes and neighbours, (N, H, W)."""
    squares = torch.stack([(each.abs() - image.abs()).square() for each in passes]).mean(0)
    return F.avg_pool2d(squares[:, None], SIDE, 1, SIDE // 2, count_include_pad=False)[:, 0].sqrt()


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
    """Return where samples are left out, boolean (N, H, W): at least one line or point, where there is one."""
    masks = []
    for numbers, random in zip(free, draws, strict=True):
        count = numbers.max() + 1
        chosen = random.permutation(max(count, 1))[: max(round(DROPPED * count), 1)]
        masks.append((numbers != CENTRE) & np.isin(numbers, chosen))
    return torch.from_numpy(np.stack(masks))
