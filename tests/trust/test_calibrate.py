"""Calibrate a run, and what its reconstructions then promise."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from switchrecon.errors import DataError, RunError
from switchrecon.reconstruction.files import reconstruct_files
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.files import read_scan
from switchrecon.scans.scan import own_mask
from switchrecon.trust.calibrate import calibrate
from switchrecon.trust.calibration import Calibration, read_calibration
from switchrecon.trust.calibration_study import CalibrationStudy, study_of, write_study
from switchrecon.trust.conformal import sentence
from switchrecon.trust.look import NAMES, look_of
from switchrecon.trust.shifts import shifts

from ..conftest import blob_images

RunCli = Callable[..., tuple[int, str, str]]
MakeScan = Callable[..., Path]


@pytest.fixture(scope="module")
def calibrated(trained: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A calibrated run and the folder of its three references."""
    base = tmp_path_factory.mktemp("calibrated")
    shutil.copytree(trained(), base / "run")
    (base / "references").mkdir()
    for subject in (11, 12, 13):
        kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(blob_images(subject, 2), (1, 2)), norm="ortho"), (1, 2))
        np.save(base / "references" / f"subject{subject}.npy", kspace.astype(np.complex64))
    made, measured = calibrate(base / "run", [base / "references"], passes=2, folds=4, shift=shifts(1))
    write_study(base / "out", study_of(made, measured))
    return base / "run", base / "references"


