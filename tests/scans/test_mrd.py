"""ISMRMRD files: every rule of sorting readouts, against independent programs and by hand."""

import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from switchrecon.errors import DataError
from switchrecon.physics.fourier import fourier, inverse_fourier
from switchrecon.scans.files import read_scan, subject_of
from switchrecon.scans.header import LARGEST_HEADER
from switchrecon.scans.readouts import NOT_IMAGING
from tests.conftest import blob_images
from tests.scans.mrd_files import header, lines_of, random_kspace, readout, write_mrd

SIZE = (16, 12, 1)  # readout, phase encode, second phase encode


def images_of(kspace: np.ndarray) -> np.ndarray:
    return inverse_fourier(torch.from_numpy(kspace)).numpy()


def kspace_of(images: np.ndarray) -> np.ndarray:
    return fourier(torch.from_numpy(images.astype(np.complex64))).numpy()


# Independent programs


def generate(path: Path, *options: str) -> Path:
    if not shutil.which("ismrmrd_generate_cartesian_shepp_logan"):
        pytest.skip("Debian's ismrmrd-tools are not installed")
    command = ["ismrmrd_generate_cartesian_shepp_logan", "-o", str(path), *options]
    subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.mark.parametrize("options", [["-m", "64", "-c", "4", "-C"], ["-m", "48", "-c", "1", "-O", "1"]])
def test_fully_sampled_images_equal_those_of_the_format_s_own_program(tmp_path: Path, options: list[str]) -> None:
    path = generate(tmp_path / "a.h5", *options)
    scan = read_scan(path)
    subprocess.run(["ismrmrd_recon_cartesian_2d", str(path)], check=True, capture_output=True)
    with h5py.File(path) as file:
        expected = file["dataset/cpp/data"][0, 0, 0].T  # its columns are the readout
    coils = images_of(scan.kspace.reshape(-1, *scan.matrix))
    image = np.sqrt((np.abs(coils) ** 2).sum(0))
    image *= np.sqrt(image.size) * np.sqrt(scan.geometry.oversampling)  # its transform is not orthonormal
    assert scan.mask is None
    assert np.abs(image - expected).max() < 1e-5 * expected.max()


def test_an_accelerated_scan_with_noise_and_calibration(tmp_path: Path) -> None:
    options = ["-m", "32", "-c", "3", "-r", "2", "-a", "2", "-w", "8", "-C"]
    scan = read_scan(generate(tmp_path / "a.h5", *options))
    assert scan.kspace.shape == (4, 3, 32, 32)
    assert scan.mask is not None
    for number, mask in enumerate(scan.mask):
        expected = np.arange(32) % 2 == number % 2  # the lines shift by one a repetition
        np.testing.assert_array_equal(mask, np.broadcast_to(expected, (32, 32)))
    assert scan.geometry.indices[:, 1].tolist() == [0, 1, 2, 3]
    assert scan.noise is not None
    assert scan.noise.shape == (3, 64)
    assert scan.geometry.readouts == {"imaging": 64, "noise": 1, "parallel calibration": 16}


def test_files_of_the_reference_library(tmp_path: Path) -> None:
    ismrmrd = pytest.importorskip("ismrmrd")
    kspace = random_kspace(2, 16, 12)
    data = ismrmrd.Dataset(str(tmp_path / "a.h5"), "run 7")
    data.write_xml_header(header(SIZE).encode())
    for step in range(12):
        acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(kspace[..., step]))
        acquisition.idx.kspace_encode_step_1 = step
        acquisition.center_sample = 8
        data.append_acquisition(acquisition)
    noise = ismrmrd.Acquisition.from_array(random_kspace(2, 40, seed=1))
    noise.setFlag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    data.append_acquisition(noise)
    data.close()
    scan = read_scan(tmp_path / "a.h5")
    np.testing.assert_array_equal(scan.kspace[0], kspace)
    np.testing.assert_array_equal(scan.noise, random_kspace(2, 40, seed=1))


