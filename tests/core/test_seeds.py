"""Seeds: what a draw is for decides what is drawn."""

import numpy as np

from switchrecon.core.seeds import numpy_random, seed_for


def test_a_seed_is_the_hash_of_its_purpose() -> None:
    assert seed_for("order", 1, 2) == seed_for("order", 1, 2)
    assert (
        len({seed_for("order", 1, 2), seed_for("order", 12), seed_for("order", "1", 2), seed_for("order", 1.0, 2)}) == 4
    )
    assert 0 <= seed_for() < 2**63


def test_numpys_legacy_generator_is_seeded_as_ever() -> None:
    for purpose in (("a", 1), ("b", 2.5)):
        expected = np.random.RandomState(seed_for(*purpose) % 2**32)
        found = numpy_random(*purpose)
        assert np.array_equal(found.uniform(size=1000), expected.uniform(size=1000))
        assert np.array_equal(found.normal(size=7), expected.normal(size=7))
        assert np.array_equal(found.permutation(50), expected.permutation(50))
    first, second = numpy_random("a"), numpy_random("a")
    assert first.uniform() == second.uniform()
    assert first.uniform() != numpy_random("a").uniform()
