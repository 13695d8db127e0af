"""HaarPSI against its formula written out with plain convolutions, and against cases worked by hand."""

import math

import numpy as np
import pytest
from scipy.signal import convolve2d

from switchrecon.metrics.haarpsi import haarpsi

RANDOM = np.random.RandomState(0)


def image(height: int = 40, width: int = 33) -> np.ndarray:
    """Overlapping discs, magnitudes up to about 2."""
    rows, columns = np.mgrid[:height, :width]
    discs = [((rows - r) ** 2 + (columns - c) ** 2 < s * s) * g for r, c, s, g in ((18, 15, 12, 1.0), (22, 12, 5, 0.9))]
    return np.sum(discs, axis=0) + 0.05


def written_out(reference: np.ndarray, distorted: np.ndarray, maximum: float) -> float:
    """The paper's equations with explicit 2-D filters; a convolution keeps the part that begins at half a filter."""

    def same(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        full = convolve2d(values, kernel)
        top, left = (side // 2 for side in kernel.shape)
        return full[top : top + values.shape[0], left : left + values.shape[1]]

    def logistic(value: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-4.2 * value))

    pair = [same(each * 255 / maximum, np.full((2, 2), 0.25))[::2, ::2] for each in (reference, distorted)]
    upper = lower = 0.0
    for turned in (False, True):
        coefficients = []
        for values in pair:
            of_scales = []
            for scale in (1, 2, 3):
                kernel = np.full((2**scale, 2**scale), 2.0**-scale)
                kernel[: 2 ** (scale - 1)] *= -1
                of_scales.append(np.abs(same(values, kernel.T if turned else kernel)))
            coefficients.append(of_scales)
        r, u = coefficients
        local = sum((2 * r[j] * u[j] + 30) / (r[j] ** 2 + u[j] ** 2 + 30) for j in (0, 1)) / 2
        weights = np.maximum(r[2], u[2])
        upper += (logistic(local) * weights).sum()
        lower += weights.sum()
    mean = upper / lower
    return (math.log(mean / (1 - mean)) / 4.2) ** 2


@pytest.mark.parametrize(("shape", "maximum"), [((40, 33), 1.9), ((64, 64), 2.4), ((31, 50), 1.0)])
def test_it_is_the_formula_with_explicit_filters(shape: tuple[int, int], maximum: float) -> None:
    reference = image(*shape)
    distorted = np.abs(reference + 0.2 * RANDOM.normal(size=shape))
    expected = written_out(reference, distorted, maximum)
    assert 0 < expected < 1
    assert haarpsi(reference, distorted, maximum) == pytest.approx(expected, abs=1e-12)


def test_an_edge_that_vanishes_worked_by_hand() -> None:
    """A step of 255 down the middle of 32 columns, against zeros.

    After the means over 2×2 pixels there are 16 columns, and the last 8 are 255. All coefficients of the zeros are 0,
    so a similarity is C / (a² + C). The filter of side 2h sums h columns on either side, over 2h rows, divided by 2h:
    a, b, c for h = 1, 2, 4, in units of 255, by column (zeros follow beyond the right border, which is a second step).
    """
    a = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    b = [0, 0, 0, 0, 0, 0, 1, 2, 1, 0, 0, 0, 0, 0, 1, 2]
    c = [0, 0, 0, 0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3, 4]
    upper = 0.0
    for fine, middle, weight in zip(a, b, c, strict=True):
        local = sum(30 / ((255 * each) ** 2 + 30) for each in (fine, middle)) / 2
        upper += weight / (1 + math.exp(-4.2 * local))
    mean = upper / sum(c)
    by_hand = (math.log(mean / (1 - mean)) / 4.2) ** 2
    reference = np.zeros((4000, 32))
    reference[:, 16:] = 255
    # The vertical filters see only the upper and lower border, a few of 2,000 rows.
    assert haarpsi(reference, np.zeros_like(reference), 255.0) == pytest.approx(by_hand, abs=2e-4)


def test_equal_images_give_1_and_the_order_does_not_matter() -> None:
    reference = image()
    distorted = np.abs(reference + 0.1 * RANDOM.normal(size=reference.shape))
    assert haarpsi(reference, reference, 2.0) == pytest.approx(1, abs=1e-12)
    assert haarpsi(np.zeros((16, 16)), np.zeros((16, 16)), 1.0) == 1
    assert haarpsi(reference, distorted, 2.0) == pytest.approx(haarpsi(distorted, reference, 2.0), abs=1e-12)
    for turn in (np.transpose, np.rot90):  # even sides alone are turned pixel for pixel
        pair = turn(image(40, 32)), turn(np.abs(image(40, 32) - 0.3))
        assert haarpsi(*pair, 2.0) == pytest.approx(haarpsi(image(40, 32), np.abs(image(40, 32) - 0.3), 2.0), abs=0.02)


def test_more_noise_is_less_alike_and_units_do_not_matter() -> None:
    reference, noise = image(), RANDOM.normal(size=(40, 33))
    found = [haarpsi(reference, np.abs(reference + level * noise), 2.0) for level in (0, 0.02, 0.05, 0.1, 0.3, 1.0)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 6
    assert 0 < found[-1] < 0.5
    scaled = haarpsi(1e-7 * reference, 1e-7 * np.abs(reference + 0.1 * noise), 2e-7)
    assert scaled == pytest.approx(found[3], abs=1e-9)
