"""Players: which network answers which verb, how large it is, and what a method without it says."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from switchrecon.config import Config
from switchrecon.methods.players import (
    GROUPS,
    SINGLE,
    SWITCHABLE,
    TWO_WAY,
    Cast,
    OneDiscriminator,
    OneGenerator,
    Players,
    SwitchableDiscriminator,
    SwitchableGenerator,
    TwoDiscriminators,
    TwoGenerators,
)
from switchrecon.nets.extractor import Extractor
from switchrecon.nets.generator import Generator
from switchrecon.nets.layers import ImageNetwork
from switchrecon.nets.unrolled import Unrolled
from switchrecon.physics.operators import Encoding
from tests.conftest import tiny_config

RANDOM = torch.Generator().manual_seed(0)
X, Y = torch.rand(2, 2, 2, 64, 64, generator=RANDOM) - 0.5
Z = torch.randn(2, 9, generator=RANDOM)
ENCODING = Encoding(torch.rand(2, 64, 64, generator=RANDOM) < 0.3)


def config(*assignments: str) -> Config:
    return tiny_config("width=3", "code_size=9", *assignments)


def made(kind: Callable[[Config], nn.Module], *assignments: str) -> nn.Module:
    """With weights that are not those of its start, so that γ, β and codes show."""
    torch.manual_seed(1)
    module = kind(config(*assignments))
    with torch.no_grad():
        for weight in module.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return module


def widths(discriminator: nn.Module) -> tuple[int, int, int]:
    """Channels that go in, channels of the first layer, and layers with γ."""
    first = discriminator.convolutions[0].weight  # type: ignore[index, union-attr]
    return first.shape[1], first.shape[0], len(discriminator.scales)  # type: ignore[return-value, arg-type]


@torch.no_grad()
def test_two_generators_are_one_for_each_direction() -> None:
    two = made(TwoGenerators)
    assert isinstance(two.full, Generator)
    assert isinstance(two.sub, Generator)
    assert two.full.enter.weight.shape == two.sub.enter.weight.shape == (3, 2, 7, 7)
    assert not torch.equal(two.full.enter.weight, two.sub.enter.weight)
    for network in (two.full, two.sub):
        assert {type(site).__name__ for site in network.sites} == {"InstanceNorm"}
    assert torch.equal(two.to_full(X, ENCODING), two.full(X))
    assert torch.equal(two.to_sub(Y, Z), two.sub(Y))
    assert two.mixed(X, Y, Z) is None
    assert {name.split(".")[0] for name, _ in two.named_parameters()} == {"full", "sub"}


@torch.no_grad()
def test_one_generator_reconstructs_alone_and_may_know_the_physics() -> None:
    one = made(OneGenerator)
    assert torch.equal(one.to_full(X, ENCODING), one.full(X))
    with pytest.raises(TypeError, match=r"^this method has no generator from fully sampled to undersampled images$"):
        one.to_sub(Y, Z)
    unrolled = made(OneGenerator, "network=unrolled", "cascades=2", "unet_width=2")
    assert isinstance(unrolled.full, Unrolled)
    assert torch.equal(unrolled.to_full(X, ENCODING), unrolled.full(X, ENCODING))
    other = unrolled.to_full(X, Encoding(torch.ones(2, 64, 64, dtype=torch.bool)))
    assert not torch.equal(other, unrolled.to_full(X, ENCODING))


@torch.no_grad()
def test_one_switchable_generator_goes_both_ways() -> None:
    both = made(SwitchableGenerator)
    assert {type(site).__name__ for site in both.full.sites} == {"AdaptiveInstanceNorm"}
    assert both.plain is both.full
    assert [head.out_features for head in both.code.means] == [3, 6, 12, 6, 3]
    assert both.code.trunk[0].in_features == 9
    assert torch.equal(both.to_full(X, ENCODING), both.full(X))
    assert torch.equal(both.to_sub(Y, Z), both.full(Y, both.code(Z)))
    assert not torch.allclose(both.to_sub(Y, Z), both.to_sub(Y, 2 * Z))
    mixed = both.mixed(X[:1], Y, Z)
    expected = torch.cat([both.to_full(X[:1], ENCODING), both.to_sub(Y, Z)])
    torch.testing.assert_close(mixed, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both.mixed(X, Y[:1], Z[:1])[:2], both.full(X), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_switchable_generator_in_cascades_undersamples_without_them() -> None:
    both = made(SwitchableGenerator, "network=unrolled", "refiner=generator", "cascade_weights=shared", "cascades=2")
    assert isinstance(both.full, Unrolled)
    assert isinstance(both.plain, Generator)
    assert torch.equal(both.to_full(X, ENCODING), both.full(X, ENCODING))
    assert torch.equal(both.to_sub(Y, Z), both.plain(Y, both.code(Z)))
    assert both.mixed(X, Y, Z) is None


@torch.no_grad()
def test_two_discriminators_judge_one_domain_each() -> None:
    for channels, representation in ((2, "complex"), (1, "magnitude")):
        two = made(TwoDiscriminators, f"representation={representation}")
        assert widths(two.full) == widths(two.sub) == (channels, 3, 0)
    two = made(TwoDiscriminators)
    assert torch.equal(two.score_full(Y), two.full(Y))
    assert torch.equal(two.score_sub(Y), two.sub(Y))
    assert not torch.equal(two.score_full(Y), two.score_sub(Y))
    assert two.score_full(Y).shape == (2, 1, 1, 1)


@torch.no_grad()
def test_one_discriminator_judges_fully_sampled_images_alone() -> None:
    one = made(OneDiscriminator)
    assert widths(one.full) == (2, 3, 0)
    assert widths(made(OneDiscriminator, "representation=magnitude").full) == (1, 3, 0)
    assert torch.equal(one.score_full(Y), one.full(Y))
    with pytest.raises(TypeError, match=r"^this method has no discriminator of undersampled images$"):
        one.score_sub(X)


@torch.no_grad()
def test_a_switchable_discriminator_judges_full_images_with_its_affine_transform() -> None:
    one = made(SwitchableDiscriminator)
    assert widths(one.both) == (2, 3, 5)
    assert torch.equal(one.score_full(Y), one.both(Y, full=2))
    assert torch.equal(one.score_sub(Y), one.both(Y, full=0))
    assert not torch.allclose(one.score_full(Y)[1], one.score_sub(Y)[1])
    expected = torch.cat([one.score_full(Y[:1]), one.score_sub(X)])
    torch.testing.assert_close(one.mixed(Y[:1], X), expected, rtol=1e-4, atol=1e-5)
    for weight in (*one.both.scales, *one.both.shifts):
        weight.zero_()
    assert one.score_full(Y).unique().numel() == 1  # γ = β = 0: only the last layer's bias is left
    assert one.score_sub(Y).unique().numel() == 2


@torch.no_grad()
def test_the_players_pass_their_verbs_on_to_their_groups() -> None:
    players = TWO_WAY.build(config("extractor_depth=4"))
    assert list(players.groups()) == list(GROUPS) == ["generator", "discriminator", "extractor"]
    assert isinstance(players.generator, TwoGenerators)
    assert isinstance(players.discriminator, TwoDiscriminators)
    assert isinstance(players.extractor, Extractor)
    assert list(players.groups().values()) == [players.generator, players.discriminator, players.extractor]
    assert players.full is players.generator.full
    answers: list[tuple[Tensor, Tensor]] = [
        (players.to_full(X, ENCODING), players.generator.full(X)),
        (players.to_sub(Y, Z), players.generator.sub(Y)),
        (players.noise(X), players.extractor(X)),
        (players.score_full(Y), players.discriminator.full(Y)),
        (players.score_sub(X), players.discriminator.sub(X)),
    ]
    for found, expected in answers:
        assert torch.equal(found, expected)
    names = {name.split(".")[0] for name in players.state_dict()}
    assert names == set(GROUPS)


def test_a_verb_of_a_group_that_is_not_there_says_so() -> None:
    players = SINGLE.build(config())
    assert list(players.groups()) == ["generator"]
    assert players.discriminator is players.extractor is None
    for verb, group in (
        (players.noise, "extractor"),
        (players.score_full, "discriminator"),
        (players.score_sub, "discriminator"),
    ):
        with pytest.raises(TypeError) as error:
            verb(X)
        assert str(error.value) == f"this method has no {group}, but one of its objectives needs it"
    only = Players(SwitchableGenerator(config()), extractor=Extractor(2, 3, 2))
    assert list(only.groups()) == ["generator", "extractor"]


def test_a_cast_builds_what_its_settings_say() -> None:
    players = SWITCHABLE.using(discriminator=OneDiscriminator).build(config("extractor_depth=5"))
    assert isinstance(players.discriminator, OneDiscriminator)
    assert isinstance(players.extractor, Extractor)
    layers = [layer.weight.shape[:2] for layer in players.extractor.body if hasattr(layer, "weight")]
    assert layers == [(3, 2), (3, 3), (3, 3), (3, 3), (2, 3)]
    assert Cast(OneGenerator) == SINGLE
    for precision in ("float32", "bfloat16"):
        networks = [
            m for m in SWITCHABLE.build(config(f"precision={precision}")).modules() if isinstance(m, ImageNetwork)
        ]
        assert [network.precision for network in networks] == [precision] * 3
