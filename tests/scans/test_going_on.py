"""One scan's trouble is its own: full disks, names that are no text, errors that no one foresaw, what is left out."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from switchrecon.core.files import named_error, write_text
from switchrecon.core.reading import ReadOptions
from switchrecon.core.seeds import seed_for
from switchrecon.errors import DataError
from switchrecon.physics.fourier import fourier
from switchrecon.scans.convert import convert_file
from switchrecon.scans.files import find_files, read_scan, subject_of
from switchrecon.scans.scan import Scan
from switchrecon.scans.writing import image_formats, write_images
from tests.conftest import TRAINED, blob_images

RunCli = Callable[..., tuple[int, str, str]]
KSPACE = np.asarray(fourier(torch.from_numpy(blob_images(1, 3))).numpy())
MASK = np.random.RandomState(0).uniform(size=64) < 0.5


def save(path: Path, masked: bool = True) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    np.save(path, KSPACE * MASK if masked else KSPACE)
    return path


# Full disks


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """No file may grow beyond so many bytes; the error is that of a disk with a quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("option", ["hdf5", "nifti", "numpy", "dicom", "png", "bart", "bids"])
def test_a_disk_that_fills_up_is_one_sentence_and_leaves_nothing(tmp_path: Path, option: str) -> None:
    assert option in image_formats()
    random = np.random.RandomState(0).uniform(size=KSPACE.shape)  # does not pack
    scan = Scan(tmp_path / "a.h5", "a", KSPACE, affine=np.eye(4))
    with small_files(2048), pytest.raises(OSError) as caught:
        write_images(scan, random, tmp_path / "out", option)
    assert caught.value.errno is not None
    assert str(tmp_path / "out") in str(caught.value.filename)
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.suffix not in (".json", "")]
    assert left == []
    write_images(scan, random, tmp_path / "out", option)


@pytest.mark.parametrize("ending", [".h5", ".npz", ".cfl"])
def test_k_space_onto_a_full_disk(tmp_path: Path, ending: str) -> None:
    source = save(tmp_path / "a.npy")
    with small_files(2048), pytest.raises(OSError, match=r"out"):
        convert_file(source, tmp_path / "out" / f"a{ending}")
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix != ".hdr"]


def test_a_full_disk_in_the_midst_of_a_batch_names_the_file(
    tmp_path: Path, trained: Callable[..., Path], run_cli: RunCli
) -> None:
    model, path = trained(), save(tmp_path / "a.npy")
    run_cli("--version")
    with small_files(2048):
        code, _, err = run_cli("reconstruct", model, path, "--out", tmp_path / "out", "--format", "hdf5")
    assert code == 2
    assert f"failed: {tmp_path / 'out' / 'a.h5'}: File too large" in err
    assert list((tmp_path / "out").iterdir()) == []


def test_an_error_without_a_number_or_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError("16384 requested and 0 written")
    assert named_error(error, tmp_path / "a").strerror == "Input/output error"
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 0}))
    assert str(named_error(error, tmp_path / "a")) == f"[Errno 28] No space left on device: '{tmp_path / 'a'}'"


# Names that are no text


def test_names_that_are_no_utf8_do_not_stop_a_batch(
    tmp_path: Path, trained: Callable[..., Path], run_cli: RunCli
) -> None:
    folder, model = tmp_path / "in", trained()
    folder.mkdir()
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/a\xfc.npy"))
    for path in (odd, folder / "z.npy"):
        save(path, masked=False)
    code, _, err = run_cli("reconstruct", model, folder, "--out", tmp_path / "out", "--undersample", "run")
    assert (code, err.count("failed")) == (0, 0)
    assert {os.fsencode(path.name) for path in (tmp_path / "out").iterdir()} == {
        *(b"a\xfc.npy", b"a\xfc_desc-invented.npy"),
        *(b"z.npy", b"z_desc-invented.npy"),
    }
    assert run_cli("inspect", folder)[0] == 0
    for option in ("bids", "dicom", "hdf5"):
        code = run_cli(
            "reconstruct", model, odd, "--out", tmp_path / option, "--undersample", "run", "--format", option
        )[0]
        assert code == 0, option


def test_seeds_and_texts_take_any_name(tmp_path: Path) -> None:
    assert seed_for("mask", "a\udcfc.npy") != seed_for("mask", "a.npy")
    assert seed_for("mask", "aü.npy") == 5999690442016653616
    write_text(tmp_path / "a.html", "a\udcfc ü")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == "a\\udcfc ü"


# Errors that no one foresaw


@pytest.mark.parametrize("error", [RuntimeError("boom"), ZeroDivisionError(), MemoryError("8 GiB")])
def test_any_error_of_one_scan_leaves_the_others_done(
    tmp_path: Path, trained: Callable[..., Path], run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from switchrecon.reconstruction import files

    model = trained()
    for name in "abc":
        save(tmp_path / "in" / f"{name}.npy")
    reconstruct = files.reconstruct_scan

    def fails_on_b(model: object, scan: Scan) -> object:
        if scan.path.stem == "b":
            raise error
        return reconstruct(model, scan)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "reconstruct_scan", fails_on_b)
    run_cli("--version")
    code, out, err = run_cli("reconstruct", model, tmp_path / "in", "--out", tmp_path / "out")
    assert (code, out.count(" -> ")) == (3, 2)
    assert f"failed: {tmp_path / 'in' / 'b.npy'}: unexpected {type(error).__name__}" in err


