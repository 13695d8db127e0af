"""What keeps a training sound, piece by piece: when a loss has left its past, what is kept, what is announced."""

import math

import pytest
import torch

from switchrecon.errors import RunError
from switchrecon.methods.methods import METHODS
from switchrecon.methods.step import Batch
from switchrecon.physics.operators import Encoding
from switchrecon.training.guard import (
    SURE,
    WINDOW,
    Diverged,
    Guard,
    Health,
    Past,
    check_numbers,
    watch_discriminator,
    watch_generator,
)
from switchrecon.training.state import Measured, State, build_state
from tests.conftest import tiny_config


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_number_that_is_not_finite_is_named_with_its_step(bad: float) -> None:
    check_numbers(Measured({"l1": 0.0, "cycle": -1e30}, {"generator": 0.0}))
    with pytest.raises(Diverged) as problem:
        check_numbers(Measured({"l1": 1.0, "cycle": bad}, {"generator": math.nan}), 7)
    assert (str(problem.value), problem.value.step) == (f"cycle is {bad}", 7)
    with pytest.raises(Diverged) as problem:
        check_numbers(Measured({"l1": 1.0}, {"generator": 1.0, "discriminator": 1e20}), 8)
    assert (str(problem.value), problem.value.step) == ("the gradient of the discriminator is 1e+20", 8)
    with pytest.raises(Diverged) as problem:
        check_numbers(Measured({"l1": bad}))
    assert problem.value.step is None  # the step that is being taken


def test_what_a_loss_has_been_like() -> None:
    past = Past()
    for value in range(WINDOW - 1):
        past.add(value)
    assert (past.best, len(past.first), past.outside) == (math.inf, WINDOW - 1, 0)
    past.add(WINDOW - 1)
    assert past.first == list(past.recent) == list(range(WINDOW))
    assert past.best == (WINDOW - 1) / 2 == 24.5
    past.add(20 * 24.5)  # 20 times the best is not yet outside
    assert past.outside == 0
    for n in (1, 2):
        past.add(20 * 24.5 + 0.5)
        assert past.outside == n
    assert past.first == list(range(WINDOW))
    assert list(past.recent) == [*range(1, WINDOW), 490]  # without those outside
    past.add(2)
    assert past.outside == 0
    for _ in range(30):
        past.add(2)
    assert past.best == 2
    for _ in range(60):
        past.add(30)
    assert (past.best, set(past.recent)) == (2, {30})  # the lowest so far
    past.add(3 * 24.5)  # 20 · 2 are less than three times what it began with
    assert past.outside == 0
    past.add(3 * 24.5 + 0.1)
    assert past.outside == 1


def test_divergence_is_told_at_the_step_that_makes_it_sure() -> None:
    health = Health([{"l1": 0.5, "cycle": 0.25}] * WINDOW)
    assert health.calm
    for step in range(1, SURE):
        health.look({"l1": 12.3456, "cycle": 0.25}, step)
        assert not health.calm
        assert (health.pasts["l1"].outside, health.pasts["cycle"].outside) == (step, 0)
    with pytest.raises(Diverged) as problem:
        health.look({"l1": 12.3456, "cycle": 0.25}, SURE)
    assert (str(problem.value), problem.value.step) == ("l1 is 12.3, after 0.5 before,", SURE)
    assert Health().calm


def changed(state: State, by: float) -> list[torch.Tensor]:
    """Move all that a step moves, in place; the weights after it."""
    with torch.no_grad():
        for weight in state.players.parameters():
            weight += by
        for weight in state.average.averaged.parameters():
            weight += by
    return [weight.detach().clone() for weight in state.players.parameters()]