# Sorting


def test_slices_run_over_contrast_repetition_and_slice_whatever_the_order_of_measurement(tmp_path: Path) -> None:
    truth = random_kspace(2, 2, 3, 2, 16, 12)
    readouts = [
        line
        for contrast, repetition, number in np.ndindex(2, 2, 3)
        for line in lines_of(
            truth[contrast, repetition, number], contrast=contrast, repetition=repetition, slice=number
        )
    ]
    np.random.RandomState(0).shuffle(readouts)
    scan = read_scan(write_mrd(tmp_path / "a.mrd", header(SIZE), readouts))
    np.testing.assert_array_equal(scan.kspace, truth.reshape(12, 2, 16, 12))
    assert scan.mask is None
    assert scan.geometry.order == ("contrast", "repetition", "phase", "set", "slice")
    assert scan.geometry.indices[7].tolist() == [1, 0, 0, 0, 1]


def test_readouts_that_are_not_for_the_image_are_left_out(tmp_path: Path) -> None:
    truth = random_kspace(2, 16, 12)
    junk = 1e6 * np.ones((2, 16))
    skipped = [
        readout(junk, [flag], kspace_encode_step_1=5)
        for kind, flags in NOT_IMAGING.items()
        for flag in flags
        if kind != "noise"
    ]
    other = readout(junk, [20], kspace_encode_step_1=3)
    elsewhere = readout(junk, encoding_space_ref=1)
    both = lines_of(truth)
    both[4] = readout(truth[..., 4], [21], kspace_encode_step_1=4)
    noise = [readout(random_kspace(2, n, seed=n), [19], sample_time_us=20) for n in (30, 50)]
    strange = readout(random_kspace(5, 30), [19])  # of other channels
    before = (
        "<acquisitionSystemInformation><relativeReceiverNoiseBandwidth>0.8</relativeReceiverNoiseBandwidth>"
        "</acquisitionSystemInformation>"
    )
    readouts = [*noise, strange, *skipped, *both, other, elsewhere]
    scan = read_scan(write_mrd(tmp_path / "a", header(SIZE, before=before), readouts))
    np.testing.assert_array_equal(scan.kspace[0], truth)
    assert scan.noise is not None
    np.testing.assert_array_equal(scan.noise[:, 30:], random_kspace(2, 50, seed=50))
    assert scan.noise_scale == pytest.approx(20 / 5 / 0.8)
    counts = scan.geometry.readouts
    assert counts["imaging"] == 12
    assert counts["parallel calibration"] == counts["other encoding space"] == 1
    assert counts["feedback"] == 2
    assert sum(counts.values()) == len(readouts)


def test_embedded_calibration_lines_are_part_of_the_image(tmp_path: Path) -> None:
    truth = random_kspace(2, 16, 12)
    readouts = lines_of(truth, range(0, 12, 3)) + lines_of(truth, [5, 7], flags=[20])
    mode = "<parallelImaging><calibrationMode>{}</calibrationMode></parallelImaging>"
    for name, steps in (("embedded", [0, 3, 5, 6, 7, 9]), ("separate", [0, 3, 6, 9])):
        path = write_mrd(tmp_path / name, header(SIZE, after=mode.format(name)), readouts)
        scan = read_scan(path)
        assert scan.mask is not None
        assert np.flatnonzero(scan.mask[0, 0]).tolist() == steps
        np.testing.assert_array_equal(scan.kspace[0][..., steps], truth[..., steps])


