"""The layers that the package computes in its own way, over the same ones of torch: forward and backward."""

from collections.abc import Callable
from typing import Any

import torch
from steps import ratios
from torch import Tensor, nn

from switchrecon.nets.layers import Convolution, ImageConvolution, InstanceNorm, ValidConvolution


class WrittenOut(InstanceNorm):
    """γ · IN(h) + β in three operations."""

    def forward(self, features: Tensor, _: object = None) -> Tensor:
        """Features (B, C, H, W) → (B, C, H, W)."""
        return nn.functional.instance_norm(features) * self.scale[:, None, None] + self.shift[:, None, None]


def pairs(c: int, side: int) -> dict[str, tuple[nn.Module, nn.Module, Tensor]]:
    """Ours, torch's and an input, as they stand in networks of c channels on images of a side."""
    image, deep = torch.randn(1, c, side, side), torch.randn(1, 8 * c, 4, 4)
    return {
        "repeated edges": (
            Convolution(c, c),
            nn.Conv2d(c, c, 3, padding=1, padding_mode="replicate"),
            image,
        ),
        "G's last convolution": (
            ImageConvolution(c, 2),
            nn.Conv2d(c, 2, 7, padding=3, padding_mode="reflect"),
            image,
        ),
        "D's valid convolution to one pixel": (ValidConvolution(8 * c, 16 * c, 4), nn.Conv2d(8 * c, 16 * c, 4), deep),
        "instance norm with scale and shift": (InstanceNorm(c), WrittenOut(c), image),
    }


def measure_layers(repeats: int) -> dict[str, Any]:
    """``layer_over_torch``: layer → width and side → ratio."""
    found: dict[str, dict[str, float]] = {}
    for width, side in ((16, 64), (32, 128), (32, 256)):
        for name, (ours, theirs, image) in pairs(width, side).items():
            theirs.load_state_dict(ours.state_dict())
            [[ratio]] = ratios([both_ways(ours, image)], [both_ways(theirs, image)], 10 * repeats)
            found.setdefault(name, {})[f"{width} channels, {side}x{side}"] = ratio
            print(f"{name}, {width} channels, {side}x{side}: {ratio:.2f}", flush=True)
    return {"layer_over_torch": found}


def both_ways(layer: nn.Module, image: Tensor) -> Callable[[], None]:
    """A call of a layer and the gradients of its sum."""
    inputs = [image.clone().requires_grad_(), *layer.parameters()]

    def run() -> None:
        torch.autograd.grad(layer(inputs[0]).sum(), inputs)

    return run
