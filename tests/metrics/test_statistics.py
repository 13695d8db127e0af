"""Statistics against numbers worked by hand and against what they are meant to cover."""

import numpy as np
import pytest

from switchrecon.core.seeds import numpy_random
from switchrecon.metrics.statistics import (
    Interval,
    OverFolds,
    Unit,
    clustered_interval,
    difference,
    fold_weights,
    over_folds,
    recovered,
    seed_average,
    seed_spread,
)


def unit(fold: int, subject: str, number: int = 0) -> Unit:
    return Unit(fold, subject, f"scan-{subject}", str(number))


def test_over_folds_is_the_mean_of_fold_means() -> None:
    values = {unit(0, "a", 0): 1.0, unit(0, "a", 1): 3.0, unit(1, "b", 0): 6.0}
    found = over_folds(values)
    assert found.mean == 4.0  # (2 + 6) / 2, not (1 + 3 + 6) / 3
    assert found.std == pytest.approx(np.sqrt(8))  # deviations −2 and 2, divided by 2 − 1
    assert found.folds == {"0": 2.0, "1": 6.0}
    assert (found.seed_std, over_folds(values, 0.25).seed_std) == (None, 0.25)
    one = over_folds({unit(0, "a"): 1.0})
    assert (one.mean, one.std, one.low) == (1.0, None, None)
    for bad in ({}, {unit(0, "a"): float("nan")}, {unit(0, "a"): float("inf")}):
        assert over_folds(bad).mean is None


def test_difference_is_paired_over_what_both_have() -> None:
    first = {unit(0, "a", 0): 10.0, unit(0, "a", 1): 20.0, unit(0, "b", 0): 5.0}
    second = {unit(0, "a", 0): 11.0, unit(0, "a", 1): 22.0, unit(0, "c", 0): 9.0}
    found = difference({0: first}, {0: second})
    assert (found.mean, found.subjects) == (1.5, 1)
    assert found.low is None  # one subject: nothing to draw
    assert difference({0: first}, {}).mean is None
    assert difference({0: first}, {1: second}).mean is None
    # A second seed of one row alone is left out: 1.5 as before, and not half of the 100 more.
    more = {unit: value + 100 for unit, value in second.items()}
    assert difference({0: first}, {0: second, 1: more}).mean == 1.5
    assert difference({0: first, 1: first}, {0: second, 1: more}).mean == 51.5


def test_the_difference_of_two_rows_is_that_of_their_means_also_where_folds_differ_in_size() -> None:
    # A small fold in which the second row is worse, and a large one in which it is better.
    first = {unit(0, "a", i): 10.0 for i in range(2)} | {unit(1, "b", i): 20.0 for i in range(8)}
    second = {u: value + (-3 if u.fold == 0 else 1) for u, value in first.items()}
    found = difference({0: first}, {0: second})
    assert found.mean == pytest.approx(over_folds(second).mean - over_folds(first).mean)
    assert found.mean == pytest.approx(-1)  # the mean over slices would be +0.2
    assert (found.low, found.high) == (pytest.approx(-3), pytest.approx(1))
    assert over_folds(first).low <= over_folds(first).mean <= over_folds(first).high
    above = {u: value + 1 for u, value in first.items()}
    assert recovered({0: second}, {0: first}, {0: above}).mean == pytest.approx(-1)
    assert seed_spread([first, second]) == pytest.approx(np.std([15, 14], ddof=1))


def test_the_interval_is_of_the_mean_of_fold_means() -> None:
    # Three subjects, worked by hand: fold 0 holds a (one unit), fold 1 holds b (three units) and c (one).
    values = {unit(0, "a"): 6.0, **{unit(1, "b", i): 2.0 for i in range(3)}, unit(1, "c"): 10.0}
    # Weights: a 1/2, b 3 · 1/8, c 1/8. Thrice the lowest subject and thrice the highest are 1 of 27 draws each.
    assert clustered_interval(values) == (2.0, 10.0)
    assert over_folds(values).mean == pytest.approx(6 / 2 + 2 * 3 / 8 + 10 / 8)


def test_two_subjects_give_their_means_as_ends() -> None:
    values = {unit(0, "a", i): 0.0 for i in range(5)} | {unit(0, "b", i): 1.0 for i in range(5)}
    # A quarter of the draws take one subject twice, so both 2.5 % tails lie there.
    assert clustered_interval(values) == (0.0, 1.0)


