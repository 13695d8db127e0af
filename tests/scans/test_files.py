"""Damaged files among sound ones: refused in one sentence, nothing half-written, and the others are done."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch

from switchrecon.errors import DataError
from switchrecon.physics.fourier import fourier
from switchrecon.scans.bart import write_bart
from switchrecon.scans.dicom_write import write_dicom
from switchrecon.scans.fastmri import write_fastmri
from switchrecon.scans.files import read_scan
from switchrecon.scans.hdf5 import open_hdf5, read_dataset
from switchrecon.scans.scan import Scan
from tests.conftest import blob_images
from tests.scans.mrd_files import header, lines_of, write_mrd

RunCli = Callable[..., tuple[int, str, str]]
MASK = np.random.RandomState(0).uniform(size=64) < 0.5


def kspace_of(subject: int) -> np.ndarray:
    return fourier(torch.from_numpy(blob_images(subject, 2))).numpy() * MASK


def sound_files(folder: Path) -> list[Path]:
    """One scan in every format."""
    folder.mkdir()
    with h5py.File(folder / "a.h5", "w") as file:
        file["kspace"] = kspace_of(1)
    with h5py.File(folder / "b.h5", "w") as file:
        file.create_dataset("kspace", data=kspace_of(1), chunks=(1, 64, 64), compression="gzip", fletcher32=True)
    volume = np.abs(blob_images(1, 8)).astype(np.float32).transpose(1, 2, 0)
    for name in ("c.nii", "d.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / name)
    np.save(folder / "e.npy", kspace_of(1))
    np.savez(folder / "f.npz", kspace=kspace_of(1))
    write_bart(kspace_of(1), folder / "g.cfl")
    xml = header((64, 64, 1), encoded_field=(240, 240, 5))
    write_mrd(
        folder / "h.mrd", xml, [line for n, own in enumerate(kspace_of(1)) for line in lines_of(own[None], slice=n)]
    )
    scan = Scan(folder / "i.h5", "i", kspace_of(1), affine=np.diag([-1.0, -1, 3, 1]))
    write_dicom(scan, np.abs(blob_images(1, 1)), folder / "series")
    next((folder / "series").iterdir()).rename(folder / "i.dcm")
    (folder / "series").rmdir()
    return sorted(path for path in folder.iterdir() if path.suffix != ".hdr")


FORMATS = ["a.h5", "b.h5", "c.nii", "d.nii.gz", "e.npy", "f.npz", "g.cfl", "h.mrd", "i.dcm"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_cut_of_every_format_is_exit_code_2_and_leaves_nothing(
    tmp_path: Path, run_cli: RunCli, trained: Callable[..., Path], name: str
) -> None:
    """At every hundredth of its length."""
    path = next(file for file in sound_files(tmp_path / "scans") if file.name == name)
    out, content = tmp_path / "out", path.read_bytes()
    command = ["reconstruct", trained(), path, "--out", out, "--undersample", "run"]
    run_cli("--version")  # takes what a training for this test has said
    for percent in range(100):
        path.write_bytes(content[: len(content) * percent // 100])
        code, _, err = run_cli(*command)
        assert code == 2, percent
        said = [line for line in err.splitlines() if not line.startswith("warning: ")]
        assert said[0].startswith(f"failed: {path}: "), (percent, err)
        assert "Traceback" not in err
        assert not out.exists() or not list(out.iterdir())
    path.write_bytes(content)
    assert run_cli(*command)[0] == 0


def test_a_flipped_bit_of_our_hdf5_output_is_noticed(tmp_path: Path) -> None:
    """By the checksum of each slice, or since the structure is broken; or it changed nothing that is read."""
    path, images = tmp_path / "out.h5", np.abs(blob_images(1, 4))
    write_fastmri(Scan(path, "s", kspace_of(1)), images, path)
    content, random = path.read_bytes(), np.random.RandomState(0)
    silent = 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[random.randint(len(damaged))] ^= 1 << random.randint(8)
        path.write_bytes(damaged)
        try:
            with open_hdf5(path) as file:
                found = read_dataset(path, file, "reconstruction")
        except DataError:
            continue
        silent += found is None or not np.array_equal(found, images)
    assert silent <= 3


def test_one_corrupt_scan_of_ten_does_not_stop_the_other_nine(
    tmp_path: Path, run_cli: RunCli, trained: Callable[..., Path]
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    for subject in range(10):
        np.save(scans / f"subject{subject}.npy", kspace_of(subject))
    corrupt = scans / "subject4.npy"
    corrupt.write_bytes(corrupt.read_bytes()[:5000])
    code, said, err = run_cli("reconstruct", trained(), scans, "--out", out)
    assert code == 3
    assert said.count(" -> ") == 9
    assert f"failed: {corrupt}: not a readable .npy or .npz file" in err
    assert err.splitlines()[-1] == "9 of 10 scans reconstructed"
    done = [f"subject{n}" for n in range(10) if n != 4]
    assert {p.name for p in out.iterdir()} == {name + end for name in done for end in (".npy", "_desc-invented.npy")}


READERS = """
import hashlib, os, signal, sys
from pathlib import Path
from switchrecon.config import load_config
from switchrecon.scans.files import read_scan
import torch
torch.set_num_threads(1)  # threads of OpenMP do not survive a fork, and wait for each other in the child
paths = [Path(p) for p in sys.argv[1:]]
def digest():
    read = [read_scan(path).kspace.tobytes() for _ in range(3) for path in paths]
    return hashlib.sha256(b"".join(read)).digest()
