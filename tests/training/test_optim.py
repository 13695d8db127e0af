"""Lookahead, the linear decay and the weight average against numbers worked by hand."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from switchrecon.config import Config, load_config
from switchrecon.training import optim
from switchrecon.training.optim import Lookahead, WeightAverage, fast_optimizer, learning_rate, set_learning_rate


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


def test_lookahead_looks_six_steps_ahead_and_comes_half_way_back() -> None:
    weight = nn.Parameter(torch.tensor([10.0]))
    lookahead = Lookahead(torch.optim.SGD([weight], lr=1.0))
    for _ in range(6):
        weight.grad = torch.ones(1)
        lookahead.step()
    assert weight.item() == 7  # 10 + ½ (4 − 10)


def test_a_state_of_fewer_parameters_is_refused() -> None:
    weights = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    lookahead = Lookahead(torch.optim.SGD(weights, lr=1.0))
    state = lookahead.state_dict()
    with pytest.raises(ValueError, match="shorter"):
        lookahead.load_state_dict(state | {"slow": state["slow"][:1]})


def test_every_group_is_optimised_by_radam_with_the_rate_of_the_settings() -> None:
    optimizer = fast_optimizer([nn.Parameter(torch.zeros(2))], load_config(None, ["learning_rate=3e-4"]))
    [group] = optimizer.param_groups
    assert isinstance(optimizer, torch.optim.RAdam)
    assert (group["lr"], group["betas"], group["foreach"]) == (3e-4, (0.9, 0.999), True)
    assert group["capturable"] is False


def test_on_a_gpu_the_rate_is_a_tensor_there_and_steps_can_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without data stand in for those of a GPU."""
    # Torch's optimiser looks at the rate's value, which is not there.
    monkeypatch.setattr(optim, "FAST", {"radam": lambda parameters, **named: named})
    with FakeTensorMode():
        named: Any = fast_optimizer([nn.Parameter(torch.empty(2, device="cuda"))], Config())
    assert named["lr"].device.type == "cuda"
    assert named["capturable"] is True


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)], ids=["number", "tensor"])
def test_a_rate_is_set_in_every_group_and_a_tensor_stays_the_same_one(rate: float | torch.Tensor) -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [one], "lr": rate} for one in weights])
    set_learning_rate(Lookahead(optimizer), 0.25)
    assert [float(group["lr"]) for group in optimizer.param_groups] == [0.25, 0.25]
    assert not isinstance(rate, torch.Tensor) or optimizer.param_groups[0]["lr"] is rate


def test_the_rate_falls_linearly_to_its_end() -> None:
    config = load_config(None, ["learning_rate=1e-4", "final_learning_rate=1e-7"])
    assert learning_rate(config, 0, 101) == pytest.approx(1e-4)
    assert learning_rate(config, 50, 101) == pytest.approx((1e-4 + 1e-7) / 2)
    assert learning_rate(config, 100, 101) == pytest.approx(1e-7)
    assert learning_rate(config, 0, 1) == pytest.approx(1e-4)
    assert learning_rate(config, 1, 2) == pytest.approx(1e-7)


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
    short = load_config(None, ["schedule=cosine", "learning_rate=1e-2", "final_learning_rate=1e-3"])
    assert [learning_rate(short, step, 3) for step in range(3)] == pytest.approx([1e-2, 5.5e-3, 1e-3])  # no rise


def test_adamw_decays_weights_and_radam_does_not() -> None:
    for name, expected in (("adamw", 1 - 0.1 * 1e-4), ("radam", 1.0)):
        weight = nn.Parameter(torch.ones(1))
        weight.grad = torch.zeros(1)
        fast_optimizer([weight], load_config(None, [f"optimizer={name}", "learning_rate=0.1"])).step()
        assert weight.item() == pytest.approx(expected, abs=1e-7), name


class OnAGpu(nn.Parameter):
    """Says that it is on a GPU, and computes on the processor."""

    device = SimpleNamespace(type="cuda")  # type: ignore[assignment]


def test_the_average_of_weights_on_a_gpu_is_the_same_mean() -> None:
    module = nn.Module()
    module.weight = OnAGpu(torch.tensor([7.0, 0.0]))
    average = WeightAverage(module)
    for count, values in enumerate(([1.0, -3.0], [2.0, 0.0], [6.0, 9.0]), start=1):
        with torch.no_grad():
            module.weight.copy_(torch.tensor(values))
        average.update(module)
        assert average.count == count
    torch.testing.assert_close(average.weights(module)["weight"].data, torch.tensor([3.0, 2.0]), check_device=False)
