"""Faults of sorting that public reports of this field describe: each with its right value, and its neighbours."""

from pathlib import Path

import numpy as np
import pytest
import torch

from switchrecon.errors import DataError
from switchrecon.physics.fourier import fourier
from switchrecon.scans.files import read_scan
from switchrecon.scans.readouts import turned_centre
from switchrecon.scans.scan import Scan
from tests.scans.mrd_files import header, lines_of, random_kspace, readout, write_mrd
from tests.scans.test_raw_files import coil_kspace, write_fastmri

SIZE = (16, 12, 1)
TRUTH = random_kspace(3, 16, 12)
EVEN = range(0, 12, 2)


def read(folder: Path, readouts: list, xml: str | None = None) -> Scan:
    path = folder / "a.mrd"
    path.unlink(missing_ok=True)
    return read_scan(write_mrd(path, header(SIZE) if xml is None else xml, readouts))


def backwards(kspace: np.ndarray, line: int, **fields: object) -> tuple[np.void, np.ndarray]:
    return readout(kspace[:, ::-1, line], [22], kspace_encode_step_1=line, **fields)


# Repeated lines of unequal layout


def test_a_reversed_average_counts_whichever_comes_first(tmp_path: Path) -> None:
    forth, back = lines_of(TRUTH), [backwards(TRUTH, line) for line in range(12)]
    for readouts in (forth + back, back + forth):
        np.testing.assert_allclose(read(tmp_path, readouts).kspace[0], TRUTH, atol=1e-6)


def test_averages_of_other_lengths_and_discards_count_in_any_order(tmp_path: Path) -> None:
    other = random_kspace(3, 16, 12, seed=1)
    short = [readout(other[:, 4:12, line], kspace_encode_step_1=line, center_sample=4) for line in range(12)]
    padded = np.concatenate([9 * np.ones((3, 2, 12)), TRUTH], 1)
    long = [readout(padded[..., n], kspace_encode_step_1=n, discard_pre=2, center_sample=10) for n in range(12)]
    expected = TRUTH.copy()
    expected[:, 4:12] = (TRUTH[:, 4:12] + other[:, 4:12]) / 2
    for readouts in (short + long, long + short, short[::2] + long + short[1::2]):
        np.testing.assert_allclose(read(tmp_path, readouts).kspace[0], expected, atol=1e-6)


def test_three_averages_of_three_layouts_have_a_third_of_the_noise(tmp_path: Path) -> None:
    noise = [readout(random_kspace(3, 40, seed=5), [19])]
    parts = [random_kspace(3, 16, 12, seed=seed) for seed in range(3)]
    forth = lines_of(parts[0])
    back = [backwards(parts[1], line) for line in range(12)]
    again = [readout(parts[2][..., n], kspace_encode_step_1=n, center_sample=3) for n in range(12)]
    scan = read(tmp_path, noise + again + back + forth)
    np.testing.assert_allclose(scan.kspace[0], np.mean(parts, axis=0), atol=1e-6)
    assert scan.noise_scale == pytest.approx(1 / 3)


@pytest.mark.parametrize("contrast", [1, 5])
def test_calibration_lines_give_the_same_before_and_after_the_image(tmp_path: Path, contrast: float) -> None:
    image = lines_of(TRUTH, EVEN)
    short = [readout(contrast * TRUTH[:, 4:12, n], [20], kspace_encode_step_1=n, center_sample=4) for n in range(3, 9)]
    expected = TRUTH.copy()
    expected[..., 1::2] = 0
    expected[:, 4:12, 3:9] = contrast * TRUTH[:, 4:12, 3:9]  # of one contrast, also where the image has a line
    for readouts in (image + short, short + image, short[:3] + image + short[3:]):
        scan = read(tmp_path, readouts)
        assert scan.calibration is not None
        np.testing.assert_allclose(scan.calibration[0], expected, rtol=1e-6)
        np.testing.assert_array_equal(scan.kspace[0], np.where(np.arange(12) % 2 == 0, TRUTH, 0))


# Lines of another encoding space


def two_spaces(second: str) -> str:
    """A header of the image's encoding and a second one."""
    first = header(SIZE, encoded_field=(160, 120, 5))
    return first.replace("</encoding>", "</encoding>" + second[second.index("<encoding>") : -len("</ismrmrdHeader>")])


