"""The public face: names, what they give, and the pages that show them."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch

import switchrecon as sr
from switchrecon.data.piles import read_training_data
from switchrecon.errors import ConfigError, DataError
from switchrecon.physics.fourier import fourier
from switchrecon.public.scans import as_scans
from tests.conftest import blob_images, tiny_config
from tests.pages import DOCS, code_of

PAGE = "how-to/python.md"
LAZY = [sr, sr.metrics, sr.physics]


def typed_names(module: object) -> dict[str, str]:
    """What a module imports for type checkers alone: the module that each name comes from."""
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
    [block] = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    found = {}
    for statement in block.body:
        assert isinstance(statement, ast.ImportFrom)
        found |= {alias.name: statement.module or "" for alias in statement.names}
    return found


@pytest.mark.parametrize("module", LAZY, ids=lambda module: module.__name__)
def test_names_types_and_what_is_imported_agree(module: object) -> None:
    names = sorted(module.__all__)  # type: ignore[attr-defined]
    assert dir(module) == names
    for name, home in typed_names(module).items():
        found = getattr(module, name)
        assert found is getattr(import_module(home), name), name
    assert sorted([*typed_names(module), *(["__version__"] if module is sr else [])]) == names
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing  # type: ignore[attr-defined]


def test_the_names_are_those_that_are_promised_and_each_is_documented() -> None:
    promised = (
        "read inspect undersample mask phantom Config train Reconstructor evaluate metrics methods physics set_threads"
    )
    assert sorted([*promised.split(), "__version__"]) == sr.__all__
    page = (DOCS / PAGE).read_text()
    for name in promised.split():
        assert f"sr.{name}" in page, name
        assert getattr(sr, name).__doc__, name
    for package in (sr.metrics, sr.physics):
        for name in package.__all__:
            assert getattr(package, name).__doc__, name


def test_importing_loads_neither_torch_nor_numpy() -> None:
    script = (
        "import sys, switchrecon as sr; dir(sr); print([n for n in ('torch', 'numpy', 'rich') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, object]]:
    """Run a block of the page in an empty folder; returns its names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mpl.use("Agg")

    def run(title: str) -> dict[str, object]:
        names: dict[str, object] = {}
        exec(compile(code_of(PAGE)[title], title, "exec"), names)
        return names

    return run


