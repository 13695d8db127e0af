"""Masks: their formulas, their centre, their seeds, and finding them in k-space."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from switchrecon.core.seeds import numpy_random
from switchrecon.errors import ConfigError, DataError
from switchrecon.physics.masks import (
    KINDS,
    MaskConfig,
    centre_slice,
    draw_mask,
    full_centre_fraction,
    infer_mask,
    line_direction,
    measured_acceleration,
)


def draw(matrix: tuple[int, int] = (64, 64), index: int = 0, repeat: int | None = None, **values: object) -> np.ndarray:
    return draw_mask(MaskConfig(**values), matrix, volume="file1000000.h5", index=index, repeat=repeat)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "fraction", "start", "stop"), [(64, 0.08, 30, 35), (256, 0.08, 118, 138), (368, 0.08, 170, 199)]
)
def test_centre(size: int, fraction: float, start: int, stop: int) -> None:
    assert centre_slice(size, fraction) == slice(start, stop)


def test_random_1d_is_the_formula_of_fastmri_with_its_seed() -> None:
    mask = draw((640, 368), kind="random-1d", per="volume")
    random = np.random.RandomState()
    random.seed(tuple(map(ord, "file1000000.h5")))
    low = 29  # round(368 · 0.08)
    columns = random.uniform(size=368) < (368 / 4 - low) / (368 - low)
    pad = (368 - low + 1) // 2
    columns[pad : pad + low] = True
    np.testing.assert_array_equal(mask, np.broadcast_to(columns, (640, 368)))


def test_random_2d_has_a_full_centre_square_and_the_expected_number_of_samples() -> None:
    counts = [draw((128, 128), index).sum() for index in range(200)]
    assert np.mean(counts) == pytest.approx(128 * 128 / 4, rel=0.005)
    assert draw((128, 128))[59:69, 59:69].all()


def test_equispaced_lines() -> None:
    columns = draw((4, 64), kind="equispaced-1d", acceleration=4)[0]
    outside = np.flatnonzero(columns)
    outside = outside[(outside < 30) | (outside >= 35)]
    assert set(outside % 4) == {outside[0]}
    assert columns[30:35].all()
    fraction = draw((4, 368), kind="equispaced-fraction-1d", acceleration=4)
    assert measured_acceleration(fraction) == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("kind", ["variable-density-1d", "variable-density-2d"])
def test_variable_density_is_denser_inside_and_has_the_expected_count(kind: str) -> None:
    masks = np.stack([draw((64, 64), index, kind=kind, center_fraction=0.04) for index in range(200)])
    assert masks.mean() == pytest.approx(1 / 4, rel=0.03)
    profile = masks.mean((0, 1))
    assert profile[24:40].mean() > 1.5 * profile[[*range(8), *range(56, 64)]].mean()


def test_a_density_that_is_kept_gives_the_masks_of_one_that_is_computed() -> None:
    settings = MaskConfig(kind="variable-density-2d", center_fraction=0.04, acceleration=3)
    rows, columns = np.indices((40, 64))
    radius = np.hypot((rows - 20) / 20, (columns - 32) / 32) / np.sqrt(2)
    weight = (1 - radius) ** 3 + 1e-3
    centre = np.zeros((40, 64), dtype=bool)
    centre[19:21, 31:34] = True
    factors = np.linspace(0, 50, 200_001)[:, None]  # c of min(1, c · weight), by trying all
    low, high = 0, len(factors) - 1
    while high - low > 1:
        middle = (low + high) // 2
        enough = 6 + np.minimum(factors[middle] * weight[~centre], 1).sum() >= 40 * 64 / 3
        low, high = (low, middle) if enough else (middle, high)
    probability = np.where(centre, 1, np.minimum(factors[high] * weight, 1))
    for index in range(2):
        mask = draw_mask(settings, (40, 64), volume="a", index=index)
        uniform = numpy_random("slice mask", 0, "a", index).uniform(size=(40, 64))
        assert (mask[uniform < probability - 1e-3]).all()
        assert not mask[uniform > probability + 1e-3].any()


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    acceleration=st.floats(1, 4),
    fraction=st.floats(0, 0.2),
)
def test_any_size_gives_a_mask_with_a_full_centre(
    kind: str, height: int, width: int, acceleration: float, fraction: float
) -> None:
    mask = draw((height, width), kind=kind, acceleration=acceleration, center_fraction=fraction)
    assert mask.shape == (height, width)
    assert mask.dtype == bool
    lines = KINDS[kind].dimensions == 1
    rows = slice(None) if lines else centre_slice(height, fraction)
    assert mask[rows, centre_slice(width, fraction)].all()
    if lines:
        assert (mask == mask[:1]).all()


def test_what_a_mask_is_drawn_for_decides_it() -> None:
    for per, same_slice, same_volume in (("slice", False, False), ("volume", True, False), ("dataset", True, True)):
        config = MaskConfig(per=per)  # type: ignore[arg-type]
        first = draw_mask(config, (64, 64), volume="a.h5", index=0)
        np.testing.assert_array_equal(first, draw_mask(config, (64, 64), volume="a.h5", index=0))
        assert np.array_equal(first, draw_mask(config, (64, 64), volume="a.h5", index=1)) == same_slice
        assert np.array_equal(first, draw_mask(config, (64, 64), volume="b.h5", index=0)) == same_volume
        assert not np.array_equal(first, draw_mask(config, (64, 64), volume="a.h5", index=0, repeat=0))
        other = MaskConfig(per=per, seed=1)  # type: ignore[arg-type]
        assert not np.array_equal(first, draw_mask(other, (64, 64), volume="a.h5", index=0))


@pytest.mark.parametrize(
    ("values", "repeat", "purpose"),
    [
        ({}, None, ("slice mask", 3, "a.h5", 2)),
        ({}, 7, ("fresh mask", 3, "a.h5", 2, 7)),
        ({"per": "dataset"}, None, ("dataset mask", 3)),
        ({"per": "dataset"}, 7, ("fresh mask", 3, "a.h5", 2, 7)),
    ],
)
def test_the_seed_of_a_mask_stays_what_it_is(
    values: dict[str, str], repeat: int | None, purpose: tuple[str | int, ...]
) -> None:
    """Else scans that were undersampled with an earlier version would have other masks with this one."""
    mask = draw_mask(MaskConfig(seed=3, **values), (32, 32), volume="a.h5", index=2, repeat=repeat)  # type: ignore[arg-type]
    low = 3  # round(32 · 0.08), from (32 − 3 + 1) // 2
    expected = numpy_random(*purpose).uniform(size=(32, 32)) < (32 * 32 / 4 - low**2) / (32 * 32 - low**2)
    expected[15:18, 15:18] = True
    np.testing.assert_array_equal(mask, expected)


def test_a_centre_larger_than_the_acceleration_allows_is_refused() -> None:
    with pytest.raises(ConfigError, match="centre alone has 16"):
        draw((16, 16), kind="random-1d", acceleration=4, center_fraction=1.0)


@pytest.mark.parametrize("matrix", [(64, 64), (320, 368), (40, 64)])
def test_a_centre_that_is_measured_is_not_made_smaller(matrix: tuple[int, int]) -> None:
    """0.08 of 368 is 29.44 lines, and 29 / 368 of 320 rows are 25 where 0.08 are 26."""
    mask = draw(matrix, kind="random-2d")
    assert full_centre_fraction(mask, 0.08) == 0.08
    mask[matrix[0] // 2, matrix[1] // 2 + 1] = False  # beside the centre
    assert 0 < full_centre_fraction(mask, 0.08) < 0.08
    mask[matrix[0] // 2, matrix[1] // 2] = False
    assert full_centre_fraction(mask, 0.08) == 0


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 2), (3, 3), (5, 3), (4, 6)])
def test_the_full_centre_is_found_to_the_sample(rows: int, columns: int) -> None:
    """In 40 by 40 samples a fraction of n / 40 is n a side; the smaller side of what is measured decides."""
    mask = np.zeros((40, 40), dtype=bool)
    mask[(41 - rows) // 2 : (41 - rows) // 2 + rows, (41 - columns) // 2 : (41 - columns) // 2 + columns] = True
    assert full_centre_fraction(mask, 0.5) == min(rows, columns) / 40
    assert full_centre_fraction(mask, 1) == min(rows, columns) / 40
    assert full_centre_fraction(mask, 0.001) == full_centre_fraction(mask, 0) == 0  # less than a sample is none


@pytest.mark.parametrize("matrix", [(4, 64), (64, 4), (20, 64)])
def test_a_long_image_has_no_full_centre_where_its_centre_sample_is_not_measured(matrix: tuple[int, int]) -> None:
    mask = np.zeros(matrix, dtype=bool)
    assert full_centre_fraction(mask, 0.08) == 0
    mask[matrix[0] // 2, matrix[1] // 2] = True
    assert full_centre_fraction(mask, 0.08) == 1 / 64


def test_the_direction_of_lines() -> None:
    columns = np.tile([True, True, False, True], (3, 1))
    assert line_direction(columns) == "columns"
    assert line_direction(columns.T) == "rows"
    assert line_direction(torch.from_numpy(columns)) == "columns"
    assert line_direction(torch.from_numpy(columns.T)) == "rows"
    assert line_direction(np.ones((3, 4), dtype=bool)) == "rows"  # as the docstring says of a full one
    for place in np.ndindex(3, 4):  # also where the first two rows and columns look like lines
        points = np.ones((3, 4), dtype=bool)
        points[place] = False
        assert line_direction(points) is None


def test_measured_acceleration() -> None:
    assert measured_acceleration(np.array([[1, 0], [0, 0]])) == 4
    assert measured_acceleration(np.zeros((2, 2))) == float("inf")


@pytest.mark.parametrize("kind", ["random-1d", "random-2d", "equispaced-1d"])
def test_a_mask_is_found_again_in_k_space(kind: str) -> None:
    mask = draw(kind=kind)
    kspace = np.random.RandomState(0).normal(size=(64, 64)) + 1j
    np.testing.assert_array_equal(infer_mask(kspace * mask), mask)
    np.testing.assert_array_equal(infer_mask(np.stack([kspace, 2 * kspace]) * mask), mask)
    np.testing.assert_array_equal(infer_mask((kspace * mask).T), mask.T)


def test_a_sample_is_skipped_between_measured_ones_of_its_row_or_its_column() -> None:
    """One of 100 is no undersampling, two are."""
    skipped = np.ones((10, 10), dtype=bool)
    skipped[3, 5] = False
    assert infer_mask(skipped.astype(complex)) is None
    skipped[0, 5] = skipped[0, 7] = False  # at the border: between samples of its row alone
    np.testing.assert_array_equal(infer_mask(skipped.astype(complex)), skipped)
    np.testing.assert_array_equal(infer_mask(skipped.T.astype(complex)), skipped.T)


def test_padding_shutters_and_partial_fourier_are_not_undersampling() -> None:
    kspace = np.random.RandomState(0).normal(size=(64, 64)) + 1j
    assert infer_mask(kspace) is None
    padded = kspace.copy()
    padded[:, :10] = padded[:, -7:] = 0
    assert infer_mask(padded) is None
    rows, columns = np.mgrid[:64, :64] - 32
    assert infer_mask(kspace * (rows**2 + columns**2 < 31**2)) is None
    partial = kspace.copy()
    partial[:24] = 0
    assert infer_mask(partial) is None
    scattered = kspace.copy()
    scattered[3, 5] = 0
    assert infer_mask(scattered) is None
    with pytest.raises(DataError, match=r"^k-space has no non-zero sample$"):
        infer_mask(np.zeros((4, 4)))
