"""What needs no look inside runs on a device as on the processor: a GPU where there is one, else the processor.

``SWITCHRECON_TEST_DEVICE`` names another device.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from switchrecon import Reconstructor
from switchrecon.config import Config
from switchrecon.core.device import find_device
from switchrecon.evaluation.evaluate import evaluate
from switchrecon.methods.methods import METHODS, with_method_settings
from switchrecon.runs.log import read_log
from switchrecon.training.train import train
from tests.conftest import LEARNED, examples, tiny_config

MakeScan = Callable[..., Path]
DEVICE = os.environ.get("SWITCHRECON_TEST_DEVICE", "cuda" if torch.cuda.is_available() else "cpu")
GPU = DEVICE != "cpu"


def tiny(name: str, *more: str) -> Config:
    plain = ["optimizer=radam", "learning_rate=1e-4", "gate=open", "cascades=2", "unet_width=2"]
    return with_method_settings(tiny_config(f"method={name}", *plain, *more), METHODS[name])


@pytest.fixture
def piles(make_scan: MakeScan) -> tuple[list[Path], list[Path]]:
    return [make_scan("full", 1)], [make_scan("sub", 2)]


def weights(run: Path) -> torch.Tensor:
    generator = Reconstructor.load(run, device="cpu").generator
    return torch.cat([own.detach().flatten() for own in generator.parameters()])


@pytest.mark.filterwarnings("error:training steps are not replayed")
@pytest.mark.parametrize("name", examples(LEARNED, *(LEARNED if GPU else ["switchable", "joint", "self-supervised"])))
def test_a_training_reaches_the_processors_weights(
    name: str, tmp_path: Path, piles: tuple[list[Path], list[Path]]
) -> None:
    """Steps are replayed on a GPU from the fourth on; the sixth is a slow one of Lookahead's."""
    config = tiny(name, "steps=8", "checkpoint_every=8", "average=none")
    runs = [train(config, *piles, tmp_path / place, device=place) for place in dict.fromkeys(["cpu", DEVICE])]
    first, last = runs[0], runs[-1]
    torch.testing.assert_close(weights(last), weights(first), rtol=1e-3, atol=1e-4)
    for mine, theirs in zip(read_log(last), read_log(first), strict=True):
        assert mine["losses"] == pytest.approx(theirs["losses"], rel=2e-2, abs=1e-4)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"] if GPU else ["tf32"])
def test_a_training_in_another_precision_and_from_a_cache(
    precision: str, tmp_path: Path, piles: tuple[list[Path], list[Path]]
) -> None:
    config = tiny("joint", "steps=8", "checkpoint_every=8", "average=none")
    plain = train(config, *piles, tmp_path / "plain", device=DEVICE)
    other = config.model_copy(update={"precision": precision})
    run = train(other, *piles, tmp_path / "run", device=DEVICE, cache=tmp_path / "cache")
    torch.testing.assert_close(weights(run), weights(plain), rtol=0.1, atol=1e-3)


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, piles: tuple[list[Path], list[Path]]) -> None:
    """A checkpoint of the processor is continued on the device, and the other way round."""
    config = tiny("switchable", "steps=8", "checkpoint_every=4", "average=none")
    there = dict.fromkeys([("cpu", DEVICE), (DEVICE, "cpu")])
    straight = train(config, *piles, tmp_path / "straight", device="cpu")
    for number, (first, second) in enumerate(there):
        run = train(config, *piles, tmp_path / f"run{number}", device=first)
        for file in (run / "checkpoints").glob("step-00000008.*"):
            file.unlink()
        (run / "model.safetensors").unlink()
        train(config, *piles, run, resume=True, device=second)
        torch.testing.assert_close(weights(run), weights(straight), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["switchable", "joint"])
def test_reconstruction_and_evaluation_give_the_processors_images(
    method: str, tmp_path: Path, trained: Callable[..., Path], make_scan: MakeScan
) -> None:
    run, scan = trained(method), make_scan("test", 3)
    random = torch.Generator().manual_seed(0)
    kspace = torch.randn(5, 64, 64, dtype=torch.complex64, generator=random)
    mask = torch.rand(64, 64, generator=random) < 0.4
    images = [Reconstructor.load(run, device=place)(kspace * mask, mask) for place in ("cpu", DEVICE)]
    torch.testing.assert_close(*images, rtol=1e-3, atol=1e-3)
    found = [evaluate([run], [scan], tmp_path / place, device=place) for place in dict.fromkeys(["cpu", DEVICE])]
    values = [own.methods[method]["psnr"].mean for own in found]
    assert values[-1] == pytest.approx(values[0], abs=1e-2)
    assert find_device(DEVICE).type == DEVICE.partition(":")[0]
