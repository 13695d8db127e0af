"""The benchmarks run: at the smallest size, without a look at their ratios."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from switchrecon.core import device
from switchrecon.phantoms.scans import write_heads
from switchrecon.reconstruction.reconstructor import Reconstructor

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
    monkeypatch.setattr(growth, "SETTINGS", ["mask.center_fraction=0.3"])
    several = growth.measure_coils([10], 32, 2)["growth_coils"]["10"]
    assert several["made"]["peak_mib"] > several["found"]["batch_seconds"] > 0


def test_calls_made_together() -> None:
    import steps

    found = steps.measure_together([64], 1)["together_over_one_by_one"]
    assert all(found[name]["64"]["float32"] > 0 for name in ("switchable", "joint"))


def test_steps() -> None:
    import steps

    found = steps.measure_steps([64], ["joint", "self-supervised"], 1)
    assert all(found["step_over_literal"][name]["64"]["float32"] > 0 for name in ("joint", "self-supervised"))
    assert steps.measure_simulated([64], 1)["simulated_over_literal_switchable"]["64"] > 0


def test_every_stage_of_the_gpu_check_runs_with_the_processor_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two stages in processes of their own, the others here."""
    import gpu_check

    monkeypatch.setattr("steps.LEARNED", ["switchable", "joint"])
    monkeypatch.setattr("gpu.PRECISIONS", ("float32",))
    monkeypatch.setattr("gpu.METHODS_TIMED", ("joint",))
    monkeypatch.setattr(gpu_check, "rows", lambda: ["supervised"])
    apart = ("machine",)

    def run(asked: Any, stage: str) -> None:
        (gpu_check.run_apart if stage in apart else gpu_check.run_here)(asked, stage)

    others = [stage for stage in gpu_check.STAGES if stage != "tests"]  # those run beside this one
    sound = gpu_check.check(tmp_path, 10, others, run, stand_in=True)
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said] == others
    found = {stage: json.loads((tmp_path / f"{stage}.json").read_text()) for stage in others}
    assert sound, said
    assert all(own["finished"] for own in found.values())
    rows = found["steps"]["rows"]
    assert [(row["method"], row["mode"]) for row in rows] == [
        (method, mode) for mode in ("graph", "eager") for method in ("switchable", "joint")
    ]
    assert all(row["agrees"] for row in rows)
    assert all(row["replayed"] == (row["mode"] == "graph") for row in rows)
    assert set(found["table"]["rows"]) == {"supervised", "zero-filled"}
    assert "| supervised |" in (tmp_path / "table.md").read_text()


def test_a_stage_that_fails_or_is_cut_off_keeps_what_it_found_and_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gpu_check

    def fails(asked: Any) -> dict[str, Any]:
        asked.write("times", {"rows": [1, 2]})
        raise RuntimeError("no kernel image is available")

    monkeypatch.setitem(gpu_check.SHARES, "machine", 0.0005)
    monkeypatch.setitem(gpu_check.STAGES, "times", fails)
    monkeypatch.setitem(gpu_check.STAGES, "slices", lambda asked: {"line": "well"})

    def run(asked: Any, stage: str) -> None:
        (gpu_check.run_apart if stage == "machine" else gpu_check.run_here)(asked, stage)

    assert not gpu_check.check(tmp_path, 1, ["machine", "times", "slices"], run, stand_in=True)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("machine: cut off after 0 s; nothing is kept")
    assert said[1].startswith("times: failed: no kernel image is available")
    assert said[2].startswith("slices: well")
    assert json.loads((tmp_path / "times.json").read_text())["rows"] == [1, 2]


def test_scans_for_the_table_are_of_three_groups_of_subjects(tmp_path: Path) -> None:
    import gpu_check

    for name in ("sub-a_ses-1_T2w", "sub-a_ses-2_T2w", "sub-b_T2w", "sub-c_T2w", "sub-c_T1w"):
        (tmp_path / f"{name}.nii.gz").touch()
    asked = gpu_check.Asked(tmp_path, False, 0.0, data=tmp_path)
    groups = [{file.name.split("_")[0] for file in part} for part in gpu_check.scans(asked)]
    assert groups == [{"sub-a"}, {"sub-b"}, {"sub-c"}]
    asked.data = tmp_path / "nowhere"
    with pytest.raises(RuntimeError, match="of 0 subjects, expected at least 3"):
        gpu_check.scans(asked)


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


def test_doubts(tmp_path: Path) -> None:
    from doubts import compare

    from trust import trained

    run = Reconstructor.load(trained(tmp_path, SMALL, steps=2, learnt=1, matrix=32))
    found = compare(run, write_heads(tmp_path / "others", [300, 301], 1, 32))
    best = max(found, key=lambda name: found[name][0])
    assert best == "the true error (oracle)"
    assert found[best][1] > 0.5
    assert all(width > 0 for _, _, width in found.values())


def test_peers_are_compared_on_the_same_slices_and_those_that_are_not_there_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import peers

    asked = argparse.Namespace(out=tmp_path, data=None, matrix=32, steps=2, minutes=None, set=list(SMALL))
    monkeypatch.setattr(peers, "ITERATIONS", 3)
    monkeypatch.setitem(peers.ROWS, "another", peers.Row("no-such-package"))
    names = ("switchrecon, unrolled", "switchrecon, total variation", "another")
    found = {name: peers.measure(name, asked) for name in names}
    learned, classical, absent = found.values()
    assert [own["choice"] for own in learned["tried"]] == list(peers.RATES)
    assert [own["choice"] for own in classical["tried"]] == list(peers.WEIGHTS)
    assert learned["choice"] == max(learned["tried"], key=lambda own: float(own["validation"]))["choice"]
    assert learned["zero-filled"] == classical["zero-filled"], "the same slices and masks"
    assert learned["steps"] == 2
    assert classical["psnr"] > 10
    assert "no-such-package" in absent["missing"]
    lines = peers.table(found).splitlines()
    assert len(lines) == 6
    assert "not there: no-such-package" in lines[-1]
