"""Methods are data: names, phases, only the active group moves, each network called as often as needed."""

import dataclasses
import json
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from switchrecon.errors import ConfigError
from switchrecon.methods.methods import (
    CYCLEGAN,
    ISCL,
    ISCL_SAMPLING,
    METHODS,
    SUPERVISED,
    SWITCHABLE_ISCL,
    Phase,
    find_method,
    with_method_settings,
)
from switchrecon.methods.objectives import Objective, bypass, cycle, hinge_discriminator, sampling_consistency
from switchrecon.methods.players import DISCRIMINATOR, EXTRACTOR, GENERATOR
from switchrecon.methods.step import Batch, Step
from switchrecon.methods.together import Plans, make_together
from switchrecon.nets.discriminator import Discriminator
from switchrecon.nets.extractor import Extractor
from switchrecon.nets.generator import Generator
from switchrecon.nets.unrolled import Unrolled
from switchrecon.physics.operators import Encoding
from switchrecon.training.state import build_state
from switchrecon.training.train import train
from switchrecon.training.updates import take_step, update
from tests.conftest import FixedDraws, tiny_config


def small_batch() -> Batch:
    random = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 1, 2, 64, 64, generator=random) - 0.5
    mask = torch.rand(1, 64, 64, generator=random) < 0.3
    encoding = Encoding(mask)
    return Batch(x, y, torch.randn(1, 64, generator=random), encoding, encoding, draws=FixedDraws(x, y, mask))


def test_the_papers_weights_and_order() -> None:
    assert [p.group for p in SWITCHABLE_ISCL.phases] == [DISCRIMINATOR, GENERATOR, EXTRACTOR]
    weights = dict(SWITCHABLE_ISCL.phases[1].objectives)
    assert (weights[cycle], weights[bypass], weights[sampling_consistency]) == (30, 30, 1)
    assert SWITCHABLE_ISCL.phases == ISCL_SAMPLING.phases
    assert sampling_consistency not in ISCL.phases[1].objectives
    assert [p.group for p in CYCLEGAN.phases] == [DISCRIMINATOR, GENERATOR]


@pytest.mark.parametrize("name", METHODS)
def test_only_the_active_group_moves(name: str) -> None:
    config = tiny_config(f"method={name}")
    method = find_method(config)
    state = build_state(method, config)
    images = Step(state.players, small_batch())
    for phase in method.phases:
        before = {n: p.detach().clone() for n, p in state.players.named_parameters()}
        measured = update(images, phase, state.optimizers[phase.group])
        assert all(torch.isfinite(value) for value in measured.values)
        moved = {n.split(".")[0] for n, p in state.players.named_parameters() if not torch.equal(p, before[n])}
        assert moved == {phase.group}


def test_every_parameter_of_the_proposal_gets_a_gradient() -> None:
    config = tiny_config("method=switchable")
    state = build_state(SWITCHABLE_ISCL, config)
    images = Step(state.players, small_batch())
    for phase in SWITCHABLE_ISCL.phases:
        update(images, phase, state.optimizers[phase.group])
    without = [n for n, p in state.players.named_parameters() if p.grad is None]
    assert without == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("switchable", {"Generator": 7, "Extractor": 2, "Discriminator": 8}),
        ("iscl", {"Generator": 7, "Extractor": 2, "Discriminator": 8}),
        ("cyclegan", {"Generator": 4, "Discriminator": 6}),
        ("supervised", {"Generator": 1}),
    ],
)
def test_nothing_is_computed_twice(name: str, expected: dict[str, int]) -> None:
    config = tiny_config(f"method={name}")
    method = find_method(config)
    state = build_state(method, config)
    calls: Counter[str] = Counter()
    for module in state.players.modules():
        if isinstance(module, Generator | Discriminator | Extractor):
            module.register_forward_hook(lambda m, i, o: calls.update([type(m).__name__]))
    images = Step(state.players, small_batch(), [phase.group for phase in method.phases])
    for phase in method.phases:
        update(images, phase, state.optimizers[phase.group])
    assert calls == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("switchable", {"Generator": 3, "Extractor": 2, "Discriminator": 2}),
        ("iscl-sampling", {"Generator": 6, "Extractor": 2, "Discriminator": 4}),
        ("iscl-sampling-adain", {"Generator": 3, "Extractor": 2, "Discriminator": 4}),
        ("cyclegan", {"Generator": 4, "Discriminator": 4}),
        ("supervised", {"Generator": 1}),
        ("joint", {"Unrolled": 1}),
        ("joint-equivariant", {"Unrolled": 2}),
        ("joint-adversarial", {"Unrolled": 2, "Discriminator": 2}),
        ("self-supervised", {"Unrolled": 2}),
    ],
)
def test_calls_that_can_be_made_together_are_one(name: str, expected: dict[str, int]) -> None:
    config = with_method_settings(tiny_config(f"method={name}"), METHODS[name])
    method = find_method(config)
    state = build_state(method, config)
    calls: Counter[str] = Counter()
    for module in state.players.modules():
        if isinstance(module, Generator | Discriminator | Extractor | Unrolled):
            module.register_forward_hook(lambda m, i, o: calls.update([type(m).__name__]))
    take_step(state, method.phases, small_batch(), Plans())
    assert calls == expected


