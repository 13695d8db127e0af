"""Images too small for a metric: it is n/a, everything else is computed."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from switchrecon.metrics.conventions import slice_metrics
from switchrecon.metrics.table import METRICS, Column, Metric
from tests.conftest import TRAINED, hide_lpips, shared_file

RunCli = Callable[..., tuple[int, str, str]]
TINY = (
    "width=2",
    "steps=2",
    "checkpoint_every=2",
    "mask.kind=random-1d",
    "mask.center_fraction=0.4",
    "mask.acceleration=2",
)


def kspace(seed: int, shape: tuple[int, int]) -> np.ndarray:
    images = np.random.RandomState(seed).uniform(size=(2, *shape))
    return np.fft.fftshift(np.fft.fft2(images, norm="ortho"), (-2, -1)).astype(np.complex64)


def evaluated(folder: Path, run_cli: RunCli, shape: tuple[int, int], *more: object) -> tuple[dict, str, Path]:
    for seed, name in enumerate(("full", "sub", "test")):
        np.save(folder / f"{name}.npy", kspace(seed, shape))
    settings = [word for setting in TINY for word in ("--set", setting)]
    command = ["train", "--method", "joint", "--full", folder / "full.npy", "--sub", folder / "sub.npy"]
    code, _, err = run_cli(*command, "--out", folder / "run", *settings)
    assert code in TRAINED, err
    out = folder / "evaluation"
    code, _, err = run_cli(
        "--debug", "evaluate", folder / "run", "--reference", folder / "test.npy", "--out", out, *more
    )
    assert code == 0, err

    def refuse(name: str) -> float:
        raise AssertionError(f"metrics.json holds {name}, which is no JSON")

    return json.loads((out / "metrics.json").read_text(), parse_constant=refuse), (out / "report.html").read_text(), out


@pytest.mark.parametrize("shape", [(5, 7), (4, 4), (16, 6), (6, 16)])
def test_ssim_of_tiny_images_is_not_available_and_the_rest_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli, shape: tuple[int, int]
) -> None:
    hide_lpips(monkeypatch, tmp_path)
    found, report, out = evaluated(tmp_path, run_cli, shape)
    for methods in found["conventions"].values():
        for name, values in methods.items():
            assert values["ssim"]["mean"] is None, name
            for metric in ("psnr", "nmse", "haarpsi"):
                assert math.isfinite(values[metric]["mean"]), (name, metric)
    size = min(shape) if found["convention"] == "fastmri" else None
    told = f"{size}x{size}" if size else f"{shape[0]}x{shape[1]}"
    assert f"SSIM is n/a for {told} pixels: it needs at least 7 a side." in report
    rows = list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))
    assert {row["ssim"] for row in rows} <= {"", "nan"}
    assert all(math.isfinite(float(row["psnr"])) for row in rows)
    code, _, err = run_cli("report", out)
    assert code == 0, err


def test_lpips_of_small_images_is_not_available_though_its_weights_are_there(tmp_path: Path, run_cli: RunCli) -> None:
    weights = shared_file("weights/lpips_alex_v0.1.safetensors")
    found, report, _ = evaluated(tmp_path, run_cli, (16, 16), "--lpips-weights", weights)
    assert all(values["lpips"]["mean"] is None for values in found["methods"].values())
    assert all(math.isfinite(values["ssim"]["mean"]) for values in found["methods"].values())
    assert "LPIPS is n/a for 16x16 pixels: it needs at least 31 a side." in report


@pytest.mark.parametrize(("shape", "there"), [((7, 7), True), ((7, 6), False), ((6, 9), False), ((1, 40), False)])
def test_ssim_needs_seven_pixels_a_side(shape: tuple[int, int], there: bool) -> None:
    images = np.random.RandomState(0).uniform(size=(2, *shape))
    values = slice_metrics(images, 0.9 * images, "slice-max", metrics=list(METRICS.values())[:3])
    assert [math.isfinite(value["ssim"]) for value in values] == [there] * 2
    assert all(math.isfinite(value["psnr"]) for value in values)


def test_a_users_metric_may_need_a_smallest_size() -> None:
    def fine(reference: np.ndarray, image: np.ndarray, maximum: float) -> float:
        assert min(reference.shape) >= 9
        return 1.0

    metric = Metric(Column("fine", "Fine"), fine, smallest=9)
    small, large = np.ones((1, 8, 12)), np.ones((1, 9, 12))
    assert math.isnan(slice_metrics(small, small, "slice-max", metrics=[metric])[0]["fine"])
    assert slice_metrics(large, large, "slice-max", metrics=[metric])[0]["fine"] == 1
