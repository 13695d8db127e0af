"""Repetitions, contrasts, phases and sets are axes of their own in all that is written, and no places in space."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pydicom
import pytest

from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError
from switchrecon.scans.bids import bids_name, series_target
from switchrecon.scans.convert import convert_file
from switchrecon.scans.files import find_files, read_scan
from switchrecon.scans.scan import Scan
from switchrecon.scans.series import series_of
from switchrecon.scans.writing import write_images
from tests.scans.mrd_files import header, lines_of, random_kspace, write_mrd
from tests.scans.test_image_files import bids_errors, dicom_errors

RunCli = Callable[..., tuple[int, str, str]]
DIRS = {"read_dir": (1, 0, 0), "phase_dir": (0, 1, 0), "slice_dir": (0, 0, 1)}
TRUTH = random_kspace(2, 2, 3, 1, 16, 12)  # contrast, repetition, slice, coil, H, W
XML = header((16, 12, 1), encoded_field=(160, 120, 4))


def make(path: Path, leave_out: tuple[int, int, int] | None = None) -> Path:
    """Three slices, 4 mm apart, twice with two contrasts."""
    readouts = []
    for contrast, repetition, number in np.ndindex(2, 2, 3):
        if (contrast, repetition, number) != leave_out:
            numbers = {"contrast": contrast, "repetition": repetition, "slice": number}
            kspace = TRUTH[contrast, repetition, number]
            readouts += lines_of(kspace, position=(0, 0, 4.0 * number), **numbers, **DIRS)
    return write_mrd(path, XML, readouts)


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    return read_scan(make(tmp_path / "a.mrd"))


def images_of(scan: Scan) -> np.ndarray:
    """Images that say which they are: 100 · contrast + 10 · repetition + slice."""
    numbers = scan.geometry.indices @ [100, 10, 0, 0, 1]
    return np.broadcast_to(numbers[:, None, None], (len(numbers), *scan.matrix)).astype(np.float32) + 1


def test_series_are_told_apart(scan: Scan) -> None:
    found = [(series.labels, series.numbers.tolist()) for series in series_of(scan)]
    assert found == [
        ({"contrast": contrast, "repetition": repetition}, [first, first + 1, first + 2])
        for first, (contrast, repetition) in zip((0, 3, 6, 9), ((1, 1), (1, 2), (2, 1), (2, 2)), strict=True)
    ]


def test_nifti_has_a_fourth_axis_that_is_named(tmp_path: Path, scan: Scan) -> None:
    volume = nibabel.load(write_images(scan, images_of(scan), tmp_path / "out", "nifti"))
    assert volume.shape == (16, 12, 3, 4)
    np.testing.assert_array_equal(
        np.asarray(volume.dataobj)[0, 0], [[1, 11, 101, 111], [2, 12, 102, 112], [3, 13, 103, 113]]
    )
    assert [float((volume.affine @ (0, 0, n, 1))[2]) for n in range(3)] == pytest.approx([0, 4, 8])
    assert bytes(volume.header["intent_name"]).rstrip(b"\0") == b"contrast,repeti"
    assert b"axis 4: contrast,repetition" in bytes(volume.header["descrip"])
    one = write_mrd(tmp_path / "b.mrd", XML, lines_of(TRUTH[0, 0, 0], **DIRS))
    assert nibabel.load(write_images(read_scan(one), np.ones((1, 16, 12)), tmp_path / "out", "nifti")).ndim == 3


def test_dicom_has_a_series_each(tmp_path: Path, scan: Scan) -> None:
    folder = write_images(scan, images_of(scan), tmp_path / "out", "dicom")
    folders = find_files([folder])
    assert [path.name for path in folders] == [
        f"contrast-{contrast}_repetition-{repetition}" for contrast in (1, 2) for repetition in (1, 2)
    ]
    seen = set()
    for number, path in enumerate(folders):
        headers = [pydicom.dcmread(file) for file in sorted(path.iterdir())]
        assert [float(own.ImagePositionPatient[2]) for own in headers] == pytest.approx([0, 4, 8])
        assert {(int(own.EchoNumbers), int(own.TemporalPositionIdentifier)) for own in headers} == {
            (1 + number // 2, 1 + number % 2)
        }
        assert headers[0].NumberOfTemporalPositions == 2
        assert f"repetition {1 + number % 2}" in headers[0].ImageComments
        seen.add((headers[0].SeriesInstanceUID, headers[0].SeriesNumber))
        again = read_scan(path)
        assert len(again.kspace) == 3
        assert {own.StudyInstanceUID for own in headers} == {pydicom.dcmread(folders[0] / "0001.dcm").StudyInstanceUID}
        values = headers[1].pixel_array * float(headers[1].RescaleSlope)
        np.testing.assert_allclose(values, 100 * (number // 2) + 10 * (number % 2) + 2, rtol=1e-4)
    assert len(seen) == 4
    write_images(scan, images_of(scan), tmp_path / "out", "dicom")  # is replaced
    (folder / "contrast-1_repetition-1" / "note.txt").write_text("of someone else")
    with pytest.raises(DataError, match=r"holds note\.txt"):
        write_images(scan, images_of(scan), tmp_path / "out", "dicom")


def test_written_series_are_valid_dicom(tmp_path: Path, scan: Scan) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dicom3tools are not installed")
    folder = write_images(scan, images_of(scan), tmp_path / "out", "dicom")
    for file in folder.rglob("*.dcm"):
        assert dicom_errors(file) == []


@pytest.mark.parametrize("option", ["hdf5", "numpy", "bart", "png"])
def test_other_formats_have_a_file_each(tmp_path: Path, scan: Scan, option: str) -> None:
    first = write_images(scan, images_of(scan), tmp_path / "out", option)
    ending = {"hdf5": ".h5", "numpy": ".npy", "bart": ".cfl", "png": ""}[option]
    expected = {f"a_contrast-{c}_repetition-{r}{ending}" for c in (1, 2) for r in (1, 2)}
    written = {path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".hdr"}
    assert (written, first.name) == (expected, min(expected))
    with pytest.raises(DataError, match=r"a_contrast-1_repetition-1.*: exists already"):
        write_images(scan, images_of(scan), tmp_path / "out", option, overwrite=False)
    if option == "hdf5":
        with h5py.File(tmp_path / "out" / "a_contrast-2_repetition-1.h5") as file:
            np.testing.assert_array_equal(file["reconstruction"][:, 0, 0], [101, 102, 103])


def test_bids_has_an_image_each_and_is_valid(tmp_path: Path, scan: Scan) -> None:
    write_images(scan, images_of(scan), tmp_path / "out", "bids")
    named = Scan(tmp_path / "sub-7_run-1_T1w.mrd", "7", scan.kspace, affine=scan.affine, geometry=scan.geometry)
    write_images(named, images_of(scan), tmp_path / "out", "bids")
    names = sorted(path.name for path in (tmp_path / "out").rglob("*.nii.gz"))
    assert names == [
        *(f"sub-001_acq-echo{c}_run-{r}_desc-recon_S0map.nii.gz" for c in (1, 2) for r in (1, 2)),
        *(f"sub-7_rec-repetition{r}_run-1_echo-{c}_desc-recon_T1w.nii.gz" for r in (1, 2) for c in (1, 2)),
    ]
    for path in (tmp_path / "out").rglob("*.nii.gz"):
        assert nibabel.load(path).shape == (16, 12, 3)
    if shutil.which("bids-validator-deno") or (Path(".venv/bin") / "bids-validator-deno").exists():
        assert bids_errors(tmp_path / "out") == []


def test_phases_and_sets_in_bids(tmp_path: Path) -> None:
    target = tmp_path / bids_name(Path("sub-1_T2w.h5"), 1)
    assert series_target(target, {"phase": 2, "set": 1}).name == "sub-1_rec-phase2set1_desc-recon_T2w.nii.gz"
    assert series_target(target, {"contrast": 3}).name == "sub-1_echo-3_desc-recon_T2w.nii.gz"


def test_converted_k_space_has_a_file_each(tmp_path: Path, run_cli: RunCli) -> None:
    path = make(tmp_path / "a.mrd")
    code, _, err = run_cli("convert", path, tmp_path / "out" / "b.h5")
    assert code == 0, err
    for contrast, repetition in np.ndindex(2, 2):
        again = read_scan(tmp_path / "out" / f"b_contrast-{contrast + 1}_repetition-{repetition + 1}.h5")
        np.testing.assert_array_equal(again.kspace, TRUTH[contrast, repetition])
    code, _, err = run_cli("convert", path, tmp_path / "out" / "b.h5")
    assert (code, "exists already" in err) == (2, True)
    assert run_cli("convert", path, tmp_path / "out" / "b.h5", "--overwrite")[0] == 0
    convert_file(path, tmp_path / "c.nii.gz")
    assert nibabel.load(tmp_path / "c.nii.gz").shape == (16, 12, 3, 4)


def test_series_of_unequal_numbers_of_slices(tmp_path: Path) -> None:
    scan = read_scan(make(tmp_path / "a.mrd", leave_out=(1, 1, 2)))
    with pytest.raises(DataError, match=r"a\.mrd: its series have 2 and 3 slices"):
        write_images(scan, images_of(scan), tmp_path / "out", "nifti")
    write_images(scan, images_of(scan), tmp_path / "out", "hdf5")
    with h5py.File(tmp_path / "out" / "a_contrast-2_repetition-2.h5") as file:
        assert file["reconstruction"].shape == (2, 16, 12)


def test_partitions_of_repeated_slabs(tmp_path: Path) -> None:
    xml = header((16, 12, 2), encoded_field=(160, 120, 8))
    readouts = [
        line
        for repetition, partition in np.ndindex(3, 2)
        for line in lines_of(TRUTH[0, 0, 0], repetition=repetition, kspace_encode_step_2=partition, **DIRS)
    ]
    scan = read_scan(write_mrd(tmp_path / "a.mrd", xml, readouts))
    assert [series.numbers.tolist() for series in series_of(scan)] == [[0, 1], [2, 3], [4, 5]]
    assert nibabel.load(write_images(scan, images_of(scan), tmp_path, "nifti")).shape == (16, 12, 2, 3)


def test_time_of_an_array_is_a_series(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", random_kspace(5, 2, 1, 16, 12))
    for layout in (None, "tschw"):
        scan = read_scan(tmp_path / "a.npy", ReadOptions(layout=layout))
        assert [series.labels for series in series_of(scan)] == [{"repetition": n} for n in range(1, 6)]
    assert nibabel.load(write_images(scan, np.abs(scan.kspace[:, 0]), tmp_path / "out", "nifti")).shape == (
        16,
        12,
        2,
        5,
    )


def test_inspect_says_the_axes(tmp_path: Path, run_cli: RunCli) -> None:
    said = run_cli("inspect", make(tmp_path / "a.mrd"))[1]
    assert "slices run over 2 contrasts, 2 repetitions, 3 slices" in said
