"""Objectives: functions of a step, one for each equation of the paper.

‖·‖₁ is the mean of absolute values. A complex image has two channels here, so its ‖·‖₁ is the mean over real and
imaginary parts. The ‖·‖₁ of k-space is the mean over samples of |re| + |im|, which is twice as large. X holds
undersampled images x, Y fully sampled images y. Objectives ask for the networks' images by name: ``full_of_x`` is G(x),
``sub_of_y`` is G(y, A(z)), ``noise_of_x`` is H(x), ``score_of_y`` is D_Y(y); see
:class:`switchrecon.methods.step.Step`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from switchrecon.methods.step import Step
from switchrecon.physics.intensity import channels_to_complex
from switchrecon.physics.operators import Encoding

Objective = Callable[[Step], Tensor]


@dataclass(frozen=True)
class Named:
    """An objective with a given name; see :func:`named`."""

    name: str
    objective: Objective

    def __call__(self, step: Step) -> Tensor:
        """Return the objective's value, a scalar."""
        return self.objective(step)


def named(name: str, objective: Objective) -> Named:
    """Return an objective with a name for logs and tables; lambdas and two closures of one function need it."""
    return Named(name, objective)


def objective_name(objective: Objective) -> str:
    """Return an objective's name for logs: from :func:`named`, or the function's, with a ``partial``'s arguments."""
    if isinstance(objective, Named):
        return objective.name
    if isinstance(objective, partial):
        parts = [*map(repr, objective.args), *(f"{name}={value!r}" for name, value in objective.keywords.items())]
        return f"{objective_name(objective.func)}({', '.join(parts)})"
    name = getattr(objective, "__name__", type(objective).__name__)
    return "lambda" if name == "<lambda>" else str(name)


def l1(difference: Tensor) -> Tensor:
    """Return ‖·‖₁, a scalar: the mean of absolute values; for complex entries the mean of |re| + |im|."""
    if difference.is_complex():
        return difference.real.abs().mean() + difference.imag.abs().mean()
    return difference.abs().mean()


def over_coils(difference: Tensor, encoding: Encoding) -> Tensor:
    """Return Σ_c (|re| + |im|) / √C, shape (B, H, W), of a difference of k-space (B, C, H, W).

    An image error that is spread evenly over C coils has about the same value for every C.
    """
    return encoding.coils.spread(difference.real.abs() + difference.imag.abs())


def sampling_consistency(step: Step) -> Tensor:
    """Eq. (1): ‖RF(x) − RF(G(x))‖₁ + ‖RF(y) − RF(G(y, A(z)))‖₁; with C coils, their sum over √C."""
    first = over_coils(step.sampled_difference_x(), step.encoding_x).mean()
    return first + over_coils(step.sampled_difference_y(), step.encoding_y).mean()


def cycle(step: Step) -> Tensor:
    """Eq. (2): ‖x − G(G(x), A(z))‖₁ + ‖y − G(G(y, A(z)))‖₁."""
    return l1(step.x - step.cycle_of_x) + l1(step.y - step.cycle_of_y)


def bypass(step: Step) -> Tensor:
    """Eq. (3): ‖G(x) − (x − H(x))‖₁ + ‖y − G(y + H(x))‖₁."""
    return l1(step.full_of_x - step.pseudo_full) + l1(step.y - step.full_of_pseudo_sub)


def boosting(step: Step) -> Tensor:
    """Eq. (4): D_Y(x − H(x))² + D_X(y + H(x))², which teaches D to score pseudo-labels as not real."""
    return step.score_of_pseudo_full.square().mean() + step.score_of_pseudo_sub.square().mean()


def pseudo_noise(step: Step) -> Tensor:
    """Eq. (5): ‖H(x) − (x − G(x))‖₁."""
    return l1(step.noise_of_x - (step.x - step.full_of_x))


def noise_consistency(step: Step) -> Tensor:
    """Eq. (6): ‖(G(y, A(z)) − y) − H(G(y, A(z)))‖₁."""
    return l1(step.sub_of_y - step.y - step.noise_of_sub_of_y)


def lsgan_generator(step: Step) -> Tensor:
    """LSGAN for G: (D_Y(G(x)) − 1)² + (D_X(G(y, A(z))) − 1)²."""
    return (step.score_of_full_of_x - 1).square().mean() + (step.score_of_sub_of_y - 1).square().mean()


