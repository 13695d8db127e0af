"""What a scan says of its patient stays there: planted words appear in no output, log, report, checkpoint or error."""

import gzip
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import h5py
import nibabel
import numpy as np
import torch

from switchrecon.physics.fourier import fourier
from tests.conftest import TRAINED, blob_images

RunCli = Callable[..., tuple[int, str, str]]
TINY = [f"--set={s}" for s in ("method=switchable", "width=2", "residual_blocks=1", "extractor_depth=3", "steps=4")]
FIELDS = (
    "patient_name",
    "patient_birthdate",
    "patient_sex",
    "accession",
    "institution",
    "referring_physician",
    "acquisition",
    "study_date",
    "station",
    "operator",
)


def word(what: str, number: int) -> str:
    """A planted word; the same start everywhere, so that one search finds any."""
    return f"Canary{number:02d}{what[:6]}"


def plant_hdf5(path: Path, number: int, mask: np.ndarray | None) -> None:
    kspace = fourier(torch.from_numpy(blob_images(number, 4))).numpy()
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace if mask is None else kspace * mask
        file.attrs["patient_id"] = word("id", number)
        for field in FIELDS:
            file.attrs[field] = word(field, number)
            file["kspace"].attrs[field] = word(field, number)
        file["ismrmrd_header"] = f"<x><patientName>{word('xml', number)}</patientName></x>"
        file.create_dataset("notes", data=word("note", number))


def plant_nifti(path: Path, number: int) -> None:
    volume = np.abs(blob_images(number, 4)).astype(np.float32).transpose(1, 2, 0)
    image = nibabel.Nifti1Image(volume, np.diag([1, 1, 3, 1]))
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = word(field, number).encode()
    for code, text in ((6, "comment"), (2, "dicom")):
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, word(text, number).encode()))
    nibabel.save(image, path)


def leaks(folder: Path) -> list[Path]:
    """Files that hold a planted word, also inside compressed parts."""
    found = []
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        if content[:2] == b"PK":
            with zipfile.ZipFile(BytesIO(content)) as archive:
                content += b"".join(archive.read(name) for name in archive.namelist())
        wide = "Canary".encode("utf-16-le"), "Canary".encode("utf-32-le")
        if b"Canary" in content or any(form in content for form in wide):
            found.append(path)
    return found


def test_nothing_of_a_patient_gets_out(tmp_path: Path, run_cli: RunCli) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    mask = np.random.RandomState(0).uniform(size=64) < 0.5
    mask[28:36] = True
    plant_hdf5(scans / "full.h5", 1, None)
    plant_hdf5(scans / "sub.h5", 2, mask)
    plant_hdf5(scans / "test.h5", 3, None)
    plant_nifti(scans / "image.nii.gz", 4)
    plant_nifti(scans / "other.nii", 5)
    plant_hdf5(scans / "small.h5", 6, None)
    with h5py.File(scans / "small.h5", "a") as file:
        del file["kspace"]
        file["kspace"] = np.ones((1, 8, 9), np.complex64)
    assert len(leaks(scans)) == 6  # the words are there to be found
    run, evaluation = out / "run", out / "evaluation"
    damaged = scans / "damaged.h5"
    damaged.write_bytes((scans / "test.h5").read_bytes()[:9000])
    broken = scans / "broken.nii"
    broken.write_bytes((scans / "other.nii").read_bytes()[:9000])
    full, sub, other = scans / "full.h5", scans / "sub.h5", scans / "other.nii"
    commands: list[tuple[int, list[object]]] = [
        (0, ["train", "--full", full, "--sub", sub, "--out", run, *TINY]),
        (0, ["reconstruct", run, sub, "--out", out / "images"]),
        (0, ["reconstruct", run, scans / "image.nii.gz", other, "--out", out, "--undersample", "run"]),
        (3, ["reconstruct", run, scans, "--out", out / "all", "--undersample", "run"]),
        (
            0,
            [
                "evaluate",
                run,
                "--reference",
                scans / "test.h5",
                "--reference",
                scans / "other.nii",
                "--out",
                evaluation,
            ],
        ),
        (0, ["report", run, "--claim"]),
        (0, ["report", evaluation, "--claim"]),
        (0, ["compare-domains", "--full", full, "--sub", sub, "--out", out / "domains"]),
        (2, ["train", "--full", full, "--sub", scans / "test.h5", "--out", run, "--resume", *TINY]),
        (2, ["train", "--full", damaged, "--sub", sub, "--out", out / "no", *TINY]),
        (2, ["train", "--full", broken, "--sub", sub, "--out", out / "no", *TINY]),
        (2, ["train", "--full", full, "--sub", scans / "small.h5", "--out", out / "no", *TINY]),
        (2, ["evaluate", run, "--reference", full, "--out", out / "no"]),
        (2, ["reconstruct", run, scans / "test.h5", "--out", out / "no"]),
    ]
    for expected, command in commands:
        code, said, err = run_cli(*command)
        assert code in (TRAINED if command[0] == "train" and not expected else (expected,)), (command, err)
        assert "Canary" not in said + err, command
    assert len(list(out.rglob("*"))) > 20
    assert leaks(out) == []
