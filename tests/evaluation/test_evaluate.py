"""Evaluation: what is written, against numbers computed here; and what is refused."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from switchrecon import Reconstructor
from switchrecon.errors import DataError, RunError
from switchrecon.evaluation.baselines import zero_filled
from switchrecon.evaluation.evaluate import evaluate, variants
from switchrecon.evaluation.later import add_metric
from switchrecon.evaluation.records import Evaluation
from switchrecon.evaluation.runs import load_runs
from switchrecon.experiments.claim import YOURS, write_claim
from switchrecon.metrics.conventions import CONVENTIONS
from switchrecon.metrics.metrics import psnr, ssim
from switchrecon.metrics.table import with_lpips
from switchrecon.physics.fourier import fourier, inverse_fourier
from switchrecon.physics.masks import draw_mask
from switchrecon.training.train import train
from tests.conftest import blob_images, shared_file, tiny_config

Trained = Callable[..., Path]
MakeScan = Callable[..., Path]


def test_zero_filling_keeps_measured_samples_and_nothing_else() -> None:
    kspace = fourier(torch.from_numpy(blob_images(0)))
    mask = torch.from_numpy(draw_mask(tiny_config().mask, (64, 64), volume="a", index=0))
    torch.testing.assert_close(fourier(zero_filled(kspace[:, None], mask)), kspace * mask, atol=1e-5, rtol=1e-5)


def test_metrics_are_those_of_a_reconstruction_made_by_hand(
    trained: Trained, tmp_path: Path, make_scan: MakeScan
) -> None:
    make_scan("test", 7), make_scan("test", 8)
    metrics = evaluate([trained()], [tmp_path / "test"], tmp_path / "out", ["slice-max"])
    assert metrics == Evaluation.read(tmp_path / "out" / "metrics.json")
    assert (metrics.convention, metrics.volumes, metrics.slices) == ("slice-max", 2, 6)
    assert set(metrics.methods) == {
        "zero-filled",
        "switchable",
        "switchable/ensemble",
        "switchable/hard",
        "switchable/ensemble-hard",
    }
    for name, estimate, consistency in (
        ("switchable", None, None),
        ("switchable/ensemble-hard", "ensemble", "hard"),
    ):
        reconstructor = Reconstructor.load(trained(), estimate, consistency)
        psnrs, ssims = [], []
        for subject in (7, 8):
            kspace = fourier(torch.from_numpy(blob_images(subject))).numpy()
            for index in range(3):
                mask = draw_mask(tiny_config().mask, (64, 64), volume=f"subject{subject}.npy", index=index)
                truth = np.abs(inverse_fourier(torch.from_numpy(kspace[index])).numpy())
                found = np.abs(reconstructor(kspace[index], mask))
                psnrs.append(psnr(truth, found))
                ssims.append(ssim(truth, found))
        values = metrics.methods[name]
        assert values["psnr"].mean == pytest.approx(np.mean(psnrs), abs=1e-4)
        assert values["psnr"].std == pytest.approx(np.std(psnrs), abs=1e-4)
        assert values["ssim"].mean == pytest.approx(np.mean(ssims), abs=1e-5)
    with (tmp_path / "out" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 6
    own = [float(row["psnr"]) for row in rows if row["method"] == "switchable"]
    assert np.mean(own) == pytest.approx(metrics.methods["switchable"]["psnr"].mean, abs=1e-3)
    assert {row["scan"] for row in rows} == {"scan-001", "scan-002"}
    examples = np.load(tmp_path / "out" / "examples.npz")
    assert examples["images"].shape == (5, 3, 64, 64)


def test_the_runs_own_setting_has_the_plain_name(tmp_path: Path, make_scan: MakeScan) -> None:
    config = tiny_config("estimate=ensemble", "data_consistency=hard")
    run = train(config, [make_scan("full", 1)], [make_scan("sub", 2)], tmp_path / "run")
    found = variants(Reconstructor.load(run), "mine")
    assert set(found) == {"mine", "mine/generator", "mine/none", "mine/generator-none"}
    assert (found["mine"].config.estimate, found["mine"].config.data_consistency) == ("ensemble", "hard")
    assert set(variants(Reconstructor.load(run), "mine")) == set(found)


def test_several_runs_share_one_table(trained: Trained, tmp_path: Path, make_scan: MakeScan) -> None:
    metrics = evaluate([trained(), trained("simulated")], [make_scan("test", 7)], tmp_path / "out")
    assert metrics.convention == "fastmri"
    assert [n for n in metrics.methods if "/" not in n] == ["zero-filled", "switchable", "simulated"]
    assert "simulated/ensemble" not in metrics.methods


def test_what_is_refused_writes_nothing(trained: Trained, tmp_path: Path, make_scan: MakeScan) -> None:
    lines = np.arange(64) % 3 == 0
    cases = [
        (make_scan("test", 1), "subject1.npy: its subject was used to train"),
        (make_scan("test", 2), "subject2.npy: its subject was used to train"),
        (make_scan("test", 7, mask=lines), "a reference must be fully sampled"),
        (tmp_path / "absent", "no such file or folder"),
    ]
    for reference, message in cases:
        with pytest.raises(DataError, match=message):
            evaluate([trained()], [reference], tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_figures_that_are_no_numbers_are_null(tmp_path: Path, make_scan: MakeScan) -> None:
    """With every sample measured, zero filling has no error and no finite PSNR."""
    piles = [make_scan("full", 1)], [make_scan("sub", 2)]
    run = train(tiny_config("mask.acceleration=1", "method=simulated"), *piles, tmp_path / "run")
    metrics = evaluate([run], [make_scan("test", 7)], tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "metrics.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert stored == metrics.model_dump(mode="json")
    assert metrics.methods["simulated/hard"]["ssim"].mean == pytest.approx(1, abs=1e-6)


def test_an_evaluation_does_not_go_into_a_run_folder(trained: Trained, make_scan: MakeScan) -> None:
    with pytest.raises(RunError, match="is a run or a file"):
        evaluate([trained()], [make_scan("test", 7)], trained())


def test_a_run_without_its_log_can_be_evaluated(tmp_path: Path, make_scan: MakeScan) -> None:
    run = train(tiny_config(), [make_scan("full", 1)], [make_scan("sub", 2)], tmp_path / "run")
    (run / "log.jsonl").unlink()
    assert "switchable" in evaluate([run], [make_scan("test", 7)], tmp_path / "out").methods


def test_runs_that_cannot_stand_in_one_table(trained: Trained, tmp_path: Path, make_scan: MakeScan) -> None:
    piles = [make_scan("full", 1)], [make_scan("sub", 2)]
    other = train(tiny_config("mask.acceleration=6"), *piles, tmp_path / "run")
    with pytest.raises(RunError, match="differ in mask"):
        load_runs([trained(), other])
    with pytest.raises(RunError, match="would both be called 'run'"):
        load_runs([trained(), trained()])
    second = train(tiny_config("seed=1"), *piles, tmp_path / "second")
    assert set(load_runs([trained(), second])) == {"run", "second"}


def test_fastmri_s_maximum_is_that_of_the_whole_volume_also_where_few_slices_are_evaluated(
    tmp_path: Path, trained: Callable[..., Path]
) -> None:
    numbers = np.random.default_rng(0)
    images = numbers.uniform(0.2, 1, size=(5, 64, 64)).astype(np.complex64)
    images[0, 32, 32] = 4.0  # brightest in a slice that is not the one in the middle
    scan = tmp_path / "bright.npy"
    np.save(scan, fourier(torch.from_numpy(images)).numpy())
    found = evaluate([trained()], [scan], tmp_path / "out", ["fastmri"], slices_per_scan=1)
    [row] = list(csv.DictReader((tmp_path / "out" / "metrics.csv").read_text().splitlines()))[:1]
    with np.load(tmp_path / "out" / "images.npz") as stored:
        maximum = float(stored["maximum"][0])
        reference, image = (stored[name][..., :, :].astype(float) for name in ("reference", "images"))
        assert row["slice"] != "0"
        assert float(stored["volume_maximum"][0]) == pytest.approx(4.0, rel=1e-3)
    expected = 20 * np.log10(4.0 / maximum) - 10 * np.log10(np.mean((image[0, 0] - reference[0]) ** 2))
    assert found.methods["zero-filled"]["psnr"].mean == pytest.approx(expected, abs=0.02)


def test_soft_data_consistency_is_measured_on_request_and_the_noise_is_told(
    tmp_path: Path,
    trained: Callable[..., Path],
    make_scan: Callable[..., Path],
    run_cli: Callable[..., tuple[int, str, str]],
) -> None:
    command = ("evaluate", trained(), "--reference", make_scan("test", 5), "--out", tmp_path / "out")
    code, _, err = run_cli(*command, "--data-consistency", "soft")
    assert code == 0, err
    methods = json.loads((tmp_path / "out" / "metrics.json").read_text())["methods"]
    assert {"switchable/soft", "switchable/ensemble-soft", "switchable/hard"} <= methods.keys()
    values = [methods[f"switchable{kind}"]["nmse"]["mean"] for kind in ("", "/soft", "/hard")]
    assert len(set(values)) == 3
    assert "of the brightest pixel" in (tmp_path / "out" / "report.html").read_text()
    code, _, err = run_cli(*command, "--data-consistency", "sotf")
    assert code == 2
    assert "did you mean 'soft'" in err


def test_soft_data_consistency_leaves_out_runs_that_end_with_hard(
    tmp_path: Path, trained: Callable[..., Path], make_scan: MakeScan, run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    config = tiny_config("method=simulated", "network=unrolled", "cascades=1", "unet_width=2")
    unrolled, test = train(config, [make_scan("full", 1)], [], tmp_path / "unrolled"), make_scan("test", 5)
    command = ("--reference", test, "--data-consistency", "soft", "--out", tmp_path / "out")
    code, _, err = run_cli("evaluate", trained(), unrolled, *command)
    assert code == 0, err
    methods = json.loads((tmp_path / "out" / "metrics.json").read_text())["methods"].keys()
    assert [name for name in methods if name.endswith("soft")] == ["switchable/soft", "switchable/ensemble-soft"]
    assert "simulated" in methods
    code, _, err = run_cli("evaluate", unrolled, *command[:-1], tmp_path / "alone")
    assert code == 2
    assert "nothing to weigh" in err


def test_lpips_can_be_added_from_the_stored_images(
    tmp_path: Path,
    trained: Callable[..., Path],
    make_scan: Callable[..., Path],
    run_cli: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = shared_file("weights/lpips_alex_v0.1.safetensors")
    scans = [make_scan("test", 5), make_scan("test", 6)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "absent"))
        without = evaluate([trained()], scans, tmp_path / "without")
    given = evaluate([trained()], scans, tmp_path / "with", lpips_weights=weights)
    assert without.methods["switchable"]["lpips"].mean is None
    monkeypatch.setenv("SWITCHRECON_LPIPS_WEIGHTS", str(weights))  # the command finds them there
    code, _, err = run_cli("report", tmp_path / "without")
    assert code == 0, err
    found = Evaluation.read(tmp_path / "without" / "metrics.json")
    for convention in CONVENTIONS:
        for name in ("zero-filled", "switchable"):
            mine, theirs = (m.value(name, "lpips", convention) for m in (found, given))
            assert mine.mean == pytest.approx(theirs.mean, abs=2e-3)  # the images are stored in half precision
            assert mine.std == pytest.approx(theirs.std, abs=2e-3)
        assert found.value("switchable/hard", "lpips", convention).mean is None
    assert found.methods == found.conventions[found.convention]
    assert "LPIPS is n/a" not in (tmp_path / "without" / "evaluation.json").read_text()
    for name in ("metrics.csv", "units.csv"):
        rows = list(csv.DictReader((tmp_path / "without" / name).read_text().splitlines()))
        assert all((row["lpips"] == "nan") == ("/" in row["method"]) for row in rows)
    with pytest.raises(RunError, match="not an evaluation"):
        add_metric(tmp_path, with_lpips(weights))


def test_images_and_spectra_are_stored(
    tmp_path: Path, trained: Callable[..., Path], make_scan: Callable[..., Path]
) -> None:
    metrics = evaluate([trained()], [make_scan("test", 5)], tmp_path / "out", slices_per_scan=2)
    assert (metrics.slices, metrics.subjects) == (2, 1)
    with np.load(tmp_path / "out" / "images.npz") as stored:
        assert list(stored["methods"]) == ["zero-filled", "switchable"]
        assert stored["images"].shape == (2, 2, 64, 64)
        assert stored["reference"].max() == 1
        assert list(stored["slice"]) == [0, 2]
    spectrum = metrics.error_spectrum
    assert len(spectrum.frequency) == len(spectrum.methods["zero-filled"]) == 16
    # Zero filling leaves the measured centre alone; magnitudes mix frequencies, so it is small there, not zero.
    assert spectrum.methods["zero-filled"][0] < 0.2 * spectrum.methods["zero-filled"][8]


def test_the_claim_checklist_says_what_is_known_and_marks_the_rest(
    tmp_path: Path, trained: Callable[..., Path], make_scan: Callable[..., Path]
) -> None:
    run = trained("switchable", "magnitude")
    evaluate([run], [make_scan("test", 5)], tmp_path / "out")
    text = write_claim(tmp_path / "out").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert [row[0] for row in rows] == [f"| {n}" for n in range(1, 43)]
    by_item = {row[2]: row[3] for row in rows}
    assert "3 fully sampled slices of 1 subject and 3 undersampled slices of 1 subject" in by_item["Sources"]
    assert "acceleration 4, centre fraction 0.08" in by_item["Preprocessing"]
    assert "torch" in by_item["Software"]
    assert "zero-filled: PSNR" in by_item["Performance"]
    assert YOURS in by_item["Funding"]
    assert "1 test subject;" in by_item["How data were assigned"]
    alone = write_claim(run).read_text()
    assert "none for testing yet" in alone
    (run / "claim.md").unlink()
    with pytest.raises(RunError, match="nothing to report on"):
        write_claim(tmp_path)
