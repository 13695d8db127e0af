"""Equations (1)–(6), LSGAN and hinge against numbers worked by hand with players that are simple functions."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from switchrecon.methods.methods import Phase
from switchrecon.methods.objectives import (
    boosting,
    bypass,
    cycle,
    held_out_samples,
    hinge_boosting,
    hinge_discriminator,
    hinge_full_discriminator,
    hinge_full_generator,
    hinge_generator,
    identity,
    l1,
    lsgan_discriminator,
    lsgan_full_discriminator,
    lsgan_full_generator,
    lsgan_generator,
    named,
    noise_consistency,
    objective_name,
    over_coils,
    pseudo_noise,
    sampling_consistency,
    supervised,
)
from switchrecon.methods.players import GENERATOR
from switchrecon.methods.step import Batch, Step
from switchrecon.physics.operators import ONE_COIL, Coils, Encoding, Sensitivity


class HandPlayers:
    """G(x) = 2x, G(y, A(z)) = y + z, H(x) = x / 2, D_Y(u) = mean u, D_X(u) = −mean u."""

    def to_full(self, x: Tensor, encoding: Encoding) -> Tensor:
        return 2 * x

    def to_sub(self, y: Tensor, z: Tensor) -> Tensor:
        return y + z

    def noise(self, x: Tensor) -> Tensor:
        return x / 2

    def score_full(self, image: Tensor) -> Tensor:
        return image.mean().reshape(1, 1, 1, 1)

    def score_sub(self, image: Tensor) -> Tensor:
        return -image.mean().reshape(1, 1, 1, 1)


X, Y, Z = 3.0, 5.0, 0.5


def hand_pass(mask: Tensor | None = None, coils: Coils = ONE_COIL) -> Step:
    """Constant images x = 3 and y = 5 of one 4×4 pixel channel; z = 0.5."""
    mask = torch.ones(1, 4, 4, dtype=torch.bool) if mask is None else mask
    encoding = Encoding(mask, coils)
    batch = Batch(torch.full((1, 1, 4, 4), X), torch.full((1, 1, 4, 4), Y), torch.tensor(Z), encoding, encoding)
    return Step(HandPlayers(), batch)  # type: ignore[arg-type]


def test_equation_1_of_four_coils_is_their_sum_over_the_root_of_their_number() -> None:
    """Each coil sees ½ of the image, so that Σ_c |s_c|² = 1; of the constant image 3 − 6 all k-space is in the centre.

    F (x − G(x)) is (3 − 6) √16 = −12 there. Four coils: Σ_c ½ · 12 / √4 = 12, as with one; its mean over 16 samples.
    """
    for coils in (ONE_COIL, Sensitivity(torch.full((1, 4, 4, 4), 0.5 + 0j))):
        assert sampling_consistency(hand_pass(coils=coils)).item() == pytest.approx((3 + 0.5) * 4 / 16, rel=1e-6)


def test_of_coils_that_only_fill_up_a_batch_none_counts() -> None:
    maps = torch.zeros(1, 9, 4, 4, dtype=torch.complex64)
    maps[:, :4] = 0.5
    assert sampling_consistency(hand_pass(coils=Sensitivity(maps))).item() == pytest.approx(3.5 * 4 / 16, rel=1e-6)


def test_an_error_over_coils_counts_its_real_and_imaginary_part() -> None:
    error = torch.complex(torch.tensor([1.0, -2.0, 0.0, 4.0]), torch.tensor([0.0, 3.0, -1.0, 0.0])).view(1, 4, 1, 1)
    encoding = Encoding(torch.ones(1, 1, 1, dtype=torch.bool), Sensitivity(torch.full((1, 4, 1, 1), 0.5 + 0j)))
    assert over_coils(error, encoding).item() == pytest.approx((1 + 5 + 1 + 4) / 2)


# G(x) = 6, G(y, A(z)) = 5.5, cycle of x = 6.5, cycle of y = 11, H(x) = 1.5, x − H(x) = 1.5, y + H(x) = 6.5,
# G(y + H(x)) = 13, H(G(y, A(z))) = 2.75.
EXPECTED: dict[Callable[[Step], Tensor], float] = {
    cycle: abs(3 - 6.5) + abs(5 - 11),
    bypass: abs(6 - 1.5) + abs(5 - 13),
    boosting: 1.5**2 + 6.5**2,
    pseudo_noise: abs(1.5 - (3 - 6)),
    noise_consistency: abs(5.5 - 5 - 2.75),
    lsgan_generator: (6 - 1) ** 2 + (-5.5 - 1) ** 2,
    lsgan_discriminator: (5 - 1) ** 2 + 6**2 + (-3 - 1) ** 2 + 5.5**2,
    hinge_generator: -6 + 5.5,
    hinge_discriminator: 0 + 6 + (1 + 3) + 0,
    hinge_boosting: 1.5 + 0,
    supervised: abs(6 - 5),
    identity: abs(6 - 3) + abs(5.5 - 5),
}


@pytest.mark.parametrize("objective", EXPECTED, ids=lambda f: f.__name__)
def test_numbers_worked_by_hand(objective: Callable[[Step], Tensor]) -> None:
    assert objective(hand_pass()).item() == pytest.approx(EXPECTED[objective], rel=1e-6)


def test_sampling_consistency_sees_measured_samples_alone() -> None:
    # x − G(x) = −3 and y − G(y, A(z)) = −0.5 are constant: all energy is in the centre sample, 4 times the value.
    full = sampling_consistency(hand_pass()).item()
    assert full == pytest.approx((4 * 3 + 4 * 0.5) / 16, rel=1e-5)
    mask = torch.ones(1, 4, 4, dtype=torch.bool)
    mask[0, 2, 2] = False
    assert sampling_consistency(hand_pass(mask)).item() == pytest.approx(0, abs=1e-5)


def test_l1_of_complex_entries() -> None:
    assert l1(torch.tensor([3 - 4j, 0j])).item() == pytest.approx(3.5)
    assert l1(torch.tensor([3.0, -1.0])).item() == pytest.approx(2)


class Undecided(HandPlayers):
    """Both domains' scores are a tenth of the mean, so that every hinge is open."""

    def score_full(self, image: Tensor) -> Tensor:
        return image.mean().reshape(1, 1, 1, 1) / 10

    def score_sub(self, image: Tensor) -> Tensor:
        return image.mean().reshape(1, 1, 1, 1) / 10


