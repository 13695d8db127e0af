"""What few subjects allow: promises that hold for subjects, and that pixels would break."""

from itertools import permutations

import numpy as np
import pytest

from switchrecon.errors import DataError
from switchrecon.trust.conformal import (
    p_value,
    promised,
    promised_for_fold,
    quantile,
    sentence,
    shown,
    subject_score,
    unlikeness,
)


@pytest.mark.parametrize(
    ("subjects", "percent"), [(3, 75), (4, 80), (5, 83), (8, 88), (9, 90), (18, 94), (19, 95), (39, 95)]
)
def test_the_promise_of_so_many_subjects(subjects: int, percent: int) -> None:
    assert promised(subjects) == percent
    assert f"at least {percent} %" in sentence(subjects)
    assert f"{subjects} calibration subjects" in sentence(subjects)


def test_fewer_than_nine_subjects_never_say_90_percent() -> None:
    for subjects in range(3, 9):
        assert "90" not in sentence(subjects)
    for subjects in range(3):
        with pytest.raises(DataError, match=f"{subjects} subjects?, too few .* at least 3"):
            promised(subjects)


def test_the_quantile_is_the_largest_of_few_scores_and_an_order_statistic_of_many() -> None:
    for count in (3, 4, 9, 19):
        scores = list(np.random.RandomState(count).permutation(count))
        assert quantile(scores) == count - 1
    assert quantile(list(range(1, 40))) == 38  # ⌈40 · 0.95⌉
    assert {quantile(list(order)) for order in permutations((3.0, 1.0, 2.0))} == {3.0}


def test_the_score_of_a_subject_is_what_covers_nine_tenths_of_its_pixels() -> None:
    error, doubt = np.arange(1, 21).astype(float), np.full(20, 2.0)
    assert subject_score(error, doubt) == 9  # of 20 ratios the 18th
    assert subject_score(error[::-1], doubt) == 9
    assert (error <= 9 * doubt).mean() == 0.9


def simulated(random: np.random.RandomState, subjects: int, pixels: int = 200) -> list[np.ndarray]:
    """Errors over doubt of subjects that differ strongly from each other."""
    return [np.abs(random.normal(size=pixels)) * np.exp(random.normal()) for _ in range(subjects)]


@pytest.mark.parametrize("count", [3, 4, 9, 19])
def test_the_promise_holds_for_subjects_and_pooled_pixels_break_it(count: int) -> None:
    random = np.random.RandomState(count)
    held, pooled, repeats = [], [], 400
    for _ in range(repeats):
        *known, new = simulated(random, count + 1)
        factor = quantile([subject_score(own, np.ones_like(own)) for own in known])
        held.append((new <= factor).mean() >= 0.9)
        pooled.append((new <= np.quantile(np.concatenate(known), 0.9)).mean() >= 0.9)
    error = 3 * np.sqrt(0.25 / repeats)
    assert np.mean(held) >= promised(count) / 100 - error
    assert np.mean(pooled) < promised(count) / 100 - error


def test_a_network_of_a_fold_promises_what_its_own_subjects_allow() -> None:
    """Networks of unequal worth: the largest score of all covers, and n / (n + 1) of the fold is a true bound."""
    random = np.random.RandomState(1)
    folds, each, repeats, held = 3, 3, 2000, 0
    for _ in range(repeats):
        worth = np.exp(random.normal(size=folds))  # a network's errors are all larger or smaller
        scores = worth[:, None] * np.exp(0.3 * random.normal(size=(folds, each + 1)))
        chosen = int(worth.argmax())  # the worst network is the one that is used
        factor = max(quantile(scores[:, 1:].ravel().tolist()), scores[chosen, 1:].max())
        held += scores[chosen, 0] <= factor
    share, error = held / repeats, 3 * np.sqrt(0.25 / repeats)
    assert share >= promised_for_fold(each) / 100 - error
    assert share < promised(folds * each) / 100 - error  # what all subjects together would promise is too much
    said = sentence(9, 3)
    assert "at least 75 %" in said
    assert "cross-fitted: this network has not seen 3 of them" in said
    assert promised_for_fold(1) == 50
    assert "at least 66 %" in sentence(6, 2)
    assert "90" not in sentence(6, 2)


def test_p_values_of_hand_worked_scores() -> None:
    assert p_value(5, [1, 2, 3]) == 0.25
    assert p_value(2, [1, 2, 3]) == 0.75
    assert p_value(0, [1, 2, 3]) == 1


def test_p_values_of_the_same_law_are_uniform_and_another_subject_stands_out() -> None:
    random = np.random.RandomState(0)
    found = np.array([unlikeness(sample[0], sample[1:])[0] for sample in random.normal(size=(500, 10, 3))])
    for level in (0.1, 0.3, 0.5, 0.9):
        assert (found <= level + 1e-9).mean() == pytest.approx(level, abs=3 * np.sqrt(0.25 / 500))
    others = random.normal(size=(9, 3))
    p, which = unlikeness([0, 30, 0], others.tolist())
    assert p == 0.1
    assert which == 1
    assert "unlike" in shown(p, 9)
    assert "cannot be under 0.10" in shown(p, 9)
    assert "not unlike" in shown(0.6, 9)


def test_features_that_all_share_or_that_are_unknown() -> None:
    assert unlikeness([1.0, np.nan], [[1.0, 2.0], [1.0, 3.0], [1.0, 1.0]]) == (1.0, 0)
    assert unlikeness([2.0], [[1.0], [1.0], [1.0]]) == (0.25, 0)
    assert unlikeness([np.nan], [[1.0], [1.0], [1.0]]) == (1.0, -1)
    for same in (0.1, 1.3862943611198906, 1e6 / 3):  # the mean of equal numbers may be off by rounding
        assert unlikeness([same], [[same]] * 6)[0] == 1


def test_one_that_is_far_away_does_not_hide_in_the_deviation_that_it_makes() -> None:
    others = np.random.RandomState(3).normal(size=(19, 15))
    for feature in range(15):
        new = np.zeros(15)
        new[feature] = 6
        assert unlikeness(new.tolist(), others.tolist()) == (0.05, feature)
