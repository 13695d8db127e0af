"""Poisson-disc sampling: the distances, the number of points, the density, the seed."""

import itertools

import numpy as np
import pytest
from numpy.random import RandomState

from switchrecon.physics.masks import MaskConfig, centre_slice, draw_mask
from switchrecon.physics.poisson_disc import find_factor, poisson_disc, throw_darts


def distances(points: np.ndarray) -> np.ndarray:
    """Between all pairs of points, (n, n); infinite from a point to itself."""
    places = np.argwhere(points)
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    return apart


@pytest.mark.parametrize("shape", [(48, 48), (33, 50)])
def test_points_keep_the_radius_and_cover_all_free_places(shape: tuple[int, int]) -> None:
    radius = 1.5 + 4 * RandomState(1).uniform(size=shape)
    free = np.ones(shape, dtype=bool)
    free[10:20, 15:30] = False
    points = throw_darts(free, radius, RandomState(2))
    assert not points[~free].any()
    of_points = radius[points]
    assert (distances(points) >= np.minimum(of_points[:, None], of_points)).all()
    rows, columns = np.indices(shape)
    covered = np.zeros(shape, dtype=bool)
    for (row, column), reach in zip(np.argwhere(points), of_points, strict=True):
        covered |= np.hypot(rows - row, columns - column) < reach
    assert covered[free].all()


def test_one_radius_and_no_more_points_than_asked_for() -> None:
    radius, free = np.full((40, 40), 3.0), np.ones((40, 40), dtype=bool)
    points = throw_darts(free, radius, RandomState(0))
    assert distances(points).min() == 3  # a place that is exactly as far away as the radius is free
    assert throw_darts(free, radius, RandomState(0), most=7).sum() == 7
    assert (throw_darts(free, radius, RandomState(0), most=7) <= points).all()
    assert throw_darts(free, np.full((40, 40), 0.3), RandomState(0)).all()


@pytest.mark.parametrize("matrix", [(64, 64), (48, 80), (31, 32), (9, 7)])
@pytest.mark.parametrize("acceleration", [1, 1.3, 2, 4, 7.5])
def test_the_acceleration_is_met_and_the_centre_is_full(matrix: tuple[int, int], acceleration: float) -> None:
    settings = MaskConfig(kind="poisson-2d", acceleration=acceleration, center_fraction=0.1)
    rows, columns = (centre_slice(size, 0.1) for size in matrix)
    for index in range(3):
        mask = draw_mask(settings, matrix, volume="a", index=index)
        assert mask.sum() == round(mask.size / acceleration)
        assert mask[rows, columns].all()


def test_samples_of_a_mask_keep_a_distance_that_grows_outwards() -> None:
    matrix, centre, count = (96, 96), (slice(44, 52), slice(44, 52)), 1000
    points = poisson_disc(matrix, centre, count, RandomState(5))
    distance = np.hypot(*(np.indices(matrix) - 48)) / 48
    radius = (find_factor(matrix, (44, 52, 44, 52), count) * (0.5 + distance))[points]
    smallest = np.minimum(radius[:, None], radius) * 0.9  # a mask with too few points takes 2 % off, once or twice
    assert (distances(points) >= smallest).all()
    inner, outer = (points[(distance >= low) & (distance < low + 0.2)].mean() for low in (0.2, 0.8))
    assert inner > 2 * outer


def test_the_radius_is_as_large_as_the_number_of_points_allows() -> None:
    """Evenly spread, unlike independent points: the emptiest of many windows is not empty."""
    for count in (400, 900):
        factor = find_factor((96, 96), (44, 52, 44, 52), count)
        distance = np.hypot(*(np.indices((96, 96)) - 48)) / 48
        free = np.ones((96, 96), dtype=bool)
        free[44:52, 44:52] = False
        fitting = [throw_darts(free, factor * (0.5 + distance), RandomState(seed)).sum() for seed in range(4)]
        assert np.mean(fitting) == pytest.approx(count, rel=0.04)


def test_seeds() -> None:
    settings = MaskConfig(kind="poisson-2d")
    first, second = (draw_mask(settings, (64, 64), volume="a", index=index) for index in (0, 1))
    np.testing.assert_array_equal(first, draw_mask(settings, (64, 64), volume="a", index=0))
    assert not np.array_equal(first, second)
    assert not any(
        poisson_disc((8, 8), (slice(3, 5), slice(3, 5)), 0, RandomState(seed)).any() for seed in range(2)
    )  # the centre alone
    masks = [poisson_disc((32, 32), (slice(15, 17), slice(15, 17)), 100, RandomState(seed)) for seed in (3, 3, 4)]
    assert [np.array_equal(a, b) for a, b in itertools.combinations(masks, 2)] == [True, False, False]