# D_Y(y) = 0.5, D_Y(G(x)) = 0.6, D_X(x) = 0.3, D_X(G(y, A(z))) = 0.55, D_Y(x − H(x)) = 0.15, D_X(y + H(x)) = 0.65.
UNDECIDED: dict[Callable[[Step], Tensor], float] = {
    hinge_discriminator: (1 - 0.5) + 0.6 + (1 - 0.3) + 0.55,
    hinge_generator: -0.6 - 0.55,
    hinge_boosting: 0.15 + 0.65,
    hinge_full_discriminator: (1 - 0.5) + 0.6,
    hinge_full_generator: -0.6,
    lsgan_full_discriminator: (0.5 - 1) ** 2 + 0.6**2,
    lsgan_full_generator: (0.6 - 1) ** 2,
}


@pytest.mark.parametrize("objective", UNDECIDED, ids=lambda f: f.__name__)
def test_scores_between_the_hinges(objective: Callable[[Step], Tensor]) -> None:
    step = hand_pass()
    step.players = Undecided()  # type: ignore[assignment]
    assert objective(step).item() == pytest.approx(UNDECIDED[objective], rel=1e-6)


class Split:
    """One corner sample is held out, with a weight."""

    def __init__(self, weight: float) -> None:
        self.weights = torch.zeros(1, 4, 4)
        self.weights[0, 2, 2] = weight

    def split(self) -> tuple[Tensor, Encoding, Tensor]:
        """The kept samples' image is x / 2."""
        return torch.full((1, 1, 4, 4), X / 2), Encoding(torch.ones(1, 4, 4, dtype=torch.bool)), self.weights


@pytest.mark.parametrize("weight", [1.0, 1e-3, 50.0])
def test_held_out_samples_are_a_weighted_mean_whatever_the_weights_add_up_to(weight: float) -> None:
    """G(x / 2) = x: nothing is left. G(x / 2) = x + 1 leaves 4 in the centre sample, which is the one held out."""
    step = hand_pass()
    step.draws = Split(weight)  # type: ignore[assignment]
    assert held_out_samples(step).item() == pytest.approx(0, abs=1e-6)
    step = hand_pass()
    step.draws = Split(weight)  # type: ignore[assignment]
    step.players.to_full = lambda x, encoding: 2 * x + 1  # type: ignore[method-assign]
    assert held_out_samples(step).item() == pytest.approx(4, rel=1e-6)


class Squares:
    def __call__(self, step: object) -> object:
        return step


def test_names() -> None:
    assert objective_name(lambda step: step.x.mean()) == "lambda"
    assert objective_name(cycle) == "cycle"
    assert objective_name(Squares()) == "Squares"  # type: ignore[arg-type]
    assert objective_name(partial(over_coils, 1, "a", encoding=2, x=0.5)) == "over_coils(1, 'a', encoding=2, x=0.5)"
    mine = named("mine", lambda step: step.x + 1)
    assert objective_name(mine) == "mine"
    assert mine(hand_pass()).max().item() == X + 1
    assert Phase(GENERATOR, {l1: 1, named("a", l1): 2}).names == ("l1", "a")  # type: ignore[dict-item]
