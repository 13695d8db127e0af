"""Files that public reports of this field describe: what is meant is read, or said in words."""

from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest

from switchrecon.errors import DataError
from switchrecon.physics.masks import measured_acceleration
from switchrecon.scans.bids import bids_name
from switchrecon.scans.files import find_files, read_scan, subject_of
from switchrecon.scans.names import identity
from switchrecon.scans.scan import check_fully_sampled, inferred_masks, what_was_measured
from switchrecon.scans.writing import write_images
from tests.conftest import blob_images
from tests.scans.mrd_files import header, lines_of, random_kspace, write_mrd
from tests.scans.test_raw_files import write_fastmri

RunCli = Callable[..., tuple[int, str, str]]
LINES = np.arange(12) % 2 == 0
KSPACE = random_kspace(4, 16, 12)


# Negative values


@pytest.mark.parametrize("kind", ["nii", "npy"])
def test_negative_values_are_said(tmp_path: Path, run_cli: RunCli, kind: str) -> None:
    values = np.arange(-500, 460, dtype=np.int16).reshape(12, 10, 8)
    if kind == "nii":
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")
    else:
        np.save(tmp_path / "a.npy", values)
    code, _, err = run_cli("inspect", tmp_path / f"a.{kind}")
    assert code == 0
    assert f"a.{kind}: 52 % of its values are negative, down to -500" in err


def test_the_slope_of_a_nifti_file_may_make_values_negative(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = nibabel.Nifti1Image(np.arange(960, dtype=np.int16).reshape(12, 10, 8), np.eye(4))
    image.header.set_slope_inter(2.0, -100.0)
    nibabel.save(image, tmp_path / "a.nii")
    read_scan(tmp_path / "a.nii")
    assert "down to -100" in caplog.text
    caplog.clear()
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.int16), np.eye(4)), tmp_path / "b.nii")
    read_scan(tmp_path / "b.nii")
    assert not caplog.text


# Empty slices


def test_empty_slices_are_no_measured_slices(tmp_path: Path) -> None:
    kspace = KSPACE * LINES
    kspace[[0, 3]] = 0
    scan = read_scan(write_fastmri(tmp_path / "a.h5", kspace))
    assert scan.mask is not None
    assert scan.acceleration == measured_acceleration(np.broadcast_to(LINES, (16, 12))) == 2
    assert "(acceleration 2.00)" in what_was_measured(scan)
    with pytest.raises(DataError, match=r"acceleration 2\.0"):
        check_fully_sampled(scan, "expected another")


def test_an_empty_slice_has_the_mask_of_its_neighbour() -> None:
    kspace = KSPACE.copy()
    kspace[1:3] *= LINES
    kspace[0] = 0
    masks = inferred_masks(kspace)
    assert masks is not None
    assert [int(mask.sum()) for mask in masks] == [96, 96, 96, 192]


def test_a_stored_mask_with_an_empty_slice_counts_the_others(tmp_path: Path) -> None:
    mask = np.broadcast_to(LINES, (4, 16, 12)).copy()
    mask[0] = False
    scan = read_scan(write_fastmri(tmp_path / "a.h5", KSPACE, mask=mask))
    assert scan.acceleration == 2


# Spaces of NIfTI files


