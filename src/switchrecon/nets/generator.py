"""The generator G and its AdaIN code generator A."""

import torch.nn.functional as F
from torch import Tensor, nn

from switchrecon.nets.layers import (
    SLOPE,
    AdaptiveInstanceNorm,
    Code,
    Convolution,
    ImageConvolution,
    ImageNetwork,
    InstanceNorm,
    initialise,
    inverse_softplus,
    pad_to_multiple,
)


class ResidualBlock(nn.Module):
    """h + norm(conv(lrelu(norm(conv(h))))): two 3×3 convolutions with affine instance norm after each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Convolution(channels, channels),
            InstanceNorm(channels),
            nn.LeakyReLU(SLOPE, inplace=True),
            Convolution(channels, channels),
            InstanceNorm(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) → (B, C, H, W)."""
        return features + self.body(features)


class Generator(ImageNetwork):
    """The generator G: encoder, residual blocks and decoder, with tanh at the end and without a skip connection.

    Layers: a 7×7 convolution to c channels, two 4×4 convolutions of stride 2 to 2c and 4c, residual blocks, two 3×3
    transposed convolutions of stride 2 to 2c and c, and a 7×7 convolution to the image. Outside the residual blocks
    there are five norm sites, of c, 2c, 4c, 2c and c channels. 7×7 convolutions pad by reflection. The others repeat
    the edge, which equals the symmetric padding of the paper's code where one pixel is added.

    Parameters
    ----------
    channels
        Channels of the image: 2 for complex, 1 for magnitude.
    width
        c, the channels of the first convolution.
    residual_blocks
        Number of residual blocks.
    adaptive
        True: the five sites are AdaIN and take codes; False: they are affine instance norms.
    output_deviation
        Standard deviation of the last convolution's weights at the start. With 0.05, as in all other layers and in
        the ISCL code, tanh starts saturated; with 0.005 it starts in its linear range.
    """

    def __init__(
        self,
        channels: int,
        width: int = 32,
        residual_blocks: int = 3,
        adaptive: bool = True,
        output_deviation: float = 0.05,
    ) -> None:
        super().__init__()
        site = AdaptiveInstanceNorm if adaptive else InstanceNorm
        c = width
        self.enter = nn.Conv2d(channels, c, 7, padding=3, padding_mode="reflect")
        self.down1 = Convolution(c, 2 * c, side=4, stride=2)
        self.down2 = Convolution(2 * c, 4 * c, side=4, stride=2)
        self.residual = nn.Sequential(*(ResidualBlock(4 * c) for _ in range(residual_blocks)))
        self.up1 = nn.ConvTranspose2d(4 * c, 2 * c, 3, stride=2, padding=1, output_padding=1)
        self.up2 = nn.ConvTranspose2d(2 * c, c, 3, stride=2, padding=1, output_padding=1)
        self.leave = ImageConvolution(c, channels)
        self.sites = nn.ModuleList(site(n) for n in self.site_widths(width))
        initialise(self)
        initialise(self.leave, output_deviation)

    @staticmethod
    def site_widths(width: int) -> list[int]:
        """Channels of the five norm sites, in order."""
        return [width, 2 * width, 4 * width, 2 * width, width]

    def forward(self, image: Tensor, codes: list[Code] | None = None) -> Tensor:
        """Translate images.

        Parameters
        ----------
        image
            Shape (B, channels, H, W), range [−1, 1]; any H and W (padded inside to a multiple of 4).
        codes
            Five codes (undersampling), or None for mean 0 and variance 1 at every site (reconstruction).

        Returns
        -------
        Tensor
            Shape (B, channels, H, W), range (−1, 1).
        """
        height, width = image.shape[-2:]
        h = pad_to_multiple(image, 4, 8)

        def norm(index: int, features: Tensor) -> Tensor:
            code = None if codes is None else codes[index]
            return F.leaky_relu(self.sites[index](features, code), SLOPE, inplace=True)

        h = norm(0, self.enter(h))
        h = norm(1, self.down1(h))
        h = norm(2, self.down2(h))
        h = self.residual(h)
        h = norm(3, self.up1(h))
        h = norm(4, self.up2(h))
        return self.leave(h).tanh()[..., :height, :width]


class CodeGenerator(nn.Module):
    """The code generator A: makes the means and variances of the five AdaIN sites from z.

    Reconstruction does not need it. Three linear layers of 64 units with leaky ReLU, then two linear heads for each
    site. A softplus keeps variances positive, so that no channel is switched off for good; its bias starts them near 1.

    Parameters
    ----------
    widths
        Channels of each site.
    code_size
        Length of z.
    """

    def __init__(self, widths: list[int], code_size: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Linear(code_size if not layers else 64, 64), nn.LeakyReLU(SLOPE)]
        self.trunk = nn.Sequential(*layers)
        self.means = nn.ModuleList(nn.Linear(64, n) for n in widths)
        self.variances = nn.ModuleList(nn.Linear(64, n) for n in widths)
        initialise(self)
        for head in self.variances:
            nn.init.constant_(head.bias, inverse_softplus(1.0))  # type: ignore[arg-type]

    def forward(self, z: Tensor) -> list[Code]:
        """Return five codes, each of shape (B, C), for z of shape (B, code_size)."""
        h = self.trunk(z)
        return [
            Code(mean(h), F.softplus(variance(h))) for mean, variance in zip(self.means, self.variances, strict=True)
        ]
