"""Solvers against dense algebra, optimality conditions, the single-coil solver, and BART."""

import pytest
import torch

from switchrecon.phantoms.coils import simulate_maps
from switchrecon.physics.coil_maps import espirit
from switchrecon.physics.fourier import crop_or_pad, fourier
from switchrecon.physics.operators import Fourier, Operator, Sampling, Sensitivity
from switchrecon.physics.solvers import Gradient, conjugate_gradient, sense, total_variation
from tests.conftest import blob_images
from tests.physics.bart import Bart, bart, relative_difference  # noqa: F401
from tests.physics.test_coils import real_kspace
from tests.physics.test_operators import check_adjoint

SIDE = (8, 6)
MAPS = torch.from_numpy(simulate_maps(4, SIDE)).to(torch.complex128)
LINES = torch.tensor([1, 0, 1, 1, 0, 1]).bool()
OPERATOR = Sampling(LINES) @ Fourier() @ Sensitivity(MAPS)
TRUTH = torch.randn(3, *SIDE, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
MEASURED = OPERATOR(TRUTH)
ZERO_FILLED = OPERATOR.H(MEASURED)


def dense(operator: Operator) -> torch.Tensor:
    """The matrix of an operator on images of SIDE."""
    count = SIDE[0] * SIDE[1]
    return operator(torch.eye(count, dtype=torch.complex128).reshape(count, *SIDE)).reshape(count, -1).T


def test_sense_is_the_solution_of_the_normal_equations() -> None:
    matrix, weight = dense(OPERATOR), 0.05
    normal = matrix.mH @ matrix + weight * torch.eye(48)
    expected = torch.linalg.solve(normal, matrix.mH @ MEASURED.reshape(3, -1).T).T.reshape(TRUTH.shape)
    found = sense(OPERATOR, ZERO_FILLED, weight, iterations=100, tolerance=1e-12)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


def test_sense_recovers_an_image_from_a_third_less_lines() -> None:
    found = sense(OPERATOR, ZERO_FILLED, iterations=300, tolerance=1e-12)
    torch.testing.assert_close(found, TRUTH, rtol=1e-5, atol=1e-5)


def test_each_image_of_a_batch_is_solved_by_itself() -> None:
    measured = MEASURED * torch.tensor([1.0, 0.0, 1e6])[:, None, None, None]
    together = sense(OPERATOR, OPERATOR.H(measured), 0.01, tolerance=1e-3)
    alone = torch.stack([sense(OPERATOR, OPERATOR.H(one), 0.01, tolerance=1e-3) for one in measured])
    torch.testing.assert_close(together, alone)
    assert not together[1].any()


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_solvers_have_no_unit(scale: float) -> None:
    operator = Sampling(LINES) @ Fourier() @ Sensitivity(MAPS.to(torch.complex64))
    measured = MEASURED.to(torch.complex64)
    for solve in (
        lambda size: sense(operator, operator.H(measured) * size, 0.01),
        lambda size: total_variation(operator, operator.H(measured) * size, 0.01 * size),
    ):
        torch.testing.assert_close(solve(scale) / scale, solve(1.0), rtol=1e-3, atol=1e-4)


def test_a_start_shortens_the_way() -> None:
    def normal(image: torch.Tensor) -> torch.Tensor:
        return OPERATOR.H(OPERATOR(image)) + 0.01 * image

    right = normal(TRUTH)
    torch.testing.assert_close(conjugate_gradient(normal, right, TRUTH, iterations=1), TRUTH)
    errors = [
        relative_difference(conjugate_gradient(normal, right, start, iterations=3), TRUTH)
        for start in (None, TRUTH + 0.01 * TRUTH.roll(1, -1))
    ]
    assert errors[1] < 0.1 * errors[0]


def test_gradients_pass_through_conjugate_gradients() -> None:
    maps = MAPS[:2, :3, :3].clone().requires_grad_()
    measured = MEASURED[0, :2, :3, :3].clone().requires_grad_()
    weight = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)

    def solve(maps: torch.Tensor, measured: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        operator = Sampling(torch.tensor([True, False, True])) @ Fourier() @ Sensitivity(maps)
        return sense(operator, operator.H(measured), weight, iterations=5)

    assert torch.autograd.gradcheck(solve, (maps, measured, weight))
    empty = torch.zeros_like(measured, requires_grad=True)
    [slope] = torch.autograd.grad(solve(maps, empty, weight).abs().sum(), empty)
    assert slope.isfinite().all()


def test_gradient_has_its_adjoint() -> None:
    check_adjoint(Gradient(), (3, 6, 7))


def cost(operator: Operator, measured: torch.Tensor, weight: float, image: torch.Tensor) -> float:
    """½ ‖A u − k‖² + λ TV(u)."""
    misfit = (operator(image) - measured).abs().square().sum()
    return float(0.5 * misfit + weight * torch.linalg.vector_norm(Gradient()(image), dim=0).sum())


def test_total_variation_of_several_coils_finds_the_minimum() -> None:
    maps = torch.from_numpy(simulate_maps(4, (32, 32))).to(torch.complex128)
    lines = torch.rand(32, generator=torch.Generator().manual_seed(1)) < 0.5
    operator = Sampling(lines) @ Fourier() @ Sensitivity(1.7 * maps)  # the maps' strength is free
    truth = torch.from_numpy(blob_images(2, 1, 32)[0]).to(torch.complex128)
    random = torch.Generator().manual_seed(2)
    noise = torch.randn(4, 32, 32, dtype=torch.complex128, generator=random)
    measured = operator(truth) + Sampling(lines)(0.02 * noise)
    found = total_variation(operator, operator.H(measured), 0.02, iterations=400)
    best = cost(operator, measured, 0.02, found)
    assert best < cost(operator, measured, 0.02, truth)
    assert best < cost(operator, measured, 0.02, total_variation(operator, operator.H(measured), 0.02, iterations=50))
    for size in (1e-4, 1e-3, 1e-2):  # no small change of the solution is cheaper
        for _ in range(5):
            change = torch.randn(32, 32, dtype=torch.complex128, generator=random)
            assert cost(operator, measured, 0.02, found + size * change) > best
            assert cost(operator, measured, 0.02, found + size * (truth - found)) > best * (1 - 1e-5)
    assert relative_difference(found, truth) < 0.5 * relative_difference(sense(operator, operator.H(measured)), truth)


def test_sense_is_that_of_bart_on_a_real_scan(bart: Bart) -> None:  # noqa: F811
    """Fourfold 1-D undersampling with 24 calibration lines; both are given the same maps."""
    kspace = crop_or_pad(real_kspace(), (160, 256))
    lines = torch.zeros(256, dtype=torch.bool)
    lines[::4] = True
    lines[116:140] = True
    lines &= (kspace != 0).any(0).any(0)  # the scan's outer columns are zero, not measured
    measured, maps = Sampling(lines)(kspace), espirit(kspace)
    bart.write("kspace", measured)
    bart.write("maps", maps)
    bart("pics", "-l2", "-r0.1", "-i40", "-w1", "kspace", "maps", "image")
    operator = Sampling(lines) @ Fourier() @ Sensitivity(maps)
    found = sense(operator, operator.H(measured), 0.1, iterations=40)
    assert relative_difference(found, bart.read("image")) < 1e-4


def test_total_variation_is_that_of_bart_on_a_real_scan(bart: Bart) -> None:  # noqa: F811
    """The centre of the scan's k-space; BART's differences go backwards, so both see the image from the other side."""

    def mirrored(array: torch.Tensor) -> torch.Tensor:
        return array.flip(-2, -1).roll((1, 1), (-2, -1))

    kspace = crop_or_pad(real_kspace(), (96, 64))
    kspace = kspace / fourier(kspace).abs().max()
    lines = torch.zeros(96, 64, dtype=torch.bool)
    lines[:, ::3] = True
    lines[:, 20:44] = True
    measured, maps, weight = Sampling(lines)(kspace), espirit(kspace), 0.004
    bart.write("kspace", measured)
    bart.write("maps", maps)
    bart("pics", "-R", f"T:3:0:{weight}", "-m", "-u0.1", "-i200", "-w1", "kspace", "maps", "image")
    operator = Sampling(mirrored(lines)) @ Fourier() @ Sensitivity(mirrored(maps))
    found = total_variation(operator, operator.H(mirrored(measured)), weight, iterations=60)
    expected = mirrored(bart.read("image"))
    assert relative_difference(found, expected) < 0.01
    costs = [cost(operator, mirrored(measured), weight, image) for image in (found, expected)]
    assert costs[0] == pytest.approx(costs[1], rel=0.002)