@pytest.mark.parametrize("first", ["calibration", "image"])
def test_calibration_lines_lie_around_the_centre_of_their_encoding_space(tmp_path: Path, first: str) -> None:
    xml = two_spaces(header((16, 6, 1), encoded_field=(160, 120, 5), centre=(2, 0)))
    image = lines_of(TRUTH, EVEN)
    lines = [
        readout(TRUTH[..., step + 4], [20], kspace_encode_step_1=step, encoding_space_ref=1)
        for step in range(5)  # line 2 of that space is line 6 of the image, the centre of k-space
    ]
    scan = read(tmp_path, lines + image if first == "calibration" else image + lines, xml)
    assert scan.calibration is not None
    expected = np.where(np.isin(np.arange(12), [*EVEN, 4, 5, 6, 7, 8]), TRUTH, 0)
    np.testing.assert_allclose(scan.calibration[0], expected * 1.0, rtol=1e-5)


def test_lines_of_a_space_that_the_header_has_not_and_of_another_field_of_view(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [readout(TRUTH[..., n], [20], kspace_encode_step_1=n, encoding_space_ref=1) for n in range(6)]
    with pytest.raises(DataError, match="a readout of encoding space 1; the header has 1"):
        read(tmp_path, lines_of(TRUTH, EVEN) + lines)
    other = two_spaces(header((16, 6, 1), encoded_field=(320, 240, 5), centre=(2, 0)))
    assert read(tmp_path, lines_of(TRUTH, EVEN) + lines[:5], other).calibration is None
    assert "another field of view than the image; they are not used" in caplog.text


def test_calibration_lines_of_one_repetition_serve_all_of_a_slice(tmp_path: Path) -> None:
    image = [line for n in range(2) for line in lines_of(TRUTH, EVEN, repetition=n)]
    scan = read(tmp_path, image + lines_of(TRUTH, range(3, 9), flags=[20]))
    assert scan.calibration is not None
    np.testing.assert_array_equal(scan.calibration[0], scan.calibration[1])
    assert scan.calibration[1][..., 3].any()


# Reversed asymmetric echoes: centre and discards are both counted in the order of storage


def test_a_reversed_asymmetric_echo_lies_where_its_twin_lies(tmp_path: Path) -> None:
    for missing in (0, 1, 4, 5, 6):
        kept = TRUTH[:, missing:]
        echo = 8 - missing  # of a forward readout
        forth = [readout(kept[..., n], kspace_encode_step_1=n, center_sample=echo) for n in range(12)]
        turned = kept.shape[1] - 1 - echo
        back = [backwards(kept, n, center_sample=turned) for n in range(12)]
        expected = np.where(np.arange(16)[:, None] >= missing, TRUTH, 0)
        for readouts in (forth, back):
            np.testing.assert_array_equal(read(tmp_path, readouts).kspace[0], expected)


def test_discards_of_a_reversed_readout_are_counted_before_it_is_turned(tmp_path: Path) -> None:
    kept = TRUTH[:, 5:]
    junk = 9 * np.ones((3, 2, 12))
    stored = np.concatenate([junk, kept[:, ::-1], junk[:, :1]], 1)
    lines = [
        readout(stored[..., n], [22], kspace_encode_step_1=n, discard_pre=2, discard_post=1, center_sample=2 + 7)
        for n in range(12)
    ]
    expected = np.where(np.arange(16)[:, None] >= 5, TRUTH, 0)
    np.testing.assert_array_equal(read(tmp_path, lines).kspace[0], expected)


def test_a_short_symmetric_readout_is_symmetric_in_both_directions() -> None:
    assert [turned_centre(n, n // 2) for n in (7, 8)] == [3, 4]
    assert [turned_centre(11, centre) for centre in (3, 7)] == [7, 3]


# Oversampling in interpolated protocols, thickness, matrices


def disc(shape: tuple[int, int], field: tuple[float, float]) -> np.ndarray:
    """K-space of a disc of 80 mm."""
    rows, columns = ((np.arange(n) - n // 2) * f / n for n, f in zip(shape, field, strict=True))
    image = (np.hypot(rows[:, None], columns[None]) < 40).astype(np.complex64)
    return np.asarray(fourier(torch.from_numpy(image)).numpy())


def test_oversampling_goes_also_where_the_image_is_interpolated(tmp_path: Path) -> None:
    kspace = disc((128, 57), (460, 204.54))[None]
    xml = header((128, 57, 1), (128, 108, 1), (460, 204.54, 5), (230, 194.06, 5))
    scan = read(tmp_path, lines_of(kspace), xml)
    assert scan.matrix == (128, 108)
    assert scan.geometry.field_of_view == pytest.approx((230, 194.06), rel=0.01)
    image = np.abs(np.fft.ifft2(np.fft.ifftshift(scan.kspace[0])))
    width = (np.fft.fftshift(image) > image.max() / 2).any(1).sum() * 230 / 128
    assert width == pytest.approx(80, abs=4)


def test_a_slab_is_cropped_also_where_its_image_has_more_partitions(tmp_path: Path) -> None:
    kspace = random_kspace(1, 16, 12)
    lines = [line for n in range(6) for line in lines_of(kspace, kspace_encode_step_2=n)]
    scan = read(tmp_path, lines, header((16, 12, 6), (16, 12, 6), (160, 120, 96), (160, 120, 64)))
    assert (scan.geometry.partitions, scan.geometry.slice_spacing) == (4, 16)


def test_interpolated_oversampling_in_fastmri_files(tmp_path: Path) -> None:
    kspace = random_kspace(1, 32, 12)
    xml = header((32, 12, 1), (32, 12, 1), encoded_field=(400, 150, 5), recon_field=(200, 150, 5))
    scan = read_scan(write_fastmri(tmp_path / "a.h5", kspace, xml))
    assert (scan.matrix, scan.geometry.field_of_view) == ((16, 12), (200, 150))


def test_the_thickness_is_the_image_s_and_a_partition_s_that_of_its_slab(tmp_path: Path) -> None:
    xml = header(SIZE, None, (160, 120, 7.5), (160, 120, 5))
    dirs = {"read_dir": (1, 0, 0), "phase_dir": (0, 1, 0), "slice_dir": (0, 0, 1)}
    for fields in ({}, dirs):
        assert read(tmp_path, lines_of(TRUTH, **fields), xml).geometry.slice_spacing == pytest.approx(5)
    unknown = header(SIZE, None, (160, 120, 7.5), (160, 120, 0))
    assert read(tmp_path, lines_of(TRUTH), unknown).geometry.slice_spacing == 7.5
    slab = [line for n in range(3) for line in lines_of(TRUTH, kspace_encode_step_2=n)]
    xml = header((16, 12, 3), None, (160, 120, 9), (160, 120, 9))
    assert read(tmp_path, slab, xml).geometry.slice_spacing == 3


def test_nearly_whole_numbers_are_whole_and_others_are_refused(tmp_path: Path) -> None:
    slab = [line for n in range(3) for line in lines_of(TRUTH, kspace_encode_step_2=n)]
    xml = header((16, 12, 3))
    assert len(read(tmp_path, slab, xml.replace("<z>3</z>", "<z>2.9996</z>")).kspace) == 3
    assert read(tmp_path, slab, xml.replace("<y>12</y>", "<y>12.0004</y>")).matrix == (16, 12)
    centre = xml.replace("<center>6</center>", "<center>5.9996</center>")
    np.testing.assert_array_equal(read(tmp_path, slab, centre).kspace, read(tmp_path, slab, xml).kspace)
    with pytest.raises(DataError, match=r"encodedSpace's matrix is 2\.4; expected a whole number"):
        read(tmp_path, slab, xml.replace("<z>3</z>", "<z>2.4</z>"))


# Names and headers


@pytest.mark.parametrize(
    "names",
    [
        ["dataset_2", "dataset_9", "dataset_11"],
        ["1", "9", "10"],
        ["scan 9 b", "scan 10 a", "scan 10 b"],
        ["2024-01-09T10", "2024-01-10T9", "2024-11-01T1"],
        ["7", "dataset", "dataset_1"],
    ],
)
def test_the_last_of_several_measurements_is_the_last_by_name_and_number(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "a.mrd"
    for name in names[::-1]:
        write_mrd(path, header(SIZE), lines_of((names.index(name) + 1) * TRUTH), name)
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.kspace[0], 3 * TRUTH)
    assert scan.geometry.measurements == 3


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "iso-8859-1", "windows-1252", "UTF-8", None])
def test_headers_in_other_alphabets_are_read(tmp_path: Path, encoding: str | None) -> None:
    xml = header(SIZE, before="<subjectInformation><patientName>Jürgen</patientName></subjectInformation>")
    if encoding is None:  # nothing is said, and the bytes are no UTF-8
        stored = xml.encode("latin-1")
    else:
        stored = xml.replace('version="1.0"?', f'version="1.0" encoding="{encoding}"?').encode(encoding)
    path = write_fastmri(tmp_path / "a.h5", coil_kspace(side=16)[..., :12])
    import h5py

    with h5py.File(path, "a") as file:
        file["ismrmrd_header"] = np.bytes_(stored)
    assert read_scan(path).geometry.field_of_view == (0, 0)
    np.testing.assert_array_equal(read(tmp_path, lines_of(TRUTH), stored).kspace[0], TRUTH)


@pytest.mark.parametrize("encoding", ["iso-8859-1", "utf-8", "utf-7"])
def test_a_document_type_is_refused_in_every_alphabet(tmp_path: Path, encoding: str) -> None:
    xml = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a><a/>'.encode(encoding)
    with pytest.raises(DataError, match=r"declares a document type|is not readable XML"):
        read(tmp_path, lines_of(TRUTH), xml)