def test_inspect_goes_on_after_any_error(tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    from switchrecon.scans import inspection

    facts = inspection.facts_of
    monkeypatch.setattr(inspection, "facts_of", lambda path, scan: 1 / 0 if path.stem == "a" else facts(path, scan))
    for name in "ab":
        save(tmp_path / f"{name}.npy")
    code, out, err = run_cli("inspect", tmp_path)
    assert (code, "b.npy: NumPy" in out) == (3, True)
    assert f"failed: {tmp_path / 'a.npy'}: unexpected ZeroDivisionError" in err


# What is left out of a folder


def test_what_is_left_out_is_said_and_recursive_reads_it(tmp_path: Path, run_cli: RunCli) -> None:
    save(tmp_path / "d" / "a.npy")
    save(tmp_path / "d" / "sub" / "deep" / "b.npy")
    (tmp_path / "d" / "c.npy").symlink_to("/nowhere")
    code, out, err = run_cli("inspect", tmp_path / "d", "--json")
    assert (code, out.count('"file"')) == (0, 1)
    assert f"{tmp_path / 'd'}: 1 links lead nowhere and are left out, such as c.npy" in err
    assert f"scans in its folders, such as {Path('sub') / 'deep'}, are left out; add --recursive" in err
    code, out, err = run_cli("inspect", tmp_path / "d", "--json", "--recursive")
    assert (out.count('"file"'), "--recursive" in err) == (2, False)
    assert len(find_files([tmp_path / "d"], recursive=True)) == 2


def test_nothing_is_said_where_nothing_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "d" / "a.npy")
    (tmp_path / "d" / "notes").mkdir()
    (tmp_path / "d" / ".hidden").symlink_to("/nowhere")
    save(tmp_path / "e" / "sub" / "b.npy")
    assert len(find_files([tmp_path / "d", tmp_path / "e"])) == 2  # a folder without scans gives those below
    assert not caplog.text


# A table of subjects


def test_a_table_says_who_was_scanned(tmp_path: Path) -> None:
    for name in ("x/a.npy", "y/a.npy", "b.npy"):
        save(tmp_path / name)
    table = tmp_path / "who.csv"
    table.write_text("file,subject\nx/a.npy,Ann\na.npy,Bob\n\n")
    options = ReadOptions(subjects=table)
    for name, subject in (("x/a.npy", "Ann"), ("y/a.npy", "Bob"), ("b.npy", "b")):
        scan = read_scan(tmp_path / name, options)
        assert scan.subject == subject_of(tmp_path / name, options=options) == subject
        assert scan.name == read_scan(tmp_path / name).name  # masks are drawn as before


@pytest.mark.parametrize(
    ("text", "message"),
    [("a.npy\n", "line 1 has 1 columns"), ("a.npy,A\na.npy,B\n", "line 2 gives a second subject to a.npy")],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path, table = save(tmp_path / "a.npy"), tmp_path / "who.csv"
    with pytest.raises(DataError, match=r"who\.csv: the table of subjects cannot be read"):
        read_scan(path, ReadOptions(subjects=table))
    table.write_text(text)
    with pytest.raises(DataError, match=message):
        read_scan(path, ReadOptions(subjects=table))


def test_training_takes_the_table(tmp_path: Path, run_cli: RunCli) -> None:
    for name in ("full/a.h5", "sub/b.h5"):
        path = tmp_path / name
        path.parent.mkdir()
        with h5py.File(path, "w") as file:
            file["kspace"] = KSPACE * MASK if "sub" in name else KSPACE
            file.attrs["patient_id"] = "STUDY-7"
    tiny = [
        word for pair in ("width=2", "residual_blocks=1", "extractor_depth=3", "steps=2") for word in ("--set", pair)
    ]
    command = ("train", "--full", tmp_path / "full", "--sub", tmp_path / "sub", "--out", tmp_path / "run", *tiny)
    code, _, err = run_cli(*command)
    assert (code, "one subject is in both" in err) == (2, True)
    (tmp_path / "who.csv").write_text("file,subject\na.h5,one\nb.h5,two\n")
    code, _, err = run_cli(*command, "--subjects", tmp_path / "who.csv", "--cache", tmp_path / "cache")
    assert code in TRAINED, err
    evaluate = ("evaluate", tmp_path / "run", "--reference", tmp_path / "full", "--out", tmp_path / "e")
    assert "its subject was used to train" in run_cli(*evaluate)[2]
    (tmp_path / "others.csv").write_text("file,subject\na.h5,three\n")
    code, _, err = run_cli(*evaluate, "--subjects", tmp_path / "others.csv")
    assert code == 0, err


def test_training_and_evaluation_take_names_that_are_no_utf8(tmp_path: Path, run_cli: RunCli) -> None:
    full, sub, test = (
        save(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name + b"\xfc.npy")), masked=False)
        for name in (b"y", b"x", b"t")
    )
    tiny = ("--set", "width=2", "--set", "steps=2", "--set", "picture_every=1")
    command = ("train", "--method", "joint", "--full", full, "--sub", sub, "--out", tmp_path / "run", *tiny)
    code, _, err = run_cli(*command)
    assert code in TRAINED, err
    code, out, err = run_cli("evaluate", tmp_path / "run", "--reference", test, "--out", tmp_path / "e")
    assert (code, "report: " in out) == (0, True), err
