"""Compressed sensing against its optimality conditions, and its tuning by training."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from switchrecon.config import load_config
from switchrecon.evaluation.evaluate import evaluate
from switchrecon.nets import classical
from switchrecon.nets.classical import Sense, TotalVariation, Wavelet, shrink_haar
from switchrecon.physics.masks import draw_mask
from switchrecon.physics.operators import Encoding
from switchrecon.physics.solvers import Gradient
from switchrecon.runs.checkpoint import load_model
from switchrecon.training.train import train
from tests.conftest import blob_images, tiny_config

MASK = torch.from_numpy(draw_mask(tiny_config().mask, (64, 64), volume="v", index=0))[None]
TRUTH = torch.from_numpy(blob_images(1, 1))
ENCODING = Encoding(MASK)
MEASURED = ENCODING(TRUTH)
ZERO_FILLED = ENCODING.H(MEASURED)


def total_variation(image: torch.Tensor) -> float:
    return float(Gradient()(image).abs().square().sum(0).sqrt().sum())


def test_total_variation_finds_the_minimum() -> None:
    weight = torch.tensor(0.02)

    def cost(image: torch.Tensor) -> float:
        error = ENCODING(image) - MEASURED
        return 0.5 * float(error.abs().square().sum()) + float(weight) * total_variation(image)

    found = TotalVariation(400).solve(ZERO_FILLED, ENCODING, weight)
    best = cost(found)
    assert best < cost(TotalVariation(20).solve(ZERO_FILLED, ENCODING, weight))
    assert best < min(cost(TRUTH), cost(ZERO_FILLED))
    random = torch.Generator().manual_seed(1)
    for size in (1e-3, 1e-2):  # no small change of the solution is cheaper
        for _ in range(5):
            change = torch.randn(TRUTH.shape, dtype=torch.complex64, generator=random)
            assert cost(found + size * change) > best


def test_haar_shrinkage_is_the_identity_at_zero_and_removes_details_at_large_weights() -> None:
    random = torch.Generator().manual_seed(2)
    image = torch.randn(2, 16, 24, dtype=torch.complex64, generator=random)
    torch.testing.assert_close(shrink_haar(image, torch.tensor(1e-12), 3), image)
    flat = shrink_haar(image, torch.tensor(1e6), 3)
    blocks = image.reshape(2, 2, 8, 3, 8).mean((2, 4))
    torch.testing.assert_close(flat, blocks.repeat_interleave(8, 1).repeat_interleave(8, 2))
    # One level of one block by hand: details (1, 0, 0) of [[1, 0], [1, 0]] shrink from 1 to 1 − 0.25.
    block = torch.tensor([[1, 0], [1, 0]], dtype=torch.complex64)
    torch.testing.assert_close(
        shrink_haar(block, torch.tensor(0.25), 1), torch.tensor([[0.875, 0.125], [0.875, 0.125]]).to(torch.complex64)
    )


@pytest.mark.parametrize("solver", [TotalVariation(10), Wavelet(10), Sense(10)])
def test_odd_sizes_are_reconstructed_too(solver: TotalVariation | Wavelet | Sense) -> None:
    mask = torch.rand(1, 45, 22, generator=torch.Generator().manual_seed(0)) < 0.5
    image = torch.randn(1, 2, 45, 22)
    found = solver(image, Encoding(mask))
    assert found.shape == image.shape
    assert (found - image).abs().max() > 1e-3
    found.sum().backward()
    assert solver.log_weight.grad is not None


@pytest.mark.parametrize("solver", [TotalVariation(60), Wavelet(60)])
def test_both_are_better_than_zero_filling_on_piecewise_constant_images(solver: TotalVariation | Wavelet) -> None:
    found = solver.solve(ZERO_FILLED, ENCODING, torch.tensor(0.01))
    errors = [float((image - TRUTH).abs().square().mean()) for image in (found, ZERO_FILLED)]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("method", ["total-variation", "wavelet"])
def test_training_tunes_the_weight_on_simulated_pairs(
    method: str, tmp_path: Path, make_scan: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    full, test = make_scan("full", 1, slices=2), make_scan("test", 2, slices=1)
    weights = {}
    for start in (0.05, 1e-4):  # far too smooth, and far too little
        monkeypatch.setattr(classical, "START", start)
        config = load_config(None, ["steps=40", "learning_rate=1", "augment=none", "iterations=12"], method=method)
        run = train(config, [full], [], tmp_path / f"from {start}")
        [tensor] = load_model(run / "model.safetensors")[0].values()
        weights[start] = float(tensor.exp())
    assert weights[0.05] < 0.05
    assert weights[1e-4] > 2e-4
    metrics = evaluate([run], [test], tmp_path / "out")
    psnr = {name: values["psnr"].mean for name, values in metrics.methods.items()}
    assert psnr[method] > psnr["zero-filled"]
