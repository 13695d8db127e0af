"""Variants of `joint` that no setting names; see recipes/joint.yaml and recipes/gap-contrast.yaml."""

import torch
from torch import Tensor

from switchrecon.methods.methods import GENERATOR, JOINT, JOINT_EQUIVARIANT
from switchrecon.methods.objectives import equivariance, held_out_samples, l1
from switchrecon.methods.step import Step
from switchrecon.physics.intensity import channels_to_complex

HEAVIER = JOINT.adding(GENERATOR, {held_out_samples: 1})
"""X's samples weigh as much as the simulated pairs, instead of 0.3."""

LIGHTER = JOINT.adding(GENERATOR, {held_out_samples: 0.1})
"""They weigh a third of what they do in `joint`."""

LIGHTER_EQUIVARIANT = JOINT_EQUIVARIANT.adding(GENERATOR, {held_out_samples: 0.1})
"""The same for `joint-equivariant`."""

HEAVIER_EQUIVARIANT = HEAVIER.adding(GENERATOR, {equivariance: 0.3})
"""The same, and X also teaches that its images, moved and sampled anew, are reconstructed alike."""


def held_out_squares(step: Step) -> Tensor:
    """√(Σ w |A G(x_Θ) − k|² / Σ w) over the held-out samples: by Parseval, the image error from outside Θ."""
    image, kept, weight = step.drawn.split()
    difference = step.encoding_x(channels_to_complex(step.players.to_full(image, kept))) - step.measured
    return ((weight * difference.abs().square()).sum() / weight.sum().clamp_min(1e-12)).clamp_min(1e-12).sqrt()


def self_distillation(step: Step) -> Tensor:
    """‖G(x_Θ) − sg G(x)‖₁: what G sees with all samples teaches what it sees with a part of them."""
    image, kept, _ = step.drawn.split()
    with torch.no_grad():
        target = step.players.to_full(step.x, step.encoding_x)
    return l1(step.players.to_full(image, kept) - target)


SQUARES = JOINT.exchanging({held_out_samples: held_out_squares})
"""The held-out samples' root mean square instead of their mean absolute error."""

DISTILLED = JOINT.adding(GENERATOR, {self_distillation: 0.3})
"""An image-domain target on X."""
