"""Time of a reconstruction: over a U-Net of the fastMRI baseline's size, and over total variation. One thread."""

from typing import Any

import torch
import torch.nn.functional as F
from steps import SETTINGS, ratios, seconds
from torch import Tensor, nn

from switchrecon.config import load_config
from switchrecon.nets.builder import build_generator
from switchrecon.physics.fourier import fourier
from switchrecon.physics.operators import Encoding
from switchrecon.physics.solvers import total_variation
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.runs.card import Card

ITERATIONS = 60


class BaselineUNet(nn.Module):
    """The baseline's size: four poolings, 32 channels at the top, two 3×3 convolutions with norms at each level."""

    def __init__(self, width: int = 32, levels: int = 4) -> None:
        super().__init__()
        widths = [width << level for level in range(levels + 1)]
        self.down = nn.ModuleList(self.block(i, o) for i, o in zip([1, *widths[:-1]], widths, strict=True))
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.rise = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2, bias=False) for i, o in pairs)
        self.up = nn.ModuleList(self.block(i, o) for i, o in pairs)
        self.last = nn.Conv2d(width, 1, 1)

    @staticmethod
    def block(inputs: int, outputs: int) -> nn.Sequential:
        """Two convolutions."""
        layers: list[nn.Module] = []
        for number in (inputs, outputs):
            layers += [nn.Conv2d(number, outputs, 3, padding=1, bias=False), nn.InstanceNorm2d(outputs)]
            layers.append(nn.LeakyReLU(0.2))
        return nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, 1, H, W) → the same shape."""
        kept, h = [], self.down[0](image)
        for block in self.down[1:]:
            kept.append(h)
            h = block(F.avg_pool2d(h, 2))
        for rise, block in zip(self.rise, self.up, strict=True):
            h = block(torch.cat([kept.pop(), rise(h)], 1))
        return self.last(h)


def measure_inference(side: int, repeats: int) -> dict[str, Any]:
    """``inference_over_unet`` and ``inference_over_total_variation``: network → ratio; seconds a slice beside."""
    random = torch.Generator().manual_seed(0)
    mask = torch.rand(1, side, side, generator=random) < 0.25
    kspace = mask * fourier(torch.rand(1, 1, side, side, dtype=torch.complex64, generator=random))
    unet, encoding = BaselineUNet().eval(), Encoding(mask)
    zero_filled = encoding.H(kspace)
    found: dict[str, Any] = {"inference_over_unet": {}, "inference_over_total_variation": {}, "inference_seconds": {}}
    for network in ("paper", "unrolled"):
        config = load_config(None, [f"matrix={side}", f"network={network}", *SETTINGS])
        card = Card(config=config, matrix=(side, side), center_fraction=0.08)
        ours = Reconstructor(build_generator(config, adaptive=False), None, config, card, resize=False)

        def reconstruct(ours: Reconstructor = ours) -> None:
            ours(kspace[:, 0], mask)

        def variation() -> None:
            total_variation(encoding, zero_filled, 1e-3, iterations=ITERATIONS)

        with torch.no_grad():
            [[over_unet, over_variation]] = ratios(
                [reconstruct], [lambda: unet(zero_filled.abs()[:, None]), variation], repeats
            )
            values = {
                "inference_over_unet": over_unet,
                "inference_over_total_variation": over_variation,
                "inference_seconds": seconds(reconstruct),
            }
        for key, value in values.items():
            found[key][network] = value
        print(f"{network} {side}: " + ", ".join(f"{k} {v:.2f}" for k, v in values.items()), flush=True)
    return found