@pytest.mark.parametrize(("sform", "qform"), [(4, 1), (1, 1), (2, 0), (0, 1), (0, 0), (3, 2)])
def test_codes_and_affines_of_the_source_stay(tmp_path: Path, sform: int, qform: int) -> None:
    image = nibabel.Nifti1Image(np.abs(blob_images(0, 5, 16)).astype(np.float32), np.eye(4))
    first = np.array([[0, 2.0, 0, 1], [-2, 0, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]])
    second = np.array([[2.0, 0, 0, 4], [0, 2, 0, 5], [0, 0, 3, 6], [0, 0, 0, 1]])
    image.header.set_zooms((2, 2, 3))
    image.set_sform(first if sform else None, sform)
    image.set_qform(second if qform else None, qform)
    nibabel.save(image, tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    images = np.ones((len(scan.kspace), *scan.matrix), np.float32)
    written = nibabel.load(write_images(scan, images, tmp_path / "out"))
    source = nibabel.load(tmp_path / "a.nii")
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (sform, qform)
    np.testing.assert_allclose(written.affine, source.affine)
    if qform:
        np.testing.assert_allclose(written.get_qform(), source.get_qform(), atol=1e-5)


def test_images_of_a_scanner_are_in_its_coordinates(tmp_path: Path) -> None:
    dirs = {"read_dir": (1, 0, 0), "phase_dir": (0, 1, 0), "slice_dir": (0, 0, 1)}
    xml = header((16, 12, 1), encoded_field=(160, 120, 5))
    scan = read_scan(write_mrd(tmp_path / "a.mrd", xml, lines_of(KSPACE[:1], **dirs)))
    written = nibabel.load(write_images(scan, np.ones((1, 16, 12)), tmp_path / "out", "nifti"))
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(written.get_qform(), written.get_sform(), atol=1e-5)


def test_a_singular_sform_gives_way_to_a_qform(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = nibabel.Nifti1Image(np.abs(blob_images(0, 5, 16)).astype(np.float32), np.diag([2.0, 2, 3, 1]))
    image.set_qform(np.diag([2.0, 2, 3, 1]), 1)
    image.set_sform(np.diag([2.0, 2, 3, 1]), 1)
    nibabel.save(image, tmp_path / "a.nii")
    with (tmp_path / "a.nii").open("r+b") as file:
        file.seek(280)
        file.write(bytes(48))  # the rows of the sform
    scan = read_scan(tmp_path / "a.nii")
    assert scan.affine is not None
    np.testing.assert_allclose(np.abs(np.linalg.det(scan.affine[:3, :3])), 12)
    assert "the sform is singular; the qform is used" in caplog.text
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[252:254] = bytes(2)  # and no qform
    (tmp_path / "b.nii").write_bytes(content)
    with pytest.raises(DataError, match=r"its affine is singular .* and there is no qform"):
        read_scan(tmp_path / "b.nii")


def test_colours_in_a_nifti_file_are_named(tmp_path: Path) -> None:
    colours = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"found colours \(R, G, B\), expected grey values"):
        read_scan(tmp_path / "a.nii")


# Masks


@pytest.mark.parametrize("shape", [(12,), (1, 12), (1, 12, 1), (1, 1, 12), (1, 1, 12, 1), (16, 12), (4, 1, 12)])
@pytest.mark.parametrize("kind", ["h5", "npz"])
def test_masks_of_every_usual_shape(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    rows = np.broadcast_to(LINES, (4, 16, 12))
    several = {(16, 12): rows[0], (4, 1, 12): rows[:, :1]}
    mask = several[shape] if shape in several else LINES.reshape(shape)
    if kind == "h5":
        write_fastmri(tmp_path / "a.h5", KSPACE, mask=mask)
    else:
        np.savez(tmp_path / "a.npz", kspace=KSPACE, mask=mask)
    scan = read_scan(tmp_path / f"a.{kind}")
    assert scan.mask is not None
    np.testing.assert_array_equal(scan.mask, rows)


@pytest.mark.parametrize("shape", [(11,), (4, 12), (3, 16, 12), (4, 2, 16, 12)])
def test_masks_of_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "a.npz", kspace=KSPACE, mask=np.ones(shape))
    with pytest.raises(DataError, match=r"'mask' has shape"):
        read_scan(tmp_path / "a.npz")


@pytest.mark.parametrize("kind", ["h5", "npz"])
def test_a_mask_with_nan_is_refused(tmp_path: Path, kind: str) -> None:
    mask = np.where(LINES, np.nan, 0)
    if kind == "h5":
        write_fastmri(tmp_path / "a.h5", KSPACE, mask=mask)
    else:
        np.savez(tmp_path / "a.npz", kspace=KSPACE, mask=mask)
    with pytest.raises(DataError, match=r"'mask' holds NaN; expected 0 or 1"):
        read_scan(tmp_path / f"a.{kind}")


# One file by two paths


def test_a_file_is_found_once_however_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d").mkdir()
    np.save(tmp_path / "d" / "a.npy", KSPACE)
    (tmp_path / "link").symlink_to(tmp_path / "d")
    (tmp_path / "other.npy").symlink_to(tmp_path / "d" / "a.npy")
    monkeypatch.chdir(tmp_path)
    ways = ["d/a.npy", "./d/a.npy", "d/../d/a.npy", str(tmp_path / "d/a.npy"), "link", "other.npy", "d", "*/*.npy"]
    for first in ways:
        for second in ways:
            assert len(find_files([first, second])) == 1


# Placeholders


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "anonymous",
        "Anonymized^Patient",
        "ANON001",
        "N/A",
        "n.a.",
        "xxxxxxxx",
        "XXX^XXX",
        "000",
        "None",
        "-",
        "?",
    ],
)
def test_a_placeholder_is_no_identity_in_any_reader(tmp_path: Path, text: str) -> None:
    path = write_fastmri(tmp_path / "one.h5", KSPACE)
    with h5py.File(path, "a") as file:
        file.attrs["patient_id"] = text
    fields = f"<patientName>{text}</patientName><patientID>{text}</patientID>"
    xml = header((16, 12, 1), before=f"<subjectInformation>{fields}</subjectInformation>")
    mrd = write_mrd(tmp_path / "two.mrd", xml, lines_of(KSPACE[:1]))
    for file in (path, mrd):
        assert read_scan(file).subject == subject_of(file) == file.stem