def test_the_same_subject_name_in_two_folds_is_two_clusters() -> None:
    values = {unit(0, "subject-001"): 0.0, unit(1, "subject-001"): 1.0}
    assert clustered_interval(values) == (0.0, 1.0)


def test_clustered_intervals_cover_where_those_of_slices_do_not() -> None:
    random = np.random.RandomState(3)
    covered = covered_by_slices = 0
    trials = 100
    for _ in range(trials):
        subjects = random.normal(size=15)  # their true mean is 0
        values = {
            unit(0, f"s{i}", j): mean + 0.1 * random.normal() for i, mean in enumerate(subjects) for j in range(20)
        }
        low, high = clustered_interval(values, resamples=400)
        assert low is not None
        assert high is not None
        covered += low < 0 < high
        as_if_independent = {unit(0, f"{u.subject}-{u.slice}"): v for u, v in values.items()}
        low, high = clustered_interval(as_if_independent, resamples=400)
        assert low is not None
        assert high is not None
        covered_by_slices += low < 0 < high
    assert covered >= 85  # of 95 asked for; few clusters make the percentile interval a little short
    assert covered_by_slices < 60


def test_seeds() -> None:
    first = {unit(0, "a"): 1.0, unit(0, "b"): 2.0}
    second = {unit(0, "a"): 3.0, unit(0, "b"): 4.0}
    assert seed_average([first, second]) == {unit(0, "a"): 2.0, unit(0, "b"): 3.0}
    assert seed_average([]) == {}
    partial = {unit(0, "a"): 5.0}  # a seed that is not finished takes nothing away
    assert seed_average([first, partial]) == {unit(0, "a"): 3.0, unit(0, "b"): 2.0}
    assert seed_spread([first, partial]) == pytest.approx(np.std([1, 5], ddof=1))
    assert seed_spread([first, second]) == pytest.approx(np.sqrt(2))  # means 1.5 and 3.5
    assert seed_spread([first]) is None


def test_recovered_part_of_a_gap_by_hand() -> None:
    lower, upper, method = (
        {Unit(0, subject, "v", str(n)): value for subject, n, value in rows}
        for rows in (
            (("a", 0, 20.0), ("a", 1, 22.0), ("b", 0, 21.0)),
            (("a", 0, 24.0), ("a", 1, 24.0), ("b", 0, 25.0)),
            (("a", 0, 23.0), ("a", 1, 23.0), ("b", 0, 22.0)),
        )
    )
    found = recovered({0: method}, {0: lower}, {0: upper})
    assert found.mean == pytest.approx((3 + 1 + 1) / (4 + 2 + 4))
    assert (found.low, found.high) == (pytest.approx(1 / 4), pytest.approx(4 / 6))  # b alone, a alone
    assert recovered({0: lower}, {0: lower}, {0: upper}).mean == 0
    assert recovered({0: upper}, {0: lower}, {0: upper}).mean == 1
    assert recovered({0: method}, {0: upper}, {0: lower}).mean is None  # no gap, nothing to recover


def test_the_recovered_part_is_of_the_same_seeds_gap() -> None:
    lower, upper, method = ({unit(0, "a"): value} for value in (20.0, 24.0, 23.0))
    later = [{own: value + 2 for own, value in row.items()} for row in (lower, upper)]  # a luckier seed of both ends
    found = recovered({0: method}, {0: lower, 1: later[0]}, {0: upper, 1: later[1]})
    assert found.mean == pytest.approx(3 / 4)  # and not (23 − 21) / 4
    both = recovered({0: method, 1: method}, {0: lower, 1: later[0]}, {0: upper, 1: later[1]})
    assert both.mean == pytest.approx((3 + 1) / (4 + 4))
    assert recovered({0: method}, {1: lower}, {1: upper}).mean is None


