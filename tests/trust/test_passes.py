"""Held-out error and raw doubt, with reconstructions whose answers are known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from switchrecon.physics.fourier import fourier
from switchrecon.physics.mask_kinds import KINDS
from switchrecon.physics.operators import Encoding, Sensitivity
from switchrecon.trust.doubt import FLIPS, doubt, softened
from switchrecon.trust.held_out import FEW, MISSING, REGULAR, held_out
from switchrecon.trust.sampling import CENTRE, units

from ..conftest import blob_images

TRUTH = torch.from_numpy(blob_images(1, slices=2))
NUMBERS = (0, 1)
QUIET = torch.full((2,), math.nan)


def masks(kind: str = "random-1d", acceleration: float = 3) -> Tensor:
    return torch.from_numpy(
        np.stack([KINDS[kind].draw((64, 64), acceleration, 0.08, np.random.RandomState(n)) for n in NUMBERS])
    )


def zero_filled(kspace: Tensor, encoding: Encoding) -> Tensor:
    return encoding.H(kspace)


def knows(image: Tensor):  # type: ignore[no-untyped-def]
    """A reconstruction that knows the truth, whatever it is given."""
    return lambda kspace, encoding: image[: len(kspace)]


def test_held_out_error_of_the_truth_of_nothing_and_of_half() -> None:
    for kind in ("random-1d", "random-2d"):
        encoding = Encoding(masks(kind))
        kspace = encoding(TRUTH)
        for image, expected in ((TRUTH, 0.0), (0 * TRUTH, 1.0), (0.5 * TRUTH, 0.25)):
            found = held_out(knows(image), kspace, encoding, QUIET, 0.08, "a", NUMBERS)
            assert found.reason == ""
            assert found.error == pytest.approx(expected, abs=1e-5)
            assert found.errors == pytest.approx((expected,) * 2, abs=1e-5)


def test_zero_filling_knows_nothing_of_what_is_left_out() -> None:
    encoding = Encoding(masks())
    found = held_out(zero_filled, encoding(TRUTH), encoding, QUIET, 0.08, "a", NUMBERS)
    assert found.error == pytest.approx(1, abs=1e-5)


def test_the_noise_is_subtracted_and_coils_that_fill_up_count_nothing() -> None:
    random = torch.Generator().manual_seed(0)
    maps = torch.full((2, 3, 64, 64), 1 / math.sqrt(2), dtype=torch.complex64)
    maps[:, 2] = 0
    encoding = Encoding(masks(), Sensitivity(maps))
    level = float(fourier(TRUTH).abs().mean())
    noise = level * math.sqrt(2) * torch.randn(2, 3, 64, 64, dtype=torch.complex64, generator=random)
    noise[:, 2] = 0
    kspace = encoding(TRUTH) + noise * encoding.mask[:, None]
    sigma = torch.full((2,), level)
    plain = held_out(knows(TRUTH), kspace, encoding, QUIET, 0.08, "a", NUMBERS)
    found = held_out(knows(TRUTH), kspace, encoding, sigma, 0.08, "a", NUMBERS)
    assert plain.error > 0.1
    assert found.error < 0.05 * plain.error + 0.01


def test_no_statement_where_nothing_can_be_known() -> None:
    def reason(mask: Tensor) -> str:
        encoding = Encoding(mask)
        found = held_out(zero_filled, encoding(TRUTH), encoding, QUIET, 0.08, "a", NUMBERS)
        assert math.isnan(found.error) == bool(found.reason)
        return found.reason

    assert reason(masks("equispaced-1d", 4)) == REGULAR
    partial = masks("random-1d", 2)
    partial[..., :20] = False
    assert reason(partial) == MISSING
    only = torch.zeros(2, 64, 64, dtype=torch.bool)
    only[..., 29:34] = True
    assert reason(only) == FEW
    mixed = torch.stack([masks()[0], masks("equispaced-1d", 4)[0]])
    found = held_out(zero_filled, Encoding(mixed)(TRUTH), Encoding(mixed), QUIET, 0.08, "a", NUMBERS)
    assert found.reason == REGULAR
    assert math.isfinite(found.errors[0])
    assert math.isnan(found.errors[1])
    assert math.isfinite(found.error)


def test_passes_are_the_same_each_time_and_free_of_scale() -> None:
    encoding = Encoding(masks())
    kspace = encoding(TRUTH)
    image = zero_filled(kspace, encoding)
    one = doubt(zero_filled, kspace, encoding, image, 0.08, "a", NUMBERS)
    assert one.shape == (2, 64, 64)
    assert (one > 0).any()
    assert torch.equal(doubt(zero_filled, kspace, encoding, image, 0.08, "a", NUMBERS), one)
    assert not torch.equal(doubt(zero_filled, kspace, encoding, image, 0.08, "b", NUMBERS), one)
    scaled = doubt(zero_filled, kspace * 1e6, encoding, image * 1e6, 0.08, "a", NUMBERS)
    torch.testing.assert_close(scaled / 1e6, one, rtol=1e-3, atol=1e-5)
    alone = doubt(zero_filled, kspace[1:], Encoding(encoding.mask[1:]), image[1:], 0.08, "a", [1])
    torch.testing.assert_close(alone[0], one[1])


def test_a_pass_leaves_out_two_fifths_of_the_lines_and_never_the_centre() -> None:
    seen: list[Tensor] = []

    def watching(kspace: Tensor, encoding: Encoding) -> Tensor:
        seen.append(encoding.mask)
        assert not (kspace * ~encoding.mask[:, None]).any()
        return encoding.H(kspace)

    encoding = Encoding(masks())
    doubt(watching, encoding(TRUTH), encoding, TRUTH, 0.08, "a", NUMBERS, passes=3)
    assert len(seen) == 3
    assert seen[2].equal(encoding.mask)  # of a mirrored image
    for mask, kept in zip(encoding.mask, seen[0], strict=True):
        free = units(mask.numpy(), 0.08)
        count = free.max() + 1
        assert not (kept & ~mask).any()
        assert kept[free == CENTRE].equal(mask[free == CENTRE])
        assert (mask[0] & ~kept[0]).sum() == round(0.4 * count)
    assert not seen[0].equal(seen[1])


def test_a_reconstruction_that_is_off_by_a_constant_and_one_that_does_not_move() -> None:
    encoding = Encoding(masks())
    kspace, image = encoding(TRUTH), torch.full_like(TRUTH, 3)
    for passes in (1, 2, 8):
        found = doubt(knows(torch.full_like(TRUTH, 5j)), kspace, encoding, image, 0.08, "a", NUMBERS, passes)
        torch.testing.assert_close(found, torch.full((2, 64, 64), 2.0))
    assert not doubt(knows(TRUTH), kspace, encoding, TRUTH, 0.08, "a", NUMBERS).any()


def test_the_magnitude_weighs_as_a_root_and_zero_is_not_doubted() -> None:
    encoding, image = Encoding(masks()), torch.full_like(TRUTH, 4)
    image[:, :3] = image[:, -3:] = 1  # mirrored it is the same
    image[:, 3:6] = image[:, -6:-3] = 0
    found = doubt(knows(image + 2), encoding(TRUTH), encoding, image, 0.08, "a", NUMBERS)
    assert float(found[0, 30, 30]) == pytest.approx(2)
    assert float(found[0, 0, 30]) == pytest.approx(1)
    assert not found[:, 3:6].any()
    assert not doubt(knows(image), encoding(TRUTH), encoding, 0 * image, 0.08, "a", NUMBERS).any()


def test_doubt_is_the_geometric_mean_of_both_kinds_over_five_by_five_pixels() -> None:
    encoding = Encoding(masks())
    image = torch.full_like(TRUTH, 3)

    def estimate(kspace: Tensor, measured: Encoding) -> Tensor:
        moved = image.clone()
        if measured.mask.equal(encoding.mask):  # mirrored: off by 8, and all else by 2
            return moved + 8
        moved[0, 20, 30] += 2
        return moved

    found = doubt(estimate, encoding(TRUTH), encoding, image, 0.08, "a", NUMBERS)
    expected = torch.zeros(2, 64, 64)
    expected[0, 18:23, 28:33] = math.sqrt(8 * 2 / 5)
    torch.testing.assert_close(found, expected)


def test_a_mirrored_image_is_measured_by_coils_that_move_along_and_is_mirrored_back() -> None:
    """With all of k-space and its coils' maps, the adjoint gives each image back: nothing moves."""
    random = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 64, 48, dtype=torch.complex64, generator=random)
    maps = maps / maps.abs().square().sum(1, keepdim=True).sqrt()
    encoding = Encoding(torch.ones(2, 64, 48, dtype=torch.bool), Sensitivity(maps))
    image = TRUTH[..., :48]
    seen: list[Tensor] = []

    def adjoint(kspace: Tensor, measured: Encoding) -> Tensor:
        seen.append(measured.H(kspace))
        return seen[-1]

    found = doubt(adjoint, encoding(image), encoding, image, 0.08, "a", NUMBERS)
    torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-2, rtol=0)
    mirrored = [image.flip(axes) for axes in FLIPS]
    assert len(seen) == 8
    for own, expected in zip(seen[-3:], mirrored, strict=True):
        torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-4)


def test_softened_doubt_is_never_zero_inside_the_object() -> None:
    image = torch.zeros(1, 10, 10)
    image[0, :5] = 2
    assert softened(torch.zeros(1, 10, 10), image, torch.tensor([math.nan])).unique().item() == pytest.approx(0.02)
    assert softened(torch.ones(1, 10, 10), image, torch.tensor([0.5])).unique().item() == 1.5
