"""Measured and invented: the identities of a projection and of its regularised form, and hand-worked numbers."""

import math

import pytest
import torch
from torch import Tensor

from switchrecon.physics.measured import (
    brightest,
    foreground,
    invented_part,
    measured_part,
    noise_levels,
    regularisation,
    residual,
    share,
)
from switchrecon.physics.operators import Encoding, Sensitivity

SHAPE = (2, 12, 10)
UNKNOWN = torch.full((2,), math.nan)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


def mask(seed: int = 1, part: float = 0.4) -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed)) < part


def coils(number: int = 3) -> Sensitivity:
    maps = normal(2, number, 12, 10, seed=2)
    return Sensitivity(maps / maps.abs().square().sum(1, keepdim=True).sqrt())


def size(image: Tensor) -> float:
    return float(torch.linalg.vector_norm(image))


def converged(encoding: Encoding, image: Tensor, weight: float) -> Tensor:
    return measured_part(encoding, image, weight, iterations=400, tolerance=1e-12)


def test_one_coil_invents_exactly_what_lies_in_unmeasured_kspace() -> None:
    encoding, image = Encoding(mask()), normal(*SHAPE)
    invented = invented_part(encoding, image, UNKNOWN)
    measured = image - invented
    torch.testing.assert_close(Encoding(~mask())(invented), Encoding(~mask())(image), rtol=0, atol=1e-12)
    assert size(encoding(invented)) < 1e-12 * size(image)
    assert size(measured) ** 2 + size(invented) ** 2 == pytest.approx(size(image) ** 2, rel=1e-12)


@pytest.mark.parametrize("kind", [torch.complex64, torch.complex128])
def test_zero_filling_and_a_full_mask_invent_nothing(kind: torch.dtype) -> None:
    image = normal(*SHAPE).to(kind)
    full = Encoding(torch.ones(SHAPE, dtype=torch.bool))
    assert size(invented_part(full, image, UNKNOWN)) <= 1e-6 * size(image)
    encoding = Encoding(mask())
    zero_filled = encoding.N(image)
    assert size(invented_part(encoding, zero_filled, UNKNOWN)) <= 1e-6 * size(image)


def test_a_hand_worked_image_of_two_pixels() -> None:
    # F of (3, 1) is (3 − 1, 3 + 1) / √2 with the zero frequency last; only that one is measured: the mean is kept.
    image = torch.tensor([[[3.0, 1.0]]], dtype=torch.complex128)
    encoding = Encoding(torch.tensor([[[False, True]]]))
    invented = invented_part(encoding, image, torch.tensor([math.nan]))
    torch.testing.assert_close(invented, torch.tensor([[[1.0, -1.0]]], dtype=torch.complex128))
    assert share(invented, image) == pytest.approx(math.sqrt(2 / 10))


@pytest.mark.parametrize("several", [False, True])
def test_the_projection_is_self_adjoint_with_eigenvalues_from_0_to_1(several: bool) -> None:
    encoding = Encoding(mask(), coils()) if several else Encoding(mask())
    weight = 0.05 if several else 0.0
    u, v = normal(*SHAPE, seed=3), normal(*SHAPE, seed=4)
    left = torch.vdot(v.flatten(), converged(encoding, u, weight).flatten())
    right = torch.vdot(converged(encoding, v, weight).flatten(), u.flatten())
    torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)
    for image in (u, v):
        found = torch.vdot(image.flatten(), converged(encoding, image, weight).flatten())
        assert abs(found.imag) < 1e-9 * found.real
        assert 0 <= found.real <= size(image) ** 2
        assert size(converged(encoding, image, weight)) <= size(image)


def test_several_coils_agree_with_a_dense_solution() -> None:
    shape, weight = (1, 4, 3), 0.1
    encoding = Encoding(mask()[:1, :4, :3], Sensitivity(coils().maps[:1, :, :4, :3]))
    basis = torch.eye(12, dtype=torch.complex128).reshape(12, *shape)
    matrix = torch.stack([encoding.N(own).flatten() for own in basis], dim=1)
    image = normal(*shape)
    expected = torch.linalg.solve(matrix + weight * torch.eye(12), matrix @ image.flatten())
    torch.testing.assert_close(converged(encoding, image, weight).flatten(), expected)


