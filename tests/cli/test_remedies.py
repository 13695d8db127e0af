"""Every message says what to do: in settings, options, piles, folders, and files that are written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from switchrecon.config import SYNONYMS, Config, load_config, parse_config
from switchrecon.core.sentences import count
from switchrecon.core.settings import setting_names
from switchrecon.data.domains import Auc, Comparison
from switchrecon.errors import ConfigError
from switchrecon.metrics.metrics import nmse, psnr, ssim
from switchrecon.physics.fourier import fourier
from switchrecon.physics.masks import draw_mask
from switchrecon.runs.checkpoint import load_model
from switchrecon.scans.files import find_files, read_scan
from switchrecon.training.train import train
from tests.conftest import blob_images, tiny_config

RunCli = Callable[..., tuple[int, str, str]]
MakeScan = Callable[..., Path]
TINY = [word for name in ("width=2", "residual_blocks=1", "steps=2") for word in ("--set", name)]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("acceleration", "did you mean 'mask.acceleration'?"),
        ("center_fraction", "did you mean 'mask.center_fraction'?"),
        ("kind", "did you mean 'mask.kind'?"),
        ("mask.accel", "did you mean 'mask.acceleration'?"),
        ("lr", "did you mean 'learning_rate'?"),
        ("batch", "did you mean 'batch_size'?"),
        ("n-epochs", "did you mean 'epochs'?"),
        ("LR", "did you mean 'learning_rate'?"),
        ("widht", "did you mean 'width'?"),
        ("corruption.levl", "did you mean 'corruption.level'?"),
        ("device", "it is no setting but an option of the command: --device"),
        ("xyzzy", "choose from"),
    ],
)
def test_a_setting_that_does_not_exist_is_traced_to_one_that_does(run_cli: RunCli, name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match="unknown setting") as raised:
        load_config(None, [f"{name}=1"])
    assert hint in str(raised.value)
    code, _, err = run_cli("settings", name)
    if name not in ("corruption.levl",):
        assert (code, hint in err) == (2, True)


def test_every_synonym_leads_to_a_setting_or_an_option_and_hides_none() -> None:
    known = {*setting_names(Config), *Config.model_fields}
    assert not SYNONYMS.keys() & known
    for target in SYNONYMS.values():
        assert target in known or "option of the command: --" in target


def test_a_group_of_settings_is_given_by_name() -> None:
    with pytest.raises(ConfigError, match=r"'mask' has a wrong value 6: it holds several settings; .* such as mask\."):
        parse_config({"mask": 6})


def test_an_estimate_that_the_run_could_not_give_is_refused_before_anything_is_read(
    run_cli: RunCli, tmp_path: Path
) -> None:
    absent = tmp_path / "absent.npy"
    words = ["train", "--out", tmp_path / "run", "--full", absent, "--sub", absent, "--set", "estimate=ensemble"]
    code, _, err = run_cli(*words, "--method", "joint")
    assert code == 2
    assert "estimate 'ensemble' needs the noise extractor H, which method 'joint' has not" in err
    assert "choose estimate 'generator', or one of the methods" in err
    assert "switchable" in err
    assert "no such file" in run_cli(*words, "--method", "switchable")[2]


def test_evaluate_asks_before_it_replaces_an_evaluation(
    run_cli: RunCli, trained: Callable[..., Path], make_scan: MakeScan, tmp_path: Path
) -> None:
    out = tmp_path / "evaluation"
    words = ["evaluate", trained("simulated"), "--reference", make_scan("test", 7), "--out", out]
    code, _, err = run_cli(*words)
    assert code == 0
    assert err.splitlines()[-1] == f"next: switchrecon view {out}"
    before = (out / "evaluation.json").read_bytes()
    code, _, err = run_cli(*words)
    assert (code, err) == (2, f"error: {out}: holds an evaluation already; add --overwrite or choose another --out\n")
    assert (out / "evaluation.json").read_bytes() == before
    assert run_cli(*words, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    "command",
    [
        ["masks", "--matrix", "64", "--out"],
        ["phantom", "--matrix", "64", "--slices", "1", "--out"],
        ["inspect", "SCAN", "--picture"],
    ],
)
def test_pictures_are_not_replaced_unasked(
    run_cli: RunCli, make_scan: MakeScan, tmp_path: Path, command: list[str]
) -> None:
    words = [make_scan("scans", 1) if word == "SCAN" else word for word in command]
    picture = tmp_path / "mine.png"
    picture.write_bytes(b"mine")
    code, _, err = run_cli(*words, picture)
    assert (code, "exists already; add --overwrite or choose another name" in err) == (2, True)
    assert picture.read_bytes() == b"mine"
    assert run_cli(*words, picture, "--overwrite")[0] == 0
    assert picture.read_bytes() != b"mine"


def test_the_acceleration_of_a_cropped_file_is_explained(
    make_scan: MakeScan, tmp_path: Path, messages: list[str]
) -> None:
    mask = draw_mask(tiny_config("mask.kind=variable-density-2d").mask, (128, 128), volume="v", index=0)
    scan = make_scan("sub", 2, mask=mask, side=128)
    config = tiny_config("method=self-supervised", "cascades=1", "unet_width=2", "matrix=64", "steps=1")
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        messages.clear()
        train(config, [], scan, tmp_path / f"run-{cache}-{len(list(tmp_path.iterdir()))}", cache=cache)
        [line] = [line for line in messages if line.startswith("undersampled: 3 slices of 1 subject, acceleration")]
        assert f"in the 64x64 centre of k-space that is kept ({mask.size / mask.sum():.2f} in the files)" in line
    messages.clear()
    train(tiny_config("method=self-supervised", "cascades=1", "unet_width=2", "steps=1"), [], scan, tmp_path / "whole")
    assert not any("in the files" in line for line in messages)


def test_piles_of_magnitudes_and_of_k_space_are_told_apart(
    make_scan: MakeScan, tmp_path: Path, messages: list[str]
) -> None:
    np.save(tmp_path / "magnitudes.npy", np.abs(blob_images(5)))
    full = [make_scan("full", 1), tmp_path / "magnitudes.npy"]
    train(tiny_config("method=supervised", "steps=1", "pairs=both"), full, [], tmp_path / "run")
    said = "\n".join(messages)
    assert "k-space of 1 of 2 fully sampled scans is synthetic" in said
    assert "synthetic and measured k-space are mixed" in said
    assert load_model(tmp_path / "run" / "model.safetensors")[1].data["full"].synthetic == 1


def test_what_is_no_scan_in_a_folder_is_said(make_scan: MakeScan, run_cli: RunCli, messages: list[str]) -> None:
    folder = make_scan("scans", 1).parent
    (folder / "subject1.json").write_text("{}")  # goes with the scan
    assert find_files([folder]) == [folder / "subject1.npy"]
    assert messages == []
    for name in ("notes.md", "a.PNG", "who.csv"):
        (folder / name).write_text("x")
    assert find_files(folder) == [folder / "subject1.npy"]
    assert messages == [f"{folder}: 3 files are no scans by their names and left out, such as a.PNG (.csv, .md, .png)"]
    code, out, err = run_cli("inspect", "--json", folder)
    assert (code, out[0], "left out" in err) == (0, "[", True)


def test_one_slice_becomes_the_file_that_was_named_and_several_a_folder_of_their_own(
    make_scan: MakeScan, run_cli: RunCli, tmp_path: Path
) -> None:
    one, three = make_scan("one", 1, slices=1), make_scan("three", 2)
    code, out, err = run_cli("convert", one, tmp_path / "e.png")
    assert code == 0
    assert f"-> {tmp_path / 'e.png'} (" in out
    assert err == f"next: switchrecon view {tmp_path / 'e.png'}\n"
    with Image.open(tmp_path / "e.png") as picture:
        assert picture.size == (64, 64)
    assert "exists already; add --overwrite" in run_cli("convert", one, tmp_path / "e.png")[2]
    assert run_cli("convert", one, tmp_path / "e.png", "--overwrite")[0] == 0
    for ending in ("png", "dcm"):  # both of one name
        code, out, err = run_cli("convert", three, tmp_path / f"e3.{ending}")
        folder = tmp_path / f"e3-{ending}"
        assert (code, f"-> {folder}, a folder with a file for each slice (" in out) == (0, True), err
        assert sorted(file.name for file in folder.iterdir()) == [f"000{n}.{ending}" for n in (1, 2, 3)]
        assert "exists already" in run_cli("convert", three, tmp_path / f"e3.{ending}")[2]
    assert run_cli("convert", one, tmp_path / "e.dcm")[0] == 0
    assert read_scan(tmp_path / "e.dcm").matrix == (64, 64)
    assert not list(tmp_path.glob(".partial*"))


def test_what_no_file_said_of_voxels_stays_unknown_in_nifti(
    make_scan: MakeScan, run_cli: RunCli, tmp_path: Path
) -> None:
    assert run_cli("convert", make_scan("scans", 1), tmp_path / "e.nii.gz")[0] == 0
    header: Any = nibabel.load(tmp_path / "e.nii.gz").header
    assert header.get_xyzt_units()[0] == "unknown"
    assert b"geometry unknown" in bytes(header["descrip"])
    assert "field of view unknown" in run_cli("inspect", tmp_path / "e.nii.gz")[1]
    run_cli("convert", tmp_path / "e.nii.gz", tmp_path / "again.nii.gz")
    assert "field of view unknown" in run_cli("inspect", tmp_path / "again.nii.gz")[1]
    first, again = (nibabel.load(tmp_path / name).get_fdata() for name in ("e.nii.gz", "again.nii.gz"))
    np.testing.assert_allclose(first, again, rtol=1e-4, atol=1e-6)
    nibabel.save(nibabel.Nifti1Image(first.astype(np.float32), np.diag([1.0, 1, 1, 1])), tmp_path / "said.nii.gz")
    assert "voxel 1 x 1 x 1 mm" in run_cli("inspect", tmp_path / "said.nii.gz")[1]


def test_a_fully_sampled_scan_is_pictured_by_its_k_space(make_scan: MakeScan, run_cli: RunCli, tmp_path: Path) -> None:
    mask = draw_mask(tiny_config().mask, (64, 64), volume="v", index=0)
    widths = []
    for name, given in (("full", None), ("sub", mask)):
        run_cli("inspect", make_scan(name, 1, mask=given), "--picture", tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as picture:
            grey = np.asarray(picture.convert("L"))
        widths.append(grey.shape[1])
        left = grey[60:, : widths[0] // 2]
        assert len(np.unique(left)) > 50  # no blank panel
    assert widths[1] == widths[0] * 3 // 2  # k-space, mask, image


def test_an_interval_of_one_subject_is_none() -> None:
    def told(full: int, sub: int) -> str:
        facts = {"full": full, "sub": sub}
        return Comparison("unknown", "", Auc(0.69, 0.5, 0.8), facts, facts, 0.1, "", []).auc_text

    assert told(1, 1) == told(4, 1) == "AUC 0.69, without an interval: there is one subject in a pile"
    assert told(2, 3) == "AUC 0.69 [0.50, 0.80]"
    assert (count(1, "subject"), count(0, "scan"), count(1200, "slice")) == ("1 subject", "0 scans", "1,200 slices")


def test_coil_maps_that_cannot_be_estimated_say_what_to_set(tmp_path: Path) -> None:
    kspace = fourier(torch.from_numpy(blob_images(1, 1)[:, None] * np.array([0.6, 0.8j])[:, None, None])).numpy()
    mask = np.zeros((64, 64), bool)
    mask[30:35, 30:35] = True
    mask[::3, ::2] = True
    config = ["method=self-supervised", "cascades=1", "unet_width=2", "steps=1"]
    np.save(tmp_path / "scan.npy", (kspace * mask).astype(np.complex64))
    with pytest.raises(Exception, match=r"ESPIRiT needs at least 6x6; set coil_maps=walsh, which needs less"):
        train(tiny_config(*config), [], tmp_path / "scan.npy", tmp_path / "run")
    train(tiny_config(*config, "coil_maps=walsh"), [], tmp_path / "scan.npy", tmp_path / "run")


def test_python_takes_text_for_paths_and_tensors_for_images(make_scan: MakeScan, tmp_path: Path) -> None:
    full, config = make_scan("full", 1), tiny_config("method=simulated", "steps=1")
    folder = train(config, str(full), [], str(tmp_path / "run"))
    assert (folder / "model.safetensors").is_file()
    assert read_scan(str(full), config).matrix == (64, 64)
    reference, image = np.abs(blob_images(1, 1)[0]), np.abs(blob_images(2, 1)[0])
    for metric in (psnr, ssim, nmse):
        tensors = (torch.from_numpy(own).requires_grad_() for own in (reference, image))
        assert metric(*tensors) == metric(reference, image)
