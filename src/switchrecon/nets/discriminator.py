"""The discriminator D with an affine transform for domain Y."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from switchrecon.errors import ConfigError
from switchrecon.nets.layers import SLOPE, Convolution, ImageNetwork, InstanceNorm, ValidConvolution, initialise

SMALLEST_SIDE = 64


def check_side(height: int, width: int) -> None:
    """Refuse images that are too small for D's layers: each side needs at least 64 pixels.

    Raises
    ------
    ConfigError
        If a side is shorter; the message names the size found.
    """
    if min(height, width) < SMALLEST_SIDE:
        raise ConfigError(
            f"the discriminator needs at least {SMALLEST_SIDE} pixels a side, found {height}x{width}: "
            "choose a larger matrix"
        )


class Discriminator(ImageNetwork):
    """The discriminator D: scores patches of an image as real or made by a generator.

    Layers: four 4×4 convolutions of stride 2 (c, 2c, 4c and 8c channels), one 4×4 convolution without padding (16c),
    and a 1×1 convolution to one channel; no sigmoid. The receptive field is 94 pixels. Instance norm follows each
    hidden convolution but the first; it is left out where only one pixel remains. With ``switchable``, each layer but
    the last has γ and β (1 and 0 at the start), which are applied when D judges domain Y (fully sampled images).

    Parameters
    ----------
    channels
        Channels of the image.
    width
        c, the channels of the first convolution.
    switchable
        Whether one network judges both domains.
    """

    def __init__(self, channels: int, width: int = 32, switchable: bool = True) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width, 16 * width]
        inputs = [channels, *widths[:-1]]
        self.convolutions = nn.ModuleList(
            Convolution(i, o, side=4, stride=2) for i, o in zip(inputs[:-1], widths[:-1], strict=True)
        )
        self.convolutions.append(ValidConvolution(inputs[-1], widths[-1], 4))
        self.norms = nn.ModuleList(InstanceNorm(n) for n in widths[1:])
        self.last = nn.Conv2d(widths[-1], 1, 1)
        self.scales = nn.ParameterList(torch.ones(n) for n in widths if switchable)
        self.shifts = nn.ParameterList(torch.zeros(n) for n in widths if switchable)
        initialise(self)

    def forward(self, image: Tensor, full: int = 0) -> Tensor:
        """Score images.

        Parameters
        ----------
        image
            Shape (B, channels, H, W), at least 64 pixels a side.
        full
            The first ``full`` images are judged as fully sampled (domain Y), with γ and β.

        Returns
        -------
        Tensor
            Shape (B, 1, h, w): one score for each patch; for LSGAN 1 means real and 0 means fake.

        Raises
        ------
        ConfigError
            If a side is shorter than 64 pixels.
        """
        check_side(*image.shape[-2:])
        h = image
        for index, convolution in enumerate(self.convolutions):
            h = convolution(h)
            if index > 0:
                h = self.norms[index - 1](h)
            if full and len(self.scales):
                scale, shift = self.scales[index], self.shifts[index]
                if full < len(image):
                    others = len(image) - full, len(scale)
                    scale = torch.cat([scale.expand(full, -1), scale.new_ones(others)])
                    shift = torch.cat([shift.expand(full, -1), shift.new_zeros(others)])
                h = h * scale[..., None, None] + shift[..., None, None]
            h = F.leaky_relu(h, SLOPE, inplace=True)
        return self.last(h)
