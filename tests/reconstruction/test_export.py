"""ONNX: another program's runtime computes what torch computes, from the file and its metadata alone."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from switchrecon import Reconstructor
from switchrecon.errors import ConfigError
from switchrecon.physics.consistency import consistent
from switchrecon.physics.fourier import fourier
from switchrecon.physics.intensity import (
    channels_to_complex,
    complex_to_channels,
    from_network,
    intensity_scale,
    to_network,
)
from switchrecon.physics.masks import draw_mask
from switchrecon.physics.operators import Encoding
from switchrecon.reconstruction.onnx import export_run
from switchrecon.training.train import train
from tests.conftest import blob_images, tiny_config

onnxruntime: Any = pytest.importorskip("onnxruntime")
Trained = Callable[..., Path]
MakeScan = Callable[..., Path]
RunCli = Callable[..., tuple[int, str, str]]


def network_of(file: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(["reconstruction"], {"image": image.numpy()})[0])


def facts_of(file: Path) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found: dict[str, Any] = json.loads(session.get_modelmeta().custom_metadata_map["switchrecon"])
    return found


def measured() -> tuple[torch.Tensor, Encoding]:
    """K-space (3, 1, 64, 64) of a subject no run has seen, undersampled, and how."""
    mask = torch.from_numpy(draw_mask(tiny_config().mask, (64, 64), volume="any", index=0)).expand(3, 64, 64)
    return mask[:, None] * fourier(torch.from_numpy(blob_images(9)))[:, None], Encoding(mask)


@pytest.mark.parametrize(
    ("method", "representation"), [("switchable", "complex"), ("supervised", "complex"), ("iscl", "magnitude")]
)
def test_the_file_reconstructs_as_the_run_does(
    tmp_path: Path, trained: Trained, method: str, representation: str
) -> None:
    """Scaling by the numbers in the metadata; three slices at once, though the example had another number."""
    run = trained(method, representation)
    (file,) = export_run(run, tmp_path / "out" / "run.onnx")
    facts, (kspace, encoding) = facts_of(file), measured()
    assert facts["matrix"] == [64, 64]
    scale = intensity_scale(kspace, facts["center_fraction"], facts["headroom"], encoding.mask)
    x = to_network(encoding.H(kspace) / scale, facts["representation"])
    image = from_network(network_of(file)(x), facts["representation"]) * scale
    expected = Reconstructor.load(run)(kspace[:, 0], encoding.mask)
    torch.testing.assert_close(image, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(("cascade_weights=shared", "cascade_consistency=soft"), marks=pytest.mark.more),
        ("refiner=generator", "data_consistency=hard"),
        pytest.param(("cascade_consistency=soft",), marks=pytest.mark.more),
    ],
    ids=["shared", "generator", "own"],
)
def test_cascades_with_data_consistency_outside(tmp_path: Path, make_scan: MakeScan, settings: tuple[str, ...]) -> None:
    config = tiny_config("method=supervised", "network=unrolled", "cascades=2", "unet_width=2", *settings)
    run = train(config, [make_scan("full", 1)], [], tmp_path / "run")
    files = export_run(run, tmp_path / "run.onnx")
    shared = "cascade_weights=shared" in settings
    assert [file.name for file in files] == (["run.onnx"] if shared else [f"run-{i}.onnx" for i in (1, 2)])
    facts, (kspace, encoding) = facts_of(files[0]), measured()
    networks = [network_of(file) for file in files]
    scale = intensity_scale(kspace, facts["center_fraction"], facts["headroom"], encoding.mask)
    zero_filled = encoding.H(kspace) / scale
    image = zero_filled
    for number, weight in enumerate(facts["weights"]):
        refined = channels_to_complex(networks[number % facts["networks"]](complex_to_channels(image)))
        image = refined + weight * (zero_filled - encoding.H(encoding(refined)))
    result = image * scale
    if config.data_consistency == "hard":
        result = consistent(encoding, result, kspace, 1.0)
    expected = Reconstructor.load(run)(kspace[:, 0], encoding.mask)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_the_command(tmp_path: Path, trained: Trained, run_cli: RunCli) -> None:
    code, printed, errors = run_cli("export", trained("supervised"), "--out", tmp_path / "net.onnx")
    assert code == 0, errors
    assert printed.endswith(f"written: {tmp_path / 'net.onnx'}\n")
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    content = (tmp_path / "net.onnx").read_bytes()
    assert b"research use only" in content
    for private in (b"subject1", b"subject2", b"salt", b".py", bytes(Path.home()), bytes(tmp_path)):
        assert private not in content
    assert run_cli("export", trained("supervised"), "--out", tmp_path / "net.pt")[0] == 2
    assert run_cli("export", tmp_path / "absent", "--out", tmp_path / "absent.onnx")[0] == 2


def test_a_run_without_a_network_is_refused(tmp_path: Path, make_scan: MakeScan) -> None:
    run = train(tiny_config("method=total-variation", "iterations=2"), [make_scan("full", 1)], [], tmp_path / "run")
    with pytest.raises(ConfigError, match="network 'total-variation' computes with k-space itself"):
        export_run(run, tmp_path / "run.onnx")


def test_without_onnx_the_message_says_what_to_install(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"pip install 'switchrecon\[onnx\]'"):
        export_run(trained("supervised"), tmp_path / "run.onnx")
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    class Program:
        """What torch exports, on a full disk."""

        model = SimpleNamespace(graph=SimpleNamespace(all_nodes=tuple), metadata_props={})

        def save(self, file: Path, external_data: bool) -> None:
            file.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch.onnx, "export", lambda *arguments, **named: Program())
    with pytest.raises(OSError, match="No space"):
        export_run(trained("supervised"), tmp_path / "run.onnx")
    assert not list(tmp_path.iterdir())