def weights_looked_at(images: Step) -> torch.Tensor:
    return images.players.generator.full.enter.weight.square().mean() + images.full_of_x.abs().mean()


def differentiated(images: Step) -> torch.Tensor:
    x = images.x.detach().requires_grad_()
    [gradient] = torch.autograd.grad(images.players.to_full(x, images.encoding_x).sum(), x, create_graph=True)
    return gradient.square().mean()


@pytest.mark.parametrize("objective", [weights_looked_at, differentiated])
def test_an_objective_that_cannot_be_listened_to_is_served_one_by_one(objective: Objective) -> None:
    config = tiny_config("method=supervised")
    phases = (Phase(GENERATOR, {objective: 1}),)
    finals = []
    for plans in (None, Plans()):
        state = build_state(SUPERVISED, config)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for _ in range(2):
                take_step(state, phases, small_batch(), plans)
        assert [objective.__name__ in str(one.message) for one in said] == ([True] if plans else [])
        finals.append(torch.cat([p.detach().flatten() for p in state.players.parameters()]))
    assert torch.equal(*finals)


def test_what_cannot_be_made_yet_is_left_until_it_is_asked_for() -> None:
    state = build_state(SWITCHABLE_ISCL, tiny_config("method=switchable"))
    images = Step(state.players, small_batch())
    make_together(images, ["cycle_of_x", "noise_of_x"])
    assert set(images.kept) == {"noise_of_x"}
    assert images.cycle_of_x.shape == images.x.shape


@pytest.mark.parametrize(
    "phases",
    [SWITCHABLE_ISCL.phases, (*SWITCHABLE_ISCL.phases, SWITCHABLE_ISCL.phases[1])],
    ids=["each group once", "a group twice"],
)
def test_shared_images_give_the_gradients_of_separate_ones(phases: tuple[Phase, ...]) -> None:
    """The same step with every image computed anew for every phase ends with the same weights."""
    config = tiny_config("method=switchable", "learning_rate=0.01")
    results = []
    for share in (True, False):
        state = build_state(SWITCHABLE_ISCL, config)
        images = Step(state.players, small_batch(), [p.group for p in phases])
        for phase in phases:
            if not share:
                images = Step(state.players, small_batch())
            update(images, phase, state.optimizers[phase.group])
        results.append(torch.cat([p.detach().flatten() for p in state.players.parameters()]))
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-5)


