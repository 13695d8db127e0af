"""Readers, piles and batches: what goes in, what is refused, and what a network is shown."""

import gzip
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch

from switchrecon.config import Config, CorruptionConfig, load_config
from switchrecon.data.augment import DIHEDRAL, FLIPS, move
from switchrecon.data.corruption import corrupted
from switchrecon.data.piles import evenly, read_training_data, slices_of, usable_slices
from switchrecon.data.slices import Slice
from switchrecon.errors import ConfigError, DataError
from switchrecon.physics.fourier import fourier, inverse_fourier
from switchrecon.physics.intensity import from_network, intensity_scale, to_network
from switchrecon.physics.masks import draw_mask
from switchrecon.physics.operators import Sensitivity
from switchrecon.scans.files import find_files, read_scan
from switchrecon.scans.names import describe_name
from switchrecon.scans.scan import Scan, own_mask
from switchrecon.scans.writing import write_images
from switchrecon.training.batches import Batches, symmetries
from tests.conftest import blob_images, shared_file, tiny_config

MakeScan = Callable[..., Path]
LINES = np.zeros(64, dtype=bool)
LINES[[3, 9, 17, 22, *range(30, 35), 40, 51, 60]] = True


def write_nifti_file(path: Path, volume: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4) if affine is None else affine), path)
    return path


def write_fastmri_file(path: Path, kspace: np.ndarray, **fields: object) -> Path:
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        if "mask" in fields:
            file["mask"] = fields["mask"]
        if "patient_id" in fields:
            file.attrs["patient_id"] = fields["patient_id"]
    return path


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IXI002-Guys-0828-T2.nii.gz", {"subject": "IXI002", "site": "Guys", "contrast": "T2"}),
        ("sub-openms-patient01_ses-1_T2w.nii.gz", {"subject": "openms-patient01", "contrast": "T2w"}),
        ("sub-07_T1w.nii", {"subject": "07", "contrast": "T1w"}),
        ("head.nii.gz", {"subject": "head"}),
        ("IXI002-Guys-0828-T2_brain.nii.gz", {"subject": "IXI002", "site": "Guys", "contrast": "T2"}),
        ("IXI002.nii", {"subject": "IXI002"}),
        ("sub-01.nii.gz", {"subject": "01"}),
        ("sub-01_ses-2_T1w.reg.nii.gz", {"subject": "01", "contrast": "T1w"}),
    ],
)
def test_names(name: str, expected: dict[str, str]) -> None:
    assert describe_name(Path(name)) == expected


# Readers


def test_nifti_slices_are_upright_and_written_back_in_place(tmp_path: Path) -> None:
    """A volume in a rotated, flipped orientation comes back with the same values and affine."""
    volume = np.random.RandomState(0).randint(1, 500, size=(9, 14, 12)).astype(np.int16)
    affine = np.array([[0, 0, -1.5, 3], [-1, 0, 0, 7], [0, 2.0, 0, -5], [0, 0, 0, 1]])
    path = write_nifti_file(tmp_path / "sub-01_T1w.nii.gz", volume, affine)
    scan = read_scan(path)
    canonical = np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)
    assert scan.subject == "01"
    assert scan.image
    assert scan.synthetic
    images = inverse_fourier(torch.from_numpy(scan.kspace[:, 0])).real.numpy()
    above, left, height, width = scan.geometry.window
    upright = images[4, above : above + height, left : left + width]
    # Row 0 is most anterior and column 0 the patient's right.
    np.testing.assert_allclose(upright, canonical[::-1, ::-1, 4].T, atol=1e-3)
    written = nibabel.load(write_images(scan, images, tmp_path / "out"))
    np.testing.assert_allclose(written.affine, affine, atol=1e-5)
    np.testing.assert_allclose(np.asarray(written.dataobj), volume, atol=1e-3)
    assert written.header.get_data_dtype() == np.float32


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_nifti_field_of_view_is_square(tmp_path: Path, axis: str) -> None:
    volume = np.random.RandomState(0).uniform(1, 2, size=(10, 20, 12)).astype(np.float32)
    path = write_nifti_file(tmp_path / "head.nii", volume, np.diag([2.0, 1.0, 1.0, 1.0]))
    scan = read_scan(path, load_config(None, [f"slice_axis={axis}"]).reading)
    spacing = {"axial": (1, 2), "coronal": (1, 2), "sagittal": (1, 1)}[axis]
    assert scan.matrix[0] * spacing[0] == scan.matrix[1] * spacing[1] == 20


