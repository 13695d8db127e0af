"""A step's images with networks of one line each: what goes into them, when they are made, and when forgotten."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from switchrecon.methods.players import DISCRIMINATOR, EXTRACTOR, GENERATOR, Players
from switchrecon.methods.step import Batch, Call, Image, Step, Waiting, depends_on, image_of, made_by
from switchrecon.physics.fourier import fourier
from switchrecon.physics.intensity import channels_to_complex
from switchrecon.physics.operators import Encoding, Sensitivity
from tests.conftest import FixedDraws

RANDOM = torch.Generator().manual_seed(0)
X, Y = torch.rand(2, 2, 2, 6, 8, generator=RANDOM) - 0.5
Z = torch.randn(2, 4, generator=RANDOM)
MASKS = torch.rand(3, 2, 6, 8, generator=RANDOM) < 0.4


class Lines:
    """Five verbs, each one weight and a line; an encoding counts by its mask, z by its sum."""

    def __init__(self) -> None:
        self.g, self.h, self.d = (torch.tensor(value, requires_grad=True) for value in (2.0, 0.3, 0.7))
        self.made: list[str] = []

    def to_full(self, image: Tensor, encoding: Encoding) -> Tensor:
        self.made.append("full")
        return self.g * image + encoding.mask[:, None]

    def to_sub(self, image: Tensor, z: Tensor) -> Tensor:
        self.made.append("sub")
        return self.g * image - z.sum(1)[:, None, None, None]

    def noise(self, image: Tensor) -> Tensor:
        self.made.append("noise")
        return self.h * image

    def score_full(self, image: Tensor) -> Tensor:
        self.made.append("score full")
        return self.d * image.sum((1, 2, 3))

    def score_sub(self, image: Tensor) -> Tensor:
        self.made.append("score sub")
        return self.d * image.square().sum((1, 2, 3))


def begin(*to_come: str, **batch: object) -> tuple[Step, Lines]:
    lines = Lines()
    data = Batch(X, Y, Z, Encoding(MASKS[0]), Encoding(MASKS[1]), **batch)  # type: ignore[arg-type]
    players: Players = SimpleNamespace(**{v: getattr(lines, v) for v in dir(lines) if v[0] != "_"})  # type: ignore[assignment]
    return (Step(players, data, to_come) if to_come else Step(players, data)), lines


def full(image: Tensor, mask: Tensor) -> Tensor:
    return 2.0 * image + mask[:, None]


def sub(image: Tensor) -> Tensor:
    return 2.0 * image - Z.sum(1)[:, None, None, None]


def test_every_image_is_what_its_name_says() -> None:
    step = begin(draws=FixedDraws(X, Y, MASKS[2]))[0]
    pseudo_full, pseudo_sub = 0.7 * X, Y + 0.3 * X

    def real(image: Tensor) -> Tensor:
        return 0.7 * image.sum((1, 2, 3))

    def measured(image: Tensor) -> Tensor:
        return 0.7 * image.square().sum((1, 2, 3))

    turned = full(X, MASKS[0]).flip(-1)
    again = fourier(channels_to_complex(turned)) * MASKS[2]
    sampled = Encoding(MASKS[2]).H(again[:, None])
    expected = {
        "full_of_x": full(X, MASKS[0]),
        "sub_of_y": sub(Y),
        "cycle_of_x": sub(full(X, MASKS[0])),
        "cycle_of_y": full(sub(Y), MASKS[1]),
        "noise_of_x": 0.3 * X,
        "pseudo_full": pseudo_full,
        "pseudo_sub": pseudo_sub,
        "full_of_pseudo_sub": full(pseudo_sub, MASKS[0]),
        "noise_of_sub_of_y": 0.3 * sub(Y),
        "score_of_x": measured(X),
        "score_of_y": real(Y),
        "score_of_full_of_x": real(full(X, MASKS[0])),
        "score_of_sub_of_y": measured(sub(Y)),
        "score_of_pseudo_full": real(pseudo_full),
        "score_of_pseudo_sub": measured(pseudo_sub),
        "full_of_pair": full(0.5 * Y, MASKS[2]),
        "full_of_split": full(0.5 * X, MASKS[2] & (torch.arange(6) % 2 == 1)[:, None]),
        "turned": turned,
        "full_of_turned": full(torch.stack([sampled.real, sampled.imag], 1), MASKS[2]),
    }
    assert set(expected) == {name for name, image in vars(Step).items() if isinstance(image, Image)}
    for name, image in expected.items():
        torch.testing.assert_close(getattr(step, name), image, msg=lambda text, name=name: f"{name}: {text}")


G, D, H = GENERATOR, DISCRIMINATOR, EXTRACTOR
MADE_BY = {
    "full_of_x": (G, {G}),
    "cycle_of_y": (G, {G}),
    "noise_of_x": (H, {H}),
    "pseudo_full": (None, {H}),
    "full_of_pseudo_sub": (G, {G, H}),
    "noise_of_sub_of_y": (H, {G, H}),
    "score_of_x": (D, {D}),
    "score_of_full_of_x": (D, {D, G}),
    "score_of_pseudo_sub": (D, {D, H}),
    "turned": (None, {G}),
}


@pytest.mark.parametrize("name", MADE_BY)
def test_an_image_knows_who_makes_it_and_what_it_depends_on(name: str) -> None:
    image = image_of(name)
    assert (image.maker, image.groups, image.name) == (MADE_BY[name][0], frozenset(MADE_BY[name][1]), name)
    assert getattr(Step, name) is image
    assert image.__doc__ == image.compute.__doc__
    for group in (G, D, H):
        step, _ = begin(draws=FixedDraws(X, Y, MASKS[2]))
        getattr(step, name)
        step.moved(group)
        assert (name in step.kept) == (group not in MADE_BY[name][1])


def test_an_image_is_made_once_until_its_group_has_moved() -> None:
    step, lines = begin()
    assert (step.kept, step.asked, step.waiting) == ({}, {}, False)
    first = step.cycle_of_x
    assert step.cycle_of_x is first
    assert step.full_of_x is step.kept["full_of_x"]
    assert lines.made == ["full", "sub"]
    assert list(step.asked) == ["cycle_of_x", "full_of_x"]
    assert step.noise_of_x is step.noise_of_x
    with torch.no_grad():
        lines.g += 1
    step.moved(GENERATOR)
    assert list(step.kept) == ["noise_of_x"]
    torch.testing.assert_close(step.full_of_x, 3 * X + MASKS[0][:, None])
    assert lines.made == ["full", "sub", "noise", "full"]


def test_an_image_has_a_gradient_as_long_as_an_update_of_its_groups_is_to_come() -> None:
    order = [DISCRIMINATOR, GENERATOR]
    step, _ = begin(*order)
    assert not step.noise_of_x.requires_grad
    assert step.full_of_x.requires_grad
    assert step.score_of_full_of_x.requires_grad
    assert step.differentiates(frozenset({DISCRIMINATOR, EXTRACTOR}))
    assert not step.differentiates(frozenset({EXTRACTOR}))
    step.moved(DISCRIMINATOR)
    assert (step.to_come, order) == ([GENERATOR], [DISCRIMINATOR, GENERATOR])
    assert not step.score_of_x.requires_grad
    assert step.score_of_full_of_x.requires_grad  # for G
    step.moved(EXTRACTOR)  # not to come: nothing to take away
    step.moved(GENERATOR)
    assert step.to_come == []
    assert not step.full_of_x.requires_grad
    assert begin()[0].to_come == [GENERATOR, DISCRIMINATOR, EXTRACTOR]
    twice, _ = begin(GENERATOR, DISCRIMINATOR, GENERATOR)
    twice.moved(GENERATOR)
    assert twice.to_come == [DISCRIMINATOR, GENERATOR]
    with torch.no_grad():
        whole, _ = begin()
        assert not whole.differentiates(frozenset({GENERATOR}))
        assert not whole.full_of_x.requires_grad
        assert not torch.is_grad_enabled()


def test_while_a_step_waits_no_network_is_called() -> None:
    step, lines = begin()
    step.full_of_x  # noqa: B018
    step.waiting = True
    assert step.full_of_x is step.kept["full_of_x"]
    for name in ("noise_of_x", "pseudo_full", "cycle_of_x"):
        with pytest.raises(Waiting):
            getattr(step, name)
    assert lines.made == ["full"]
    assert list(step.asked) == ["full_of_x", "noise_of_x", "pseudo_full", "cycle_of_x"]
    step.waiting = False
    step.noise_of_x  # noqa: B018
    step.waiting = True
    torch.testing.assert_close(step.pseudo_full, 0.7 * X)


def test_differences_are_of_what_was_measured() -> None:
    maps = torch.randn(2, 3, 6, 8, dtype=torch.complex64, generator=RANDOM)
    coils = Sensitivity(maps)
    for measured in (None, torch.randn(2, 3, 6, 8, dtype=torch.complex64, generator=RANDOM)):
        data = Batch(X, Y, Z, Encoding(MASKS[0], coils), Encoding(MASKS[1], coils), measured)
        players: Players = Lines()  # type: ignore[assignment]
        step = Step(players, data)
        own = fourier(maps * channels_to_complex(X)[:, None]) * MASKS[0][:, None]
        expected = own if measured is None else measured
        torch.testing.assert_close(step.measured, expected)
        image = channels_to_complex(full(X, MASKS[0]))
        modelled = fourier(maps * image[:, None]) * MASKS[0][:, None]
        torch.testing.assert_close(step.sampled_difference_x(), expected - modelled)
        image = channels_to_complex(Y - sub(Y))
        modelled = fourier(maps * image[:, None]) * MASKS[1][:, None]
        torch.testing.assert_close(step.sampled_difference_y(), modelled)


def test_draws_are_asked_for_once_and_their_absence_is_told() -> None:
    asked: list[str] = []

    class Counted(FixedDraws):
        def pair(self) -> tuple[Tensor, Encoding, Tensor]:
            asked.append("pair")
            return super().pair()

    draws = Counted(X, Y, MASKS[2])
    step, _ = begin(draws=draws)
    assert step.drawn is draws
    assert step.pair is step.pair
    assert asked == ["pair"]
    with pytest.raises(TypeError, match=r"^this batch was made without draws, but an objective needs them$"):
        begin()[0].full_of_pair  # noqa: B018


def test_a_new_image_is_one_method() -> None:
    class More(Step):
        @made_by(GENERATOR, EXTRACTOR)
        def full_of_noise(self) -> Call:
            """G(H(x))."""
            return Call(self.players.to_full, self.noise_of_x, self.encoding_x)

        @depends_on(EXTRACTOR, DISCRIMINATOR)
        def twice(self) -> Tensor:
            """2 H(x)."""
            return 2 * self.noise_of_x

    made, twice = vars(More)["full_of_noise"], vars(More)["twice"]
    assert (made.maker, made.groups, made.name) == (GENERATOR, {GENERATOR, EXTRACTOR}, "full_of_noise")
    assert (twice.maker, twice.groups, twice.name) == (None, {EXTRACTOR, DISCRIMINATOR}, "twice")
    assert (made.__doc__, twice.__doc__) == ("G(H(x)).", "2 H(x).")
    players: Players = Lines()  # type: ignore[assignment]
    step = More(players, Batch(X, Y, Z, Encoding(MASKS[0]), Encoding(MASKS[1])))
    torch.testing.assert_close(step.full_of_noise, full(0.3 * X, MASKS[0]))
    torch.testing.assert_close(step.twice, 0.6 * X)
    assert list(step.asked) == ["full_of_noise", "noise_of_x", "twice"]
    assert list(step.kept) == ["noise_of_x", "full_of_noise", "twice"]
