"""The benchmarks run: at the smallest size, without a look at their ratios."""

import json
import sys
from pathlib import Path

import pytest
import torch

from switchrecon.core import device

FOLDER = Path(__file__).parents[1] / "benchmarks"


SMALL = ("width=2", "residual_blocks=1", "extractor_depth=3", "cascades=2", "unet_width=2")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks can be imported, and measure tiny networks as on a processor without bfloat16."""
    monkeypatch.setattr(device, "_capabilities", lambda: {"architecture": "x86_64", "avx2": True})
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    import steps

    steps.SETTINGS[:] = SMALL


def test_inference() -> None:
    from inference import measure_inference

    found = measure_inference(64, 1)
    assert set(found["inference_over_unet"]) == {"paper", "unrolled"}
    assert all(ratio > 0 for ratio in found["inference_over_total_variation"].values())


def test_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    import growth

    monkeypatch.setattr(growth, "REPEATS", 1)
    monkeypatch.setattr(growth, "BATCHES", 2)
    alone: list[str] = []
    in_a_process = growth.child

    def child(folder: Path, cache: Path, how: str) -> dict[str, float]:
        if how == "found" and not alone:  # one is enough to see that processes work; each imports torch
            alone.append(how)
            return in_a_process(folder, cache, how)
        return growth.prepare(folder, cache, how)

    monkeypatch.setattr(growth, "child", child)
    found = growth.measure_growth(10, 20, 32)["growth"]
    assert alone == ["found"]
    assert found["found"]["20"]["prepare_over_read"] > 0
    assert found["compressed"]["prepare_over_read"] > 0


def test_calls_made_together() -> None:
    import steps

    found = steps.measure_together([64], 1)["together_over_one_by_one"]
    assert all(found[name]["64"]["float32"] > 0 for name in ("switchable", "joint"))


def test_steps() -> None:
    import steps

    found = steps.measure_steps([64], ["joint", "self-supervised"], 1)
    assert all(found["step_over_literal"][name]["64"]["float32"] > 0 for name in ("joint", "self-supervised"))
    assert steps.measure_simulated([64], 1)["simulated_over_literal_switchable"]["64"] > 0


def test_what_is_measured_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu

    monkeypatch.setattr(gpu, "PRECISIONS", ("float32",))
    monkeypatch.setattr(gpu, "FOLD_SLICES", 5)
    processor = torch.device("cpu")
    timed = gpu.measure_step(processor, 64, 1, warm_up=1)["gpu_literal_over_step"]
    assert set(timed) == {"switchable", "joint"}
    over_step = timed["joint"]
    assert set(over_step) == {"float32 together", "float32 one-by-one"}
    assert all(ratio > 0 for ratio in over_step.values())
    assert gpu.measure_slices(processor, 64, 2)["gpu_slices_a_second"]["float32"] > 0
    assert gpu.measure_fold(processor, 64, 2, "float32")["gpu_fold_seconds"] > 0


def test_the_table_takes_results_of_an_earlier_version() -> None:
    from bench import table

    found = json.loads('{"step_over_literal": {"iscl": {"64": {"float32": 0.5}}}, "step_over_convolutions": {}}')
    assert table(found).splitlines()[-1] == "| iscl | 64 | float32 | 0.50 |  |  |"


def test_trust(tmp_path: Path) -> None:
    from trust import measure

    found = measure(tmp_path, None, SMALL, steps=2, learnt=1, calibration=3, test=1, slices=1, matrix=32)
    assert found["promised"] == 0.75
    assert 0.25 <= found["mean p-value, 5% of noise added"] <= 1
    assert found["Spearman of the oracle, 5 subjects"] > 0
    again = measure(tmp_path / "again", tmp_path / "run", steps=0, learnt=0, calibration=3, test=1, slices=1, matrix=32)
    assert again["held"] == found["held"]
