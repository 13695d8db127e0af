"""Neighbours of faults from the field: layouts, masks, tags and folders that could give wrong numbers in silence."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pydicom
import pytest

from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError
from switchrecon.scans.dicom_write import write_dicom
from switchrecon.scans.files import find_files, read_scan
from switchrecon.scans.names import identity
from switchrecon.scans.scan import Scan
from tests.scans.mrd_files import header, lines_of, random_kspace, readout, write_mrd

K = random_kspace(2, 3, 16, 12)
EMBEDDED = "<parallelImaging><calibrationMode>embedded</calibrationMode></parallelImaging>"
Write = Callable[..., Path]


@pytest.fixture
def mrd(tmp_path: Path) -> Write:
    return lambda xml, lines: write_mrd(tmp_path / "a.mrd", xml, lines)


XML = header((16, 12, 1), encoded_field=(160, 120, 4))


def test_lines_that_all_serve_the_calibration_are_the_image_where_it_is_embedded(mrd: Write) -> None:
    scan = read_scan(mrd(header((16, 12, 1), after=EMBEDDED), lines_of(K[0], flags=[20])))
    np.testing.assert_array_equal(scan.kspace[0], K[0])


def test_and_are_none_where_it_is_not(mrd: Write) -> None:
    with pytest.raises(DataError, match="none of 12 readouts is for an image"):
        read_scan(mrd(XML, lines_of(K[0], flags=[20])))


def test_a_centre_that_full_readouts_cannot_have_is_said(mrd: Write, messages: list[str]) -> None:
    scan = read_scan(mrd(XML, lines_of(K[0], center_sample=5)))
    np.testing.assert_array_equal(scan.kspace[0], K[0])
    assert len(messages) == 1
    assert "say that their centre is sample 5; no sample is moved, so that it is 8" in messages[0]


@pytest.mark.parametrize("centre", [0, 7, 8])
def test_a_centre_that_is_not_given_or_in_the_middle_is_not(mrd: Write, messages: list[str], centre: int) -> None:
    np.testing.assert_array_equal(read_scan(mrd(XML, lines_of(K[0], center_sample=centre))).kspace[0], K[0])
    assert not messages


def test_a_noise_scan_of_other_channels_is_said(mrd: Write, messages: list[str]) -> None:
    scan = read_scan(mrd(XML, [readout(random_kspace(5, 16), flags=[19]), *lines_of(K[0])]))
    assert scan.noise is None
    assert "its noise scan has 5 channels, the image 3; it is not used" in messages[0]


def test_slices_counted_as_partitions_are_refused(mrd: Write) -> None:
    xml = header((16, 12, 2), encoded_field=(160, 120, 8))
    lines = [line for s in range(2) for line in lines_of(K[s], kspace_encode_step_2=s, slice=s)]
    with pytest.raises(DataError, match="a slab of 2 partitions has lines of 1; expected more than half"):
        read_scan(mrd(xml, lines))


@pytest.mark.parametrize("first", [0, 1])
def test_a_slab_of_which_most_partitions_are_measured_is_read(mrd: Write, first: int) -> None:
    slab = random_kspace(4, 3, 16, 12)
    xml = header((16, 12, 4), encoded_field=(160, 120, 16), centre=(6, 2 - first))
    lines = [line for z in range(first, 4) for line in lines_of(slab[z], kspace_encode_step_2=z - first)]
    slab[:first] = 0
    expected = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(slab, axes=0), axis=0, norm="ortho"), axes=0)
    np.testing.assert_allclose(read_scan(mrd(xml, lines)).kspace, expected, atol=1e-5)


@pytest.mark.parametrize("oversampled", [1, 2])
def test_calibration_of_coarser_partitions_lies_where_the_image_does(mrd: Write, oversampled: int) -> None:
    """Of an object that lies in the middle of the slab and has no finer detail than the coarse lines show."""
    depth, few, band = 16, 8, slice(4, 12)
    profile = np.exp(-(((np.arange(depth) - depth // 2) / 1.2) ** 2) / 2)
    ramp = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(profile), norm="ortho"))
    slab = (ramp[:, None, None, None] * random_kspace(1, 3, 16, 12)).astype(np.complex64)
    slab[: band.start] = slab[band.stop :] = 0
    fields = (160, 120, 32), (160, 120, 32 / oversampled)
    xml = header((16, 12, depth), (16, 12, depth // oversampled), *fields)
    coarse = header((8, 6, few), (8, 6, few // oversampled), *fields)
    xml = xml.replace("</ismrmrdHeader>", coarse[coarse.index("<encoding>") :])
    lines = []
    for partition in range(depth):
        for step in (0, 3, 6, 9):
            numbers = {"kspace_encode_step_1": step, "kspace_encode_step_2": partition}
            lines.append(readout(slab[partition][:, :, step], **numbers))
    for partition in range(few):
        for step in range(6):
            numbers = {"kspace_encode_step_1": step, "kspace_encode_step_2": partition, "encoding_space_ref": 1}
            lines.append(readout(slab[partition + band.start][:, 4:12, step + 3], flags=[20], **numbers))
    scan = read_scan(mrd(xml, lines))
    assert scan.calibration is not None
    expected = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(slab, axes=0), axis=0, norm="ortho"), axes=0)
    kept = depth // oversampled
    expected = expected[depth // 2 - kept // 2 :][:kept, :, 4:12, 3:9]
    difference = scan.calibration[:, :, 4:12, 3:9] - expected
    assert np.abs(difference).max() < (1e-5 if oversampled == 1 else 0.1) * np.abs(expected).max()


# ---- masks


def stored(path: Path, kspace: np.ndarray, mask: np.ndarray) -> Path:
    if path.suffix == ".npz":
        np.savez(path, kspace=kspace, mask=mask)
    else:
        with h5py.File(path, "w") as file:
            file["kspace"], file["mask"] = kspace, mask
    return path


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_a_mask_of_the_opposite_meaning_leaves_nothing_and_is_refused(tmp_path: Path, name: str) -> None:
    mask = np.arange(12) % 2 == 0
    with pytest.raises(DataError, match="its mask leaves no sample but zeros; expected 0 where nothing was measured"):
        read_scan(stored(tmp_path / name, K * mask, ~mask))


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_a_mask_that_claims_zeros_is_said(tmp_path: Path, messages: list[str], name: str) -> None:
    path = stored(tmp_path / name, K * (np.arange(12) % 2 == 0), np.ones(12))
    read_scan(path)
    assert "its mask says that 100 % of the samples were measured, of which 50 % are zero in all coils" in messages[0]


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_a_mask_that_fits_is_not(tmp_path: Path, messages: list[str], name: str) -> None:
    mask = np.arange(12) % 2 == 0
    assert read_scan(stored(tmp_path / name, K * mask, mask)).acceleration == 2
    border = K * (np.arange(12) > 3)  # partial Fourier: zeros that only border the samples
    read_scan(stored(tmp_path / f"b{name}", border, np.ones(12)))
    assert not messages


def test_a_mask_that_may_be_of_rows_or_of_columns_is_refused(tmp_path: Path) -> None:
    square, mask = random_kspace(2, 1, 12, 12), (np.arange(12) % 2 == 0)
    with pytest.raises(DataError, match="may be one of rows or of columns"):
        read_scan(stored(tmp_path / "a.npz", square, mask[:, None]))
    for number, fine in enumerate((mask[None], mask[None, :, None])):
        scan = read_scan(stored(tmp_path / f"{number}.npz", square, fine))
        assert scan.mask is not None
        np.testing.assert_array_equal(scan.mask[0], np.broadcast_to(mask, (12, 12)))


def test_real_and_imaginary_parts_along_the_first_axis(tmp_path: Path) -> None:
    one = K[0, 0]
    np.save(tmp_path / "a.npy", np.stack([one.real, one.imag]))
    with pytest.raises(DataError, match="set layout=rhw if it is, layout=shw if these are two images"):
        read_scan(tmp_path / "a.npy")
    np.testing.assert_array_equal(read_scan(tmp_path / "a.npy", ReadOptions(layout="rhw")).kspace[0, 0], one)
    assert read_scan(tmp_path / "a.npy", ReadOptions(layout="shw")).image
    np.save(tmp_path / "b.npy", np.abs(K[:, 0]))
    assert read_scan(tmp_path / "b.npy").image
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["kspace"] = np.stack([K.real, K.imag], 1)
    with pytest.raises(DataError, match="'layout', such as srhw or scrhw"):
        read_scan(tmp_path / "c.h5")
    np.testing.assert_array_equal(read_scan(tmp_path / "c.h5", ReadOptions(layout="srchw")).kspace, K)


def test_records_of_two_parts_are_complex_also_where_they_are_not_called_kspace(tmp_path: Path) -> None:
    records = np.zeros(K.shape, [("real", "f4"), ("imag", "f4")])
    records["real"], records["imag"] = K.real, K.imag
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"], file["more"] = records, np.ones(3)
    np.testing.assert_array_equal(read_scan(tmp_path / "a.h5").kspace, K)


# ---- who was scanned


@pytest.mark.parametrize(
    "text",
    [
        "Unknown Patient",
        "999999",
        "ZZZZZZ",
        "de identified",
        "patient id",
        "N/A",
        "Not known",
        "pseudonymized",
        "no^name",
    ],
)
def test_what_names_no_one(text: str) -> None:
    assert identity(text) == ""


@pytest.mark.parametrize("text", ["1", "12", "99", "Patient 7", "subject-004", "Nanette", "xylo", "Noe", "a1", "Zoe"])
def test_what_names_someone(text: str) -> None:
    assert identity(text) == text


# ---- DICOM, folders


@pytest.fixture
def series(tmp_path: Path) -> Callable[..., Path]:
    def make(edit: Callable[[pydicom.Dataset, int], None]) -> Path:
        folder = tmp_path / "series"
        shutil.rmtree(folder, ignore_errors=True)
        scan = Scan(tmp_path / "a.h5", "a", K[:, :1], affine=np.diag([-1.0, -1, 3, 1]))
        write_dicom(scan, np.abs(K[:, 0]), folder)
        for number, file in enumerate(sorted(folder.iterdir())):
            content = pydicom.dcmread(file)
            edit(content, number)
            content.save_as(file)
        return folder

    return make


@pytest.mark.parametrize("name", ["Rows", "Columns", "BitsStored", "PixelRepresentation", "PhotometricInterpretation"])
def test_an_attribute_that_is_missing_is_named(series: Callable[..., Path], name: str) -> None:
    with pytest.raises(DataError, match=rf"0001\.dcm: says nothing of {name}"):
        read_scan(series(lambda content, number: delattr(content, name)))


def test_images_of_two_patients_are_no_series(series: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="holds images of 2 patients"):
        read_scan(series(lambda content, number: setattr(content, "PatientID", f"P{number}")))


def test_a_folder_that_lost_its_dicom_files_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    with pytest.raises(DataError, match="is a folder without DICOM files"):
        read_scan(tmp_path / "series")


def test_a_pipe_is_no_file_and_nobody_waits_for_it(tmp_path: Path, run_cli: Callable) -> None:
    os.mkfifo(tmp_path / "scan.npy")
    code, _, err = run_cli("inspect", tmp_path / "scan.npy")
    assert (code, "is a pipe or a device" in err) == (2, True)


def test_linked_folders_are_read_and_loops_are_not(tmp_path: Path, messages: list[str]) -> None:
    for place in ("data/site", "elsewhere/deep", "data/.hidden"):
        (tmp_path / place).mkdir(parents=True)
        np.save(tmp_path / place / "a.npy", K)
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/loop").symlink_to(".")
    (tmp_path / "data/site/up").symlink_to("../..")
    (tmp_path / "data/site/self").symlink_to("self")
    found = [str(path.relative_to(tmp_path)) for path in find_files([tmp_path / "data"], recursive=True)]
    assert found == ["data/linked/deep/a.npy", "data/site/a.npy"]
    assert not messages
    np.save(tmp_path / "data/b.npy", K)
    (tmp_path / "only").mkdir()
    np.save(tmp_path / "only/a.npy", K)
    (tmp_path / "only/loop").symlink_to(".")
    assert len(find_files([tmp_path / "only"])) == 1
    assert not messages  # what a loop leads to is not left out
