"""The kinds of masks, line by line: what each draws from given numbers, worked out anew."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.random import RandomState
from scipy.optimize import brentq

from switchrecon.errors import ConfigError
from switchrecon.physics.mask_kinds import KINDS, centre_slice, equispaced_1d, equispaced_fraction_1d, find_kind


class Given(RandomState):
    """Gives numbers that were chosen; remembers what it was asked for."""

    def __init__(self, uniform: np.ndarray | float = 0.0, integer: int = 0) -> None:
        super().__init__(0)
        self.numbers, self.integer = uniform, integer
        self.asked: list[object] = []

    def uniform(self, size: object) -> np.ndarray:  # type: ignore[override]
        self.asked.append(size)
        return np.broadcast_to(self.numbers, size).copy()  # type: ignore[arg-type, call-overload, no-any-return]

    def randint(self, *bounds: int) -> int:  # type: ignore[override]
        self.asked.append(bounds if len(bounds) > 1 else (0, *bounds))
        return self.integer


def drawn(kind: str, matrix: tuple[int, int], acceleration: float, fraction: float, random: RandomState) -> np.ndarray:
    return KINDS[kind].draw(matrix, acceleration, fraction, random)


@pytest.mark.parametrize(
    ("size", "fraction", "start", "stop"),
    [(8, 0.5, 2, 6), (9, 0.5, 3, 7), (9, 1 / 3, 3, 6), (8, 3 / 8, 3, 6), (8, 1, 0, 8), (8, 1.5, 0, 8), (8, 0, 4, 4)],
)
def test_the_centre_has_the_sample_of_frequency_zero_inside(size: int, fraction: float, start: int, stop: int) -> None:
    assert centre_slice(size, fraction) == slice(start, stop)


def test_points_and_lines_are_where_the_number_is_below_the_probability() -> None:
    share = (16 * 20 / 4 - 4 * 5) / (16 * 20 - 4 * 5)  # of the points outside 4 × 5
    centre = np.zeros((16, 20), dtype=bool)
    centre[6:10, 8:13] = True
    np.testing.assert_array_equal(drawn("random-2d", (16, 20), 4, 0.25, Given(share)), centre)
    assert drawn("random-2d", (16, 20), 4, 0.25, Given(np.nextafter(share, 0))).all()
    share = (20 / 3 - 5) / 15  # of the lines outside 5
    lines = np.tile((np.arange(20) >= 8) & (np.arange(20) < 13), (16, 1))
    np.testing.assert_array_equal(drawn("random-1d", (16, 20), 3, 0.25, Given(share)), lines)
    assert drawn("random-1d", (16, 20), 3, 0.25, Given(np.nextafter(share, 0))).all()


def test_each_number_is_for_one_point_or_one_line() -> None:
    numbers = np.ones((6, 10))
    numbers[1, 7] = 0
    assert np.argwhere(drawn("random-2d", (6, 10), 4, 0, Given(numbers))).tolist() == [[1, 7]]
    assert np.flatnonzero(drawn("random-1d", (6, 10), 4, 0, Given(numbers[1]))[4]).tolist() == [7]
    for kind, size in (("random-1d", 10), ("variable-density-1d", 10), ("random-2d", (6, 10))):
        random = Given(0.5)
        drawn(kind, (6, 10), 4, 0, random)
        assert random.asked == [size]


@pytest.mark.parametrize(
    ("acceleration", "step"),
    [(1, 1), (1.4, 1), (3, 3), (3.6, 4), (20, 20)],
)
def test_equispaced_lines_are_every_r_th_from_the_offset(acceleration: float, step: int) -> None:
    for offset in range(step):
        random = Given(integer=offset)
        mask = equispaced_1d((3, 20), acceleration, 0.1, random)
        assert random.asked == [(0, step)]
        assert np.flatnonzero(mask[2]).tolist() == sorted({*range(offset, 20, step), 9, 10})


def test_widened_spacing_is_that_of_fastmri() -> None:
    """368 lines with 29 in the centre: 4 (29 − 368) / (29 · 4 − 368) = 5.38 apart, from an offset below 5."""
    for offset in (0, 3):
        random = Given(integer=offset)
        mask = equispaced_fraction_1d((2, 368), 4, 0.08, random)
        assert random.asked == [(0, 5)]
        spaced = [round(offset + n * 1356 / 252) for n in range(70)]
        assert np.flatnonzero(mask[1]).tolist() == sorted({*(n for n in spaced if n < 367), *range(170, 199)})
    # 10 lines, one in the centre, R = 2: 2 (1 − 10) / (2 − 10) = 2.25; the last line, 9, is not below 10 − 1.
    assert np.flatnonzero(equispaced_fraction_1d((1, 10), 2, 0.1, Given())[0]).tolist() == [0, 2, 4, 5, 7]
    random = Given()
    assert np.flatnonzero(equispaced_fraction_1d((1, 10), 1, 0.1, random)[0]).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert random.asked == [(0, 1)]  # one apart: there is no other offset
    # The centre alone is all that is wanted, and all that there is.
    assert np.flatnonzero(equispaced_fraction_1d((1, 64), 4, 0.25, Given())[0]).tolist() == list(range(24, 40))
    assert equispaced_fraction_1d((1, 7), 1, 1, Given()).all()


def density(radius: np.ndarray, centre: np.ndarray, acceleration: float) -> np.ndarray:
    """min(1, c ((1 − r)³ + 0.001)) outside the centre, with c such that size / acceleration samples are expected."""
    weight = ((1 - radius) ** 3 + 1e-3)[~centre]

    def missing(factor: float) -> float:
        return float(np.minimum(factor * weight, 1).sum() + centre.sum() - centre.size / acceleration)

    found = np.ones(radius.shape)
    found[~centre] = np.minimum(brentq(missing, 0, 2000, xtol=1e-14, rtol=1e-14) * weight, 1)
    return found


@pytest.mark.parametrize(
    ("width", "acceleration", "fraction"), [(40, 4, 0.1), (33, 2.5, 0.1), (24, 1.1, 0), (40, 8, 0), (3, 3, 0)]
)
def test_the_probability_of_a_line_falls_with_its_distance(width: int, acceleration: float, fraction: float) -> None:
    radius = np.abs(np.arange(width) - width // 2) / (width // 2)
    centre = np.zeros(width, dtype=bool)
    centre[centre_slice(width, fraction)] = True
    expected = density(radius, centre, acceleration)
    assert expected.sum() == pytest.approx(width / acceleration)
    below, above = (
        drawn("variable-density-1d", (2, width), acceleration, fraction, Given(expected * by))
        for by in (1 - 1e-9, 1 + 1e-9)
    )
    assert below.all()
    assert not above.any()


@pytest.mark.parametrize(
    ("matrix", "acceleration", "fraction"), [((20, 32), 4, 0.1), ((9, 12), 6, 0), ((1, 15), 3, 0.1)]
)
def test_the_probability_of_a_point_falls_with_its_distance(
    matrix: tuple[int, int], acceleration: float, fraction: float
) -> None:
    rows, columns = np.indices(matrix)
    height, width = (max(size // 2, 1) for size in matrix)
    radius = np.hypot((rows - matrix[0] // 2) / height, (columns - matrix[1] // 2) / width) / np.sqrt(2)
    centre = np.zeros(matrix, dtype=bool)
    centre[centre_slice(matrix[0], fraction), centre_slice(matrix[1], fraction)] = True
    expected = density(radius, centre, acceleration)
    for by, found in ((1 - 1e-9, True), (1 + 1e-9, False)):
        random = Given(expected * by)
        assert (drawn("variable-density-2d", matrix, acceleration, fraction, random) == found).all()
        assert random.asked == [matrix]


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_k_space(kind: str) -> None:
    """Acceleration 1, whatever the centre, down to a single sample; the other extreme is the centre alone."""
    for matrix in ((6, 10), (1, 1)):
        for fraction in (0, 0.3, 1) if kind != "equispaced-fraction-1d" else (1,):
            assert drawn(kind, matrix, 1, fraction, Given(1 - 1e-12)).all()
    if kind != "equispaced-1d":
        mask = drawn(kind, (8, 16), 4 if KINDS[kind].dimensions == 1 else 16, 0.25, Given(1e-12))
        rows = slice(None) if KINDS[kind].dimensions == 1 else slice(3, 5)
        assert mask[rows, 6:10].all()
        assert mask.sum() == mask[rows, 6:10].size


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "equispaced-1d"])
def test_a_centre_with_more_samples_than_the_acceleration_allows_is_told(kind: str) -> None:
    total, centre = (20, 10) if KINDS[kind].dimensions == 1 else (160, 40)
    with pytest.raises(ConfigError) as error:
        drawn(kind, (8, 20), 4.5, 0.5, RandomState(0))
    assert str(error.value) == (
        f"mask.acceleration 4.5 allows {total / 4.5:.0f} samples of {total} in a {kind} mask, but the centre alone has "
        f"{centre}: lower mask.center_fraction or mask.acceleration"
    )


def test_a_kind_is_found_by_its_name() -> None:
    assert [find_kind(name) is kind for name, kind in KINDS.items()] == [True] * 7
    with pytest.raises(ConfigError, match=r"^unknown kind of mask 'poison-2d'; did you mean 'poisson-2d'\?$"):
        find_kind("poison-2d")


def test_a_kind_in_a_file_is_read_again_when_the_file_has_changed(tmp_path: Path) -> None:
    first, second = tmp_path / "first.py", tmp_path / "second.py"
    for file, about in ((first, "rows"), (second, "points")):
        code = (
            f"from switchrecon.physics.masks import MaskKind\nMINE = MaskKind(print, dimensions=1, about='{about}')\n"
        )
        file.write_text(code)
        os.utime(file, ns=(10**18, 10**18))  # of the same age: a name tells the files apart
    kinds = [find_kind(f"{file}:MINE") for file in (first, second)]
    assert [kind.about for kind in kinds] == ["rows", "points"]
    assert find_kind(f"{first}:MINE") is kinds[0]  # not run again
    first.write_text(first.read_text().replace("rows", "other rows"))
    os.utime(first, ns=(10**18 + 10**9, 10**18 + 10**9))
    assert find_kind(f"{first}:MINE").about == "other rows"
    with pytest.raises(ConfigError, match=r"^mask 'absent\.py:MINE': no such file"):
        find_kind("absent.py:MINE")