def test_reversed_readouts_and_discarded_samples(tmp_path: Path) -> None:
    truth = random_kspace(2, 16, 12)
    readouts = lines_of(truth)
    extra = np.concatenate([np.full((2, 3), 9), truth[..., 2], np.full((2, 1), 9)], 1)
    readouts[2] = readout(extra, kspace_encode_step_1=2, discard_pre=3, discard_post=1, center_sample=11)
    readouts[3] = readout(truth[:, ::-1, 3], [22], kspace_encode_step_1=3)
    extra = np.concatenate([np.full((2, 3), 9), truth[:, ::-1, 4], np.full((2, 1), 9)], 1)
    readouts[4] = readout(extra, [22], kspace_encode_step_1=4, discard_pre=3, discard_post=1, center_sample=9)
    scan = read_scan(write_mrd(tmp_path / "a", header(SIZE), readouts))
    np.testing.assert_array_equal(scan.kspace[0], truth)


def test_partial_echo_and_partial_fourier_lie_at_their_centres(tmp_path: Path) -> None:
    truth = random_kspace(1, 16, 12)
    readouts = [readout(truth[:, 5:, step + 4], kspace_encode_step_1=step, center_sample=3) for step in range(8)]
    scan = read_scan(write_mrd(tmp_path / "a", header(SIZE, centre=(2, 0)), readouts))
    expected = truth[0].copy()
    expected[:5], expected[:, :4] = 0, 0
    np.testing.assert_array_equal(scan.kspace[0, 0], expected)
    assert scan.mask is None  # nothing is missing between samples


def test_averages_are_averaged(tmp_path: Path) -> None:
    truth = random_kspace(3, 2, 16, 12)
    readouts = [line for average in range(3) for line in lines_of(truth[average], average=average)]
    readouts += lines_of(truth[0], [6])  # once more, without a counter
    scan = read_scan(write_mrd(tmp_path / "a", header(SIZE), readouts))
    expected = truth.mean(0)
    expected[..., 6] = (truth[..., 6].sum(0) + truth[0, ..., 6]) / 4
    np.testing.assert_allclose(scan.kspace[0], expected, atol=1e-6)


# Field of view and matrix


def test_readout_oversampling_is_removed_by_the_fields_of_view(tmp_path: Path) -> None:
    images = blob_images(0, 2, 64)
    kspace = kspace_of(images)
    fields = {"encoded_field": (400, 200, 5), "recon_field": (200, 200, 5)}
    scan = read_scan(write_mrd(tmp_path / "a", header((64, 64, 1), (32, 64, 1), **fields), lines_of(kspace)))
    np.testing.assert_allclose(images_of(scan.kspace[0]), images[:, 16:48], atol=1e-5)
    assert scan.geometry.oversampling == 2
    assert scan.geometry.field_of_view == (200, 200)
    unknown = write_mrd(tmp_path / "b", header((64, 64, 1), (32, 64, 1)), lines_of(kspace))
    np.testing.assert_array_equal(read_scan(unknown).kspace[0], kspace)


def test_the_phase_encode_is_padded_or_cropped_to_the_image_s_matrix(tmp_path: Path) -> None:
    kspace = kspace_of(blob_images(0, 1, 32))
    same = {"encoded_field": (200, 200, 5)}
    wide = read_scan(write_mrd(tmp_path / "a", header((32, 32, 1), (32, 40, 1), **same), lines_of(kspace)))
    np.testing.assert_allclose(wide.kspace[0, 0][:, 4:36], kspace[0] * (40 / 32) ** 0.5, rtol=1e-5)
    assert not wide.kspace[0, 0][:, :4].any()
    assert wide.mask is None
    steps = range(0, 32, 2)
    few = lines_of(kspace, steps)
    wide = read_scan(write_mrd(tmp_path / "b", header((32, 32, 1), (32, 40, 1), **same), few))
    assert wide.mask is not None
    assert np.flatnonzero(wide.mask[0, 0]).tolist() == [step + 4 for step in steps]
    narrow = read_scan(write_mrd(tmp_path / "c", header((32, 32, 1), (32, 24, 1), **same), lines_of(kspace)))
    np.testing.assert_allclose(narrow.kspace[0, 0], kspace[0][:, 4:28] * (24 / 32) ** 0.5, rtol=1e-5)


