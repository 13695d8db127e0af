"""Export a run's networks as ONNX, for programs without torch.

ONNX has no complex numbers, so Fourier transforms, scaling and data consistency are not in the network; the file says
what has to be done outside.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from switchrecon.core.files import NOTE, atomic_file
from switchrecon.errors import ConfigError
from switchrecon.nets.builder import image_parts, step_sizes
from switchrecon.reconstruction.reconstructor import Reconstructor

OPSET = 18
SCALING = (
    "s = headroom * max |u_low|, with u_low the image of the centre of k-space, center_fraction of each side. "
    "u = zero-filled image / s, orthonormal transforms, centred. The output times s is in the units of the image"
)
INPUT = {
    "complex": "(batch, 2, H, W): real and imaginary part of u",
    "magnitude": "(batch, 1, H, W): 2 |u| - 1; magnitude = (output + 1) / 2, at least 0",
}
CASCADES = (
    "u0 = u. For cascade i = 0, 1, …: v = network[i modulo networks](u_i), u_(i+1) = v + w_i (u - A^H A v), "
    "with A = sampling * Fourier transform * coil sensitivity maps"
)


def export_run(run: str | Path, out: Path, trust_code: bool = False, overwrite: bool = False) -> list[Path]:
    """Write a run's generator network, or the network of each cascade, as ONNX.

    The input ``image`` and the output ``reconstruction`` are float32 (batch, channels, H, W), with any batch and the
    run's matrix. The metadata hold the card's matrix, scaling rule and, for cascades, their rule and weights.

    Parameters
    ----------
    run
        A run folder.
    out
        ``FILE.onnx``; several networks are written to ``FILE-1.onnx``, ``FILE-2.onnx`` and so on.
    trust_code
        See :meth:`~switchrecon.reconstruction.reconstructor.Reconstructor.load`.
    overwrite
        Replace files that exist.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    RunError
        If the folder holds no run, or a damaged one.
    ConfigError
        If ONNX is not installed, ``out`` has another suffix, or the run has no network that maps images to images.
    """
    if out.suffix != ".onnx":
        raise ConfigError(f"--out {out}: expected a name that ends in .onnx")
    _check_installed()
    loaded = Reconstructor.load(run, data_consistency="none", device="cpu", trust_code=trust_code)
    networks = image_parts(loaded.generator)
    if not networks:
        raise ConfigError(
            f"{run}: network '{loaded.config.network}' computes with k-space itself, and ONNX has no complex numbers; "
            "only networks from image to image, and the refiners of cascades, can be exported"
        )
    facts, several = _facts(loaded), len(networks) > 1
    targets = [out.with_stem(f"{out.stem}-{number}") if several else out for number in range(1, len(networks) + 1)]
    for target in targets:
        if target.exists() and not overwrite:
            raise ConfigError(f"{target}: exists already; add --overwrite or choose another --out")
    for number, (part, target) in enumerate(zip(networks, targets, strict=True), start=1):
        _write(part, target, facts | {"network": number, "networks": len(networks)}, loaded)
    return targets


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ConfigError("export needs ONNX: pip install 'switchrecon[onnx]'") from None


def _facts(loaded: Reconstructor) -> dict[str, Any]:
    """Return the facts that others need to use the networks; nothing about any subject."""
    card, config = loaded.card, loaded.config
    facts: dict[str, Any] = {
        "note": NOTE,
        "method": config.method.rpartition(":")[2],
        "matrix": list(card.matrix),
        "representation": config.representation,
        "headroom": config.headroom,
        "center_fraction": card.center_fraction,
        "scaling": SCALING,
        "input": INPUT[config.representation],
    }
    if weights := step_sizes(loaded.generator):
        facts |= {"cascades": CASCADES, "weights": weights}
    return facts


def _write(network: nn.Module, target: Path, facts: dict[str, Any], loaded: Reconstructor) -> None:
    example = torch.zeros(2, loaded.config.channels, *loaded.card.matrix)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["reconstruction"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
        assert program is not None
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()  # stack traces with paths of this machine
        program.model.metadata_props["switchrecon"] = json.dumps(facts)
        program.model.doc_string = NOTE
        with atomic_file(target) as temporary:
            program.save(temporary, external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's messages about torchvision, which is not used, and about deprecated calls inside torch."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        log.setLevel(level)