def test_twenty_lines_train_reconstruct_and_plot(in_folder: Callable[[str], dict[str, object]], tmp_path: Path) -> None:
    code = code_of(PAGE)["twenty.py"]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    names = in_folder("twenty.py")
    assert (tmp_path / "heads.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    run, joint = names["run"], names["joint"]
    assert joint.shape == (3, 64, 64)  # type: ignore[attr-defined]
    assert run.log[-1]["step"] == 50  # type: ignore[attr-defined]
    truth, zero = (names["plain"](scan) for scan in (names["heads"][6], names["test"]))  # type: ignore[operator, index]
    assert sr.metrics.psnr(truth, joint) > sr.metrics.psnr(truth, zero) + 0.5  # type: ignore[arg-type]


def test_the_other_blocks_of_the_page_run(in_folder: Callable[[str], dict[str, object]], tmp_path: Path) -> None:
    assert in_folder("scans.py")["low"] == pytest.approx(6, rel=0.15)
    names = in_folder("arrays.py")
    assert len(names["losses"]) == 4  # type: ignore[arg-type]
    assert (tmp_path / "runs/arrays/model.safetensors").is_file()
    assert np.isfinite(in_folder("evaluation.py")["gain"])  # type: ignore[call-overload]


def test_files_and_arrays_in_memory_give_the_same_piles(make_scan: Callable[..., Path]) -> None:
    lines = np.zeros((64, 64), bool)
    lines[:, ::3] = lines[:, 28:36] = True
    paths = [make_scan("full", 1)], [make_scan("sub", 2, mask=lines)]
    config = tiny_config()
    kspace = [fourier(torch.from_numpy(blob_images(subject))).numpy() for subject in (1, 2)]
    by_path = read_training_data(*paths, config, "unpaired")
    by_array = read_training_data(as_scans(kspace[0], "full"), as_scans((kspace[1], lines), "sub"), config, "unpaired")
    by_zeros = read_training_data(
        as_scans(kspace[:1], "full"), as_scans([kspace[1] * lines], "sub"), config, "unpaired"
    )
    for mine in (by_array, by_zeros):
        for name in ("full", "sub"):
            for ours, theirs in zip(mine.piles[name].slices, by_path.piles[name].slices, strict=True):
                assert torch.equal(ours.image, theirs.image)
                assert ours.scale == theirs.scale
                assert name == "full" or torch.equal(ours.mask, theirs.mask)
    again, other = ((as_scans(own, "full"), as_scans((kspace[1], lines), "sub")) for own in (kspace[0], kspace[0] * 2))
    assert read_training_data(*again, config, "unpaired").fingerprint() == by_array.fingerprint()
    assert read_training_data(*other, config, "unpaired").fingerprint() != by_array.fingerprint()


def test_undersampling_keeps_what_was_measured_and_no_more() -> None:
    scan = sr.phantom(2, slices=2, coils=3)
    measured = sr.undersample(scan, kind="random-1d", acceleration=3)
    assert measured.mask is not None
    assert measured.mask.shape == (2, 64, 64)
    assert np.array_equal(measured.mask[1], sr.mask(64, name=scan.name, index=1, kind="random-1d", acceleration=3))
    assert np.array_equal(measured.kspace, scan.kspace * measured.mask[:, None])
    assert scan.mask is None
    given = sr.undersample(scan, np.arange(64) % 2)
    assert np.array_equal(given.mask, np.broadcast_to(np.arange(64) % 2 == 1, (2, 64, 64)))
    with pytest.raises(DataError, match=r"undersampled k-space .*; expected a fully sampled scan"):
        sr.undersample(measured)
    with pytest.raises(ConfigError, match="unknown setting 'acelration'; did you mean 'acceleration'"):
        sr.undersample(scan, acelration=4)


def test_mistakes_are_one_sentence(make_scan: Callable[..., Path]) -> None:
    good = sr.phantom(0, slices=1).kspace
    folder = make_scan("scans", 2).parent
    make_scan("scans", 1)
    with pytest.raises(DataError, match=r"full array 1: found float64 of shape \(4,\); expected complex k-space"):
        sr.train(full=np.zeros(4), method="supervised")
    with pytest.raises(DataError, match="sub array 2: all 1 slices are zero"):
        sr.train(full=good, sub=[good, np.zeros((64, 64), complex)])
    with pytest.raises(DataError, match="mask has shape"):
        sr.train(full=(good, np.ones(63)), method="supervised")
    with pytest.raises(DataError, match="holds 2 scans; expected one"):
        sr.read(folder)
    with pytest.raises(ConfigError, match="unknown setting 'stepps'"):
        sr.train(full=good, stepps=3)


def test_keywords_win_over_a_config(tmp_path: Path) -> None:
    config = tiny_config("method=simulated", "epochs=null", "steps=3")
    run = sr.train(config, full=sr.phantom(0, slices=2), out=tmp_path / "run", epochs=1, progress=False)
    assert (run.folder, len(run.log)) == (tmp_path / "run", 2)
    assert run.reconstructor(data_consistency="hard").config.data_consistency == "hard"
    assert (run.card.config.method, run.card.steps) == ("simulated", 2)


def test_a_run_reconstructs_files_records_and_arrays_of_several_coils(tmp_path: Path) -> None:
    few = {"kind": "random-1d", "acceleration": 3, "center_fraction": 0.25}
    heads = [sr.phantom(subject, slices=1, coils=3) for subject in range(2)]
    run = sr.train(full=heads[0], out=tmp_path / "run", method="sense", steps=1, iterations=3, mask=few)
    scan = sr.undersample(heads[1], **few)
    image = run.reconstruct(scan)
    assert image.shape == (1, 64, 64)
    assert np.array_equal(run.reconstruct((scan.kspace, scan.mask)), image)
    np.save(tmp_path / "scan.npy", scan.kspace)
    assert np.array_equal(run.reconstruct(tmp_path / "scan.npy"), image)
    with pytest.raises(DataError, match="is fully sampled; undersample it first"):
        run.reconstruct(heads[1])
