"""LPIPS, the learned perceptual distance of Zhang et al. (2018): AlexNet, version 0.1.

The weights are not part of the package. They come from one safetensors file whose content is pinned by a hash over
its tensors; ``switchrecon weights lpips`` says where it is looked for and makes it.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from switchrecon.errors import DataError

CONTENT_SHA256 = "54d05c0a4dc87b92a5d049f1a45bb7a936f4fe477481f89989f1b46a2e24a1fd"
MOST_BYTES = 1 << 26
SMALLEST_SIDE = 31

CONVOLUTIONS = (
    (0, 3, 64, 11, 4, 2),
    (3, 64, 192, 5, 1, 2),
    (6, 192, 384, 3, 1, 1),
    (8, 384, 256, 3, 1, 1),
    (10, 256, 256, 3, 1, 1),
)
"""AlexNet's convolutions: number in torchvision's ``features``, channels in and out, kernel, stride, padding."""
POOLED_BEFORE = (3, 6)
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


def content_hash(tensors: dict[str, Tensor]) -> str:
    """Return SHA-256 over sorted names and raw float32 bytes: the same for every file with these weights."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().to(torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def default_weights() -> Path:
    """Return the default file of the weights: in ``~/.cache/switchrecon``, or under XDG_CACHE_HOME."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "switchrecon" / "lpips_alex_v0.1.safetensors"


def find_weights(path: Path | None = None) -> Path:
    """Return the path of the weights' file: the given one, or the default. The file need not exist."""
    return path or default_weights()


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read and check the weights.

    Raises
    ------
    DataError
        If the file is missing, damaged, or holds other weights.
    """
    if not path.is_file():
        raise DataError(f"{path}: no LPIPS weights; 'switchrecon weights lpips' says how to get them")
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"{path}: has {path.stat().st_size} bytes, expected at most {MOST_BYTES}")
    try:
        tensors = load_file(path)
    except Exception as error:
        raise DataError(f"{path}: not a readable safetensors file ({error})") from error
    if content_hash(tensors) != CONTENT_SHA256:
        raise DataError(f"{path}: holds other weights than those of LPIPS v0.1 with AlexNet")
    return tensors


class Lpips(nn.Module):
    """The distance d(r, u) = Σ_l mean_hw Σ_c w_lc (r̂_lchw − û_lchw)², with features normalised over channels.

    Parameters
    ----------
    weights
        Tensors as :func:`load_weights` returns them.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, kernel, stride, padding) for _, i, o, kernel, stride, padding in CONVOLUTIONS
        )
        for layer, (number, *_) in zip(self.convolutions, CONVOLUTIONS, strict=True):
            layer.load_state_dict({n: weights[f"features.{number}.{n}"] for n in ("weight", "bias")})
        self.heads = [weights[f"lin{index}.weight"].reshape(1, -1, 1, 1) for index in range(len(CONVOLUTIONS))]
        self.shift = torch.tensor(SHIFT).reshape(1, 3, 1, 1)
        self.scale = torch.tensor(SCALE).reshape(1, 3, 1, 1)
        self.requires_grad_(False)

    def _features(self, image: Tensor) -> list[Tensor]:
        h = (image - self.shift) / self.scale
        features = []
        for layer, (number, *_) in zip(self.convolutions, CONVOLUTIONS, strict=True):
            if number in POOLED_BEFORE:
                h = F.max_pool2d(h, 3, 2)
            h = F.relu(layer(h))
            features.append(h / (h.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return features

    def forward(self, reference: Tensor, image: Tensor) -> Tensor:
        """Return the distances of pairs of images.

        Parameters
        ----------
        reference, image
            Shape (B, 3, H, W), range [−1, 1], at least 31 pixels a side.

        Returns
        -------
        Tensor
            Shape (B,); 0 for equal images, larger for less similar ones.

        Raises
        ------
        DataError
            If the images are too small.
        """
        if min(reference.shape[-2:]) < SMALLEST_SIDE:
            raise DataError(f"LPIPS needs at least {SMALLEST_SIDE} pixels a side, found {tuple(reference.shape[-2:])}")
        pairs = zip(self.heads, self._features(reference), self._features(image), strict=True)
        return torch.stack([(w * (r - u).square()).sum(1).mean((-2, -1)) for w, r, u in pairs]).sum(0)

    def magnitude(self, reference: np.ndarray, image: np.ndarray) -> float:
        """Return the distance of two magnitude images (H, W), clipped to [0, 1], mapped to [−1, 1], in 3 channels."""
        r, u = (torch.from_numpy(np.clip(a, 0, 1).astype(np.float32)) * 2 - 1 for a in (reference, image))
        return self(r.expand(1, 3, -1, -1), u.expand(1, 3, -1, -1)).item()
