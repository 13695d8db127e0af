"""The package's step against the step written naively: the same losses and the same weights, for every method."""

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
import torch

from switchrecon.methods.methods import METHODS, with_method_settings
from switchrecon.methods.step import Batch
from switchrecon.methods.together import Plans
from switchrecon.nets.discriminator import Discriminator
from switchrecon.nets.extractor import Extractor
from switchrecon.nets.generator import Generator
from switchrecon.physics.operators import Encoding
from switchrecon.training.state import State, build_state
from switchrecon.training.updates import take_step
from tests.conftest import LEARNED, FixedDraws, examples, tiny_config


@pytest.fixture(scope="module")
def literal() -> ModuleType:
    file = Path(__file__).parents[2] / "benchmarks" / "literal.py"
    specification = importlib.util.spec_from_file_location("literal", file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def random_batch(step: int, samples: int = 1) -> Batch:
    random = torch.Generator().manual_seed(step)
    x, y = torch.rand(2, samples, 2, 64, 64, generator=random) - 0.5
    masks = torch.rand(2, samples, 64, 64, generator=random) < 0.3
    z = torch.randn(samples, 64, generator=random)
    return Batch(x, y, z, *map(Encoding, masks), draws=FixedDraws(x, y, masks[0]))


def flat(state: State) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in state.players.parameters()])


WAYS = {"the package's layers": (1e-5, None), "torch's layers": (3e-5, None), "calls made together": (3e-5, Plans())}
CASES = [(name, way) for name in LEARNED for way in WAYS]
FEW = [case for case in CASES if case[1] == "calls made together" or case[0] in ("switchable", "joint")]


@pytest.mark.parametrize("case", examples(CASES, *FEW), ids=" ".join)
def test_same_losses_and_weights_as_the_literal_step(case: tuple[str, str], literal: ModuleType) -> None:
    name, (tolerance, plans) = case[0], WAYS[case[1]]
    paper = ["learning_rate=1e-4", "optimizer=radam", "schedule=linear", "average=swa", "gradient_clip=null"]
    config = tiny_config(f"method={name}", *paper, "cascades=2", "unet_width=2")
    config = with_method_settings(config, METHODS[name])
    ours, theirs = (build_state(METHODS[name], config) for _ in range(2))
    assert torch.equal(flat(ours), flat(theirs))
    if tolerance > 1e-5:  # their sums have another order, which eight steps enlarge
        literal.with_torchs_layers(theirs)
    for step in range(8):  # Lookahead acts in the sixth
        batch = random_batch(step, samples=1 + step % 2)
        measured = take_step(ours, METHODS[name].phases, batch, plans)
        expected = literal.literal_step(theirs, batch, config)
        found = {n: v.item() for n, v in measured.losses.items()}
        assert found == pytest.approx(expected, rel=tolerance, abs=1e-6)
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=1e-5, atol=tolerance)


def test_the_literal_step_costs_what_the_papers_code_costs(literal: ModuleType) -> None:
    config = tiny_config("method=switchable")
    state = build_state(METHODS["switchable"], config)
    calls: Counter[str] = Counter()
    for module in state.players.modules():
        if isinstance(module, Generator | Discriminator | Extractor):
            module.register_forward_hook(lambda m, i, o: calls.update([type(m).__name__]))
    literal.literal_step(state, random_batch(0), config)
    assert calls == {"Generator": 9, "Extractor": 6, "Discriminator": 8}
