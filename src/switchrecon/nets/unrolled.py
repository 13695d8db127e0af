"""The unrolled generator: refinements by a network with data consistency between them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from switchrecon.nets.layers import SLOPE, Convolution, ImageNetwork, channels_last, pad_to_multiple
from switchrecon.physics.intensity import channels_to_complex, complex_to_channels
from switchrecon.physics.operators import Encoding


class UNet(ImageNetwork):
    """A small U-Net that adds a correction to its input: u + f(u).

    Two 3×3 convolutions with leaky ReLU at each of three resolutions (average pooling, bilinear upsampling), with c, 2c
    and 4c channels. There are no norms, because data consistency, which follows, needs true intensities.

    Parameters
    ----------
    channels
        Channels of the image.
    width
        c, the channels at full resolution.
    """

    levels = 2

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        widths = [width << level for level in range(self.levels + 1)]
        inputs = [channels, *widths[:-1]]
        self.down = nn.ModuleList(_block(i, o) for i, o in zip(inputs, widths, strict=True))
        self.up = nn.ModuleList(_block(deep + o, o) for deep, o in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.leave = Convolution(width, channels)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=SLOPE)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.leave.weight, std=1e-3)  # starts near the identity

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, channels, H, W) → the same shape; any H and W."""
        height, width = image.shape[-2:]
        h = channels_last(pad_to_multiple(image, 1 << self.levels, 1 << self.levels))
        kept = []
        for block in self.down[:-1]:
            h = block(h)
            kept.append(h)
            h = F.avg_pool2d(h, 2)
        h = self.down[-1](h)
        for block in self.up:
            h = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)
            assert isinstance(block, nn.Sequential)
            h = block[1:](block[0](h, kept.pop()))
        return image + self.leave(h)[..., :height, :width]


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        Convolution(inputs, outputs),
        nn.LeakyReLU(SLOPE, inplace=True),
        Convolution(outputs, outputs),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


class Unrolled(nn.Module):
    """The unrolled network: cascades u ← u' + w Aᴴ(k − A u') with u' = f(u), A = R F S.

    Each cascade refines the image with a network f and then applies data consistency.

    Parameters
    ----------
    refiners
        f of each cascade, or one f for all cascades.
    cascades
        Number of cascades.
    soft
        True: each w in (0, 1) is learned; it is a sigmoid that starts at 0.9. False: w = 1, which keeps measured
        samples exactly if there is one coil.
    """

    takes_encoding = True

    def __init__(self, refiners: list[nn.Module], cascades: int, soft: bool = False) -> None:
        super().__init__()
        self.refiners = nn.ModuleList(refiners)
        self.cascades = cascades
        self.weights = nn.Parameter(torch.full((cascades,), 2.2)) if soft else None

    @property
    def ends_consistent(self) -> bool:
        """Whether the last cascade restores measured samples exactly, if there is one coil."""
        return self.weights is None

    @property
    def image_parts(self) -> list[nn.Module]:
        """The refiners, which map an image alone to an image."""
        return list(self.refiners)

    @property
    def step_sizes(self) -> list[float]:
        """The current data consistency weight w of each cascade."""
        return [1.0] * self.cascades if self.weights is None else self.weights.sigmoid().tolist()

    def forward(self, image: Tensor, encoding: Encoding) -> Tensor:
        """Refine undersampled images.

        Parameters
        ----------
        image
            Shape (B, 2, H, W): real and imaginary part of the zero-filled image Aᴴk. The cascades need nothing else
            of k.
        encoding
            A, for images (B, H, W).

        Returns
        -------
        Tensor
            Shape (B, 2, H, W).
        """
        zero_filled = channels_to_complex(image)
        if encoding.projects:  # also right for images with something where nothing was measured
            zero_filled = encoding.N(zero_filled)
        for number in range(self.cascades):
            refiner = self.refiners[number % len(self.refiners)]
            weight = 1.0 if self.weights is None else self.weights[number].sigmoid()
            refined = channels_to_complex(refiner(image))
            image = complex_to_channels(refined + weight * (zero_filled - encoding.N(refined)))
        return image