def test_fastmri_file(tmp_path: Path) -> None:
    kspace = fourier(torch.from_numpy(blob_images(0))).numpy()
    scan = read_scan(write_fastmri_file(tmp_path / "a.h5", kspace, patient_id="P7"))
    assert (scan.subject, scan.mask, scan.synthetic) == ("P7", None, False)
    np.testing.assert_array_equal(scan.kspace[:, 0], kspace)
    masked = write_fastmri_file(tmp_path / "b.h5", kspace, mask=LINES.astype(np.float32))
    scan = read_scan(masked)
    assert scan.subject == "b"
    assert scan.mask is not None
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(LINES, kspace.shape))
    assert not scan.kspace[..., ~LINES].any()
    zeros = read_scan(write_fastmri_file(tmp_path / "c.h5", kspace * LINES))
    np.testing.assert_array_equal(zeros.mask, scan.mask)
    out = write_images(scan, np.abs(kspace), tmp_path / "out")
    with h5py.File(out) as file:
        assert out.name == "b.h5"
        assert file["reconstruction"].dtype == np.float32
        np.testing.assert_allclose(file["reconstruction"][()], np.abs(kspace))


def test_numpy_files(tmp_path: Path, make_scan: MakeScan) -> None:
    path = make_scan("full", 3)
    scan = read_scan(path)
    assert (scan.subject, scan.mask, scan.image) == ("subject3", None, False)
    np.save(tmp_path / "image.npy", np.abs(blob_images(3))[0])
    image = read_scan(tmp_path / "image.npy")
    assert image.kspace.shape == (1, 1, 64, 64)
    assert image.image
    assert image.synthetic
    assert np.load(write_images(image, np.ones((1, 64, 64)), tmp_path / "out")).shape == (64, 64)


def test_files_that_a_scanner_gives_one_name_are_drawn_apart(tmp_path: Path) -> None:
    series = [tmp_path / person / "T2" for person in ("first", "second")]
    for folder in series:
        folder.mkdir(parents=True)
    for paths in (series, [tmp_path / "a" / "meas.mrd", tmp_path / "b" / "meas.mrd"]):
        scans = [
            Scan(path, str(n), np.ones((1, 64, 64), dtype=np.complex64)) for n, path in enumerate(paths)
        ]  # the subject is in the header
        masks = [own_mask(scan, 0, Config()) for scan in scans]
        assert not torch.equal(*masks)
        assert not np.array_equal(*(corrupted(scan, CorruptionConfig(kind="noise", level=1)).kspace for scan in scans))
    # fastMRI's rule: the file's name alone, wherever it lies and whoever it is.
    same = [Scan(tmp_path / folder / "file1.h5", folder, np.ones((1, 64, 64), np.complex64)) for folder in ("a", "b")]
    assert torch.equal(*(own_mask(scan, 0, Config()) for scan in same))


