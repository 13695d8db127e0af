"""Layers that several networks use."""

import math
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from switchrecon.config import Precision
from switchrecon.core.device import processor_has

Module = TypeVar("Module", bound=nn.Module)

SLOPE = 0.2  # of every leaky ReLU
EPSILON = 1e-5  # of every instance norm


class ImageNetwork(nn.Module):
    """Base class of networks that map images to images or scores; the output is always float32.

    Attributes
    ----------
    precision
        With ``bfloat16`` the convolutions compute in bfloat16; statistics of norms, and all outside, stay float32.
    """

    precision: Precision = "float32"

    def __call__(self, image: Tensor, *arguments: Any, **named: Any) -> Tensor:
        """Apply the network to images (B, channels, H, W)."""
        if self.precision != "bfloat16":
            return super().__call__(image, *arguments, **named)
        with torch.autocast(image.device.type, torch.bfloat16):
            return super().__call__(image, *arguments, **named).float()


def with_precision(module: Module, precision: Precision) -> Module:
    """Set the precision of all networks inside a module, and return the module."""
    for network in module.modules():
        if isinstance(network, ImageNetwork):
            network.precision = precision
    return module


def _as_it_is() -> torch.autocast:
    """Return a context without autocast, which on a CPU pads in float32: two more copies of all features each time."""
    return torch.autocast("cpu", enabled=False)


def channels_last(features: Tensor) -> Tensor:
    """Return features (B, C, H, W) in the channels-last memory layout, on processors where that is quicker.

    With AVX-512, 3×3 convolutions at full resolution take 0.80 to 0.93 of the time; with AVX2 alone they would take up
    to 1.8 times as long.
    """
    if features.device.type == "cpu" and processor_has("avx512_f"):
        return features.contiguous(memory_format=torch.channels_last)
    return features


class _RepeatEdges(torch.autograd.Function):
    """Put images side by side, as channels, and repeat the outermost rows and columns once.

    ``F.pad(torch.cat(images, 1), mode="replicate")`` does too, with a copy of all features more, in twice the backward
    time, and with gradients that are parts of one tensor, which ``upsample_bilinear2d_backward`` takes six times as
    long for.
    """

    @staticmethod
    def forward(*images: Tensor) -> Tensor:
        lasts = [each.is_contiguous(memory_format=torch.channels_last) for each in images]
        if all(lasts) and not all(each.is_contiguous() for each in images):
            layout = torch.channels_last
        elif len(images) == 1:
            return F.pad(images[0], (1, 1, 1, 1), mode="replicate")
        else:
            layout = torch.contiguous_format
        batch, _, height, width = images[0].shape
        size = (batch, sum(each.shape[1] for each in images), height + 2, width + 2)
        padded = torch.empty(size, dtype=images[0].dtype, device=images[0].device, memory_format=layout)
        for image, place in zip(images, padded.split([each.shape[1] for each in images], 1), strict=True):
            place[..., 1:-1, 1:-1] = image
            place[..., 1:-1, 0], place[..., 1:-1, -1] = image[..., 0], image[..., -1]
        padded[..., 0, :], padded[..., -1, :] = padded[..., 1, :], padded[..., -2, :]
        return padded

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Only the numbers of channels are kept for the backward."""
        ctx.channels = [each.shape[1] for each in inputs]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        last = gradient.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        return tuple(_fold(part, layout) for part in gradient.split(ctx.channels, 1))


def _fold(gradient: Tensor, layout: torch.memory_format) -> Tensor:
    """Add the outermost rows and columns to those inside."""
    folded = gradient[..., 1:-1, 1:-1].clone(memory_format=layout)
    rows, columns = (slice(None, None, side - 1) for side in folded.shape[-2:])  # the first and the last
    ends, others = slice(None, None, gradient.shape[-2] - 1), slice(None, None, gradient.shape[-1] - 1)
    folded[..., rows, :].add_(gradient[..., ends, 1:-1])
    folded[..., columns].add_(gradient[..., 1:-1, others])
    folded[..., rows, columns].add_(gradient[..., ends, others])
    return folded


class Convolution(nn.Conv2d):
    """A convolution of images whose edges are repeated: ``nn.Conv2d(padding=1, padding_mode="replicate")``."""

    def __init__(self, inputs: int, outputs: int, side: int = 3, stride: int = 1) -> None:
        super().__init__(inputs, outputs, side, stride)

    def forward(self, *images: Tensor) -> Tensor:
        """Images (B, inputs, H, W) → (B, outputs, H', W'); several tensors are put side by side as channels."""
        if 1 in images[0].shape[-2:]:  # where the first row or column is the last one, too
            return super().forward(F.pad(torch.cat(images, 1), (1, 1, 1, 1), mode="replicate"))
        with _as_it_is():
            padded = _RepeatEdges.apply(*images)
        return super().forward(padded)


class ValidConvolution(nn.Conv2d):
    """A convolution without padding; a kernel as large as the image becomes a matrix product, which is 10× faster."""

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, inputs, H, W) → (B, outputs, H', W')."""
        if image.shape[-2:] == self.weight.shape[-2:]:
            return F.linear(image.flatten(1), self.weight.flatten(1), self.bias)[..., None, None]
        return super().forward(image)


