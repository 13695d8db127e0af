"""Sums over windows against sums that are written out."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from switchrecon.metrics.metrics import ssim, ssim_map
from switchrecon.metrics.windows import window_sums


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 7, 8, 13])
def test_window_sums_are_those_of_a_plain_loop(size: int) -> None:
    values = np.random.RandomState(size).uniform(size=(2, 15, 13))
    expected = [
        [values[:, row : row + size, column : column + size].sum((1, 2)) for column in range(14 - size)]
        for row in range(16 - size)
    ]
    np.testing.assert_allclose(window_sums(values, size), np.moveaxis(np.array(expected), 2, 0), rtol=1e-13)


@pytest.mark.parametrize("shape", [(7, 7), (8, 60), (30, 31), (31, 30), (54, 9), (97, 20)])
def test_ssim_is_scikit_image_s_whatever_the_shape(shape: tuple[int, int]) -> None:
    """Also where a strip of rows ends: at 24, 48, … rows of windows."""
    random = np.random.RandomState(shape[0])
    reference = random.uniform(size=shape)
    image = np.abs(reference + 0.2 * random.normal(size=shape))
    whole, every = structural_similarity(reference, image, data_range=1.5, full=True)
    assert ssim(reference, image, 1.5) == pytest.approx(whole, abs=1e-12)
    np.testing.assert_allclose(ssim_map(reference, image, 1.5), every[3:-3, 3:-3], atol=1e-12)


def test_ssim_of_dim_detail_beside_a_bright_spot_keeps_its_digits() -> None:
    """Running sums would lose the detail in the rounding of what lies before it."""
    random = np.random.RandomState(1)
    reference = 1e-6 * random.uniform(size=(40, 40))
    reference[0, 0] = 1e6
    image = reference + 1e-6 * random.uniform(size=(40, 40))
    expected = structural_similarity(reference[:, 10:], image[:, 10:], data_range=1e-6)
    assert ssim_map(reference, image, 1e-6)[:, 10:].mean() == pytest.approx(expected, abs=1e-9)