def test_a_run_returns_to_what_was_kept_at_half_the_rate_three_times(messages: list[str]) -> None:
    state = build_state(METHODS["simulated"], tiny_config("method=simulated"))
    kept = changed(state, 0.0)
    state.step, state.course.quiet = 50, 3
    guard = Guard(state)
    for n, (problem, said) in enumerate(
        [
            (Diverged("l1 is nan"), "l1 is nan at step 57"),
            (Diverged("l1 is 3,", 55), "l1 is 3, at step 55"),
            (Diverged("l1 is inf"), "l1 is inf at step 57"),
        ],
        1,
    ):
        changed(state, math.nan)
        state.step, state.course.quiet, state.course.flat = 57, 60, True
        guard.roll_back(state, problem, 57)
        for weights in (state.players.parameters(), state.average.averaged.parameters()):
            assert all(torch.equal(*pair) for pair in zip(weights, kept, strict=True))
        assert (state.step, state.course.quiet, state.course.flat) == (50, 3, False)
        assert (state.course.setbacks, state.course.rate) == (n, 0.5**n)
        sentence = f"training diverged: {said}; went back to step 50 and halved the learning rate ({n} of 3 times)"
        assert len(state.course.remarks) == n  # those of earlier setbacks stay
        assert state.course.remarks[-1] == (51, sentence)
        assert sentence in messages[-1]
    changed(state, 1.0)
    with pytest.raises(RunError) as error:
        guard.roll_back(state, Diverged("l1 is nan"), 58)
    assert str(error.value) == (
        "training diverged: l1 is nan at step 58, after 3 returns to an earlier state at half the learning rate; "
        "the last checkpoint stays; try a lower learning_rate, and look at the scans"
    )
    assert all(torch.equal(*pair) for pair in zip(state.players.parameters(), kept, strict=True))
    assert state.course.setbacks == 3


def test_weights_that_are_not_finite_are_not_kept() -> None:
    state = build_state(METHODS["simulated"], tiny_config("method=simulated"))
    guard = Guard(state)
    kept = {name: tensor.clone() for name, tensor in guard.tensors.items()}
    name, weight = list(state.players.named_parameters())[-1]
    with torch.no_grad():
        weight.view(-1)[-1] = math.inf
    with pytest.raises(Diverged, match=f"^{name} is not finite$") as problem:
        guard.keep(state)
    assert problem.value.step is None
    assert all(torch.equal(guard.tensors[name], tensor) for name, tensor in kept.items())
    assert not any(tensor.requires_grad for tensor in guard.tensors.values())


@pytest.mark.parametrize(("size", "sound"), [(9.99e17, True), (1e18, False), (math.inf, False), (math.nan, False)])
def test_gradients_whose_squares_would_overflow_are_refused(size: float, sound: bool) -> None:
    norms: Measured[float] = Measured({}, {"generator": size})
    if sound:
        check_numbers(norms)
        return
    with pytest.raises(Diverged, match="the gradient of the generator is"):
        check_numbers(norms)


def test_a_discriminator_that_is_always_right_is_announced_once(messages: list[str]) -> None:
    config = tiny_config("method=switchable")
    method, state = METHODS["switchable"], build_state(METHODS["switchable"], config)
    silent, lively = {"lsgan_discriminator": 2e-4, "boosting": 1e-4}, {"lsgan_discriminator": 0.2, "boosting": 0.0}
    for step in range(1, 400):
        watch_discriminator(state, method, step, lively if step == 60 else silent)
        watch_discriminator(state, method, step, {"identity": 0.0})  # a step without D
    assert [at for at, _ in state.course.remarks] == [160]
    assert "\n".join(messages).count("discriminator's loss has been below 0.001 for 100 steps") == 1


def test_a_generator_without_contrast_is_announced_once(messages: list[str]) -> None:
    config = tiny_config("method=simulated")
    state = build_state(METHODS["simulated"], config)
    random = torch.Generator().manual_seed(0)
    x = torch.rand(1, 2, 64, 64, generator=random) - 0.5
    mask = torch.ones(1, 64, 64, dtype=torch.bool)
    batch = Batch(x, x, torch.zeros(1, 64), Encoding(mask), Encoding(mask))
    with torch.no_grad():
        for weight in state.players.generator.full.parameters():  # type: ignore[union-attr]
            weight *= 0.01
    for state.step in (50, 150, 200):
        watch_generator(state, batch, config, 1000)
    assert [at for at, _ in state.course.remarks] == [150]
    assert "of that of x: collapse?" in "\n".join(messages)