def test_phase_oversampling_is_removed_only_where_lines_are_complete(tmp_path: Path) -> None:
    images = blob_images(0, 1, 32)
    kspace = kspace_of(images)
    xml = header((32, 32, 1), (32, 16, 1), encoded_field=(200, 400, 5), recon_field=(200, 200, 5))
    scan = read_scan(write_mrd(tmp_path / "a", xml, lines_of(kspace)))
    np.testing.assert_allclose(images_of(scan.kspace[:, 0])[0], images[0][:, 8:24], atol=1e-5)
    scan = read_scan(write_mrd(tmp_path / "b", xml, lines_of(kspace, range(0, 32, 2))))
    assert scan.matrix == (32, 32)
    assert scan.geometry.field_of_view == (200, 400)


def test_partitions_of_a_three_dimensional_scan_become_slices(tmp_path: Path) -> None:
    images = blob_images(0, 8, 32)
    kspace = kspace_of(images)
    encoded = fourier(torch.from_numpy(kspace), (0,)).numpy()
    readouts = [line for n in range(8) for line in lines_of(encoded[n][None], kspace_encode_step_2=n)]
    fields = {"encoded_field": (200, 200, 16), "recon_field": (200, 200, 12)}
    xml = header((32, 32, 8), (32, 32, 6), **fields)
    scan = read_scan(write_mrd(tmp_path / "a", xml, readouts))
    np.testing.assert_allclose(scan.kspace[:, 0], kspace[1:7], atol=1e-5)  # slice oversampling is removed
    assert (scan.geometry.partitions, scan.geometry.slice_spacing, scan.mask) == (6, 2, None)
    few = [line for line in readouts if line[0]["idx"]["kspace_encode_step_1"] % 2 == 0]
    scan = read_scan(write_mrd(tmp_path / "b", xml, few))
    np.testing.assert_allclose(scan.kspace[:, 0, :, ::2], kspace[1:7, :, ::2], atol=1e-5)
    assert scan.mask is not None
    assert scan.mask.mean() == 0.5
    ellipse = [line for line in readouts if _inside(line[0]["idx"])]
    assert read_scan(write_mrd(tmp_path / "c", xml, ellipse)).mask is None
    both = [line for line in readouts if sum(int(line[0]["idx"][f"kspace_encode_step_{i}"]) for i in (1, 2)) % 2]
    with pytest.raises(DataError, match="undersampled along the second phase encode"):
        read_scan(write_mrd(tmp_path / "d", xml, both))


def _inside(index: np.void) -> bool:
    line, partition = (float(index[f"kspace_encode_step_{i}"]) for i in (1, 2))
    return ((line - 16) / 16) ** 2 + ((partition - 4) / 4) ** 2 <= 1.05


# Orientation

ROTATION = np.array([[0.6, 0.8, 0], [0, 0, -1], [-0.8, 0.6, 0]])  # readout, phase encode and slice direction as rows
DIRECTIONS = dict(zip(("read_dir", "phase_dir", "slice_dir"), ROTATION, strict=True))


