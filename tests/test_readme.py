"""What README and the first pages show works as it is written, and their figures are those of the results."""

import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import switchrecon as sr
from switchrecon.cli.app import INTERRUPTED
from switchrecon.experiments.engines import BUSY
from tests.conftest import TRAINED
from tests.pages import DOCS, code_of, commands_of

RunCli = Callable[..., tuple[int, str, str]]
README = (DOCS.parent / "README.md").read_text(encoding="utf-8")
FEW = [f"--set={s}" for s in ("steps=2", "cascades=1", "unet_width=2")]


def test_it_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.split()) <= 750
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("https:")]
    assert len(links) >= 20
    assert not [link for link in links if not (DOCS.parent / link).is_file()]


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scans of 256x256 as the pages name them."""
    for folder, subject in (("full", 1), ("fast", 2), ("test", 3)):
        (tmp_path / "scans" / folder).mkdir(parents=True)
        np.save(tmp_path / "scans" / folder / f"subject{subject}.npy", sr.phantom(subject, slices=1, matrix=256).kspace)
    new = sr.undersample(sr.phantom(4, slices=1, matrix=256), acceleration=4)
    with h5py.File(tmp_path / "scans" / "new.h5", "w") as file:
        file["kspace"] = new.kspace[:, 0]
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_four_commands_work_on_scans_of_256x256(scans: Path, run_cli: RunCli) -> None:
    block = code_of("../README.md")["own"]
    assert code_of("getting-started.md")["own"] == block
    train, evaluate, reconstruct, view = commands_of(block)
    assert train[-2:] == ["--budget", "30m"]
    code, _, err = run_cli(*train[:-2], *FEW)  # the same training, of two steps
    assert code in TRAINED, err
    code, _, err = run_cli(*evaluate)
    assert code == 0, err
    assert (scans / "runs/first-evaluation/report.html").is_file()
    listed = (DOCS / "reference/files.md").read_text(encoding="utf-8")
    left = [path for folder in ("first", "first-evaluation") for path in (scans / "runs" / folder).iterdir()]
    assert not [path for path in left if f"`{path.name}{'/' * path.is_dir()}" not in listed]
    code, out, err = run_cli(*reconstruct)
    assert code == 0, err
    assert "acceleration 4" in out
    with h5py.File(scans / "images/new.h5") as file:
        assert file["reconstruction"].shape == (1, 256, 256)
    assert 'id="viewer"' in served(view)


def test_the_first_picture_and_the_network_of_the_package(scans: Path, run_cli: RunCli) -> None:
    [first] = commands_of(code_of("../README.md")["first"])
    assert code_of("getting-started.md")["first"] == code_of("../README.md")["first"]
    code, _, err = run_cli(*first)
    assert code == 0, err
    assert (scans / "runs/demo/first/report.html").is_file()
    assert (scans / "runs/demo/first/first.png").read_bytes()[:4] == b"\x89PNG"
    [package] = commands_of(code_of("getting-started.md")["package"])
    assert f"`switchrecon {' '.join(package)}`" in README
    code, _, err = run_cli(*package)
    assert code == 0, err
    with h5py.File(scans / "first-images/new.h5") as file:
        assert file["reconstruction"].shape == (1, 256, 256)


def served(words: list[str]) -> str:
    """The page whose address a command prints; the command is then stopped."""
    command = [sys.executable, "-u", "-m", "switchrecon", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            said = ""
            end = time.monotonic() + 120
            while not (found := re.search(r"http://127\.0\.0\.1:\S+", said)):
                line = process.stdout.readline()
                assert line, said
                assert time.monotonic() < end, said
                said += line
            with urllib.request.urlopen(found[0]) as answer:
                return str(answer.read().decode())
        finally:
            process.terminate()  # Ctrl-C does not end what was started with signals ignored


def test_the_exit_codes_are_those_of_the_command_line() -> None:
    page = (DOCS / "reference/files.md").read_text(encoding="utf-8").split("## Exit codes")[1]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.M)} == {0, 1, 2, 3, BUSY, INTERRUPTED}


TABLES = ("## T2w brain, 2-D random points ×4", "## FLAIR brain, 2-D random points ×4", "## Complex T2w brain, 1-D")
ROWS = ("zero-filled", "switchable/ensemble-hard", "supervised", "joint", "supervised-unrolled")


def test_the_table_has_the_figures_of_the_results() -> None:
    results = (DOCS / "results.md").read_text(encoding="utf-8")
    table = README.split("## How good")[1].split("## Where next")[0]
    shown = [re.findall(r"(\d+\.\d+) / (\d\.\d+)", line) for line in table.splitlines() if line.startswith("|")][2:]
    assert len(shown) == len(ROWS)
    for name, values in zip(ROWS, shown, strict=True):
        for heading, (psnr, ssim) in zip(TABLES, values, strict=True):
            [row] = re.findall(
                rf"^\| {name} \|.*$", results.split(heading)[1].split("\n## ")[0].split("\n### ")[0], re.M
            )
            assert re.match(rf"\| {name} \| {psnr} ± \S+ \| {ssim} ±", row), (name, heading, row)


def test_the_files_of_own_data_are_read_as_the_page_says(
    tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = code_of("how-to/own-data.md")
    said = {"nifti": "NIfTI", "fastmri": "fastMRI", "matlab": "MATLAB", "bart": "BART", "numpy": "NumPy"}
    for name, what in said.items():
        if f"{name}.py" in code:
            exec(compile(code[f"{name}.py"], name, "exec"), {})
        for words in commands_of(code[name]):
            status, out, err = run_cli(*words)
            assert status == 0, (name, err)
        assert what in out, name
        assert "64x64" in out
