"""Images in and out: geometry that independent programs agree with, and files that name no one."""

import gzip
import json
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.datadict import DicomDictionary, dictionary_keyword

from switchrecon.config import load_config
from switchrecon.core.files import NOTE, atomic_folder
from switchrecon.errors import ConfigError, DataError
from switchrecon.physics.fourier import fourier, inverse_fourier
from switchrecon.scans import dicom
from switchrecon.scans.bids import bids_name
from switchrecon.scans.files import find_files, read_scan, recognise, subject_of
from switchrecon.scans.scan import Scan
from switchrecon.scans.writing import OWN, image_format, image_formats, image_target, write_images
from tests.conftest import blob_images

MR = dicom.CLASSIC
CLOSE = 0.01  # mm: how far a landmark may move


def program(name: str) -> str:
    """An independent program, of the system or of this environment; the test is skipped where it is absent."""
    path = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def oblique(*spacing: float, seed: int = 3) -> np.ndarray:
    """An affine with rotated axes, some of them mirrored, and (row, column, slice) spacing in mm."""
    random = np.random.RandomState(seed)
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rotation * spacing, random.uniform(-80, 80, 3)
    return affine


def scan_of(images: np.ndarray, affine: np.ndarray | None = None, name: str = "scan.h5") -> Scan:
    kspace = fourier(torch.from_numpy(images.astype(np.complex64))).numpy()
    return Scan(Path(name), "someone", kspace, affine=affine)


def images_of(scan: Scan) -> np.ndarray:
    return np.asarray(inverse_fourier(torch.from_numpy(scan.kspace[:, 0])).numpy())


def target_for(path: Path, out: Path, option: str = OWN) -> Path:
    """Where images of a DICOM series are written."""
    return image_target(image_format(option, dicom.FORMAT), path, out)


def landmark(shape: tuple[int, int, int], index: tuple[int, int, int]) -> np.ndarray:
    """Complex noise with one bright point at (row, column, slice)."""
    random = np.random.RandomState(0)
    images = random.uniform(0.1, 1, shape) * np.exp(1j * random.uniform(-3, 3, shape))
    images[index[2], index[0], index[1]] = 100j
    return images.astype(np.complex64)


def place(affine: np.ndarray, index: Any) -> np.ndarray:
    return np.asarray(affine @ (*index, 1))[:3]


def brightest(scan: Scan) -> np.ndarray:
    assert scan.affine is not None
    images = np.abs(images_of(scan))
    number, row, column = np.unravel_index(images.argmax(), images.shape)
    return place(scan.affine, (row, column, number))


def brightest_voxel(file: Path) -> np.ndarray:
    volume = nibabel.load(file)
    data = np.asarray(volume.dataobj)
    return place(volume.affine, np.unravel_index(data.argmax(), data.shape))


def make_series(folder: Path, images: np.ndarray, affine: np.ndarray | None = None, **tags: Any) -> Path:
    """A DICOM series as a scanner would send it, in the order of a shuffled deck; ``affine`` to RAS+."""
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1, -1, 1, 1]) @ (oblique(1, 1, 3) if affine is None else affine)
    down, along = (lps[:3, axis] for axis in (0, 1))
    for number in np.random.RandomState(1).permutation(len(images)):
        image = pydicom.Dataset()
        image.file_meta = pydicom.dataset.FileMetaDataset()
        image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID, image.SeriesInstanceUID = MR, f"1.2.3.4.{number + 1}", "1.2.3.5"
        image.PatientID, image.ImageType = "P-77", ["ORIGINAL", "PRIMARY", "M", "ND"]
        image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
        image.Rows, image.Columns = images.shape[1:]
        image.PixelSpacing = [f"{np.linalg.norm(v):.9f}" for v in (down, along)]
        image.ImageOrientationPatient = [f"{c:.9f}" for v in (along, down) for c in v / np.linalg.norm(v)]
        image.ImagePositionPatient = [f"{c:.8f}" for c in place(lps, (0, 0, number))]
        image.PixelData = images[number].astype("<u2").tobytes()
        for name, value in tags.items():
            setattr(image, name, value)
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(folder / f"{len(images) - number:03d}.dcm", enforce_file_format=True)
    return folder


def counts(slices: int = 4, height: int = 9, width: int = 6) -> np.ndarray:
    return np.random.RandomState(0).randint(1, 4000, (slices, height, width))


