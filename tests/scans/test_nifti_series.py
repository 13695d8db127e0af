"""The fourth axis of NIfTI files is read as series, by its name, and written back as it was."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError
from switchrecon.reports.viewer.files import Label, read_stack
from switchrecon.scans.convert import zero_filled_images
from switchrecon.scans.files import read_scan
from switchrecon.scans.scan import Scan
from switchrecon.scans.series import geometry_of_frames, series_of
from switchrecon.scans.writing import write_images
from tests.scans.mrd_files import random_kspace

RunCli = Callable[..., tuple[int, str, str]]
AFFINE = np.array([[0, -1.5, 0, 30], [2, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])  # rows run along y, columns against x


def volumes(*shape: int) -> np.ndarray:
    """Every value says where it is, so that none can change its place unseen."""
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def write(path: Path, array: np.ndarray, **header: object) -> Path:
    image = nibabel.Nifti1Image(array, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    for name, value in header.items():
        image.header[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def labels_of(scan: Scan) -> list[dict[str, int]]:
    return [series.labels for series in series_of(scan)]


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_series_goes_through_k_space_and_comes_back(tmp_path: Path, axis: str, ending: str) -> None:
    array = volumes(6, 5, 4, 3)
    path = write(tmp_path / f"a{ending}", array, pixdim=[1, 2, 1.5, 3, 0.75, 0, 0, 0])
    scan = read_scan(path, ReadOptions(slice_axis=axis))  # type: ignore[arg-type]
    assert labels_of(scan) == [{"repetition": n} for n in (1, 2, 3)]
    images = zero_filled_images(scan, range(len(scan.kspace)))
    again = nibabel.load(write_images(scan, images, tmp_path / "out", "own"))
    np.testing.assert_allclose(np.asarray(again.dataobj), array, rtol=1e-4)
    np.testing.assert_allclose(again.affine, AFFINE)
    assert again.header.get_zooms() == pytest.approx((2, 1.5, 3, 0.75))
    assert again.header.get_xyzt_units() == ("mm", "sec")
    once_more = read_scan(tmp_path / "out" / f"a{ending}", ReadOptions(slice_axis=axis))  # type: ignore[arg-type]
    np.testing.assert_allclose(once_more.kspace, scan.kspace, atol=1e-3 * np.abs(scan.kspace).max())


def test_a_frame_is_read_as_the_same_volume_alone(tmp_path: Path) -> None:
    array = volumes(6, 5, 4, 3)
    together = read_scan(write(tmp_path / "a.nii", array))
    for number in range(3):
        alone = read_scan(write(tmp_path / f"{number}.nii", array[..., number]))
        np.testing.assert_allclose(together.kspace[4 * number : 4 * number + 4], alone.kspace, rtol=1e-4, atol=1e-2)
        np.testing.assert_array_equal(together.affine, alone.affine)


@pytest.mark.parametrize(
    ("names", "sizes"),
    [
        (("repetition",), (4,)),
        (("contrast",), (2,)),
        (("phase",), (3,)),
        (("set",), (2,)),
        (("contrast", "repetition"), (2, 3)),
        (("contrast", "repetition"), (3, 2)),
        (("contrast", "repetition", "phase"), (2, 2, 3)),
        (("repetition", "phase", "set"), (3, 2, 2)),
        (("contrast", "repetition", "phase", "set"), (2, 3, 2, 2)),
    ],
)
def test_axes_that_this_package_wrote_are_read_by_their_names(
    tmp_path: Path, names: tuple[str, ...], sizes: tuple[int, ...]
) -> None:
    frames = int(np.prod(sizes))
    geometry = geometry_of_frames(sizes, 2, names)
    source = Scan(tmp_path / "a.mrd", "a", random_kspace(frames * 2, 1, 6, 5), geometry=geometry, affine=np.eye(4))
    images = volumes(frames * 2, 6, 5)
    scan = read_scan(write_images(source, images, tmp_path / "out", "nifti"))
    assert labels_of(scan) == labels_of(source)
    images = zero_filled_images(scan, range(len(scan.kspace)))
    again = write_images(scan, images, tmp_path / "again", "own")
    first = nibabel.load(tmp_path / "out" / "a.nii.gz")
    np.testing.assert_allclose(np.asarray(nibabel.load(again).dataobj), np.asarray(first.dataobj), rtol=1e-3)
    assert labels_of(read_scan(again)) == labels_of(source)


@pytest.mark.parametrize(
    ("name", "sidecar", "header", "expected"),
    [
        ("a.nii", None, {}, "repetition"),
        ("sub-1_bold.nii.gz", {"RepetitionTime": 2.0, "EchoTime": 0.03}, {}, "repetition"),
        ("sub-1_MEGRE.nii.gz", None, {}, "contrast"),
        ("sub-1_T2starw.nii.gz", {"EchoTime": [0.01, 0.02, 0.03]}, {}, "contrast"),
        ("any.nii", {"EchoTime": [0.01, 0.02, 0.03]}, {}, "contrast"),
        ("any.nii", {"EchoTime": [0.01, 0.01, 0.01]}, {}, "repetition"),  # the same for all: no axis of echoes
        ("any.nii", {"EchoTime": [0.01, 0.02]}, {}, "repetition"),  # of other volumes
        ("sub-1_dwi.nii.gz", None, {}, "set"),
        ("dwi.nii", None, {}, "repetition"),  # no BIDS name
        ("a.nii", None, {"intent_name": b"phase"}, "phase"),
        ("a.nii", None, {"intent_name": b"phase of the moon"[:15]}, "repetition"),
        ("a.nii", None, {"intent_name": b"set,contrast"}, "repetition"),  # not as this package orders them
        ("a.nii", None, {"intent_name": b"contrast,set", "intent_p1": 2}, "repetition"),  # 2 do not divide 3
        ("a.nii", None, {"intent_name": b"contrast,set", "intent_p1": np.nan}, "repetition"),
    ],
)
def test_the_fourth_axis_gets_a_name(
    tmp_path: Path, name: str, sidecar: dict | None, header: dict, expected: str
) -> None:
    path = write(tmp_path / name, volumes(6, 5, 2, 3), **header)
    if sidecar is not None:
        path.with_name(f"{name.split('.')[0]}.json").write_text(json.dumps(sidecar))
    assert labels_of(read_scan(path)) == [{expected: n} for n in (1, 2, 3)]


@pytest.mark.parametrize("text", [b"", b"[1, 2]", b"not json", b"\xff\xfe", b"[" * 100_000])
def test_a_sidecar_that_is_none_does_no_harm(tmp_path: Path, text: bytes) -> None:
    path = write(tmp_path / "a.nii", volumes(6, 5, 2, 3))
    (tmp_path / "a.json").write_bytes(text)
    assert labels_of(read_scan(path))[0] == {"repetition": 1}


@pytest.mark.parametrize("shape", [(6, 5, 2, 1), (6, 5, 2, 1, 1), (6, 5, 2, 1, 1, 1)])
def test_axes_of_one_entry_are_none(tmp_path: Path, shape: tuple[int, ...]) -> None:
    scan = read_scan(write(tmp_path / "a.nii", volumes(*shape)))
    assert labels_of(scan) == [{}]
    images = zero_filled_images(scan, range(2))
    assert nibabel.load(write_images(scan, images, tmp_path / "out")).shape == (6, 5, 2)


def test_a_fifth_axis_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"shape \(6, 5, 2, 3, 2\), expected volumes of 3 or 4 dimensions"):
        read_scan(write(tmp_path / "a.nii", volumes(6, 5, 2, 3, 2)))


def test_a_series_in_other_formats_and_in_words(tmp_path: Path, run_cli: RunCli) -> None:
    path = write(tmp_path / "sub-1_MEGRE.nii.gz", volumes(6, 5, 2, 3))
    assert "slices run over 3 contrasts, 2 slices" in run_cli("inspect", path)[1]
    stack = read_stack(Label(path, "a"), "a", ReadOptions())
    assert stack.labels == ("contrast 1", "contrast 1", "contrast 2", "contrast 2", "contrast 3", "contrast 3")
    assert stack.only([4]).header()["labels"] == ["contrast 3"]
    scan = read_scan(path)
    images = zero_filled_images(scan, range(6))
    write_images(scan, images, tmp_path / "out", "bids")
    written = sorted((tmp_path / "out").rglob("*.nii.gz"))
    assert [file.name for file in written] == [f"sub-1_echo-{n}_desc-recon_MEGRE.nii.gz" for n in (1, 2, 3)]
    for number, file in enumerate(written):
        found = np.asarray(nibabel.load(file).dataobj)
        np.testing.assert_allclose(found, volumes(6, 5, 2, 3)[..., number], rtol=1e-4)
    write_images(scan, images, tmp_path / "series", "dicom")
    folders = sorted(folder.name for folder in next((tmp_path / "series").iterdir()).iterdir())
    assert folders == ["contrast-1", "contrast-2", "contrast-3"]
