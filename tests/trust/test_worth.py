"""What a map of doubt is worth, against scipy and scikit-learn's definitions."""

import math

import numpy as np
import pytest
import scipy.stats

from switchrecon.trust.worth import KEPT, auroc, ranks, risk, spearman


@pytest.mark.parametrize("levels", [3, 1000])
def test_ranks_and_correlation_are_those_of_scipy_also_with_ties(levels: int) -> None:
    random = np.random.RandomState(levels)
    first, second = random.randint(levels, size=(2, 200))
    np.testing.assert_allclose(ranks(first), scipy.stats.rankdata(first))
    assert spearman(first, second) == pytest.approx(scipy.stats.spearmanr(first, second).statistic)
    assert math.isnan(spearman(first, np.ones(200)))


@pytest.mark.parametrize("levels", [3, 1000])
def test_the_area_is_the_share_of_pairs_in_the_right_order(levels: int) -> None:
    random = np.random.RandomState(levels)
    doubt, large = random.randint(levels, size=60), random.rand(60) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in doubt[large] for b in doubt[~large]]
    assert auroc(doubt, large) == pytest.approx(np.mean(pairs))
    assert auroc(large.astype(float), large) == 1
    assert math.isnan(auroc(doubt, np.zeros(60, dtype=bool)))


def test_risk_falls_as_the_most_doubted_go_and_no_curve_is_under_the_oracles() -> None:
    error = np.arange(1.0, 101)
    oracle = risk(error, error)
    assert oracle[0] == 3  # of the 5 least
    assert oracle[-1] == error.mean()
    doubt = np.random.RandomState(0).permutation(100)
    assert (risk(error, doubt) >= oracle - 1e-12).all()
    assert risk(error, -error)[0] == 98
    assert len(oracle) == len(KEPT)
