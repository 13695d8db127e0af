"""Every writer of every output on a disk that is full, or fills up: one sentence that names the file, nothing left."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from switchrecon.physics.fourier import fourier
from tests.conftest import TRAINED, blob_images, examples
from tests.scans.test_going_on import small_files

RunCli = Callable[..., tuple[int, str, str]]
SETTINGS = ("width=2", "residual_blocks=1", "extractor_depth=3", "steps=4", "checkpoint_every=2", "picture_every=2")
TRAIN = ("train", "--full", "full.npy", "--sub", "sub.npy", *(f"--set={setting}" for setting in SETTINGS))
FORMATS = ("own", "nifti", "bids", "dicom", "numpy", "hdf5", "bart", "png")
ENDINGS = (".npy", ".npz", ".h5", ".cfl", ".nii.gz", ".png", ".dcm")
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": (*TRAIN, "--out", "out/run"),
    "cache": (*TRAIN, "--out", "out/run", "--cache", "out/cache"),
    "evaluate": ("evaluate", "run", "--reference", "test.npy", "--out", "out/e"),
    "report": ("report", "evaluation"),
    "masks": ("masks", "--out", "out/m.png", "--matrix", "32"),
    "phantom": ("phantom", "--out", "out/p.png", "--matrix", "64", "--slices", "1", "--save", "out/k"),
    "compare-domains": (
        *("compare-domains", "--full", "full.npy", "--full", "test.npy", "--sub", "sub.npy", "--sub", "more.npy"),
        *("--out", "out/c"),
    ),
    "inspect": ("inspect", "full.npy", "--picture", "out/i.png"),
    "view": ("view", "full.npy", "--out", "out/v.html"),
    "export": ("export", "run", "--out", "out/r.onnx"),
    "calibrate": (
        *("calibrate", "run", "--reference", "test.npy", "--reference", "more.npy", "--reference", "last.npy"),
        *("--out", "out/d"),
    ),
    "slurm": ("crossval", "--config", "quick", "--out", "out/g", "--slurm", "out/job.sh"),
    **{
        f"reconstruct-{name}": ("reconstruct", "run", "under.npy", "--out", "out", "--format", name) for name in FORMATS
    },
    **{f"convert{ending}": ("convert", "under.npy", f"out/x{ending}") for ending in ENDINGS},
}
QUICK = ("train", "inspect", "reconstruct-dicom", "convert.cfl", "view")
ROOMS = (0, 1, 200, 5000, 60_000)  # bytes


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scans and a finished run with its evaluation."""
    folder = tmp_path_factory.mktemp("prepared")
    for number, name in enumerate(("full", "sub", "test", "more", "last")):
        np.save(folder / f"{name}.npy", fourier(torch.from_numpy(blob_images(number, 3))).numpy())
    mask = np.zeros(64, bool)
    mask[::2] = mask[28:36] = True
    np.save(folder / "under.npy", np.load(folder / "test.npy") * mask)
    nibabel.save(nibabel.Nifti1Image(np.abs(blob_images(9, 3)), np.eye(4)), folder / "image.nii.gz")
    for command in ((*TRAIN, "--out", "run"), ("evaluate", "run", "--reference", "test.npy", "--out", "evaluation")):
        done = subprocess.run(
            [sys.executable, "-m", "switchrecon", *command], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode in TRAINED, done.stderr
    return folder


def check_end(code: int, said: str, folder: Path, command: tuple[str, ...]) -> None:
    """One sentence about a file of the output, and nothing half-written."""
    assert code == 2, said
    assert "Traceback" not in said
    assert "unexpected" not in said
    found = [line for line in said.splitlines() if line.startswith(("error: ", "failed: "))]
    assert len(found) == 1, said
    name = found[0].split(": ")[1]
    places = ("out", "evaluation", "run")
    assert name.startswith(places), found
    assert any(reason in found[0] for reason in ("File too large", "No space left", "Input/output error")), found
    assert not list(folder.rglob(".partial-*"))


@pytest.mark.parametrize("name", examples(list(COMMANDS), *QUICK))
def test_files_that_cannot_grow(
    tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli, name: str
) -> None:
    """At several places of the output, whatever writes it; the limit is that of a quota."""
    for entry in prepared.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.chdir(tmp_path)
    failures = 0
    for room in ROOMS:
        with small_files(room):
            code, _, said = run_cli(*COMMANDS[name])
        if code in TRAINED and room >= 5000:
            break
        check_end(code, said, tmp_path, COMMANDS[name])
        failures += 1
        if (tmp_path / "out").exists():
            (tmp_path / "out").rename(tmp_path / f"after-{room}")
    assert failures >= 3


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is of Linux")
@pytest.mark.parametrize("room", examples([0, 8 << 10, 40 << 10], 40 << 10))
def test_a_small_disk(
    tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli, room: int
) -> None:
    disk = tmp_path / "out"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={max(room, 4096)}", "none", str(disk)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        if not room:
            (disk / "other").write_bytes(bytes(4096))
        before = sorted(disk.rglob("*"))
        for entry in prepared.iterdir():
            (tmp_path / entry.name).symlink_to(entry)
        monkeypatch.chdir(tmp_path)
        for name in ("convert.npy", "convert.h5", "convert.cfl", "convert.npz", "reconstruct-bart", "export", "view"):
            if name == "export" and room > 8 << 10:
                continue  # which fits
            code, _, said = run_cli(*COMMANDS[name])
            check_end(code, said, tmp_path, COMMANDS[name])
            assert "No space left" in said, (name, said)
            assert sorted(path for path in disk.rglob("*") if path.is_file()) == [p for p in before if p.is_file()], (
                name
            )
    finally:
        monkeypatch.undo()
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_standard_output_that_is_full(prepared: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "switchrecon", "settings"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=prepared)
    assert (done.returncode, done.stderr) == (2, "error: standard output: No space left on device\n")