def test_smooth_phase_is_smooth_repeatable_and_leaves_magnitudes(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.abs(blob_images(3)) + 0.1)
    none = read_scan(tmp_path / "image.npy", load_config(None, ["phase=none"]).reading)
    smooth = read_scan(tmp_path / "image.npy", load_config(None, ["phase=smooth"]).reading)
    again = read_scan(tmp_path / "image.npy", load_config(None, ["phase=smooth"]).reading)
    np.testing.assert_array_equal(smooth.kspace, again.kspace)
    image = inverse_fourier(torch.from_numpy(smooth.kspace[:, 0])).numpy()
    real = inverse_fourier(torch.from_numpy(none.kspace[:, 0])).numpy()
    np.testing.assert_allclose(np.abs(image), np.abs(real), atol=1e-5)
    assert np.abs(real.imag).max() < 1e-5
    steps = np.angle(image[:, 1:] * image[:, :-1].conj())
    assert 0 < np.abs(steps).max() < 0.5
    assert not np.allclose(np.angle(image[0]), np.angle(image[1]), atol=0.1)


def test_real_files() -> None:
    scan = read_scan(shared_file("data/raw/larson_sagT1_singlecoil_raw.h5"))
    assert scan.kspace.shape == (1, 1, 256, 256)
    assert scan.mask is None
    brain = read_scan(shared_file("data/brain/sub-openms-patient04_ses-1_T2w.nii.gz"))
    assert brain.subject == "openms-patient04"
    assert brain.kspace.shape == (39, 1, 256, 256)
    assert read_scan(shared_file("data/complex/siat_s06_ax.h5")).subject == "SIAT-06"
    assert read_scan(shared_file("data/raw/espirit_brain_alias_8ch_fullysampled.h5")).coils == 8


# Files that cannot be used