expected = digest()  # the parent has had HDF5 open before it forks
signal.alarm(300)
children = []
for _ in range(8):
    child = os.fork()
    if child == 0:
        os._exit(0 if digest() == expected else 1)
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children])
"""


def test_eight_processes_read_the_same(tmp_path: Path) -> None:
    files = sound_files(tmp_path / "scans")
    command = [sys.executable, "-c", READERS, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=400)
    assert done.stdout.strip() == str([0] * 8), done.stderr


# Bad values


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["k.h5", "k.npy", "k.nii"])
def test_values_that_are_no_numbers_name_the_file_and_the_slice(tmp_path: Path, name: str, value: float) -> None:
    path = tmp_path / name
    kspace = kspace_of(1)
    kspace[1, 5, 6] = value
    if name.endswith("h5"):
        with h5py.File(path, "w") as file:
            file["kspace"] = kspace
    elif name.endswith("npy"):
        np.save(path, kspace)
    else:
        volume = np.abs(kspace).transpose(1, 2, 0)[..., ::-1] if np.isnan(value) else np.abs(kspace).transpose(1, 2, 0)
        nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(volume), np.eye(4)), path)
    with pytest.raises(DataError, match=rf"{name}: .* of slice [01] holds NaN or infinity"):
        read_scan(path)


@pytest.mark.parametrize("kind", ["<c8", ">c8", "<c16", ">c16"])
def test_every_complex_type_is_the_same_scan(tmp_path: Path, kind: str) -> None:
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["kspace"] = kspace_of(1).astype(kind)
    np.save(tmp_path / "k.npy", kspace_of(1).astype(kind))
    for name in ("k.h5", "k.npy"):
        np.testing.assert_array_equal(read_scan(tmp_path / name).kspace[:, 0], kspace_of(1))


@pytest.mark.parametrize("kind", ["i2", ">i2", "u1", "f4", "f8", ">f8", "i4"])
def test_every_real_type_is_an_image(tmp_path: Path, kind: str) -> None:
    values = (np.abs(blob_images(1, 2)) * 50).round()
    np.save(tmp_path / "i.npy", values.astype(kind))
    np.save(tmp_path / "f.npy", values.astype("f4"))
    nibabel.save(
        nibabel.Nifti1Image(values.transpose(1, 2, 0).astype(kind), np.eye(4), dtype=np.dtype(kind)), tmp_path / "i.nii"
    )
    first, second = (read_scan(tmp_path / name).kspace for name in ("i.npy", "f.npy"))
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-5)
    assert read_scan(tmp_path / "i.nii").image


def test_wrong_shapes_types_and_masks_say_what_was_found_and_expected(tmp_path: Path) -> None:
    path = tmp_path / "k.h5"
    kspace = kspace_of(1)
    cases: list[tuple[dict[str, np.ndarray], str]] = [
        ({"kspace": kspace.real}, "dataset 'kspace' has type float32, expected complex"),
        ({"kspace": kspace.real.astype("i2")}, "dataset 'kspace' has type int16, expected complex"),
        ({"kspace": kspace[0]}, r"dataset 'kspace' has shape \(64, 64\), expected"),
        ({"kspace": kspace[None, None]}, r"dataset 'kspace' has shape \(1, 1, 2, 64, 64\), expected"),
        ({"kspace": kspace[:0]}, "empty array"),
        ({"kspace": 0 * kspace}, "all 2 slices are zero"),
        ({"kspace": kspace, "mask": MASK[:63]}, r"dataset 'mask' has shape \(63,\), expected \(64,\)"),
        ({"kspace": kspace, "mask": 0 * MASK}, "dataset 'mask' is all zero"),
        ({"mask": MASK}, "no dataset 'kspace'"),
    ]
    for content, message in cases:
        with h5py.File(path, "w") as file:
            for name, array in content.items():
                file[name] = array
        with pytest.raises(DataError, match=message) as caught:
            read_scan(path)
        assert str(path) in str(caught.value)
