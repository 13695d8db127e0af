"""Simulated pairs with X's masks, split samples and their weights, other masks: all seeded by the step."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from switchrecon.config import Config, load_config
from switchrecon.data.piles import read_training_data
from switchrecon.errors import DataError
from switchrecon.methods.methods import METHODS
from switchrecon.methods.objectives import equivariance, held_out_samples, simulated_pairs
from switchrecon.methods.step import Step
from switchrecon.physics.fourier import fourier, inverse_fourier
from switchrecon.physics.intensity import channels_to_complex
from switchrecon.physics.masks import draw_mask, line_direction
from switchrecon.physics.operators import Encoding, Sampling
from switchrecon.training.batches import Batches

MakeScan = Callable[..., Path]


def batches(make_scan: MakeScan, *assignments: str) -> Batches:
    config = load_config(None, ["width=2", "batch_size=2", *assignments])
    data = read_training_data([make_scan("full", 1)], [make_scan("sub", 2)], config, "unpaired")
    return Batches(data, config, "unpaired")


def drawn(made: Batches, step: int) -> Step:
    return Step(Truthful(made), made.batch(step))  # type: ignore[arg-type]


class Truthful:
    """Players whose G returns its input: zero-filled images stay as they are."""

    def __init__(self, made: Batches) -> None:
        self.made = made

    def to_full(self, x: torch.Tensor, encoding: Encoding) -> torch.Tensor:
        return x


@pytest.mark.parametrize("kind", ["random-2d", "random-1d"])
def test_a_pair_is_y_sampled_with_a_mask_of_x(make_scan: MakeScan, kind: str) -> None:
    made = batches(make_scan, f"mask.kind={kind}", "augment=none")
    step = drawn(made, 3)
    image, encoding, reference = step.drawn.pair()
    masks = encoding.mask
    assert torch.equal(reference, step.y)
    y = channels_to_complex(step.y)
    torch.testing.assert_close(channels_to_complex(image), inverse_fourier(Sampling(masks)(fourier(y))))
    assert made.data.sub is not None
    own = [s.mask for s in made.data.sub.slices]
    assert all(any(torch.equal(mask, other) for other in own) for mask in masks)
    again = drawn(made, 3).drawn.pair()
    assert torch.equal(again[0], image)
    assert not all(torch.equal(drawn(made, k).drawn.pair()[1].mask, masks) for k in range(4, 9))
    assert simulated_pairs(step).item() == pytest.approx((image - step.y).abs().mean().item())


@pytest.mark.parametrize("kind", ["random-2d", "random-1d"])
def test_a_split_divides_the_measured_samples_and_keeps_the_centre(make_scan: MakeScan, kind: str) -> None:
    made = batches(make_scan, f"mask.kind={kind}")
    step = drawn(made, 5)
    image, encoding, weight = step.drawn.split()
    kept = encoding.mask
    held = weight > 0
    assert not (kept & held).any()
    assert torch.equal(kept | held, step.encoding_x.mask)
    assert kept[:, made.source.centre].all()
    assert made.source.centre.sum() == (25 if kind == "random-2d" else 5 * 64)
    if kind == "random-1d":
        assert all(line_direction(mask) == "columns" for mask in kept)
    spectrum = fourier(channels_to_complex(image))
    assert spectrum[~kept].abs().max() < 1e-5
    torch.testing.assert_close(spectrum[kept], fourier(channels_to_complex(step.x))[kept], atol=1e-5, rtol=1e-5)


def test_held_out_loss_is_the_weighted_mean_over_held_out_samples(make_scan: MakeScan) -> None:
    step = drawn(batches(make_scan, "mask.kind=variable-density-2d"), 0)
    image, _, weight = step.drawn.split()
    # G returns the image of the kept samples, so the error at held-out ones is x's own spectrum there.
    spectrum = fourier(channels_to_complex(step.x))
    expected = (weight * (spectrum.real.abs() + spectrum.imag.abs())).sum() / weight.sum()
    assert held_out_samples(step).item() == pytest.approx(expected.item(), rel=1e-4)
    assert image.shape == step.x.shape


def test_weights_make_the_held_out_loss_an_estimate_over_all_samples(make_scan: MakeScan) -> None:
    """With weights, the mean over held-out samples of any spectrum tends to its mean over all outside Θ."""
    made = batches(make_scan, "mask.kind=variable-density-2d", "mask.acceleration=3")
    settings = made.config.mask
    spectrum = torch.from_numpy(np.hypot(*np.meshgrid(np.arange(64) - 32.0, np.arange(64) - 32.0)) < 20).float()
    masks = [torch.from_numpy(draw_mask(settings, (64, 64), volume="v", index=i)) for i in range(400)]
    made.source.density = torch.stack(masks).float().mean(0).clamp_min(0.02)
    weighted = plain = total = count = norm = members = 0.0
    for position, mask in enumerate(masks):
        kept, weight = made.source.split(mask, position)
        weighted += float((weight * spectrum).sum())
        norm += float(weight.sum())
        plain += float(spectrum[weight > 0].sum())
        members += float((weight > 0).sum())
        total += float(spectrum[~kept].sum())
        count += float((~kept).sum())
    assert weighted / norm == pytest.approx(total / count, rel=0.08)
    assert plain / members > 1.5 * total / count  # without weights it is biased to the centre


def test_turning_moves_the_image_and_draws_another_mask(make_scan: MakeScan) -> None:
    made = batches(make_scan)
    step = drawn(made, 2)
    moved, mask = step.turned, step.turn[1].mask
    torch.testing.assert_close(moved.square().sum((1, 2, 3)), step.x.square().sum((1, 2, 3)))
    assert mask.shape == step.encoding_x.mask.shape
    assert not torch.equal(mask, step.encoding_x.mask)
    resampled = inverse_fourier(Sampling(mask)(fourier(channels_to_complex(moved))))
    difference = torch.stack([resampled.real, resampled.imag], 1) - moved
    assert equivariance(step).item() == pytest.approx(difference.abs().mean().item(), rel=1e-5)


def test_self_supervised_learning_needs_x_alone(make_scan: MakeScan) -> None:
    sub = make_scan("sub", 2)
    assert METHODS["self-supervised"].pairing == "undersampled"
    data = read_training_data([], [sub], Config(), "undersampled")
    assert data.full is None
    made = Batches(data, Config(), "undersampled")
    batch = made.batch(0)
    assert torch.equal(batch.x, batch.y)
    with pytest.raises(DataError, match="needs --sub PATH"):
        read_training_data([sub], [], Config(method="self-supervised"), "undersampled")
