"""Maps beside the images of a scan: one mechanism for all formats."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from switchrecon.errors import DataError
from switchrecon.reconstruction.files import reconstruct_files
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.bart import read_bart
from switchrecon.scans.geometry import Geometry
from switchrecon.scans.maps import Map, map_target, shown
from switchrecon.scans.scan import Scan
from switchrecon.scans.writing import image_format, image_formats, image_target, write_images

from ..conftest import blob_images

ABOUT = "what the scan has not measured"
IMAGES = blob_images(1, 2).astype(np.complex64)
PART = (0.25 * IMAGES).astype(np.complex64)
DOUBT = (0.125 * np.abs(IMAGES)).astype(np.float32)
MAPS = [Map("invented", PART, ABOUT), Map("doubt", DOUBT, "half width of the band")]


def scan(**more: object) -> Scan:
    kspace = np.ones((2, 1, 64, 64), np.complex64)
    return Scan(Path("sub-01_T2w.npy"), "01", kspace, affine=np.diag([1, 2, 3, 1]), **more)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("option", image_formats())
def test_images_are_the_same_with_and_without_maps(tmp_path: Path, option: str) -> None:
    alone = write_images(scan(), IMAGES, tmp_path / "alone", option)
    together = write_images(scan(), IMAGES, tmp_path / "together", option, maps=MAPS)
    assert alone.relative_to(tmp_path / "alone") == together.relative_to(tmp_path / "together")
    if option == "hdf5":
        with h5py.File(alone) as one, h5py.File(together) as other:
            np.testing.assert_array_equal(one["reconstruction"][()], other["reconstruction"][()])
    elif option != "dicom":  # whose study is that of its maps
        for name in names(tmp_path / "alone"):
            assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "together" / name).read_bytes(), name


def test_numpy_and_bart_keep_phase(tmp_path: Path) -> None:
    write_images(scan(), IMAGES, tmp_path, "numpy", maps=MAPS)
    write_images(scan(), IMAGES, tmp_path, "bart", maps=MAPS)
    stem = "sub-01_T2w_desc"
    numpy = [f"{stem}-doubt.npy", f"{stem}-invented.npy", "sub-01_T2w.npy"]
    bart = [f"{stem}-{name}.{end}" for name in ("doubt", "invented") for end in ("cfl", "hdr")]
    assert names(tmp_path) == sorted([*numpy, *bart, "sub-01_T2w.cfl", "sub-01_T2w.hdr"])
    np.testing.assert_array_equal(np.load(tmp_path / f"{stem}-invented.npy"), PART)
    np.testing.assert_array_equal(np.load(tmp_path / f"{stem}-doubt.npy"), DOUBT)
    assert read_bart(tmp_path / f"{stem}-invented.cfl", None) is not None  # type: ignore[arg-type]


def test_nifti_maps_have_the_grid_and_units_of_the_image(tmp_path: Path) -> None:
    write_images(scan(), IMAGES, tmp_path, "nifti", maps=MAPS)
    image, part = (nibabel.load(tmp_path / f"sub-01_T2w{end}.nii.gz") for end in ("", "_desc-invented"))
    np.testing.assert_array_equal(image.affine, part.affine)
    np.testing.assert_allclose(part.get_fdata(), 0.25 * image.get_fdata(), rtol=1e-6)


def test_bids_names_the_maps_and_says_what_they_are(tmp_path: Path) -> None:
    write_images(scan(), IMAGES, tmp_path, "bids", maps=MAPS)
    anat = tmp_path / "sub-01" / "anat"
    assert names(anat) == sorted(
        f"sub-01_desc-{name}_T2w.{end}" for name in ("recon", "invented", "doubt") for end in ("json", "nii.gz")
    )
    said = json.loads((anat / "sub-01_desc-invented_T2w.json").read_text())["Description"]
    assert f"Map 'invented': {ABOUT}" in said
    assert "Map" not in json.loads((anat / "sub-01_desc-recon_T2w.json").read_text())["Description"]


def test_hdf5_holds_datasets_beside_the_reconstruction(tmp_path: Path) -> None:
    target = write_images(scan(), IMAGES, tmp_path, "hdf5", maps=MAPS)
    assert names(tmp_path) == [target.name]
    with h5py.File(target) as file:
        assert sorted(file) == ["doubt", "invented", "reconstruction"]
        np.testing.assert_allclose(file["invented"][()], np.abs(PART))
        assert file["invented"].attrs["description"] == ABOUT
        assert file["doubt"].fletcher32


def test_dicom_maps_are_series_of_the_same_study(tmp_path: Path) -> None:
    write_images(scan(), IMAGES, tmp_path, "dicom", maps=MAPS)
    read = {path.name: pydicom.dcmread(path / "0001.dcm") for path in sorted(tmp_path.iterdir())}
    assert sorted(read) == ["sub-01_T2w", "sub-01_T2w_desc-doubt", "sub-01_T2w_desc-invented"]
    image, doubt, part = (read[name] for name in sorted(read))
    assert len({own.StudyInstanceUID for own in read.values()}) == 1
    assert len({own.FrameOfReferenceUID for own in read.values()}) == 1
    assert len({own.SeriesInstanceUID for own in read.values()}) == 3
    assert [own.SeriesNumber for own in (image, part, doubt)] == [900, 1000, 1100]
    assert part.ImageType[-1] == "AI_INVENTED"
    assert part.SeriesDescription.endswith("invented")
    assert ABOUT in part.ImageComments
    assert "not for diagnosis" in part.ImageComments
    np.testing.assert_allclose(
        part.pixel_array * float(part.RescaleSlope), np.abs(PART[0]), atol=float(part.RescaleSlope)
    )


def test_pictures_of_maps_have_the_window_of_their_images(tmp_path: Path) -> None:
    write_images(scan(), IMAGES, tmp_path, "png", maps=MAPS)
    image, part = (np.asarray(Image.open(tmp_path / f"sub-01_T2w{end}" / "0001.png")) for end in ("", "_desc-invented"))
    assert part.max() < 0.3 * image.max()


def test_the_images_come_last_so_that_none_is_without_its_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [what.name for what, _ in shown(IMAGES, MAPS)] == ["invented", "doubt", ""]
    image_of = Image.fromarray
    calls: list[object] = []

    def full(array: np.ndarray) -> Image.Image:
        calls.append(array)
        if len(calls) > 4:  # of six pictures
            raise RuntimeError("full")
        return image_of(array)

    monkeypatch.setattr(Image, "fromarray", full)
    with pytest.raises(RuntimeError, match="full"):
        write_images(scan(), IMAGES, tmp_path, "png", maps=MAPS)
    assert (tmp_path / "sub-01_T2w_desc-invented").exists()
    assert not (tmp_path / "sub-01_T2w").exists()


def test_every_repetition_has_its_maps(tmp_path: Path) -> None:
    counters = np.array([[0, 0], [1, 0]])
    several = scan(geometry=Geometry(order=("repetition", "slice"), indices=counters))
    write_images(several, IMAGES, tmp_path / "bids", "bids", maps=MAPS)
    found = [name for name in names(tmp_path / "bids") if name.endswith(".nii.gz")]
    assert found == sorted(
        f"sub-01/anat/sub-01_run-{n}_desc-{name}_T2w.nii.gz" for n in (1, 2) for name in ("recon", "invented", "doubt")
    )
    write_images(several, IMAGES, tmp_path / "hdf5", "hdf5", maps=MAPS)
    with h5py.File(tmp_path / "hdf5" / "sub-01_T2w_repetition-2.h5") as file:
        np.testing.assert_allclose(file["invented"][()], np.abs(PART[1:]))


def test_padding_is_taken_off_maps_too(tmp_path: Path) -> None:
    padded = scan(geometry=Geometry(window=(10, 0, 30, 64)))
    write_images(padded, IMAGES, tmp_path, "numpy", maps=MAPS)
    np.testing.assert_array_equal(np.load(tmp_path / "sub-01_T2w_desc-invented.npy"), PART[:, 10:40])


def test_reconstruct_writes_what_was_invented_unless_told_not_to(
    trained: Callable[..., Path], tmp_path: Path, make_scan: Callable[..., Path]
) -> None:
    mask = np.broadcast_to(np.arange(64) % 3 == 0, (64, 64)) | (np.abs(np.arange(64) - 32) < 4)
    path = make_scan("scans", 2, mask=mask)
    reconstructor = Reconstructor.load(trained())
    [outcome] = reconstruct_files(reconstructor, [path], tmp_path / "out")
    found = reconstructor.explain(np.load(path), mask)
    np.testing.assert_allclose(np.load(tmp_path / "out" / "subject2_desc-invented.npy"), found.invented.numpy())
    assert outcome.sentences[0].startswith(f"invented {found.share:.1%} of the image; residual ")
    reconstruct_files(reconstructor, [path], tmp_path / "bare", maps=False)
    assert names(tmp_path / "bare") == ["subject2.npy"]
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "subject2_desc-invented.npy").touch()
    with pytest.raises(DataError, match=r"desc-invented\.npy: exists already"):
        reconstruct_files(reconstructor, [path], tmp_path / "taken")


def test_a_map_keeps_other_dots_and_ends_of_names(tmp_path: Path) -> None:
    for option, name in (("numpy", "a.b_desc-x.npy"), ("bart", "a.b_desc-x.cfl"), ("dicom", "a.b_desc-x")):
        written = image_format(option)
        target = image_target(written, Path("a.b.npy"), tmp_path)
        assert map_target(written, target, "x").name == name
        assert map_target(written, target, "") == target
