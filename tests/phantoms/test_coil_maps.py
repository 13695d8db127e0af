"""Simulated coils: the field on a loop's axis, normalisation, symmetry, smoothness."""

import math

import numpy as np
import pytest
import torch

from switchrecon.phantoms.coils import _field, simulate_maps
from switchrecon.physics.operators import Fourier, Sampling, Sensitivity
from tests.physics.test_operators import check_adjoint


def test_the_field_on_a_loops_axis_is_the_textbooks() -> None:
    radius, loop = 180.0, 60.0
    for depth in (0.0, 50.0, 150.0):
        for angle in (0.0, 0.7):
            distance = np.array(radius - depth)
            found = _field(distance * math.cos(angle), distance * math.sin(angle), 0.0, angle, radius, loop)
            strength = 2 * math.pi * loop**2 / (loop**2 + depth**2) ** 1.5  # of μ₀ I / 4π
            assert found == pytest.approx(strength * np.exp(-1j * angle), rel=1e-3)


@pytest.mark.parametrize("n_coils", [1, 2, 8, 20])
def test_maps_are_normalised_smooth_and_differ(n_coils: int) -> None:
    maps = simulate_maps(n_coils, (48, 40), (240, 200))
    assert maps.shape == (n_coils, 48, 40)
    assert maps.dtype == np.complex64
    np.testing.assert_allclose((np.abs(maps) ** 2).sum(0), 1, rtol=1e-5)
    np.testing.assert_array_equal(maps, simulate_maps(n_coils, (48, 40), (240, 200)))
    for axis in (1, 2):
        assert np.abs(np.diff(maps, axis=axis)).max() < 0.2
    if n_coils > 1:
        assert np.ptp(np.abs(maps[0])) > 0.3
        assert np.ptp(np.unwrap(np.angle(maps[0]), axis=0)) > 0.5
        correlation = np.abs(np.corrcoef(maps.reshape(n_coils, -1)))
        assert (correlation - np.eye(n_coils)).max() < 0.999


def test_a_matrix_changes_only_the_sampling_of_the_maps() -> None:
    fine, coarse = simulate_maps(4, (64, 64)), simulate_maps(4, (32, 32))
    np.testing.assert_allclose(fine[:, ::2, ::2], coarse, atol=1e-6)


def test_opposite_coils_are_images_of_each_other() -> None:
    maps = simulate_maps(4, (33, 33))
    np.testing.assert_allclose(maps[2], -maps[0][::-1, ::-1], atol=1e-6)


def test_the_multi_coil_operator_made_of_them_has_its_adjoint() -> None:
    maps = torch.from_numpy(simulate_maps(5, (12, 10))).to(torch.complex128)
    mask = torch.rand(12, 10, generator=torch.Generator().manual_seed(0)) < 0.4
    check_adjoint(Sampling(mask) @ Fourier() @ Sensitivity(maps), (2, 12, 10))


def test_impossible_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        simulate_maps(0, (8, 8))
    with pytest.raises(ValueError, match="cuts through"):
        simulate_maps(4, (8, 8), array_radius_mm=100.0)