def _bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    images = np.ones((2, 8, 8), dtype=np.float32)
    bad = images.copy()
    bad[1, 3, 3] = np.nan
    files: dict[str, tuple[Path, str]] = {}

    def save(name: str, array: object, message: str) -> None:
        np.save(folder / f"{name}.npy", array, allow_pickle=True)  # type: ignore[arg-type]
        files[name] = (folder / f"{name}.npy", message)

    save("nan", bad, "slice 1 holds NaN")
    save("zero", 0 * images, "all 2 slices are zero")
    save("empty-array", np.zeros((0, 8, 8)), "empty array")
    save("four", np.ones((1, 1, 8, 8)), r"shape \(1, 1, 8, 8\), expected")
    save("text", np.array(["a"]), "expected numbers")
    save("overflow", np.full((1, 8, 8), 1e300 + 0j), "slice 0 holds NaN or infinity")
    save("pickle", np.array([{}], dtype=object), "not a readable .npy")
    (folder / "empty.npy").write_bytes(b"")
    files["empty"] = (folder / "empty.npy", "an empty file")
    (folder / "note.h5").write_text("not a scan")
    files["unknown"] = (folder / "note.h5", "unknown kind of file")
    files["missing"] = (folder / "absent.h5", "no such file")
    kspace = fourier(torch.from_numpy(blob_images(0))).numpy()
    files["no k-space"] = (folder / "image.h5", "no dataset 'kspace'; found image")
    with h5py.File(folder / "image.h5", "w") as file:
        file["image"] = images
    files["real k-space"] = (write_fastmri_file(folder / "real.h5", images), "expected complex")
    files["5-D"] = (write_fastmri_file(folder / "five.h5", kspace[None, None]), r"expected \(slices, H, W\) or")
    wrong = write_fastmri_file(folder / "wrong.h5", kspace, mask=np.ones(32))
    files["mask"] = (wrong, r"'mask' has shape \(32,\), expected \(64,\)")
    files["zero mask"] = (write_fastmri_file(folder / "mask0.h5", kspace, mask=np.zeros(64)), "all zero")
    files["5-D"] = (write_nifti_file(folder / "series.nii", np.ones((4, 4, 4, 3, 2))), "expected volumes of 3 or 4")
    content = write_nifti_file(folder / "whole.nii.gz", np.random.rand(8, 8, 8)).read_bytes()
    (folder / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    files["cut nifti"] = (folder / "cut.nii.gz", "cut.nii.gz")
    content = write_fastmri_file(folder / "whole.h5", kspace).read_bytes()
    (folder / "cut.h5").write_bytes(content[: len(content) // 2])
    files["cut hdf5"] = (folder / "cut.h5", "not a readable HDF5")
    content = files["nan"][0].read_bytes()
    (folder / "cut.npy").write_bytes(content[:200])
    files["cut npy"] = (folder / "cut.npy", "not a readable .npy")
    return files


def test_files_that_cannot_be_used_are_named_with_what_was_found(tmp_path: Path) -> None:
    for name, (path, message) in _bad_files(tmp_path).items():
        with pytest.raises(DataError, match=message) as error:
            read_scan(path)
        assert path.name in str(error.value), name
        assert "\n" not in str(error.value), name


def test_every_truncation_of_every_format_is_refused(tmp_path: Path) -> None:
    kspace = fourier(torch.from_numpy(blob_images(0, 1, 16))).numpy()
    volume = np.random.RandomState(0).rand(8, 8, 8)
    np.save(tmp_path / "a.npy", kspace)
    files = [
        write_fastmri_file(tmp_path / "a.h5", kspace),
        write_nifti_file(tmp_path / "a.nii", volume),
        write_nifti_file(tmp_path / "b.nii.gz", volume),
        tmp_path / "a.npy",
    ]
    for path in files:
        content = path.read_bytes()
        for percent in range(0, 100, 2):
            path.write_bytes(content[: len(content) * percent // 100])
            with pytest.raises(DataError):
                read_scan(path)


def test_find_files(tmp_path: Path, make_scan: MakeScan) -> None:
    first, second = make_scan("scans", 1), make_scan("scans", 2)
    (tmp_path / "scans" / "notes.txt").write_text("not a scan")
    assert find_files([tmp_path / "scans"]) == [first, second]
    assert find_files([str(tmp_path / "scans" / "*2.npy"), second]) == [second]
    with pytest.raises(DataError, match="matches no file"):
        find_files([str(tmp_path / "*.h5")])
    with pytest.raises(DataError, match="no such file or folder"):
        find_files([tmp_path / "absent"])
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="holds no scan"):
        find_files([tmp_path / "bare"])
    with pytest.raises(DataError, match="empty path"):
        find_files([""])
    assert find_files([tmp_path]) == [first, second]  # none directly inside, so those in subfolders


# Intensities


def test_scale_does_not_see_what_was_not_measured() -> None:
    """The undersampled slice has the scale of the fully sampled one, alone or in its volume."""
    kspace = fourier(torch.from_numpy(blob_images(0)))[:, None]
    mask = torch.from_numpy(draw_mask(Config().mask, (64, 64), volume="a", index=0))
    whole = intensity_scale(kspace, 0.08, 3.0)
    torch.testing.assert_close(intensity_scale(kspace * mask, 0.08, 3.0, mask), whole)
    torch.testing.assert_close(intensity_scale(kspace[1:2], 0.08, 3.0), whole[1:2])
    torch.testing.assert_close(intensity_scale(kspace * 1e6, 0.08, 3.0), whole * 1e6)
    assert intensity_scale(torch.zeros(1, 1, 8, 8, dtype=torch.complex64), 0.08, 3.0).item() == 1


def test_scale_of_a_mask_with_holes_in_the_centre_uses_a_smaller_centre() -> None:
    kspace = fourier(torch.from_numpy(blob_images(0)))[:, None]
    mask = torch.ones(64, 64, dtype=torch.bool)
    mask[30, 30] = False  # a corner of the 5x5 centre: 3x3 remains
    torch.testing.assert_close(intensity_scale(kspace, 0.08, 3.0, mask), intensity_scale(kspace, 3 / 64, 3.0))


def test_scale_without_a_measured_centre_still_follows_the_units() -> None:
    kspace = fourier(torch.from_numpy(blob_images(0)))[:, None]
    mask = torch.ones(64, 64, dtype=torch.bool)
    mask[:, 32] = False
    small, large = (intensity_scale(kspace * mask * factor, 0.08, 4.0, mask) for factor in (1e-6, 1.0))
    torch.testing.assert_close(small * 1e6, large)
    assert large.max() < 100


@pytest.mark.parametrize(
    ("height", "width", "hole"),
    [(64, 64, None), (64, 64, (32, 32)), (63, 48, (31, 24)), (64, 64, (30, 30)), (9, 8, None)],
)
def test_a_slices_scale_is_that_of_its_kspace(height: int, width: int, hole: tuple[int, int] | None) -> None:
    kspace = torch.randn(2, height, width, dtype=torch.complex64, generator=torch.Generator().manual_seed(height))
    mask = torch.ones(height, width, dtype=torch.bool)
    if hole is not None:
        mask[hole] = False
    maps = torch.ones(2, height, width, dtype=torch.complex64) / 2**0.5
    images = inverse_fourier(kspace * mask)
    for own in (
        Slice(images[0], mask, 1.0, "v", 0, "s"),
        Slice(images[0], mask, 1.0, "v", 0, "s", Sensitivity(maps), images),
    ):
        expected = intensity_scale(own.kspace, 0.08, 1.5, mask, own.coils).item()
        assert 1.5 * own.brightness(0.08) == pytest.approx(expected, rel=1e-4)


def test_scales_have_the_same_bits_with_one_thread_and_with_two() -> None:
    images = torch.randn(120, 64, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    mask, before, scales = torch.ones(64, 64, dtype=torch.bool), torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        scales.append([Slice(own, mask, 1.0, "v", 0, "s").brightness(0.08) for own in images])
    torch.set_num_threads(before)
    assert scales[0] == scales[1]


@pytest.mark.parametrize("kind", ["points", "lines"])
def test_slices_without_a_measured_centre_train_in_the_range_that_they_are_reconstructed_in(
    make_scan: MakeScan, kind: str
) -> None:
    """No rest of a Fourier transform there and back is taken for the centre sample."""
    mask = np.random.RandomState(0).uniform(size=(64, 64)) < 0.4
    if kind == "lines":
        mask = np.broadcast_to(mask[:1], mask.shape).copy()
    mask[:, 32] = False
    path = make_scan("sub", 2, mask=mask)
    config = load_config(None, ["mask.center_fraction=0"])
    data = read_training_data([], [path], config, "undersampled")
    assert data.sub is not None
    kspace = torch.from_numpy(np.load(path))
    scales = intensity_scale(kspace[:, None], 0.0, config.headroom, torch.from_numpy(mask).expand(kspace.shape))
    for own, scale in zip(data.sub.slices, scales.flatten().tolist(), strict=True):
        assert own.scale == pytest.approx(scale, rel=1e-4)
        assert 0.1 < own.image.abs().max() < 1


@pytest.mark.parametrize("matrix", [64, 256])
@pytest.mark.parametrize("name", ["brain/sub-openms-patient04_ses-1_T2w.nii.gz", "complex/siat_s01_ax.h5"])
def test_headroom_keeps_real_slices_inside_the_range_of_tanh(name: str, matrix: int) -> None:
    scan = read_scan(shared_file(f"data/{name}")).resized((matrix, matrix))
    images = inverse_fourier(torch.from_numpy(scan.kspace[:, 0])).abs()
    scaled = images / intensity_scale(torch.from_numpy(scan.kspace), 0.08, Config().headroom)
    assert scaled.amax((1, 2)).min() > 0.2
    assert scaled.max() < 0.97


def test_both_domains_are_scaled_by_the_centre_that_x_has_measured(make_scan: MakeScan) -> None:
    """X's own centre of 3 lines is smaller than the setting's 5; the same image gets the same scale in X and Y."""
    lines = np.abs(np.arange(64) - 32) <= 1
    lines[::7] = True
    kspace = np.load(make_scan("sub", 2))
    full, sub = make_scan("full", 1), make_scan("sub", 2, mask=lines)
    np.save(full, kspace)
    config = load_config(None, ["mask.kind=random-1d"])
    data = read_training_data([full], [sub], config, "unpaired")
    assert data.centre_fraction(config) == pytest.approx(3 / 64)
    assert data.sub is not None
    for y, x in zip(data.full.slices, data.sub.slices, strict=True):
        assert x.scale == pytest.approx(y.scale, rel=1e-5)


@pytest.mark.parametrize("representation", ["complex", "magnitude"])
def test_network_images_are_undone(representation: str) -> None:
    image = torch.from_numpy(blob_images(1)) * 0.5
    back = from_network(to_network(image, representation), representation)
    torch.testing.assert_close(back, image if representation == "complex" else image.abs())


# Augmentation


@pytest.mark.parametrize("size", [8, 7])
@pytest.mark.parametrize("symmetry", DIHEDRAL)
def test_symmetries_act_in_k_space_as_in_the_image_and_keep_the_centre(size: int, symmetry: int) -> None:
    image = torch.randn(size, size, dtype=torch.complex128)
    torch.testing.assert_close(fourier(move(image, symmetry)), move(fourier(image), symmetry))
    centre = torch.zeros(size, size)
    centre[size // 2, size // 2] = 1
    assert torch.equal(move(centre, symmetry), centre)


def test_the_eight_symmetries_differ() -> None:
    image = torch.arange(49.0).reshape(7, 7)
    assert len({tuple(move(image, s).flatten().tolist()) for s in DIHEDRAL}) == 8


# Piles


def test_an_undersampled_scan_is_used_as_it_is(make_scan: MakeScan) -> None:
    scan = read_scan(make_scan("sub", 1, mask=LINES))
    for one in slices_of(scan, range(len(scan.kspace)), Config(), undersample=True):
        np.testing.assert_array_equal(one.mask.numpy(), np.broadcast_to(LINES, (64, 64)))
        restored = fourier(one.image * one.scale).numpy()
        np.testing.assert_allclose(restored, scan.kspace[one.index, 0], atol=1e-4)


def test_a_fully_sampled_scan_in_the_undersampled_pile_loses_its_other_samples(make_scan: MakeScan) -> None:
    scan = read_scan(make_scan("sub", 1))
    for one in slices_of(scan, range(len(scan.kspace)), Config(), undersample=True):
        expected = draw_mask(Config().mask, (64, 64), volume="subject1.npy", index=one.index)
        np.testing.assert_array_equal(one.mask.numpy(), expected)
        assert fourier(one.image)[~one.mask].abs().max() < 1e-5 * one.image.abs().max()


def test_near_empty_slices_are_dropped(tmp_path: Path) -> None:
    images = blob_images(0, 4)
    images[1] *= 0.01
    images[2] = 0
    np.save(tmp_path / "a.npy", fourier(torch.from_numpy(images)).numpy())
    assert usable_slices(read_scan(tmp_path / "a.npy"), Config()) == [0, 3]


def test_slices_can_be_thinned_by_scan_and_by_pile(make_scan: Callable[..., Path]) -> None:
    full = [make_scan("full", subject, slices=9) for subject in (1, 2)]
    sub = [make_scan("sub", subject, slices=9) for subject in (3, 4)]
    config = Config(slices_per_scan=3)
    data = read_training_data(full, sub, config, "unpaired")
    assert data.sub is not None
    assert [(s.subject, s.index) for s in data.full.slices] == [
        (n, i) for n in ("subject1", "subject2") for i in (1, 4, 7)
    ]
    few = Config(slices_per_scan=3, pile_slices=2)
    data = read_training_data(full, sub, few, "unpaired")
    assert [(s.subject, s.index) for s in data.full.slices] == [("subject1", 4), ("subject2", 4)]
    assert (data.full.scans, len(data.full.subjects)) == (2, 2)
    one = read_training_data(full, sub, Config(pile_slices=1), "unpaired").full
    assert (len(one.slices), one.scans, list(one.subjects)) == (1, 1, ["subject2"])
    paired = read_training_data(full, sub, few, "paired").full
    assert len(paired.slices) == 4  # both piles' worth of pairs


def test_evenly_takes_the_middle_of_equal_parts() -> None:
    assert evenly(range(10), 1) == [5]
    assert evenly(range(10), 2) == [2, 7]
    assert evenly(range(3), 5) == evenly(range(3), None) == [0, 1, 2]


def test_piles_and_their_errors(make_scan: MakeScan, tmp_path: Path) -> None:
    full, sub, fast = make_scan("full", 1), make_scan("sub", 2), make_scan("fast", 3, mask=LINES)
    config = Config()
    data = read_training_data([full], [sub, fast], config, "unpaired")
    assert data.sub is not None
    assert (len(data.full.slices), len(data.sub.slices), data.sub.retrospective) == (3, 6, 1)
    paired = read_training_data([full], [sub], config, "paired")
    assert (len(paired.full.slices), paired.sub) == (6, None)
    assert len(read_training_data([full], [], config, "simulated").full.slices) == 3
    of_x = read_training_data([full], [sub], load_config(None, ["pairs=sub"]), "paired")
    assert (len(of_x.full.slices), of_x.sub, list(of_x.full.subjects)) == (3, None, ["subject2"])
    with pytest.raises(DataError, match="learns from the scans of --sub PATH alone"):
        read_training_data([full], [], load_config(None, ["pairs=sub"]), "paired")
    cases = [
        ([fast], [sub], "unpaired", "expected a fully sampled scan"),
        ([full], [fast], "paired", r"subject3.npy: undersampled k-space \(acceleration 5.3\)"),
        ([full], [], "unpaired", "needs --sub"),
        ([], [sub], "unpaired", "give --full"),
        ([full], [make_scan("again", 1)], "unpaired", "one subject is in both --full and --sub"),
        ([full], [make_scan("large", 4, side=72)], "unpaired", "matrix 72x72 differs from 64x64 of .*set 'matrix'"),
    ]
    for full_paths, sub_paths, pairing, message in cases:
        with pytest.raises(DataError, match=message):
            read_training_data(full_paths, sub_paths, config, pairing)  # type: ignore[arg-type]
    resized = load_config(None, ["matrix=64"])
    assert read_training_data([full], [tmp_path / "large"], resized, "unpaired").matrix == (64, 64)


# Batches


def batches(make_scan: MakeScan, pairing: str = "unpaired", *settings: str, mask: np.ndarray | None = None) -> Batches:
    config = tiny_config(*settings)
    sub = make_scan("sub", 2, mask=mask, slices=5)
    data = read_training_data([make_scan("full", 1)], [sub], config, pairing)  # type: ignore[arg-type]
    return Batches(data, config, pairing)  # type: ignore[arg-type]


def test_an_epoch_is_one_pass_over_the_smaller_pile(make_scan: MakeScan) -> None:
    made = batches(make_scan)
    assert made.per_epoch == 3
    for epoch in range(4):
        drawn = [made._draw(made.data.full, "full", 3 * epoch + i)[0].index for i in range(3)]
        assert sorted(drawn) == [0, 1, 2]
    assert made.data.sub is not None
    drawn = {made._draw(made.data.sub, "sub", i)[0].index for i in range(30)}
    assert drawn == set(range(5))
    epochs = Batches(made.data, load_config(None, ["epochs=7"]), "unpaired")
    assert epochs.steps == 21
    assert Batches(made.data, Config(), "unpaired").steps == 150


def test_a_batch_depends_on_its_step_alone(make_scan: MakeScan) -> None:
    made = batches(make_scan)
    first = made.batch(5)
    made.batch(1)
    again = made.batch(5)
    for name in ("x", "y", "z"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert torch.equal(made.batch(0).z, made.batch(2).z)  # z is renewed every epoch of 3
    assert not torch.equal(made.batch(0).z, made.batch(3).z)
    spread = torch.cat([made.batch(3 * i).z - made.code for i in range(40)]).std()
    assert spread.item() == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("lines", [True, False])
def test_x_never_shows_k_space_that_was_not_measured(make_scan: MakeScan, lines: bool) -> None:
    """Whatever the augmentation, x's k-space is that of its own mask, moved with it."""
    made = batches(make_scan, "unpaired", mask=LINES if lines else None)
    assert made.symmetries == (FLIPS if lines else DIHEDRAL)
    assert made.data.sub is not None
    counts = {int(s.mask.sum()) for s in made.data.sub.slices}
    for step in range(12):
        batch = made.batch(step)
        kspace = fourier(torch.complex(batch.x[:, 0], batch.x[:, 1]))
        assert kspace[~batch.encoding_x.mask].abs().max() < 1e-6
        assert int(batch.encoding_x.mask.sum()) in counts
        if lines:
            assert (batch.encoding_x.mask == batch.encoding_x.mask[:, :1]).all()


def test_paired_and_simulated_batches(make_scan: MakeScan) -> None:
    paired, simulated = batches(make_scan, "paired"), batches(make_scan, "simulated")
    for made in (paired, simulated):
        batch = made.batch(4)
        x, y = (torch.complex(u[:, 0], u[:, 1]) for u in (batch.x, batch.y))
        torch.testing.assert_close(fourier(x), fourier(y) * batch.encoding_x.mask, atol=1e-6, rtol=1e-4)
    own = {tuple(move(s.mask, k).flatten().tolist()) for s in paired.data.full.slices for k in DIHEDRAL}
    assert all(tuple(paired.batch(i).encoding_x.mask[0].flatten().tolist()) in own for i in range(10))
    drawn = {tuple(simulated.batch(i).encoding_x.mask[0].flatten().tolist()) for i in range(10)}
    assert len(drawn) == 10


@pytest.mark.parametrize(("kind", "distinct"), [("slice", 3), ("fresh", 12), ("dataset", 1)])
def test_the_mask_for_y_in_equation_1(make_scan: MakeScan, kind: str, distinct: int) -> None:
    made = batches(make_scan, "unpaired", f"sampling_consistency_mask={kind}")
    masks = {tuple(made.batch(i).encoding_y.mask.flatten().tolist()) for i in range(12)}
    assert len(masks) == distinct


def test_quarter_turns_of_a_matrix_that_is_not_square_are_refused(make_scan: MakeScan) -> None:
    made = batches(make_scan, "unpaired", "matrix=[64,70]")
    assert symmetries(load_config(None, ["augment=auto"]), made.data) == FLIPS
    lines = batches(make_scan, "unpaired", mask=LINES)
    with pytest.raises(ConfigError, match="turn line masks across the lines"):
        symmetries(load_config(None, ["augment=dihedral"]), lines.data)
    with pytest.raises(ConfigError, match="needs a square matrix"):
        symmetries(load_config(None, ["augment=dihedral"]), made.data)
    assert symmetries(load_config(None, ["augment=none"]), made.data) == (0,)


def test_masks_are_the_same_in_every_method(make_scan: MakeScan) -> None:
    scan = read_scan(make_scan("full", 1))
    masks = [own_mask(scan, 1, tiny_config(f"method={m}", f"seed={s}")) for m in ("iscl", "simulated") for s in (0, 1)]
    assert all(torch.equal(m, masks[0]) for m in masks)


def test_gzip_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    content = write_nifti_file(path, np.ones((8, 8, 8))).read_bytes()
    path.write_bytes(content[:12] + bytes(20) + content[32:])
    with pytest.raises(DataError, match="cannot be read"):
        read_scan(path)
    path.write_bytes(gzip.compress(b"hello"))
    with pytest.raises(DataError, match="unknown kind of file"):
        read_scan(path)