def test_the_interval_is_the_percentile_bootstrap_with_the_same_draws_in_every_call() -> None:
    """Subjects are drawn in the order of fold and name; an earlier version's intervals come out again."""
    values = {unit(fold, name, number): value for fold, name, number, value in VALUES}
    # Weights: 1/2 a fold, so 1/8 a unit in fold 0 and 1/4 in fold 1.
    first = np.array([(1 + 2 + 4) / 8, 8 / 8, 16 / 4, 32 / 4])  # of a, b, a, c
    second = np.array([3 / 8, 1 / 8, 1 / 4, 1 / 4])
    drawn = numpy_random("bootstrap").randint(4, size=(10_000, 4))
    means = [sum(first[subject] for subject in draw) / sum(second[subject] for subject in draw) for draw in drawn]
    expected = np.percentile(means, [2.5, 97.5])
    assert clustered_interval(values) == pytest.approx(tuple(expected), rel=1e-12)
    assert clustered_interval(dict(reversed(values.items()))) == clustered_interval(values)
    assert clustered_interval(values, resamples=7) == pytest.approx(tuple(np.percentile(means[:7], [2.5, 97.5])))
    found = over_folds(values)
    assert (found.low, found.high) == clustered_interval(values)
    assert list(found.folds.items()) == [("0", 15 / 4), ("1", 24)]


VALUES = [(1, "c", 0, 32.0), (0, "b", 0, 8.0), (0, "a", 0, 1.0), (0, "a", 1, 2.0), (0, "a", 2, 4.0), (1, "a", 0, 16.0)]


def test_a_part_of_a_gap_has_no_interval_where_subjects_without_a_gap_may_be_drawn_alone() -> None:
    lower, upper = {unit(0, "a"): 1.0, unit(0, "b"): 2.0}, {unit(0, "a"): 3.0, unit(0, "b"): 2.0}
    found = recovered({0: {unit(0, "a"): 2.0, unit(0, "b"): 2.0}}, {0: lower}, {0: upper})
    assert found == Interval(mean=0.5, subjects=2)


def test_weights_count_every_fold_alike() -> None:
    units = [unit(fold, name, number) for fold, name, number, _ in VALUES]
    assert fold_weights(iter(units)) == {each: 1 / 8 if each.fold == 0 else 1 / 4 for each in units}
    assert sum(fold_weights(units).values()) == 1


def test_nothing_in_common_and_no_numbers_give_no_mean() -> None:
    value = {unit(0, "a"): 1.0, unit(0, "b"): 2.0}
    for bad in (np.nan, np.inf, -np.inf):
        assert difference({0: value}, {0: {**value, unit(0, "b"): bad}}) == Interval()
        found = recovered({0: {**value, unit(0, "b"): bad}}, {0: value}, {0: {u: v + 1 for u, v in value.items()}})
        assert found == Interval(subjects=2)
        assert seed_spread([value, {**value, unit(0, "b"): bad}]) is None
        assert over_folds({**value, unit(0, "b"): bad}, 0.5) == OverFolds()
    assert difference({}, {}) == recovered({}, {}, {}) == Interval()
    assert recovered({0: value}, {0: value}, {0: value}) == Interval(subjects=2)  # no gap at all
    small = recovered({0: {unit(0, "a"): 0.125}}, {0: {unit(0, "a"): 0.0}}, {0: {unit(0, "a"): 0.25}})
    assert small == Interval(mean=0.5, subjects=1)
    more = [{**value, unit(0, name): 9.0} for name in "cde"]  # what one row alone has
    upper = {u: v + 1 for u, v in more[2].items()}
    assert recovered({0: more[0]}, {0: more[1]}, {0: upper}) == Interval(mean=0, low=0, high=0, subjects=2)
    found = difference({0: value}, {0: {u: 2 * v for u, v in value.items()}})
    assert found == Interval(mean=1.5, low=1, high=2, subjects=2)


def test_the_spread_of_seeds_is_over_what_all_have() -> None:
    first, second = {unit(0, "a"): 1.0, unit(1, "b"): 2.0}, {unit(0, "a"): 3.0, unit(1, "c"): 4.0}
    assert seed_spread([first, second]) == pytest.approx(np.sqrt(2))  # 1 and 3
    assert seed_spread([first, {unit(2, "d"): 1.0}]) is None
    assert seed_spread([]) is None
    assert seed_spread([first, first, first]) == 0
    average = seed_average([second, first])
    assert average == {unit(0, "a"): 2.0, unit(1, "b"): 2.0, unit(1, "c"): 4.0}
    assert list(average) == sorted(average)