def test_only_a_discriminator_that_is_quiet_in_a_row_is_announced() -> None:
    state = build_state(METHODS["switchable"], tiny_config("method=switchable"))

    def watch(adversarial: float, boosting: float, times: int = 1, method: str = "switchable") -> int:
        losses = {"lsgan_discriminator": adversarial, "boosting": boosting, "cycle": 1.0}
        for _ in range(times):
            watch_discriminator(state, METHODS[method], 9, losses)
        return state.course.quiet

    assert watch(5e-4, 4.9e-4, 99) == 99
    assert watch(5e-4, 5e-4) == 0  # 0.001 together is not below it
    assert watch(0.0, 0.0, 99) == 99
    watch_discriminator(state, METHODS["switchable"], 9, {"lsgan_discriminator": 0.0})  # not all of D's
    watch_discriminator(state, METHODS["supervised"], 9, {"supervised": 0.0})  # no D
    assert (state.course.quiet, state.course.remarks) == (99, [])
    watch(0.0, 0.0)
    said = "the discriminator's loss has been below 0.001 for 100 steps: collapse?"
    assert state.course.remarks == [(9, said)]
    watch(0.0, 0.0, 150)
    assert (state.course.quiet, len(state.course.remarks)) == (250, 1)


@pytest.mark.parametrize(
    ("warm_up", "steps", "first"),
    [(0, 1000, 101), (0, 1009, 101), (150, 1000, 151), (0, 5, 1)],
)
def test_contrast_is_looked_at_after_the_first_tenth_and_the_warm_up(warm_up: int, steps: int, first: int) -> None:
    config = tiny_config("method=simulated", f"warm_up={warm_up}")
    state = build_state(METHODS["simulated"], config)
    state.players.to_full = lambda x, encoding: scale * x * encoding.mask[:, None] + 3
    x = torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    encoding = Encoding(torch.ones(1, 16, 16, dtype=torch.bool))
    batch = Batch(x, x, torch.zeros(1, 64), encoding, encoding)
    scale = 0.05  # of the contrast, 0.0025 of the variance
    state.step = first - 1
    watch_generator(state, batch, config, steps)
    assert not state.course.flat
    state.step = first
    scale = 0.11  # 0.0121 of the variance
    watch_generator(state, batch, config, steps)
    assert not state.course.flat
    scale = 0.05
    watch_generator(state, batch, config, steps)
    watch_generator(state, batch, config, steps)
    assert state.course.flat
    assert state.course.remarks == [(first, "the variance of G(x) is 0.0025 of that of x: collapse?")]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([0.05] * WINDOW + [0.01] * 100 + [0.3] * SURE, True),  # 20 · 0.01 and 3 · 0.05
        ([0.05] * WINDOW + [0.01] * 100 + [0.3] * (SURE - 1) + [0.02] + [0.3] * (SURE - 1), False),
        ([0.05] * WINDOW + [0.01] * 100 + [0.14] * SURE, False),  # less than three times what it began with
        ([0.05] * WINDOW + [0.01] * 100 + [0.19] * SURE, False),  # less than 20 times its best
        ([0.05] * WINDOW + [0.01 * 1.02**n for n in range(200)], True),  # slowly, too
        ([3.0] * WINDOW + [1e-6] * 100 + [2.0] * 100, False),  # a discriminator that wakes up
        ([1e5] * SURE, False),  # nothing is known yet
    ],
)
def test_what_leaves_its_past(values: list[float], found: bool) -> None:
    health = Health()

    def look() -> None:
        for step, value in enumerate(values, 1):
            health.look({"l1": value, "other": 1.0}, step)

    if not found:
        look()
        return
    with pytest.raises(Diverged, match="l1 is ") as problem:
        look()
    assert problem.value.step is not None
    kept = [{"l1": value} for value in values[: problem.value.step - 1]]
    assert not Health(kept).calm  # from the log alone
