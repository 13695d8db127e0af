"""The benchmarks run: at the smallest size, without a look at their ratios."""

import json
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])


def test_inference_and_growth() -> None:
    from growth import measure_growth
    from inference import measure_inference

    found = measure_inference(64, 1)
    assert set(found["inference_over_unet"]) == {"paper", "unrolled"}
    growth = measure_growth(10, 20, 32)["growth"]
    assert growth["found"]["20"]["prepare_over_read"] > 0
    assert growth["compressed"]["prepare_over_read"] > 0


def test_calls_made_together(monkeypatch: pytest.MonkeyPatch) -> None:
    import steps

    monkeypatch.setattr(steps, "precisions", lambda: ["float32"])
    found = steps.measure_together([64], 1)["together_over_one_by_one"]
    assert all(found[name]["64"]["float32"] > 0 for name in ("switchable", "joint"))


def test_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    import steps

    monkeypatch.setattr(steps, "precisions", lambda: ["float32"])
    found = steps.measure_steps([64], ["joint", "self-supervised"], 1)
    assert all(found["step_over_literal"][name]["64"]["float32"] > 0 for name in ("joint", "self-supervised"))
    assert steps.measure_simulated([64], 1)["simulated_over_literal_switchable"]["64"] > 0


def test_what_is_measured_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu

    monkeypatch.setattr(gpu, "PRECISIONS", ("float32",))
    processor = torch.device("cpu")
    timed = gpu.measure_step(processor, 64, 1)["gpu_literal_over_step"]
    assert set(timed) == {"switchable", "joint"}
    over_step = timed["joint"]
    assert set(over_step) == {"float32 together", "float32 one-by-one"}
    assert all(ratio > 0 for ratio in over_step.values())
    assert gpu.measure_slices(processor, 64, 2)["gpu_slices_a_second"]["float32"] > 0
    assert gpu.measure_fold(processor, 64, 2)["gpu_fold_seconds"] > 0


def test_the_table_takes_results_of_an_earlier_version() -> None:
    from bench import table

    found = json.loads('{"step_over_literal": {"iscl": {"64": {"float32": 0.5}}}, "step_over_convolutions": {}}')
    assert table(found).splitlines()[-1] == "| iscl | 64 | float32 | 0.50 |  |  |"
