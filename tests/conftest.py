"""Fixtures: small scans made here, and the shared real data where it is present."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from switchrecon import cli
from switchrecon.config import Config, load_config
from switchrecon.core.messages import messages_to
from switchrecon.methods.methods import METHODS
from switchrecon.physics.fourier import fourier
from switchrecon.physics.operators import Encoding
from switchrecon.training.train import train

LEARNED = [name for name in METHODS if name not in ("total-variation", "wavelet", "sense")]
TRAINED = (0, 3)
"""Exit codes of a training that is finished; 3: worse than zero filling, as a few steps leave it."""


def examples(values: Sequence[Any], *few: Any) -> list[Any]:
    """Values to parametrize with, of which these few show the property; ``make test-all`` takes the others, too."""
    return [value if value in few else pytest.param(value, marks=pytest.mark.more) for value in values]


LONG = (
    "test_tutorials",
    "test_benchmarks",
    "test_crossval",
    "test_ranks",
    "test_full_disk",
    "test_readme",
    "test_site",
)
"""Files of tests that begin first, so that no worker is left with one of them at the end."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files; the tests of a file keep their order."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONG)))


SHARED = Path(os.environ.get("SWITCHRECON_TEST_DATA", Path(__file__).parents[2] / "shared"))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits differ between thread counts and devices; tests that compare bits need fixed ones."""
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SWITCHRECON_DEVICE", "cpu")


@pytest.fixture(autouse=True)
def _state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What training notes of a user's code is not written into the home folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))


def shared_file(name: str) -> Path:
    """A file of the shared real data; the test is skipped where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"real data not present: {path} (set SWITCHRECON_TEST_DATA to the folder that holds it)")
    return path


def hide_lpips(patch: pytest.MonkeyPatch, empty: Path) -> None:
    """Let no LPIPS weights be found, whatever this machine has."""
    patch.delenv("SWITCHRECON_LPIPS_WEIGHTS", raising=False)
    patch.setenv("XDG_CACHE_HOME", str(empty))


def blob_images(subject: int, slices: int = 3, side: int = 64) -> np.ndarray:
    """Smooth complex images (slices, side, side) that differ by subject: discs with a phase ramp."""
    random = np.random.RandomState(subject)
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    images = np.zeros((slices, side, side), dtype=np.complex64)
    for image in images:
        for _ in range(6):
            row, column = random.uniform(-0.25, 0.25, 2)
            radius = random.uniform(0.05, 0.25)
            inside = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
            image += random.uniform(0.2, 1) * inside
        image *= np.exp(1j * random.uniform(-1, 1) * rows)
    return images


@pytest.fixture
def make_scan(tmp_path: Path) -> Callable[..., Path]:
    """Write k-space of a subject as ``.npy`` and return the path; ``mask`` undersamples it."""

    def make(folder: str, subject: int, slices: int = 3, mask: np.ndarray | None = None, side: int = 64) -> Path:
        kspace = fourier(torch.from_numpy(blob_images(subject, slices, side))).numpy()
        path = tmp_path / folder / f"subject{subject}.npy"
        path.parent.mkdir(exist_ok=True, parents=True)
        np.save(path, kspace if mask is None else kspace * mask)
        return path

    return make


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call the command line in this process; returns exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["switchrecon", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """What the package says in a test, as the command line would show it."""
    said: list[str] = []
    with messages_to(lambda text, progress: said.append(text)):
        yield said


TINY = ("width=2", "residual_blocks=1", "extractor_depth=3", "steps=4", "checkpoint_every=2")
"""Settings of networks whose training step takes a few milliseconds."""


def tiny_config(*assignments: str) -> Config:
    """The settings of :data:`TINY`, of the paper's method unless another is named."""
    return load_config(None, ["method=switchable", *TINY, *assignments])


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """A tiny trained run, made once for each method and representation."""
    made: dict[tuple[str, str], Path] = {}

    def get(method: str = "switchable", representation: str = "complex") -> Path:
        if (method, representation) not in made:
            base = tmp_path_factory.mktemp("trained")
            for folder, subject in (("full", 1), ("sub", 2)):
                (base / folder).mkdir()
                kspace = fourier(torch.from_numpy(blob_images(subject))).numpy()
                np.save(base / folder / f"subject{subject}.npy", kspace)
            config = tiny_config(f"method={method}", f"representation={representation}")
            made[method, representation] = train(config, [base / "full"], [base / "sub"], base / "run")
        return made[method, representation]

    return get


class FixedDraws:
    """Draws that only depend on x, y and one mask."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> None:
        self.x, self.y, self.mask = x, y, mask

    def pair(self) -> tuple[torch.Tensor, Encoding, torch.Tensor]:
        return 0.5 * self.y, Encoding(self.mask), self.y

    def split(self) -> tuple[torch.Tensor, Encoding, torch.Tensor]:
        kept = self.mask.clone()
        kept[:, ::2] = False
        return 0.5 * self.x, Encoding(kept), (self.mask & ~kept) * (1 + self.x[:, 0].abs())

    def turn(self) -> tuple[torch.Tensor, Encoding]:
        height, width = self.mask.shape[-2:]
        places = torch.arange(height * width).view(height, width).flip(-1).flatten()
        return places.expand(len(self.x), -1), Encoding(self.mask)
