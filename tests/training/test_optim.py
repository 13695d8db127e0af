"""Lookahead, the linear decay and the weight average against numbers worked by hand."""

import math

import pytest
import torch
from torch import nn

from switchrecon.config import Config, load_config
from switchrecon.training.optim import Lookahead, WeightAverage, fast_optimizer, learning_rate


def test_lookahead_pulls_fast_weights_half_way_back_every_k_steps() -> None:
    weight = nn.Parameter(torch.tensor([10.0]))
    lookahead = Lookahead(torch.optim.SGD([weight], lr=1.0), steps=3, rate=0.5)
    seen = []
    for _ in range(6):
        weight.grad = torch.ones(1)
        lookahead.step()
        seen.append(weight.item())
    # 10 → 9, 8, 7 → slow 10 + ½ (7 − 10) = 8.5; then 7.5, 6.5, 5.5 → 8.5 + ½ (5.5 − 8.5) = 7
    assert seen == [9, 8, 8.5, 7.5, 6.5, 7]


def test_lookahead_state_round_trip() -> None:
    def make() -> tuple[nn.Parameter, Lookahead]:
        weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        return weight, Lookahead(fast_optimizer([weight], Config()), steps=3)

    def run(weight: nn.Parameter, optimizer: Lookahead, steps: range) -> None:
        for step in steps:
            weight.grad = torch.tensor([1.0, float(step)])
            optimizer.step()

    straight, optimizer = make()
    run(straight, optimizer, range(10))
    first, optimizer = make()
    run(first, optimizer, range(4))
    second, restored = make()
    restored.load_state_dict(optimizer.state_dict())
    with torch.no_grad():
        second.copy_(first)
    run(second, restored, range(4, 10))
    assert torch.equal(straight, second)


def test_the_rate_falls_linearly_to_its_end() -> None:
    config = load_config(None, ["learning_rate=1e-4", "final_learning_rate=1e-7"])
    assert learning_rate(config, 0, 101) == pytest.approx(1e-4)
    assert learning_rate(config, 50, 101) == pytest.approx((1e-4 + 1e-7) / 2)
    assert learning_rate(config, 100, 101) == pytest.approx(1e-7)
    assert learning_rate(config, 0, 1) == pytest.approx(1e-4)


def test_average_is_the_mean_of_the_weights_it_was_given() -> None:
    module = nn.Linear(1, 1, bias=False)
    average = WeightAverage(module)
    nn.init.constant_(module.weight, 7.0)
    assert average.weights(module)["weight"].item() == 7
    for value in (1.0, 2.0, 6.0):
        nn.init.constant_(module.weight, value)
        average.update(module)
    assert average.weights(module)["weight"].item() == pytest.approx(3)


def test_an_exponential_average_forgets() -> None:
    module = nn.Linear(1, 1, bias=False)
    average = WeightAverage(module, "ema")
    for value in (1.0, 2.0, 6.0):
        nn.init.constant_(module.weight, value)
        average.update(module)
    # The first value; then decay 2/11: 2/11 + 2 · 9/11 = 20/11; then decay 3/12: 20/44 + 6 · 9/12
    assert average.weights(module)["weight"].item() == pytest.approx(20 / 44 + 4.5)


def test_without_an_average_the_last_weights_are_taken() -> None:
    module = nn.Linear(1, 1, bias=False)
    average = WeightAverage(module, "none")
    for value in (1.0, 6.0):
        nn.init.constant_(module.weight, value)
        average.update(module)
    assert average.weights(module)["weight"].item() == 6


def test_the_cosine_rises_and_falls() -> None:
    config = load_config(None, ["schedule=cosine", "learning_rate=1e-2", "final_learning_rate=0"])
    assert learning_rate(config, 0, 101) == pytest.approx(1e-2 / 2.02)  # the first of two steps of the rise
    assert learning_rate(config, 25, 101) == pytest.approx(1e-2 * (1 + math.sqrt(0.5)) / 2)
    assert learning_rate(config, 50, 101) == pytest.approx(1e-2 / 2)
    assert learning_rate(config, 100, 101) == pytest.approx(0)


def test_adamw_decays_weights_and_radam_does_not() -> None:
    for name, expected in (("adamw", 1 - 0.1 * 1e-4), ("radam", 1.0)):
        weight = nn.Parameter(torch.ones(1))
        weight.grad = torch.zeros(1)
        fast_optimizer([weight], load_config(None, [f"optimizer={name}", "learning_rate=0.1"])).step()
        assert weight.item() == pytest.approx(expected, abs=1e-7), name