def dicom_errors(file: Path) -> list[str]:
    """What ``dciodvfy`` finds wrong."""
    found = subprocess.run([program("dciodvfy"), str(file)], capture_output=True, text=True, check=False)
    return [line for line in (found.stdout + found.stderr).splitlines() if line.startswith("Error")]


def bids_errors(root: Path) -> list[str]:
    """The codes of what the BIDS validator finds wrong."""
    found = subprocess.run(
        [program("bids-validator-deno"), str(root), "--format", "json"], capture_output=True, text=True, check=False
    )
    issues = json.loads(found.stdout)["issues"]["issues"]
    return [f"{issue['code']} {issue['location']}" for issue in issues if issue["severity"] == "error"]


# Geometry


@pytest.mark.parametrize(
    ("shape", "spacing", "seed"),
    [((5, 31, 24), (0.9, 1.3, 3.1), 3), ((4, 16, 27), (2.0, 0.7, 0.6), 4), ((3, 15, 15), (1.0, 1.0, 7.5), 5)],
)
def test_a_landmark_keeps_its_place_in_the_patient(
    tmp_path: Path, shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int
) -> None:
    """K-space to NIfTI, to DICOM, and by ``dcm2niix`` back to NIfTI."""
    affine, index = oblique(*spacing, seed=seed), (shape[1] - 3, 4, 1)
    images = landmark(shape, index)
    expected = place(affine, index)
    scan = scan_of(images, affine)
    written = write_images(scan, images_of(scan), tmp_path, "nifti")
    assert np.abs(brightest_voxel(written) - expected).max() < CLOSE
    for cut in ("axial", "coronal", "sagittal"):
        from_nifti = read_scan(written, load_config(None, [f"slice_axis={cut}"]).reading)
        assert np.abs(brightest(from_nifti) - expected).max() < CLOSE
        series = write_images(from_nifti, images_of(from_nifti), tmp_path / cut, "dicom")
        from_dicom = read_scan(series)
        assert np.abs(brightest(from_dicom) - expected).max() < CLOSE
    again = write_images(from_dicom, images_of(from_dicom), tmp_path / "again", "nifti")
    assert np.abs(brightest_voxel(again) - expected).max() < CLOSE
    subprocess.run([program("dcm2niix"), "-f", "x", "-o", str(tmp_path), str(series)], check=True, capture_output=True)
    assert np.abs(brightest_voxel(tmp_path / "x.nii") - expected).max() < CLOSE


def test_a_landmark_keeps_its_place_at_another_matrix(tmp_path: Path) -> None:
    """At twice and two thirds of the matrix, the centre of a smooth blob stays within a thousandth of a pixel."""
    affine = oblique(1.0, 1.5, 4.0)
    rows, columns = np.mgrid[:48, :36]
    blob = np.exp(-((rows - 20) ** 2 + (columns - 21) ** 2) / 18)[None].astype(np.complex64)
    for matrix in ((48, 36), (96, 72), (33, 25)):
        scan = scan_of(blob, affine).resized(matrix)
        volume = nibabel.load(write_images(scan, images_of(scan), tmp_path, "nifti"))
        data = np.asarray(volume.dataobj, dtype=np.float64)
        data[data < 0.05 * data.max()] = 0
        centre = [(np.indices(data.shape)[axis] * data).sum() / data.sum() for axis in range(3)]
        assert np.abs(place(volume.affine, centre) - place(affine, (20, 21, 0))).max() < 0.02


def test_a_nifti_source_gets_its_own_grid_back_and_others_the_canonical_one(tmp_path: Path) -> None:
    volume = np.random.RandomState(0).uniform(1, 500, (9, 14, 12)).astype(np.float32)
    affine = oblique(1.5, 1.0, 2.0)
    nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / "head.nii.gz")
    scan = read_scan(tmp_path / "head.nii.gz")
    own = nibabel.load(write_images(scan, images_of(scan), tmp_path / "own"))
    np.testing.assert_array_equal(own.affine, nibabel.load(tmp_path / "head.nii.gz").affine)
    np.testing.assert_allclose(np.asarray(own.dataobj), volume, atol=1e-3)
    other = nibabel.load(write_images(scan_of(volume, affine), volume, tmp_path, "nifti"))
    assert nibabel.aff2axcodes(other.affine) == ("R", "A", "S")
    for written in (own, other):
        assert written.header.get_data_dtype() == np.float32
        assert written.header.get_xyzt_units()[0] == "mm"
        assert bytes(written.header["descrip"]).decode().startswith(NOTE)