def test_a_point_is_found_where_it_was_in_the_patient(tmp_path: Path) -> None:
    """K-space of a point is exp(−2πi k·r) by the definition of the encoding; r is counted from the slice's position."""
    centre, point = np.array([10.0, -25.0, 40.0]), np.array([12.5, -6.25])  # mm; along readout and phase encode
    k = [(np.arange(n) - n // 2) / length for n, length in ((64, 400), (32, 200))]
    kspace = np.exp(-2j * np.pi * (k[0][:, None] * point[0] + k[1] * point[1]))[None]
    xml = header((64, 32, 1), (32, 32, 1), encoded_field=(400, 200, 5), recon_field=(200, 200, 5))
    readouts = [
        line
        for number in range(3)
        for line in lines_of(
            kspace * (number == 1), slice=number, position=centre + 7 * (number - 1) * ROTATION[2], **DIRECTIONS
        )
    ]
    scan = read_scan(write_mrd(tmp_path / "a", xml, readouts))
    found = np.unravel_index(np.abs(images_of(scan.kspace[:, 0])).argmax(), scan.kspace[:, 0].shape)
    assert scan.affine is not None
    place = scan.affine @ [found[1], found[2], found[0], 1]
    expected = centre + point[0] * ROTATION[0] + point[1] * ROTATION[1]
    np.testing.assert_allclose(place[:3], expected * [-1, -1, 1], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(scan.affine[:3, :3], axis=0), [6.25, 6.25, 7], rtol=1e-5)


def test_interleaved_slices_are_ordered_by_their_positions(tmp_path: Path) -> None:
    truth = random_kspace(4, 1, 16, 12)
    xml = header(SIZE, encoded_field=(160, 120, 3))
    readouts = [
        line
        for number, place in enumerate([1, 3, 0, 2])
        for line in lines_of(truth[place], slice=number, position=4.0 * place * ROTATION[2], **DIRECTIONS)
    ]
    scan = read_scan(write_mrd(tmp_path / "a", xml, readouts))
    np.testing.assert_array_equal(scan.kspace[:, 0], truth[:, 0])
    assert scan.geometry.indices[:, -1].tolist() == [2, 0, 3, 1]
    assert scan.geometry.slice_spacing == pytest.approx(4)
    uneven = [line for line in readouts if line[0]["idx"]["slice"] != 0]
    assert read_scan(write_mrd(tmp_path / "b", xml, uneven)).affine is None
    assert read_scan(write_mrd(tmp_path / "c", xml, lines_of(truth[0]))).affine is None


# What is refused


def _refused(folder: Path) -> dict[str, tuple[Path, str]]:
    kspace = random_kspace(2, 16, 12)
    lines, files = lines_of(kspace), {}

    def add(name: str, message: str, readouts: list = lines, xml: str | bytes | None = None) -> None:
        files[name] = (write_mrd(folder / f"{name}.mrd", header(SIZE) if xml is None else xml, readouts), message)

    entity = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbbbbbb">]>' + header(SIZE)[21:]
    add("doctype", "declares a document type", xml=entity)
    add("long", f"expected at most {LARGEST_HEADER}", xml=header(SIZE, before=f"<a>{'b' * LARGEST_HEADER}</a>"))
    add("xml", "not readable XML", xml="<ismrmrdHeader><encoding>")
    add("deep", "not readable XML|encoding space 0; the header has 0", xml="<a>" * 100_000 + "</a>" * 100_000)
    add("matrix", "expected 1 to 65535", xml=header((16, -3, 1)).replace("-3", "0"))
    add("word", "matrixSize|is not a number", xml=header(SIZE).replace("<x>16</x>", "<x>many</x>"))
    add("spiral", "trajectory of kind 'spiral'; only Cartesian", xml=header(SIZE, trajectory="spiral"))
    add("huge", "the limit is", xml=header((65535, 65535, 65535)), readouts=[*lines, _far()])
    add("none", "no readout at all", [])
    add("noise", "none of 1 readouts is for an image", [readout(kspace[..., 0], [19])])
    add("space", "encoding space 3; the header has 1", lines_of(kspace, encoding_space_ref=3))
    add(
        "step",
        "phase encode 12 lies outside the encoded matrix of 12",
        [readout(kspace[..., 0], kspace_encode_step_1=12)],
    )
    add("length", "does not fit the encoded matrix of 16", [readout(random_kspace(2, 20))])
    add("channels", "2 and of 3 channels", [*lines, readout(random_kspace(3, 16))])
    add("nan", "k-space of slice 0 holds NaN", lines_of(kspace * np.nan))
    add("zero", "all 1 slices are zero", lines_of(kspace * 0))
    head, samples = readout(kspace[..., 0])
    add("short", "readout 12 holds 10 numbers; expected 64", [*lines, (head, samples[:10])])
    return files


def _far() -> tuple[np.void, np.ndarray]:
    return readout(random_kspace(2, 16), kspace_encode_step_2=9)


def test_files_that_cannot_be_used_are_named_with_what_was_found(tmp_path: Path) -> None:
    for name, (path, message) in _refused(tmp_path).items():
        with pytest.raises(DataError, match=message) as error:
            read_scan(path)
        assert path.name in str(error.value), name
        assert "\n" not in str(error.value), name


def test_readouts_above_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads that claim little do not hide samples that take much."""
    small = readout(random_kspace(1, 1))[0]
    path = write_mrd(tmp_path / "a", header(SIZE), [(small, np.ones(20_000, np.float32))] * 100)
    monkeypatch.setenv("SWITCHRECON_MAX_BYTES", "1000000")
    with pytest.raises(DataError, match=r"readouts of shape .* the limit is"):
        read_scan(path)


def test_other_tables_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x/xml"], file["x/data"] = [header(SIZE)], np.ones(3)
    with pytest.raises(DataError, match=r"'data' of shape \(3,\) does not hold ISMRMRD readouts"):
        read_scan(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x/xml"], file["x/data"] = np.ones(1), np.ones(3)
    with pytest.raises(DataError, match="'x/xml' has type float64 and shape"):
        read_scan(tmp_path / "b.h5")


def test_claims_of_many_readouts_or_texts_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = write_mrd(tmp_path / "a.h5", header(SIZE), lines_of(random_kspace(1, 16, 12)))
    with h5py.File(path, "a") as file:
        file["dataset/data"].resize((10_000_000,))
    with pytest.raises(DataError, match="claims 3720000000 bytes, but only"):
        read_scan(path)
    with h5py.File(path, "a") as file:
        del file["dataset/xml"]
        file["dataset"].create_dataset("xml", (10_000_000,), h5py.string_dtype(), chunks=(1000,))
    with pytest.raises(DataError, match="but only 0 are stored"):
        read_scan(path)


def test_heads_of_other_types_are_refused(tmp_path: Path) -> None:
    table = np.zeros(3, [("head", [("flags", "<u8")]), ("data", h5py.vlen_dtype("<f4"))])
    table["data"][:] = [np.zeros(0, np.float32)] * 3
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x/xml"] = header(SIZE)
        file.create_dataset("x/data", data=table)
    with pytest.raises(DataError, match="heads that are not ISMRMRD's"):
        read_scan(tmp_path / "a.h5")


# Measurements and subjects


def test_the_last_of_several_measurements_is_read(tmp_path: Path) -> None:
    first, second = random_kspace(2, 1, 16, 12)
    write_mrd(tmp_path / "a.h5", header(SIZE), lines_of(second), "2")
    scan = read_scan(write_mrd(tmp_path / "a.h5", header(SIZE), lines_of(first), "1"))
    np.testing.assert_array_equal(scan.kspace[:, 0], second)
    assert scan.geometry.measurements == 2


def test_a_subject_is_a_digest_of_the_identifier_or_the_file_s_name(tmp_path: Path) -> None:
    kspace = random_kspace(1, 16, 12)
    named = "<subjectInformation><patientName>Doe^Jane</patientName><patientID>{}</patientID></subjectInformation>"
    paths = [
        write_mrd(tmp_path / f"{i}.h5", header(SIZE, before=named.format(text)), lines_of(kspace))
        for i, text in enumerate(["P1", "P1", "P2"])
    ]
    subjects = [read_scan(path).subject for path in paths]
    assert subjects == [subject_of(path) for path in paths]
    assert subjects[0] == subjects[1] != subjects[2]
    assert "P1" not in subjects[0]
    assert subject_of(write_mrd(tmp_path / "own.h5", header(SIZE), lines_of(kspace))) == "own"
