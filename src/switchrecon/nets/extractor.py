"""The extractor H, which estimates what undersampling adds to an image."""

from torch import Tensor, nn

from switchrecon.nets.layers import SLOPE, Convolution, ImageNetwork, channels_last, initialise


class Extractor(ImageNetwork):
    """The extractor H: 3×3 convolutions of c channels at full resolution with leaky ReLU; the last one is linear.

    Parameters
    ----------
    channels
        Channels of the image.
    width
        c, the channels of the hidden convolutions.
    depth
        Number of convolutions.
    """

    def __init__(self, channels: int, width: int = 32, depth: int = 20) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(depth):
            inputs = channels if index == 0 else width
            outputs = channels if index == depth - 1 else width
            layers.append(Convolution(inputs, outputs))
            if index < depth - 1:
                layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        self.body = nn.Sequential(*layers)
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return the noise of undersampled images (B, channels, H, W) in [−1, 1]: same shape, any range."""
        first, *rest = self.body
        h = channels_last(first(image))
        for layer in rest:
            h = layer(h)
        return h.contiguous()