def test_unknown_geometry_is_the_identity_and_said(tmp_path: Path) -> None:
    images = np.abs(blob_images(0))
    written = nibabel.load(write_images(scan_of(images), images, tmp_path, "nifti"))
    assert [int(written.header[code]) for code in ("sform_code", "qform_code")] == [0, 0]
    np.testing.assert_array_equal(np.abs(written.affine[:3, :3]), np.eye(3))  # of voxels alone
    np.testing.assert_allclose(np.asarray(written.dataobj), np.moveaxis(images, 0, 2))
    assert b"geometry unknown" in bytes(written.header["descrip"])
    series = write_images(scan_of(images), images, tmp_path, "dicom")
    assert "orientation and spacing are unknown" in pydicom.dcmread(series / "0001.dcm").ImageComments
    sidecar = write_images(scan_of(images), images, tmp_path / "bids", "bids").with_name(
        "sub-001_desc-recon_S0map.json"
    )
    assert json.loads(sidecar.read_text())["GeometryKnown"] is False


def test_lengths_in_other_units_become_millimetres(tmp_path: Path) -> None:
    source = nibabel.Nifti1Image(np.ones((6, 5, 4), dtype=np.float32), np.diag([0.001, 0.002, 0.003, 1]))
    source.header.set_xyzt_units("meter")
    nibabel.save(source, tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    assert scan.affine is not None
    np.testing.assert_allclose(np.linalg.norm(scan.affine[:3, :3], axis=0), [2, 1, 3], rtol=1e-6)
    own = nibabel.load(write_images(scan, images_of(scan), tmp_path / "own"))
    np.testing.assert_allclose(own.header.get_zooms(), [1, 2, 3], rtol=1e-6)


def test_slices_that_dicom_cannot_hold_are_refused(tmp_path: Path) -> None:
    sheared = np.array([[1.0, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    with pytest.raises(DataError, match="not perpendicular"):
        write_images(scan_of(blob_images(0), sheared), blob_images(0), tmp_path, "dicom")
    assert not list(tmp_path.iterdir())


# Reading DICOM


def test_a_dicom_series_is_sorted_and_scaled(tmp_path: Path) -> None:
    images, affine = counts(), oblique(1.2, 0.8, 3.3)
    series = make_series(tmp_path / "series", images, affine, RescaleSlope="0.5", RescaleIntercept="3")
    scan = read_scan(series)
    assert (scan.image, scan.synthetic, scan.mask) == (True, True, None)
    above, left, height, width = scan.geometry.window
    assert (height, width) == images.shape[1:]
    assert abs(scan.matrix[0] * 1.2 - scan.matrix[1] * 0.8) < 1.2
    found = images_of(scan)[:, above : above + height, left : left + width].real
    assert scan.affine is not None
    ascending = np.dot(np.cross(affine[:3, 1], affine[:3, 0]), affine[:3, 2]) > 0
    np.testing.assert_allclose(found, (images if ascending else images[::-1]) * 0.5 + 3, rtol=1e-4)
    one = read_scan(series / "001.dcm")
    assert len(one.kspace) == 1
    shutil.copytree(series, tmp_path / ".partial-x" / "new")
    assert find_files([tmp_path]) == find_files([series]) == find_files([f"{tmp_path}/s*"]) == [series]
    assert target_for(series, tmp_path / "out") == tmp_path / "out" / "series"


def test_the_subject_is_a_hash_of_the_patient_or_the_name_of_the_folder(tmp_path: Path) -> None:
    first, second = (make_series(tmp_path / name, counts(), PatientID="P-77") for name in "ab")
    assert subject_of(first) == read_scan(second).subject
    assert "P-77" not in subject_of(first)
    for number, unknown in enumerate(("", "ANONYMOUS")):
        assert subject_of(make_series(tmp_path / f"s{number}", counts(), PatientID=unknown)) == f"s{number}"


def test_an_enhanced_file_is_read_as_its_slices(tmp_path: Path) -> None:
    images, affine = counts(), oblique(1.2, 0.8, 3.3)
    series = make_series(tmp_path / "series", images, affine, RescaleSlope="2", RescaleIntercept="1")
    classic = [pydicom.dcmread(file) for file in sorted(series.iterdir())]
    enhanced = pydicom.dcmread(series / "001.dcm")
    moved = {
        "PlanePositionSequence": ("ImagePositionPatient",),
        "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
        "PlaneOrientationSequence": ("ImageOrientationPatient",),
        "PixelMeasuresSequence": ("PixelSpacing",),
    }

    def group(source: pydicom.Dataset, names: list[str]) -> pydicom.Dataset:
        made = pydicom.Dataset()
        for name in names:
            item = pydicom.Dataset()
            for tag in moved[name]:
                setattr(item, tag, source[tag].value)
            setattr(made, name, [item])
        return made

    enhanced.SharedFunctionalGroupsSequence = [group(classic[0], list(moved)[2:])]
    enhanced.PerFrameFunctionalGroupsSequence = [group(frame, list(moved)[:2]) for frame in classic]
    for tag in sum(moved.values(), ()):
        del enhanced[tag]
    enhanced.NumberOfFrames, enhanced.SOPClassUID = len(images), dicom.ENHANCED
    enhanced.file_meta.MediaStorageSOPClassUID = dicom.ENHANCED
    enhanced.PixelData = b"".join(frame.PixelData for frame in classic)
    enhanced.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    one, many = read_scan(tmp_path / "enhanced.dcm"), read_scan(series)
    np.testing.assert_array_equal(one.kspace, many.kspace)
    assert one.affine is not None
    np.testing.assert_allclose(one.affine, many.affine)
    enhanced.NumberOfFrames = 7
    enhanced.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    with pytest.raises(DataError, match="7 frames with attributes of 4"):
        read_scan(tmp_path / "enhanced.dcm")


def test_compressed_pixels(tmp_path: Path) -> None:
    series = make_series(tmp_path / "series", counts())
    expected = read_scan(series).kspace
    for file in series.iterdir():
        image = pydicom.dcmread(file)
        image.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        image.save_as(file)
    np.testing.assert_array_equal(read_scan(series).kspace, expected)
    image.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless
    if not pydicom.pixels.get_decoder(pydicom.uid.JPEGLSLossless).is_available:
        image.save_as(file)
        with pytest.raises(DataError, match=r"compressed as 'JPEG-LS .*install pylibjpeg"):
            read_scan(series)


def _bad_series(folder: Path) -> dict[str, tuple[Path, str]]:
    def series(name: str, **tags: Any) -> Path:
        return make_series(folder / name, counts(), **tags)

    def edited(name: str, **tags: Any) -> Path:
        path = series(name)
        image = pydicom.dcmread(path / "002.dcm")
        for tag, value in tags.items():
            setattr(image, tag, value)
        image.save_as(path / "002.dcm")
        return path

    missing = series("missing")
    (missing / "002.dcm").unlink()
    several = series("several")
    shutil.copy(several / "002.dcm", several / "copy.dcm")
    damaged = series("damaged")
    (damaged / "002.dcm").write_bytes(b"")
    without = series("without")
    for file in without.iterdir():
        image = pydicom.dcmread(file)
        del image.ImagePositionPatient
        image.save_as(file)
    uneven = series("uneven")
    first, last = (pydicom.dcmread(uneven / name) for name in ("004.dcm", "001.dcm"))
    step = np.array(last.ImagePositionPatient) - np.array(first.ImagePositionPatient)
    last.ImagePositionPatient = [f"{value:.6f}" for value in np.array(last.ImagePositionPatient) + step / 18]
    last.save_as(uneven / "001.dcm")
    return {
        "uneven": (uneven, r"not evenly spaced \(3 to 3.5 mm\)"),
        "mixed": (edited("mixed", SeriesInstanceUID="1.2.9"), "holds 2 series; expected one"),
        "missing": (missing, "1 slices are missing between the 3"),
        "several": (several, "several images lie at one position"),
        "damaged": (damaged, "002.dcm: not a DICOM file, among 3"),
        "without": (without, "4 slices without position"),
        "turned": (edited("turned", ImageOrientationPatient=[1, 0, 0, 0, 1, 0]), "ImageOrientationPatient differs"),
        "spacing": (edited("spacing", PixelSpacing=[2, 2]), "PixelSpacing differs"),
        "words": (edited("words", ImagePositionPatient=[1, 2]), "ImagePositionPatient is .*expected 3 finite"),
        "grid": (series("grid", ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "expected perpendicular unit vectors"),
        "zero": (series("zero", PixelSpacing=[0, 1]), "PixelSpacing is .*expected positive numbers"),
        "colour": (series("colour", SamplesPerPixel=3, PhotometricInterpretation="RGB"), "found colours"),
        "phase": (series("phase", ImageType=["ORIGINAL", "PRIMARY", "P"]), "found a phase"),
        "mosaic": (series("mosaic", ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "a mosaic"),
        "report": (
            series("report", SOPClassUID=pydicom.uid.BasicTextSRStorage),
            "'Basic Text SR Storage', expected MR",
        ),
        "huge": (series("huge", Rows=65535, Columns=65535), "takes .* GiB; the limit"),
        "no pixels": (series("nopixels", PixelData=b""), "not a readable DICOM file"),
    }


def test_series_that_cannot_be_used_are_named_with_what_was_found(tmp_path: Path) -> None:
    for name, (path, message) in _bad_series(tmp_path).items():
        with pytest.raises(DataError, match=message) as error:
            read_scan(path)
        assert str(path) in str(error.value), name
        assert "\n" not in str(error.value), name
        assert "P-77" not in str(error.value), name


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    series = make_series(tmp_path / "series", counts(3))
    nibabel.save(nibabel.Nifti1Image(np.random.rand(6, 5, 4), oblique(1, 1, 2)), tmp_path / "a.nii")
    for path, damaged in ((series, series / "002.dcm"), (tmp_path / "a.nii", tmp_path / "a.nii")):
        content = damaged.read_bytes()
        for percent in range(0, 100, 2):
            damaged.write_bytes(content[: len(content) * percent // 100])
            with pytest.raises(DataError):
                read_scan(path)
    damaged.write_bytes(content)
    with pytest.raises(DataError):
        read_scan(series)


def test_a_damaged_byte_never_ends_in_another_error(tmp_path: Path) -> None:
    series = make_series(tmp_path / "series", counts(2, 5, 4), RescaleSlope="2")
    file = series / "001.dcm"
    content, messages = file.read_bytes(), []
    for place, value in zip(range(132, len(content), 3), np.random.RandomState(0).bytes(len(content)), strict=False):
        file.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
        try:
            read_scan(series)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert all(message.isprintable() for message in messages)


def test_a_small_nifti_file_that_claims_much_is_refused(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (tmp_path / "huge.nii").write_bytes(header.binaryblock + bytes(4))
    with pytest.raises(DataError, match="the limit is"):
        read_scan(tmp_path / "huge.nii")
    thin = nibabel.Nifti1Image(np.ones((8, 8, 8), dtype=np.float32), np.diag([1e-9, 1, 1, 1]))
    nibabel.save(thin, tmp_path / "thin.nii")
    with pytest.raises(DataError, match="expected similar numbers"):
        read_scan(tmp_path / "thin.nii")


def test_without_pydicom_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = make_series(tmp_path / "series", counts())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    for use in (lambda: read_scan(series), lambda: target_for(tmp_path / "a.h5", tmp_path, "dicom")):
        with pytest.raises(ConfigError, match=r"pip install 'switchrecon\[dicom\]'"):
            use()


# Writing


def test_a_dicom_series_is_valid_and_says_what_it_is(tmp_path: Path) -> None:
    tags = {"ScanningSequence": ["GR", "IR"], "SequenceVariant": "SK", "RepetitionTime": "8.5", "EchoTrainLength": 1}
    tags |= {"InversionTime": "900", "MRAcquisitionType": "3D", "SeriesNumber": 4, "FlipAngle": "12.5"}
    series = make_series(tmp_path / "series", counts(), **tags, StudyInstanceUID="1.2.99", PatientPosition="HFS")
    scan = read_scan(series)
    for source in (scan, scan_of(landmark((2, 9, 7), (1, 2, 1)), oblique(1, 2, 3)), scan_of(blob_images(0))):
        folder = write_images(source, images_of(source), tmp_path / source.path.stem / "out", "dicom")
        for file in folder.iterdir():
            assert dicom_errors(file) == []
    written = pydicom.dcmread(tmp_path / "series" / "out" / "series" / "0001.dcm")
    for name in ("ScanningSequence", "RepetitionTime", "InversionTime", "FlipAngle", "PatientPosition"):
        assert written[name].value == pydicom.dcmread(series / "001.dcm")[name].value
    assert written.ImageType == ["DERIVED", "PRIMARY", "OTHER", "AI_RECON"]
    assert (written.SeriesNumber, written.BurnedInAnnotation, written.PatientID) == (904, "NO", "ANONYMOUS")
    assert written.SeriesDescription == NOTE
    assert written.ImageComments.startswith("Research use only, not for diagnosis.")
    again = write_images(scan, images_of(scan), tmp_path / "again", "dicom")
    assert (again / "0001.dcm").read_bytes() == (tmp_path / "series" / "out" / "series" / "0001.dcm").read_bytes()
    uids = {pydicom.dcmread(file).SOPInstanceUID for file in again.iterdir()}
    assert len(uids) == len(scan.kspace)


@pytest.mark.parametrize("scale", [1e-12, 1e-5, 1.0, 1e6])
def test_dicom_values_keep_their_units(tmp_path: Path, scale: float) -> None:
    images = np.random.RandomState(0).uniform(0, scale, (3, 8, 8)).astype(np.float32)
    back = read_scan(write_images(scan_of(images, np.eye(4)), images, tmp_path, "dicom"))
    np.testing.assert_allclose(images_of(back).real[::-1], images, atol=2e-5 * scale)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IXI002-Guys-0828-T2.nii.gz", "sub-IXI002/anat/sub-IXI002_desc-recon_T2w"),
        ("IXI002-Guys-0828-MRA.nii.gz", "sub-IXI002/anat/sub-IXI002_desc-recon_angio"),
        ("sub-a-b_ses-2_run-1_acq-x_FLAIR.nii", "sub-ab/ses-2/anat/sub-ab_ses-2_acq-x_run-1_desc-recon_FLAIR"),
        ("sub-07_bold.nii", "sub-07/anat/sub-07_desc-recon_S0map"),
        ("Jane Doe_T1w.h5", "sub-003/anat/sub-003_desc-recon_S0map"),
    ],
)
def test_bids_names(name: str, expected: str) -> None:
    assert bids_name(Path(name), 3) == f"{expected}.nii.gz"


def test_a_bids_dataset_is_valid(tmp_path: Path) -> None:
    images = landmark((3, 9, 8), (1, 2, 1))
    names = ["IXI002-Guys-0828-T1.nii.gz", "sub-01_ses-1_T2w.nii.gz", "IXI004-HH-1-PD.h5", "file1.h5"]
    for number, name in enumerate([*names, "IXI005-IOP-0001-DTI-01.nii"], 1):
        file = write_images(
            scan_of(images, oblique(1, 1, 2), str(tmp_path / name)), images, tmp_path / "d", "bids", number
        )
        sidecar = json.loads(Path(str(file).replace(".nii.gz", ".json")).read_text())
        assert sidecar["Sources"] == [name]
        assert sidecar["Description"].startswith(NOTE)
        assert str(tmp_path) not in json.dumps(sidecar)
    assert (tmp_path / "d" / "sub-004" / "anat" / "sub-004_desc-recon_S0map.nii.gz").is_file()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dataset_description.json").write_text('{"Name": "raw"}')
    with pytest.raises(DataError, match="describes a dataset of something else"):
        write_images(scan_of(images), images, tmp_path / "other", "bids")
    assert bids_errors(tmp_path / "d") == []


def test_pictures_share_one_window(tmp_path: Path) -> None:
    images = np.abs(blob_images(0))
    images[0] /= 2
    folder = write_images(scan_of(images), images, tmp_path, "png")
    pictures = [Image.open(file) for file in sorted(folder.iterdir())]
    assert [picture.mode for picture in pictures] == ["L"] * 3
    assert {picture.info["Comment"] for picture in pictures} == {NOTE}
    white = np.percentile(images, 99.9)
    for picture, image in zip(pictures, images, strict=True):
        np.testing.assert_allclose(np.asarray(picture), (image / white).clip(0, 1) * 255, atol=0.51)


def test_pictures_have_the_proportions_of_the_patient(tmp_path: Path) -> None:
    images = np.abs(blob_images(0))[:, :20]
    folder = write_images(scan_of(images, oblique(3.2, 1.0, 5)), images, tmp_path, "png")
    assert stored(folder)[0].shape == (64, 64)


def stored(path: Path) -> np.ndarray:
    """Magnitudes (slices, H, W) of a written file, read without the code under test."""
    if path.is_dir():
        files = sorted(path.iterdir())
        if files[0].suffix == ".png":
            return np.stack([np.asarray(Image.open(file)) for file in files])
        read = [pydicom.dcmread(file) for file in files]
        return np.stack([image.pixel_array * float(image.RescaleSlope) for image in read]).reshape(
            len(read), *read[0].pixel_array.shape
        )
    if path.suffix == ".npy":
        return np.abs(np.load(path))
    if path.suffix == ".cfl":
        sizes = [int(n) for n in path.with_suffix(".hdr").read_text().splitlines()[1].split()]
        volume = np.fromfile(path, "<c8").reshape(sizes[0], sizes[1], sizes[13], order="F")
        return np.abs(volume).transpose(2, 0, 1)
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return np.asarray(file["reconstruction"][()])
    return np.moveaxis(np.asarray(nibabel.load(path).dataobj), 2, 0)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 2), (2, 3, 1), (1, 7, 64), (3, 65, 2), (2, 127, 63)])
@pytest.mark.parametrize("format", sorted(image_formats()))
def test_every_format_takes_every_size_and_complex_images(tmp_path: Path, format: str, shape: tuple[int, ...]) -> None:
    random = np.random.RandomState(0)
    images = (random.normal(size=shape) + 1j * random.normal(size=shape)).astype(np.complex64)
    for name, array in (("complex", images), ("real", np.abs(images)), ("zero", 0 * images)):
        written = write_images(scan_of(images, name=f"{name}.h5"), array, tmp_path / name, format)
        assert written == target_for(Path(f"{name}.h5"), tmp_path / name, format)
        found = stored(written)
        assert found.shape == shape
        if format != "png":
            np.testing.assert_allclose(found, np.abs(array), atol=1e-4)
    assert not list(tmp_path.rglob(".partial*"))


def test_padding_is_taken_off_in_every_format(tmp_path: Path) -> None:
    series = make_series(tmp_path / "series", counts(2, 9, 6))
    scan = read_scan(series)
    assert scan.matrix == (9, 9)
    for format in (OWN, *image_formats()):
        written = stored(write_images(scan, images_of(scan), tmp_path / f"out-{format}", format))
        assert sorted(written.shape) == [2, 6, 9]


def test_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown format 'dcm'"):
        target_for(tmp_path / "a.h5", tmp_path, "dcm")


# Folders are complete or absent, and no one's files are lost


def test_a_failure_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.abs(blob_images(0))
    first = write_images(scan_of(images), images, tmp_path, "dicom")
    before = {file.name: file.read_bytes() for file in first.iterdir()}
    calls = iter([True, False])
    write = pydicom.dcmwrite

    def full_disc(*arguments: Any, **options: Any) -> None:
        if not next(calls):
            raise OSError(28, "No space left on device")
        write(*arguments, **options)

    monkeypatch.setattr(pydicom, "dcmwrite", full_disc)
    with pytest.raises(OSError, match="No space"):
        write_images(scan_of(2 * images), 2 * images, tmp_path, "dicom")
    assert list(tmp_path.iterdir()) == [first]
    assert {file.name: file.read_bytes() for file in first.iterdir()} == before


def test_a_kill_leaves_no_half_folder(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from switchrecon.core.files import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1]), '.png') as folder:\n"
        "    (folder / 'a.png').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "scan")], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "scan").exists()


def test_a_folder_is_replaced_only_where_it_holds_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "scan"

    def write(text: str) -> None:
        with atomic_folder(target, ".png") as folder:
            (folder / "a.png").write_text(text)

    write("first")
    write("second")
    assert [file.read_text() for file in tmp_path.rglob("*.png")] == ["second"]
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match=r"holds thesis.txt; expected only .png files"):
        write("third")
    assert (target / "thesis.txt").read_text() == "years of work"
    shutil.rmtree(target)
    target.symlink_to(tmp_path)
    with pytest.raises(DataError, match="is a link"):
        write("fourth")
    assert list(tmp_path.iterdir()) == [target]


# Nothing of a patient

CANARY = {"DA": "19391231", "TM": "235959.77", "DT": "19391231235959", "AS": "097Y", "UI": "1.2.99991.7"}
TEXT = {"PN", "LO", "SH", "LT", "ST", "UT", "UC", "UR", "AE", "CS", *CANARY}
NEEDED = {"ImageType", "PhotometricInterpretation", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"}


def canary_series(folder: Path) -> Path:
    """A series with a canary in every text attribute that describes a patient, a study or a scanner, and in private."""
    series = make_series(folder, counts())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in series.iterdir():
            image = pydicom.dcmread(file)
            for tag, (vr, *_) in DicomDictionary.items():
                described = tag >> 16 in (0x8, 0x10, 0x12, 0x18, 0x20, 0x32, 0x38, 0x40, 0x4008)
                if described and vr in TEXT and dictionary_keyword(tag) not in NEEDED:
                    image.add_new(tag, vr, CANARY.get(vr, "CANARY"))
            image.SpecificCharacterSet = "ISO_IR 100"
            image.private_block(0x0029, "CANARY MAKER", create=True).add_new(1, "LO", "CANARY")
            image.save_as(file)
    return series


def canary_nifti(path: Path) -> Path:
    source = nibabel.Nifti1Image(np.ones((6, 5, 4), dtype=np.float32), np.eye(4))
    for name in ("descrip", "aux_file", "db_name", "intent_name"):
        source.header[name] = b"CANARY"
    source.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"CANARY"))
    nibabel.save(source, path)
    return path