def test_several_coils_know_in_part_what_was_not_sampled() -> None:
    image, sampled = normal(*SHAPE), mask()
    sigma = torch.full((2,), 0.01)
    with_coils = invented_part(Encoding(sampled, coils(6)), image, sigma)
    alone = invented_part(Encoding(sampled), image, sigma)
    assert size(with_coils) < 0.5 * size(alone)


def test_default_iterations_suffice_for_eight_coils_at_a_low_noise() -> None:
    encoding, image = Encoding(mask(), coils(8)), normal(*SHAPE)
    sigma = torch.full((2,), 0.02)
    weight = regularisation(image, sigma)
    exact = image - measured_part(encoding, image, weight, iterations=1000, tolerance=1e-13)
    assert size(exact) > 0.002 * size(image)
    assert size(invented_part(encoding, image, sigma) - exact) < 5e-5 * size(image)


def test_scale_freedom() -> None:
    for encoding in (Encoding(mask()), Encoding(mask(), coils())):
        image = normal(*SHAPE)
        kspace = encoding(normal(*SHAPE, seed=5))
        sigma = torch.tensor([0.1, 0.2])
        one = invented_part(encoding, image, sigma)
        fit = residual(encoding, image, kspace, sigma)
        for factor in (1e-9, 1e9):
            other = invented_part(encoding, image * factor, sigma * factor)
            torch.testing.assert_close(other / factor, one, rtol=1e-5, atol=1e-6)
            again = residual(encoding, image * factor, kspace * factor, sigma * factor)
            torch.testing.assert_close(again.relative, fit.relative, rtol=1e-5, atol=0)
            torch.testing.assert_close(again.chi_square, fit.chi_square, rtol=1e-5, atol=0)


def test_chi_square_is_1_at_the_noise_and_unknown_without_one() -> None:
    shape, level = (1, 64, 64), 0.3
    sampled = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.5
    maps = torch.full((1, 4, 64, 64), 0.5, dtype=torch.complex64)
    encoding = Encoding(sampled, Sensitivity(torch.cat([maps, torch.zeros(1, 2, 64, 64)], 1)))  # two coils fill up
    image = normal(*shape).to(torch.complex64)
    noise = level * math.sqrt(2) * normal(1, 4, 64, 64, seed=6).to(torch.complex64)  # √2: of both parts together
    kspace = encoding(image)
    kspace[:, :4] += noise * sampled
    fit = residual(encoding, image, kspace, torch.tensor([level]))
    assert fit.chi_square.item() == pytest.approx(1, abs=0.05)
    assert fit.relative.item() == pytest.approx(
        float(torch.linalg.vector_norm(noise * sampled) / torch.linalg.vector_norm(kspace)), rel=1e-5
    )
    assert residual(encoding, image, kspace, torch.tensor([math.nan])).chi_square.isnan().all()


def test_residual_of_a_hand_worked_sample() -> None:
    encoding = Encoding(torch.tensor([[[True]]]))
    kspace = torch.tensor([[[[4.0 + 0j]]]])
    fit = residual(encoding, torch.tensor([[[3.0 + 0j]]]), kspace, torch.tensor([0.5]))
    assert fit.relative.item() == pytest.approx(0.25)
    assert fit.chi_square.item() == pytest.approx(1 / (2 * 0.25 * 1))
    nothing = residual(encoding, torch.zeros(1, 1, 1) + 0j, 0 * kspace, torch.tensor([math.nan]))
    assert nothing.relative.item() == 0


def test_noise_levels_of_slices() -> None:
    kspace = 0.5 * normal(2, 2, 64, 64)
    kspace[1] = 0
    levels = noise_levels(kspace, Encoding(torch.ones(2, 64, 64, dtype=torch.bool)))
    assert levels[0].item() == pytest.approx(0.5 / math.sqrt(2), rel=0.05)
    assert levels[1].isnan()


def test_foreground_is_what_is_brighter_than_a_tenth_of_the_99th_percentile() -> None:
    image = torch.zeros(1, 10, 10)
    image[0, :5] = torch.arange(1, 51).reshape(5, 10).float()
    assert brightest(image).item() == 49  # of 100 sorted values the 99th
    assert foreground(image).sum() == 46  # 5 … 50
    assert not foreground(torch.zeros(2, 4, 4)).any()
    assert share(image, torch.zeros(1, 10, 10)) == 0