def test_a_method_has_settings_of_its_own_where_the_user_has_none() -> None:
    joint = METHODS["joint"]
    assert with_method_settings(tiny_config("method=joint"), joint).network == "unrolled"
    assert with_method_settings(tiny_config("method=joint", "network=paper"), joint).network == "paper"
    assert with_method_settings(tiny_config("method=iscl"), ISCL) == tiny_config("method=iscl")
    once = with_method_settings(tiny_config("method=joint"), joint)
    assert (once.learning_rate, once.schedule, once.average) == (3e-3, "cosine", "ema")  # recommended for its network
    assert with_method_settings(tiny_config("method=joint", "learning_rate=1e-3"), joint).learning_rate == 1e-3
    assert with_method_settings(tiny_config("method=joint", "network=paper"), joint).learning_rate == 1e-4
    unrolled = with_method_settings(tiny_config("method=supervised", "network=unrolled"), SUPERVISED)
    assert unrolled.learning_rate == 3e-3
    adversarial = with_method_settings(tiny_config("method=joint-adversarial"), METHODS["joint-adversarial"])
    assert (adversarial.learning_rate, adversarial.schedule) == (1e-3, "linear")  # its discriminator has the same rate
    assert with_method_settings(once, joint) == once
    with pytest.raises(ConfigError, match="method 'joint': unknown setting 'netwrok'"):
        with_method_settings(tiny_config("method=joint"), dataclasses.replace(joint, settings={"netwrok": "unrolled"}))


def test_hinge_is_a_setting() -> None:
    method = find_method(tiny_config("method=iscl", "adversarial=hinge"))
    assert hinge_discriminator in method.phases[0].objectives
    assert set(method.phases[0].objectives.values()) == {1}


def test_single_changes_between_iscl_sampling_and_the_proposal() -> None:
    adain, affine = METHODS["iscl-sampling-adain"], METHODS["iscl-sampling-affine"]
    assert adain.cast.generator is SWITCHABLE_ISCL.cast.generator
    assert adain.cast.discriminator is ISCL.cast.discriminator
    assert affine.cast.generator is ISCL.cast.generator
    assert affine.cast.discriminator is SWITCHABLE_ISCL.cast.discriminator
    assert adain.phases == affine.phases == SWITCHABLE_ISCL.phases


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown method 'switchabel'; did you mean 'switchable'"):
        find_method(tiny_config("method=switchabel"))


def test_a_method_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from switchrecon.methods.methods import ISCL, GENERATOR\n"
        "from switchrecon.methods.objectives import l1\n"
        "def background(step):\n"
        "    return l1(step.full_of_x * (step.x.abs() < 0.01))\n"
        "MINE = ISCL.adding(GENERATOR, {background: 0.1})\n"
    )
    method = find_method(tiny_config(f"method={file}:MINE"))
    assert "background" in [f.__name__ for f in method.phases[1].objectives]
    assert dataclasses.replace(method, phases=ISCL.phases) == ISCL
    with pytest.raises(ConfigError, match="no Method named 'MIEN'; did you mean 'MINE'"):
        find_method(tiny_config(f"method={file}:MIEN"))
    (tmp_path / "broken.py").write_text("def f(:\n")
    with pytest.raises(ConfigError, match=r"broken.py raised SyntaxError"):
        find_method(tiny_config(f"method={tmp_path / 'broken.py'}:MINE"))
    with pytest.raises(ConfigError, match="no such file"):
        find_method(tiny_config("method=absent.py:MINE"))


def test_samples_can_be_held_out_in_a_paired_method_and_not_of_simulated_scans(
    tmp_path: Path, make_scan: Callable[..., Path]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from switchrecon.methods.methods import GENERATOR, SIMULATED, SUPERVISED\n"
        "from switchrecon.methods.objectives import held_out_samples\n"
        "PAIRED = SUPERVISED.adding(GENERATOR, {held_out_samples: 0.1})\n"
        "MADE = SIMULATED.adding(GENERATOR, {held_out_samples: 0.1})\n"
    )
    scans = [make_scan("full", 1), make_scan("full", 2)]
    config = tiny_config(f"method={file}:PAIRED", "network=unrolled", "unet_width=2", "steps=2")
    folder = train(config, scans, [], tmp_path / "run")
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert all(line["losses"]["held_out_samples"] > 0 for line in lines if "losses" in line)
    with pytest.raises(ConfigError, match="whose references are known"):
        train(tiny_config(f"method={file}:MADE", "steps=2"), scans, [], tmp_path / "other")


def test_an_objective_that_needs_an_absent_player_says_so() -> None:
    config = tiny_config("method=supervised")
    state = build_state(find_method(config), config)
    with pytest.raises(TypeError, match="no extractor"):
        Step(state.players, small_batch()).noise_of_x  # noqa: B018