NEIGHBOURS = 4  # columns that one stride of an ImageConvolution computes


class ImageConvolution(nn.Conv2d):
    """A k×k convolution to the one or two channels of an image, with edges padded by reflection.

    A processor computes eight output channels in the time of one. So four neighbouring columns are computed as
    channels of one convolution with stride 4, whose kernel holds the original one at four positions: the same sums in
    half the time.
    """

    def __init__(self, inputs: int, outputs: int, side: int = 7) -> None:
        super().__init__(inputs, outputs, side, padding=side // 2, padding_mode="reflect")

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, inputs, H, W) → (B, outputs, H, W)."""
        batch, _, height, width = image.shape
        if image.device.type != "cpu" or width % NEIGHBOURS:
            return super().forward(image)
        places = [F.pad(self.weight, (place, NEIGHBOURS - 1 - place)) for place in range(NEIGHBOURS)]
        kernel = torch.stack(places, 1).flatten(0, 1)
        bias = None if self.bias is None else self.bias.repeat_interleave(NEIGHBOURS)
        with _as_it_is():
            padded = F.pad(image, (self.padding[0],) * 4, mode="reflect")  # type: ignore[arg-type]
        found = F.conv2d(padded, kernel, bias, stride=(1, NEIGHBOURS))
        columns = found.view(batch, self.out_channels, NEIGHBOURS, height, width // NEIGHBOURS)
        return columns.permute(0, 1, 3, 4, 2).reshape(batch, self.out_channels, height, width)


class Code:
    """Mean and variance of one AdaIN site, each of shape (B, C)."""

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        self.mean = mean
        self.variance = variance


def instance_norm(features: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """Return scale · IN(h) + shift, where IN(h) has mean 0 and variance 1 in each channel of each sample.

    It is one operation: with separate ones, all features would be read and written four more times. Statistics are
    computed in float32 for any dtype of the features.

    Parameters
    ----------
    features
        h, shape (B, C, H, W). A single pixel is not normalised (IN(h) = h), because the result would always be 0.
    scale, shift
        Shape (C,) for all samples, or (B, C) for each sample. None: 1 and 0.

    Returns
    -------
    Tensor
        Same shape and dtype as the features.
    """
    if features.shape[-2] * features.shape[-1] == 1:
        if scale is None or shift is None:
            return features
        return features * scale[..., None, None] + shift[..., None, None]
    if scale is None or shift is None:
        return F.instance_norm(features, eps=EPSILON)
    if scale.dim() == 1:
        return _scaled_norm(features, scale, shift)
    return _scaled_norm(features.flatten(0, 1)[None], scale.flatten(), shift.flatten()).view_as(features)


def _scaled_norm(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    wide = torch.promote_types(features.dtype, torch.float32)
    return F.instance_norm(features, weight=scale.to(wide), bias=shift.to(wide), eps=EPSILON)


class InstanceNorm(nn.Module):
    """Affine instance norm, γ · IN(h) + β; γ starts at 1 and β at 0.

    At batch size 1 it equals batch-instance norm for every mixing weight.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor, code: Code | None = None) -> Tensor:
        """Features (B, C, H, W) → (B, C, H, W); a code is not accepted."""
        if code is not None:
            raise ValueError("a generator without AdaIN takes no code")
        return instance_norm(features, self.scale, self.shift)


class AdaptiveInstanceNorm(nn.Module):
    """AdaIN: √variance · IN(h) + mean, both from a code; without one, mean 0 and variance 1 (plain IN).

    It has no parameters.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, features: Tensor, code: Code | None = None) -> Tensor:
        """Features (B, C, H, W), mean and variance (B, C) → (B, C, H, W)."""
        if code is None:
            return instance_norm(features)
        return instance_norm(features, code.variance.sqrt(), code.mean)


def initialise(module: nn.Module, standard_deviation: float = 0.05) -> None:
    """Draw weights of convolutions and linear layers from N(0, σ²) truncated at 2σ; biases are zero.

    This is the initialisation of the ISCL code (σ = 0.05).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            bound = 2 * standard_deviation
            nn.init.trunc_normal_(layer.weight, std=standard_deviation, a=-bound, b=bound)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def inverse_softplus(value: float) -> float:
    """Return b such that softplus(b) = value > 0."""
    return math.log(math.expm1(value))


def pad_to_multiple(image: Tensor, multiple: int, least: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of ``multiple`` and at least ``least``.

    Shape (B, C, H, W) → (B, C, H', W') with H' ≥ H and W' ≥ W; the input is in the upper left corner.
    """
    height, width = image.shape[-2:]
    below = max(-(-height // multiple) * multiple, least) - height
    right = max(-(-width // multiple) * multiple, least) - width
    return F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image
