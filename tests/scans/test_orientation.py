"""Where a bright point lies in the patient: of scanners whose directions mean the forward transform, and of others."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from switchrecon.scans.convert import zero_filled_images
from switchrecon.scans.files import read_scan
from switchrecon.scans.scan import Scan
from switchrecon.scans.writing import write_images
from tests.scans.mrd_files import header, lines_of, write_mrd

RunCli = Callable[..., tuple[int, str, str]]
CENTRE = np.array([7.0, -11.0, 23.0])  # of the middle slice, LPS in mm
FIELD, MATRIX = (160.0, 120.0), (16, 12)
READ = np.array([0.0, -0.6, 0.8])
PHASE = np.array([1.0, 0.0, 0.0])
LEFT_HANDED = np.cross(PHASE, READ)  # phase x read = slice, as in files of Siemens' converter
PLACE = (30.0, -20.0)  # of the point, mm along the readout and the phase encode from the centre


def vendor(name: str) -> str:
    return f"<acquisitionSystemInformation><systemVendor>{name}</systemVendor></acquisitionSystemInformation>"


def point(forward: bool, place: tuple[float, float] = PLACE) -> np.ndarray:
    """K-space of a point, such that the forward (or else the inverse) transform shows it where it is."""
    image = np.zeros(MATRIX, complex)
    row, column = (round(p * n / f) + n // 2 for p, n, f in zip(place, MATRIX, FIELD, strict=True))
    image[row, column] = 1
    transform = np.fft.ifft2 if forward else np.fft.fft2
    return np.fft.fftshift(transform(np.fft.ifftshift(image), norm="ortho")).astype(np.complex64)[None]


def scan_of(path: Path, name: str, forward: bool, slices: int = 3) -> Scan:
    """Slices of 4 mm; the point is in the last."""
    readouts = []
    for number in range(slices):
        kspace = point(forward) * (1 if number == slices - 1 else 1e-3)
        position = CENTRE + 4 * (number - 1) * LEFT_HANDED
        dirs = {"read_dir": READ, "phase_dir": PHASE, "slice_dir": LEFT_HANDED}
        readouts += lines_of(kspace, slice=number, position=position, **dirs)
    xml = header((*MATRIX, 1), encoded_field=(*FIELD, 4), before=vendor(name) if name else "")
    return read_scan(write_mrd(path, xml, readouts))


EXPECTED = CENTRE + PLACE[0] * READ + PLACE[1] * PHASE + 4 * LEFT_HANDED  # LPS


@pytest.mark.parametrize(
    ("name", "forward"), [("SIEMENS", True), ("Siemens Healthineers", True), ("GE", False), ("", False)]
)
def test_a_point_lies_where_it_is(tmp_path: Path, name: str, forward: bool) -> None:
    scan = scan_of(tmp_path / "a.mrd", name, forward)
    images = zero_filled_images(scan, range(3))
    volume = nibabel.load(write_images(scan, images, tmp_path / "out", "nifti"))
    data = np.asarray(volume.dataobj)
    found = (volume.affine @ (*np.unravel_index(data.argmax(), data.shape), 1))[:3] * (-1, -1, 1)
    np.testing.assert_allclose(found, EXPECTED, atol=0.01)
    folder = write_images(scan, images, tmp_path / "out", "dicom")
    headers = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]
    bright = max(headers, key=lambda own: own.pixel_array.max() * float(own.RescaleSlope))
    row, column = np.unravel_index(bright.pixel_array.argmax(), bright.pixel_array.shape)
    along, down = np.array(bright.ImageOrientationPatient, float).reshape(2, 3)
    spacing = np.array(bright.PixelSpacing, float)
    found = np.array(bright.ImagePositionPatient, float) + row * spacing[0] * down + column * spacing[1] * along
    np.testing.assert_allclose(found, EXPECTED, atol=0.01)


def test_partitions_of_siemens_lie_against_the_slice_direction(tmp_path: Path) -> None:
    """The second phase encode is transformed, too."""
    depth, at = 4, 1  # the point is in partition 1, one below the centre n // 2
    line = np.zeros(depth)
    line[at] = 1
    for forward, name in ((True, "SIEMENS"), (False, "GE")):
        transform = np.fft.ifft if forward else np.fft.fft
        phases = np.fft.fftshift(transform(np.fft.ifftshift(line), norm="ortho"))
        dirs = {"read_dir": READ, "phase_dir": PHASE, "slice_dir": LEFT_HANDED, "position": CENTRE}
        readouts = [
            own for n in range(depth) for own in lines_of(point(forward) * phases[n], kspace_encode_step_2=n, **dirs)
        ]
        xml = header((*MATRIX, depth), encoded_field=(*FIELD, 12), before=vendor(name))
        path = write_mrd(tmp_path / f"{name}.mrd", xml, readouts)
        scan = read_scan(path)
        images = zero_filled_images(scan, range(depth))
        volume = nibabel.load(write_images(scan, images, tmp_path / "out", "nifti"))
        data = np.asarray(volume.dataobj)
        found = (volume.affine @ (*np.unravel_index(data.argmax(), data.shape), 1))[:3] * (-1, -1, 1)
        expected = CENTRE + PLACE[0] * READ + PLACE[1] * PHASE + (at - depth // 2) * 3 * LEFT_HANDED
        np.testing.assert_allclose(found, expected, atol=0.01)


def test_where_it_cannot_be_known_it_is_said(tmp_path: Path, run_cli: RunCli) -> None:
    for name, known in (("SIEMENS", True), ("GE", False), ("", False)):
        path = tmp_path / f"{name}.mrd"
        scan = scan_of(path, name, True)
        assert scan.geometry.sides_known == known
        assert ("mirrored sides" in run_cli("inspect", path)[1]) != known
        err = run_cli("convert", path, tmp_path / f"{name}-image.nii.gz")[2]
        assert ("left and right may be exchanged" in err) != known


def test_the_image_and_k_space_of_a_vendor_stay_as_they_are(tmp_path: Path) -> None:
    siemens, other = (scan_of(tmp_path / f"{name}.mrd", name, True) for name in ("SIEMENS", "GE"))
    np.testing.assert_array_equal(siemens.kspace, other.kspace)
    assert siemens.affine is not None
    assert other.affine is not None
    middle = (*(n // 2 for n in MATRIX), 1, 1)
    np.testing.assert_allclose(siemens.affine @ middle, other.affine @ middle, atol=1e-5)