@pytest.mark.parametrize("text", ["7", "11", "P-77", "AA", "Xavier", "file1000001", "100", "subject-3"])
def test_identities_stay(text: str) -> None:
    assert identity("", text) == text
    assert identity("N/A", f" {text} ") == text


def test_a_name_counts_where_the_number_is_a_placeholder(tmp_path: Path) -> None:
    def subject(number: str, name: str) -> str:
        fields = f"<patientName>{name}</patientName><patientID>{number}</patientID>"
        path = tmp_path / "a.mrd"
        path.unlink(missing_ok=True)
        xml = header((16, 12, 1), before=f"<subjectInformation>{fields}</subjectInformation>")
        return subject_of(write_mrd(path, xml, lines_of(KSPACE[:1])))

    assert subject("xxxx", "Doe^Jo") == subject("0", "Doe^Jo") != subject("xxxx", "Doe^Jane")


# HDF5 that is packed with LZF


def test_lzf_is_read_and_checked(tmp_path: Path) -> None:
    smooth = (np.round(KSPACE.real) + 0j).astype(np.complex64)  # packs well
    for kspace in (KSPACE, smooth):
        for more in ({}, {"shuffle": True}, {"shuffle": True, "fletcher32": True}):
            with h5py.File(tmp_path / "a.h5", "w") as file:
                file.create_dataset("kspace", data=kspace, chunks=(1, 16, 12), compression="lzf", **more)
            np.testing.assert_array_equal(read_scan(tmp_path / "a.h5").kspace[:, 0], kspace)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        data = file.create_dataset("kspace", (1, 16, 12), np.complex64, chunks=(1, 16, 12), compression="lzf")
        data.id.write_direct_chunk((0, 0, 0), b"\x00a\xe0\xff\x00")  # one byte, then 264 copies of it
    with pytest.raises(DataError, match="a chunk of dataset 'kspace' does not hold its 1536 bytes"):
        read_scan(tmp_path / "b.h5")


# BIDS names


def test_names_that_differ_in_one_entity_stay_apart() -> None:
    for entity, values in {
        "inv": "12", "flip": "12", "mt": ("on", "off"), "dir": ("AP", "PA"), "part": ("mag", "phase"), "echo": "12",
    }.items():  # fmt: skip
        names = {bids_name(Path(f"sub-01_{entity}-{value}_T1w.nii.gz"), 1) for value in values}
        assert len(names) == 2, entity
