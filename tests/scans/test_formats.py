"""The table of formats: every file is asked what it is once, and the command line's help names every format."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from switchrecon.core.reading import ReadOptions
from switchrecon.data.piles import MatrixCheck, read_pile
from switchrecon.reconstruction.files import reconstruct_files
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans import files
from switchrecon.scans.convert import writers
from switchrecon.scans.files import read_scan
from switchrecon.scans.formats import Format, formats
from switchrecon.scans.inspection import inspect_file
from switchrecon.scans.writing import image_formats
from tests.conftest import blob_images, tiny_config

RunCli = Callable[..., tuple[int, str, str]]
MASK = np.random.RandomState(0).uniform(size=64) < 0.5


@pytest.fixture
def recognised(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths whose format was asked for, in order."""
    asked: list[Path] = []
    recognise = files.recognise

    def noted(path: Path) -> Format:
        asked.append(path)
        return recognise(path)

    for module in ("scans.files", "scans.writing", "data.cache", "reconstruction.files"):
        monkeypatch.setattr(f"switchrecon.{module}.recognise", noted)
    return asked


def test_a_file_is_asked_once_what_it_is(tmp_path: Path, trained: Callable[..., Path], recognised: list[Path]) -> None:
    path = tmp_path / "a.npy"
    np.save(path, blob_images(1, 2) * MASK)
    model = Reconstructor.load(trained())
    recognised.clear()
    (outcome,) = reconstruct_files(model, [path], tmp_path / "out")
    assert (outcome.error, recognised) == (None, [path])
    recognised.clear()
    assert inspect_file(path)["format"] == "NumPy"
    assert recognised == [path]
    for folder in (None, tmp_path / "cache", tmp_path / "cache"):
        recognised.clear()
        read_pile([path], tiny_config(), MatrixCheck(), undersample=True, cache=folder)
        assert recognised == [path]


def test_a_scan_carries_its_format(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", blob_images(1, 2))
    scan = read_scan(tmp_path / "a.npy", ReadOptions())
    assert scan.format is not None
    assert scan.format.name == "NumPy"


def test_formats_have_names_of_their_own_and_options_that_exist() -> None:
    names = [format.name for format in formats()]
    assert len(set(names)) == len(names)
    assert {format.images_as for format in formats()} <= set(image_formats())


def test_the_help_names_every_format(run_cli: RunCli) -> None:
    said = " ".join(run_cli("reconstruct", "--help")[1].replace("│", " ").split())
    for option in image_formats():
        assert f" {option}" in said
    said = " ".join(run_cli("convert", "--help")[1].replace("│", " ").split())
    for format in {id(format): format for format in writers().values()}.values():
        assert any(ending in said for ending in format.written), format.name