def canary_hdf5(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["kspace"] = fourier(torch.from_numpy(blob_images(0))).numpy()
        file["ismrmrd_header"] = "<xml>CANARY</xml>"
        file.attrs["patient_id"] = file.attrs["acquisition"] = "CANARY"
    return path


def test_nothing_of_a_patient_is_written(tmp_path: Path) -> None:
    sources = [canary_series(tmp_path / "series"), canary_nifti(tmp_path / "a.nii.gz"), canary_hdf5(tmp_path / "b.h5")]
    for number, path in enumerate(sources, 1):
        scan = read_scan(path)
        assert "CANARY" not in scan.subject or path.suffix == ".h5"
        for format in (OWN, *image_formats()):
            write_images(scan, images_of(scan), tmp_path / "out" / format / str(number), format)
    for file in (tmp_path / "out").rglob("*"):
        assert "CANARY" not in file.name
        content = file.read_bytes() if file.is_file() else b""
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        for word in ("CANARY", *CANARY.values()):
            assert word.encode() not in content, (file, word)


# The command


def test_reconstruct_into_every_format(
    tmp_path: Path, trained: Callable[..., Path], run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    series, model = make_series(tmp_path / "sub-01_T1w", counts(2, 64, 64)), trained()
    run_cli()  # takes what the training printed
    for format in (OWN, *image_formats()):
        command = ("reconstruct", model, series, "--out", tmp_path / format, "--undersample", "run", "--format", format)
        code, out, err = run_cli(*command)
        known = ("worse than zero filling", "computing with 1 thread", "next: switchrecon view")
        assert (code, [line for line in err.splitlines() if not any(part in line for part in known)]) == (0, [])
        assert str(target_for(series, tmp_path / format, format)) in out
        code, _, err = run_cli(*command)
        assert code == 2
        assert "exists already" in err
        assert run_cli(*command, "--overwrite")[0] == 0
    assert recognise(tmp_path / "own" / "sub-01_T1w").name == "DICOM"
    description = json.loads((tmp_path / "bids/sub-01/anat/sub-01_desc-recon_T1w.json").read_text())["Description"]
    assert "undersampled synthetic k-space of magnitude images (acceleration" in description
    code, _, err = run_cli("reconstruct", trained(), series, "--out", tmp_path, "--undersample", "run", "--overwrite")
    assert code == 2
    assert "choose another --out" in err
    code, _, err = run_cli("reconstruct", trained(), series, "--out", tmp_path / "new", "--format", "dicm")
    assert (code, "did you mean 'dicom'?" in err) == (2, True)