def test_the_calibration_of_three_subjects(calibrated: tuple[Path, Path]) -> None:
    run, _ = calibrated
    found = Calibration.read(run / "calibration.json")
    assert (found.subjects, found.percent, found.slices, found.mask) == (3, 75, 6, "points")
    assert found.factor == found.scores[-1] == max(found.scores)
    assert [len(own) for own in found.features] == [len(NAMES)] * 3
    assert 3 < found.accelerations[0] <= found.accelerations[1] < 5
    text = (run / "calibration.json").read_text()
    assert "subject1" not in text
    rows = (run.parent / "out" / "calibration.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["subject", "subject-001", "subject-002", "subject-003"]
    assert "subject11" not in "".join(rows)
    for row in rows[1:]:
        assert 0 < float(row.split(",")[4]) <= 1
    study = CalibrationStudy.read(run.parent / "out" / "calibration-study.json")
    assert study.claim == sentence(3)
    assert sorted(own.score for own in study.subjects) == list(found.scores)
    largest = max(study.subjects, key=lambda own: own.score)
    assert [own.covered < 0.9 for own in study.subjects] == [own is largest for own in study.subjects]
    assert study.spearman.slices == 6
    assert all(oracle <= risk + 1e-9 for oracle, risk in zip(study.oracle, study.risk, strict=True))
    assert study.excess > 0
    assert {name: len(values) for name, values in study.p_values.items()} == {
        "the same law": 3,
        "1.5 times the acceleration": 1,
        "5% of noise added": 1,
    }
    assert study.p_values["1.5 times the acceleration"] == (pytest.approx(1 / 3),)


def test_the_same_references_in_another_order_calibrate_alike(calibrated: tuple[Path, Path], tmp_path: Path) -> None:
    run, references = calibrated
    shutil.copytree(run, tmp_path / "run")
    again, _ = calibrate(tmp_path / "run", [references / f"subject{n}.npy" for n in (13, 12, 11)], passes=2, folds=4)
    assert again == Calibration.read(run / "calibration.json")


def test_the_band_of_a_calibration_subject_holds_nine_tenths_of_its_foreground(
    calibrated: tuple[Path, Path], tmp_path: Path
) -> None:
    run, references = calibrated
    reconstructor = Reconstructor.load(run)
    look = look_of(run, reconstructor, False, False)
    source = references / "subject12.npy"
    [outcome] = reconstruct_files(reconstructor, [source], tmp_path, "run", look=look)
    assert outcome.error is None
    image, doubt = (np.load(tmp_path / f"subject12{end}.npy") for end in ("", "_desc-doubt"))
    truth = np.abs(blob_images(12, 2))
    bright = np.sort(np.abs(image).reshape(2, -1))[:, int(np.ceil(0.99 * 4096)) - 1]
    inside = np.abs(image) > 0.1 * bright[:, None, None]
    assert (np.abs(np.abs(image) - truth) <= doubt * 1.0001)[inside].mean() >= 0.9
    said = json.loads((tmp_path / "subject12.trust.json").read_text())
    assert said["claim"] == sentence(3)
    assert (said["subjects"], said["percent"], said["passes"]) == (3, 75, 2)
    assert said["p_value"] >= 0.25
    assert (len(said["calibration_sha256"]), said["calibrated_on"]) == (64, "held out")
    assert said["weights_sha256"] == reconstructor.card.weights_sha256
    assert said["held_out_error"] > 0
    assert "90" not in said["claim"]
    assert sentence(3) in outcome.sentences


def test_the_command_line(calibrated: tuple[Path, Path], tmp_path: Path, run_cli: RunCli) -> None:
    run, references = calibrated
    volume = np.abs(blob_images(21, 2)).transpose(1, 2, 0).copy()
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    command = ("reconstruct", run, tmp_path / "a.nii.gz", "--undersample", "run", "--out", tmp_path / "out")
    code, out, _ = run_cli(*command)
    assert code == 0
    assert "invented" in out
    assert "error on held-out samples" in out
    assert "with a probability of at least 75 %" in out
    assert "3 calibration subjects (p = " in out
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a.nii.gz", "a.trust.json", "a_desc-doubt.nii.gz", "a_desc-invented.nii.gz"]
    doubt = nibabel.load(tmp_path / "out" / "a_desc-doubt.nii.gz")
    assert doubt.shape == volume.shape
    assert run_cli(*command[:-1], tmp_path / "bare", "--no-maps")[0] == 0
    assert [path.name for path in (tmp_path / "bare").iterdir()] == ["a.nii.gz"]
    code, _, err = run_cli(*command[:-1], tmp_path / "new", "--no-maps", "--trust")
    assert (code, "choose one" in err) == (2, True)
    code, _, err = run_cli(*command[:-1], tmp_path / "none", "--data-consistency", "hard")
    assert (code, "was made with data_consistency 'none', asked for 'hard'" in err) == (2, True)
    code, out, _ = run_cli(*command[:-1], tmp_path / "other", "--undersample", "random-1d:2:0.1")
    assert code == 0
    assert "no doubt is claimed: the scan skips columns at acceleration" in out
    assert (tmp_path / "other" / "a_desc-spread.nii.gz").exists()
    code, _, err = run_cli("calibrate", run, "--reference", references / "subject11.npy")
    assert (code, "1 subject, too few to calibrate" in err) == (2, True)
    code, _, err = run_cli("calibrate", run)
    assert (code, "--reference is missing" in err) == (2, True)


def test_the_command_line_calibrates_and_writes_a_page(
    calibrated: tuple[Path, Path], tmp_path: Path, run_cli: RunCli
) -> None:
    run, references = calibrated
    shutil.copytree(run, tmp_path / "run")
    code, out, _ = run_cli("calibrate", tmp_path / "run", "--reference", references)
    assert code == 0
    assert "6 slices of 3 subjects; doubt is" in out
    folder = tmp_path / "run" / "calibration"
    assert sorted(path.name for path in folder.iterdir()) == [
        "calibration-study.json",
        "calibration.csv",
        "report.html",
    ]
    page = (folder / "report.html").read_text()
    assert "with a probability of at least 75 %" in page
    assert "subject-003" in page
    assert "subject11" not in page
    assert "90 %" not in page
    (folder / "report.html").unlink()
    assert run_cli("report", folder)[0] == 0
    assert (folder / "report.html").read_text() == page
    (folder / "calibration-study.json").write_text("{")
    code, _, err = run_cli("report", folder)
    assert (code, "calibration-study.json: damaged or absent" in err) == (2, True)
    assert Calibration.read(tmp_path / "run" / "calibration.json").passes == 8


def test_bad_references_and_calibrations(
    calibrated: tuple[Path, Path], trained: Callable[..., Path], tmp_path: Path, make_scan: MakeScan
) -> None:
    run, references = calibrated
    with pytest.raises(DataError, match="was used to train"):
        calibrate(run, [references, make_scan("seen", 1)])
    with pytest.raises(DataError, match="must be fully sampled"):
        calibrate(run, [make_scan("fast", 30, mask=np.arange(64) % 2 == 0)])
    reconstructor = Reconstructor.load(trained())
    assert read_calibration(trained(), reconstructor) is None
    text = (run / "calibration.json").read_text()
    for content, expected in (
        (text.replace('"weights_sha256": "', '"weights_sha256": "0'), "made with other weights"),
        (text.replace("mirrored images", "dice"), "was made with doubt from left-out lines and dice"),
        (text[:100], "no calibration"),
    ):
        (tmp_path / "calibration.json").write_text(content)
        with pytest.raises(RunError, match=f"calibration.json: .*{expected}"):
            read_calibration(tmp_path, reconstructor)


def test_an_adapted_network_claims_nothing(calibrated: tuple[Path, Path], messages: list[str]) -> None:
    run, _ = calibrated
    assert look_of(run, Reconstructor.load(run), False, True) is not None
    assert any("an adapted network is not the one that was calibrated" in said for said in messages)


def test_without_a_calibration_there_is_a_spread_and_no_promise(
    trained: Callable[..., Path], tmp_path: Path, make_scan: MakeScan
) -> None:
    reconstructor = Reconstructor.load(trained())
    assert look_of(trained(), reconstructor, False, False) is None
    scan = read_scan(make_scan("scans", 5, 1))
    mask = own_mask(scan, 0, reconstructor.config).numpy()
    path = make_scan("fast", 5, 1, mask=mask)
    look = look_of(trained(), reconstructor, True, False)
    [outcome] = reconstruct_files(reconstructor, [path], tmp_path / "out", look=look)
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    stem = "subject5"
    assert names == [f"{stem}.npy", f"{stem}.trust.json", f"{stem}_desc-invented.npy", f"{stem}_desc-spread.npy"]
    said = json.loads((tmp_path / "out" / f"{stem}.trust.json").read_text())
    assert said["claim"] == ""
    assert said["p_value"] is None
    assert outcome.sentences[2] == "no doubt is claimed: the run was not calibrated; switchrecon calibrate does it"