def lsgan_discriminator(step: Step) -> Tensor:
    """LSGAN for D: (D_Y(y) − 1)² + D_Y(G(x))² + (D_X(x) − 1)² + D_X(G(y, A(z)))²."""
    full = (step.score_of_y - 1).square().mean() + step.score_of_full_of_x.square().mean()
    return full + (step.score_of_x - 1).square().mean() + step.score_of_sub_of_y.square().mean()


def lsgan_full_discriminator(step: Step) -> Tensor:
    """LSGAN for D_Y alone: (D_Y(y) − 1)² + D_Y(G(x))²."""
    return (step.score_of_y - 1).square().mean() + step.score_of_full_of_x.square().mean()


def lsgan_full_generator(step: Step) -> Tensor:
    """LSGAN for G against D_Y alone: (D_Y(G(x)) − 1)²."""
    return (step.score_of_full_of_x - 1).square().mean()


def hinge_full_discriminator(step: Step) -> Tensor:
    """Hinge for D_Y alone: [1 − D_Y(y)]₊ + [D_Y(G(x))]₊."""
    return F.relu(1 - step.score_of_y).mean() + F.relu(step.score_of_full_of_x).mean()


def hinge_full_generator(step: Step) -> Tensor:
    """Hinge for G against D_Y alone: −D_Y(G(x))."""
    return -step.score_of_full_of_x.mean()


def hinge_generator(step: Step) -> Tensor:
    """Hinge for G: −D_Y(G(x)) − D_X(G(y, A(z)))."""
    return -step.score_of_full_of_x.mean() - step.score_of_sub_of_y.mean()


def hinge_discriminator(step: Step) -> Tensor:
    """Hinge for D, as in the ISCL code: [1 − D_Y(y)]₊ + [D_Y(G(x))]₊ + [1 − D_X(x)]₊ + [D_X(G(y, A(z)))]₊."""
    full = F.relu(1 - step.score_of_y).mean() + F.relu(step.score_of_full_of_x).mean()
    return full + F.relu(1 - step.score_of_x).mean() + F.relu(step.score_of_sub_of_y).mean()


def hinge_boosting(step: Step) -> Tensor:
    """Boosting as in the ISCL code: [D_Y(x − H(x))]₊ + [D_X(y + H(x))]₊."""
    return F.relu(step.score_of_pseudo_full).mean() + F.relu(step.score_of_pseudo_sub).mean()


def identity(step: Step) -> Tensor:
    """Identity: ‖G(x) − x‖₁ + ‖G(y, A(z)) − y‖₁; a warm-up minimises it to settle the sign of the contrast."""
    return l1(step.full_of_x - step.x) + l1(step.sub_of_y - step.y)


def simulated_pairs(step: Step) -> Tensor:
    """L1 on pairs (x', y') simulated from y with the masks of X: ‖G(x') − y'‖₁; y' = y without calibration."""
    *_, reference = step.pair
    return l1(step.full_of_pair - reference)


def held_out_samples(step: Step) -> Tensor:
    """SSDU with density weighting: G reconstructs from a part Θ of x's samples, and is compared at the rest, Λ.

    Σ w |A G(x_Θ) − k| / Σ w over the held-out samples Λ of each image, with |·| = |re| + |im|; with C coils, their sum
    over √C; the mean over a batch. The weight w = 1 / P(j ∈ Λ | j ∉ Θ) makes it an estimate of the error at all samples
    outside Θ (Yaman et al. 2020; Millard and Chiew 2023).
    """
    *_, weight = step.split
    difference = step.encoding_x(channels_to_complex(step.full_of_split)) - step.measured
    error = (weight * over_coils(difference, step.encoding_x)).sum((-2, -1))
    return (error / weight.sum((-2, -1)).clamp_min(1e-12)).mean()


def equivariance(step: Step) -> Tensor:
    """Multi-operator equivariance (Chen et al. 2021): ‖G(A' T G(x)) − T G(x)‖₁, T a symmetry, A' another mask.

    T is one of augmentation's symmetries; with ``augment=none`` T is the identity, and only the mask A' differs.
    """
    return l1(step.full_of_turned - step.turned)


def supervised(step: Step) -> Tensor:
    """L1 against the reference: ‖G(x) − y‖₁, where y is the fully sampled image of x."""
    return l1(step.full_of_x - step.y)
