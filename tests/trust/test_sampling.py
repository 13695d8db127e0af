"""What of a mask may be left out, and what it stands for."""

import numpy as np
import pytest

from switchrecon.physics.mask_kinds import KINDS
from switchrecon.trust.sampling import CENTRE, centre_of, is_regular, kind_of, strata, units, weights

MATRIX = (48, 64)


def mask(kind: str, acceleration: float = 4, seed: int = 0) -> np.ndarray:
    return KINDS[kind].draw(MATRIX, acceleration, 0.08, np.random.RandomState(seed))


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_masks_are_recognised(name: str) -> None:
    drawn = mask(name)
    assert kind_of(drawn) == ("columns" if KINDS[name].dimensions == 1 else "points")
    assert kind_of(drawn.T) == ("rows" if KINDS[name].dimensions == 1 else "points")


def test_zero_padding_beside_the_lines_changes_nothing() -> None:
    drawn = mask("random-1d")
    drawn[:5] = False
    assert kind_of(drawn) == "columns"


def test_lines_are_left_out_as_a_whole_and_the_centre_never() -> None:
    columns = np.array([0, 1, 0, 1, 1, 1, 0, 1], dtype=bool)
    lines = np.broadcast_to(columns, (3, 8)).copy()
    assert centre_of(lines, 3 / 8)[0].tolist() == [False] * 3 + [True] * 3 + [False] * 2
    assert units(lines, 3 / 8)[2].tolist() == [CENTRE, 0, CENTRE, CENTRE, CENTRE, CENTRE, CENTRE, 1]
    assert units(lines.T, 3 / 8).T.tolist() == units(lines, 3 / 8).tolist()


def test_points_are_left_out_one_by_one() -> None:
    drawn = mask("random-2d")
    numbers = units(drawn, 0.08)
    centre = centre_of(drawn, 0.08)
    assert sorted(numbers[numbers != CENTRE]) == list(range((drawn & ~centre).sum()))
    assert (numbers[centre] == CENTRE).all()
    assert (numbers[~drawn] == CENTRE).all()


@pytest.mark.parametrize("name", KINDS)
def test_equally_spaced_masks_are_regular_and_no_others(name: str) -> None:
    for seed in range(5):
        assert is_regular(mask(name, seed=seed), 0.08) == name.startswith("equispaced"), seed
        assert is_regular(mask(name, seed=seed).T, 0.08) == name.startswith("equispaced"), seed


def test_a_shifted_lattice_of_points_is_regular() -> None:
    rows, columns = np.mgrid[:48, :64]
    lattice = (rows + columns // 2) % 2 * 2 + columns % 2 == 0
    lattice[22:26, 30:35] = True
    assert kind_of(lattice) == "points"
    assert is_regular(lattice, 0.08)


@pytest.mark.parametrize("name", ["random-1d", "random-2d", "variable-density-2d", "poisson-2d"])
def test_weights_stand_for_all_places_outside_the_centre(name: str) -> None:
    drawn = mask(name, acceleration=3)
    found = weights(drawn, 0.08)
    assert found is not None
    outside = ~centre_of(drawn, 0.08)
    assert found.sum() == pytest.approx(outside.sum())
    assert (found[~drawn] == 0).all()
    assert (found[drawn & outside] >= 1).all()


def test_weights_of_a_hand_worked_mask() -> None:
    # Eight columns in four strata of two; the centre are columns 3 to 5, so strata 1 and 2 have one place outside.
    columns = np.array([1, 0, 1, 1, 1, 1, 0, 1], dtype=bool)
    lines = np.broadcast_to(columns, (3, 8)).copy()
    assert strata(lines)[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    found = weights(lines, 3 / 8)
    assert found is not None
    assert found[0].tolist() == [2, 0, 1, 0, 0, 0, 0, 2]
    lines[:, 7] = False  # stratum 3 has no sample
    assert weights(lines, 3 / 8) is None
