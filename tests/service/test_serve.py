"""A stream and its images, with a client made of the ``ismrmrd`` package."""

import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
from ismrmrd.serialization import ConfigFile, ConfigText

from switchrecon.core.files import NOTE
from switchrecon.reconstruction.files import reconstruct_files
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.readouts import ORDER
from switchrecon.service.asked import Answering
from switchrecon.service.server import Server
from switchrecon.training.train import train
from tests.conftest import tiny_config
from tests.scans.mrd_files import header, lines_of, random_kspace, write_mrd
from tests.scans.protocols import draw, sort
from tests.service.client import debian_image, exchange, generate, measurement, packed, pixels, serving, stream

PLACES = np.hypot(*np.meshgrid(np.arange(64) - 32, np.arange(64) - 32))  # of samples, from the centre of k-space
SCAN = ["-m", "64", "-C", "-r", "1", "-a", "3", "-w", "8", "-O", "2"]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One coil, three repetitions of different lines, noise, calibration lines, oversampling."""
    return generate(tmp_path_factory.mktemp("scan") / "scan.h5", "-c", "1", *SCAN)


def reconstructed(run: Path, scan: Path, out: Path) -> dict[str, np.ndarray]:
    """What ``switchrecon reconstruct`` makes of the same file."""
    reconstructor = Reconstructor.load(run, device="cpu")
    (outcome,) = reconstruct_files(reconstructor, [scan], out, format="numpy")
    assert outcome.error is None
    return {
        name: np.concatenate([np.load(path) for path in sorted(out.glob(f"scan_repetition-?{name}.npy"))])
        for name in ("", "_desc-invented")
    }


@pytest.fixture(scope="module")
def expected(run: Path, scan: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return reconstructed(run, scan, tmp_path_factory.mktemp("out"))


def test_images_and_maps_of_eight_coils_equal_those_of_the_file_to_the_bit(
    server: Server, run: Path, tmp_path: Path
) -> None:
    scan = generate(tmp_path / "scan.h5", "-c", "8", *SCAN)
    expected = reconstructed(run, scan, tmp_path / "out")
    found = stream(server, scan, "small")
    assert found.closed
    assert [text[:3] for text in found.texts] == ["WRN"]  # the run has learned from points, the scan has lines
    assert pixels(found.series(1)).dtype == np.complex64
    np.testing.assert_array_equal(pixels(found.series(1)), expected[""])
    np.testing.assert_array_equal(pixels(found.series(2)), expected["_desc-invented"])
    assert [image.repetition for image in found.series(1)] == [0, 1, 2]
    assert [image.image_index for image in found.series(2)] == [1, 2, 3]


def test_images_of_compressed_coils_equal_those_of_the_file_to_the_bit(
    make_scan: Callable[..., Path], tmp_path: Path
) -> None:
    config = tiny_config("coils=2", "method=supervised")
    compressing = train(config, [make_scan("full", 1).parent], [make_scan("sub", 2).parent], tmp_path / "run")
    random, parts = np.random.RandomState(0), []
    for repetition, number in np.ndindex(2, 2):
        kspace = (random.normal(size=(4, 64, 64)) + 1j * random.normal(size=(4, 64, 64))) / (1 + np.abs(PLACES))
        steps = [step for step in range(64) if step % 4 == repetition or 26 <= step < 38]
        parts += lines_of(kspace.astype(np.complex64), steps, repetition=repetition, slice=number)
    scan = write_mrd(tmp_path / "scan.mrd", header((64, 64, 1), encoded_field=(200, 200, 5)), parts)
    expected = reconstructed(compressing, scan, tmp_path / "out")
    with serving(runs={"run": compressing}, answering=Answering("complex", series="image"), device="cpu") as server:
        found = stream(server, scan, "run")
    assert not [text for text in found.texts if text.startswith("ERR")]
    np.testing.assert_array_equal(pixels(found.images), expected[""])


def test_one_stream_gives_the_same_bytes_twice(server: Server, scan: Path) -> None:
    first, second = (
        [image.to_bytes() for image in stream(server, scan, "small", {"pixels": "integer"}).images] for _ in range(2)
    )
    assert len(first) == 6
    assert first == second


@pytest.mark.parametrize(("kind", "bits"), [("float", 12), ("integer", 12), ("integer", 16)])
def test_magnitudes_come_as_floats_or_as_integers_with_a_slope(
    server: Server, scan: Path, expected: dict[str, np.ndarray], kind: str, bits: int
) -> None:
    found = stream(server, scan, "small", {"pixels": kind, "bits": bits, "series": "image"})
    assert len(found.images) == 3
    magnitude = np.abs(expected[""])
    if kind == "float":
        np.testing.assert_array_equal(pixels(found.images), magnitude)
        return
    for image, own in zip(found.images, magnitude, strict=True):
        assert image.data.dtype == np.uint16
        assert image.data.max() < 1 << bits
        slope = float(image.meta["RescaleSlope"])
        assert slope <= 2.001 * magnitude.max() / ((1 << bits) - 1)
        assert np.abs(pixels([image])[0] - own).max() <= 0.501 * slope


def test_zero_filled_images_equal_debian_s_reconstruction(server: Server, tmp_path: Path) -> None:
    path = generate(tmp_path / "full.h5", "-m", "64", "-c", "8", "-C", "-O", "2")
    found = stream(server, path, "zero-filled", {"pixels": "float"})
    image, other = pixels(found.images)[0], debian_image(path)
    image *= np.sqrt(image.size) * np.sqrt(2)  # its transform is not orthonormal, and neither is its crop
    assert np.abs(image - other).max() < 1e-5 * other.max()
    assert "no network" in found.images[0].meta["ImageComment"]


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5, 8, 13, 21])
def test_random_protocols_equal_an_independent_sorter(server: Server, tmp_path: Path, seed: int) -> None:
    """Averages, repetitions, contrasts, slices mixed, discarded samples, reversed lines, partial Fourier, slabs."""
    protocol = draw(seed)
    kspace, _ = sort(protocol)
    found = stream(server, protocol.write(tmp_path / "a.mrd"), "zero-filled", {"pixels": "float"})
    assert found.texts == []
    coils = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, (-2, -1)), norm="ortho"), (-2, -1))
    wanted = np.sqrt((np.abs(coils) ** 2).sum(1))
    kept = protocol.recon[1]
    start = wanted.shape[-1] // 2 - kept // 2
    wanted = wanted[..., max(start, 0) : max(start, 0) + kept]  # at the scanner's field of view
    order = sorted(found.images, key=lambda image: tuple(getattr(image, name) for name in ORDER))
    np.testing.assert_allclose(pixels(order), wanted, atol=2e-5 * wanted.max())


def test_images_carry_geometry_series_and_the_research_mark(server: Server, tmp_path: Path) -> None:
    places = {number: (1.0, 2.0, 10.0 * number) for number in range(2)}
    axes = {"read_dir": (0, 1, 0), "phase_dir": (1, 0, 0), "slice_dir": (0, 0, -1)}
    readouts = [
        line
        for number in (1, 0)
        for line in lines_of(
            random_kspace(1, 64, 64, seed=number),
            steps=[step for step in range(64) if step % 2 == 0 or 28 <= step < 36],
            slice=number,
            position=places[number],
            patient_table_position=(0, 0, 7),
            measurement_uid=11,
            acquisition_time_stamp=100,
            user_int=range(8),
            **axes,
        )
    ]
    for head, _ in readouts:
        head["acquisition_time_stamp"] += head["idx"]["kspace_encode_step_1"]
    xml = header((64, 64, 1), encoded_field=(200, 220, 5))
    found = stream(server, write_mrd(tmp_path / "a.mrd", xml, readouts), "small")
    assert [(image.image_series_index, image.slice) for image in found.images] == [(1, 1), (2, 1), (1, 0), (2, 0)]
    for image in found.images:
        assert tuple(image.position) == places[image.slice]
        assert {name: tuple(getattr(image, name)) for name in axes} == axes
        assert tuple(image.patient_table_position) == (0, 0, 7)
        assert tuple(image.field_of_view) == (200, 220, 5)
        assert (image.measurement_uid, image.acquisition_time_stamp) == (11, 132)  # of the central line, 32
        assert list(image.user_int) == list(range(8))
        assert image.image_type == ismrmrd.IMTYPE_COMPLEX
        assert NOTE in image.meta["ImageComment"]
        assert image.meta["SeriesDescription"].endswith("RESEARCH")
        assert image.meta["Keep_image_geometry"] == "1"
        assert [float(value) for value in image.meta["ImageRowDir"]] == [0, 1, 0]
    assert found.series(1)[0].meta["SeriesDescription"] != found.series(2)[0].meta["SeriesDescription"]
    assert found.series(2)[0].meta["DataRole"] == ["Image", "Quantitative"]


def test_siemens_images_are_turned_so_that_the_directions_hold(server: Server, tmp_path: Path) -> None:
    """The forward transform of k-space, whatever the sizes' parity."""
    kspace = random_kspace(1, 12, 15)
    siemens = "<acquisitionSystemInformation><systemVendor>SIEMENS</systemVendor></acquisitionSystemInformation>"
    xml = header((12, 15, 1), encoded_field=(100, 100, 5), before=siemens)
    found = stream(server, write_mrd(tmp_path / "a.mrd", xml, lines_of(kspace)), "zero-filled")
    forward = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(kspace[0]), norm="ortho"))
    np.testing.assert_allclose(pixels(found.images)[0], forward, atol=1e-5)


# Which run


def configured(scan: Path, *parts: object) -> bytes:
    xml, acquisitions = measurement(scan)
    return packed(*(xml if part == "header" else part for part in parts), *acquisitions)


@pytest.mark.parametrize(
    "parts",
    [
        [ConfigFile("small"), "header"],
        [ConfigFile("small.xml"), "header"],
        [ConfigText("small"), "header"],
        [ConfigText('{"parameters": {"config": "small"}}'), "header"],
        [ConfigFile("openrecon"), "header", {"config": "small", "customconfig": ""}],
    ],
)
def test_a_run_is_chosen_by_the_configuration_or_by_parameters(
    server: Server, scan: Path, expected: dict[str, np.ndarray], parts: list[object]
) -> None:
    found = exchange(server, configured(scan, *parts))
    np.testing.assert_array_equal(pixels(found.series(1)), expected[""])


def test_a_run_is_chosen_by_a_user_parameter_of_the_header(server: Server, scan: Path) -> None:
    xml, acquisitions = measurement(scan)
    told = "<userParameters>{}</userParameters></ismrmrdHeader>".format(
        "<userParameterString><name>config</name><value>small</value></userParameterString>"
        "<userParameterString><name>series</name><value>image</value></userParameterString>"
        "<userParameterLong><name>BitsStored</name><value>16</value></userParameterLong>"
        "<userParameterString><name>pixels</name><value>integer</value></userParameterString>"
    )
    xml = xml.replace("</ismrmrdHeader>", told)
    found = exchange(server, packed(ConfigFile("openrecon"), xml, *acquisitions))
    assert len(found.images) == 3
    assert found.images[0].meta["BitsStored"] == "16"


@pytest.mark.parametrize("name", ["os", "../small", "small/..", "switchrecon.cli", "", "x" * 900, "default", "Small"])
def test_other_names_are_refused(server: Server, scan: Path, name: str) -> None:
    found = exchange(server, configured(scan, ConfigFile(name), "header"))
    assert found.images == []
    assert found.closed
    assert found.texts[0].startswith("ERR no run is called so")
    assert "small, zero-filled" in found.texts[0]


@pytest.mark.parametrize(("name", "value"), [("pixels", "jpeg"), ("bits", 13), ("series", "everything")])
def test_other_values_of_parameters_are_refused(server: Server, scan: Path, name: str, value: object) -> None:
    found = exchange(server, configured(scan, ConfigFile("small"), "header", {name: value}))
    assert found.images == []
    assert found.texts == [found.texts[0]]
    assert found.texts[0].startswith(f"ERR parameter {name}: expected one of")


# Scans that the run was not trained for


def test_a_scan_that_measured_more_than_those_of_training_is_told_once(server: Server, tmp_path: Path) -> None:
    found = stream(server, generate(tmp_path / "a.h5", "-m", "64", "-c", "1", "-r", "1", "-a", "2"), "small")
    assert len(found.images) == 4
    assert len(found.texts) == 1
    assert found.texts[0].startswith("WRN the scan has measured lines at acceleration 2.00")


OTHERS = {
    "its k-space is fully sampled": ["-m", "64", "-c", "2"],
    "its matrix is 48x48, the run was trained at 64x64": ["-m", "48", "-c", "2", "-a", "2", "-w", "8"],
    "its acceleration is 16.0, the run was trained at": ["-m", "64", "-c", "1", "-a", "16"],
}


@pytest.mark.parametrize("why", OTHERS)
def test_a_scan_unlike_those_of_training_is_refused_or_zero_filled(
    server: Server, run: Path, tmp_path: Path, why: str
) -> None:
    path = generate(tmp_path / "a.h5", *OTHERS[why])
    found = stream(server, path, "small")
    assert found.images == []
    assert found.closed
    assert all(text.startswith("ERR stream: outside what run 'small' was trained for") for text in found.texts)
    assert why in found.texts[0]
    with serving(runs={"small": run}, answering=Answering("float", outside="zero-filled"), device="cpu") as other:
        given, plain = (stream(other, path, name) for name in ("small", "zero-filled"))
    assert given.texts
    assert all(text.startswith("WRN outside") and "zero-filled images are sent" in text for text in given.texts)
    np.testing.assert_array_equal(pixels(given.images), pixels(plain.images))
    assert "zero-filled" in given.images[0].meta["SeriesDescription"]
    assert "no network was used" in given.images[0].meta["ImageComment"]


def test_a_trajectory_that_is_not_cartesian_is_refused(server: Server, tmp_path: Path) -> None:
    path = write_mrd(tmp_path / "a.mrd", header((16, 12, 1), trajectory="radial"), lines_of(random_kspace(1, 16, 12)))
    found = stream(server, path, "zero-filled")
    assert found.images == []
    assert "only Cartesian" in found.texts[0]


def test_rubbish_in_samples_makes_no_image(server: Server, tmp_path: Path) -> None:
    kspace = random_kspace(1, 16, 12)
    kspace[0, 3, 4] = np.nan
    found = stream(server, write_mrd(tmp_path / "a.mrd", header((16, 12, 1)), lines_of(kspace)), "zero-filled")
    assert found.images == []
    assert found.texts[0].startswith("ERR stream: k-space")


def test_a_small_stream_cannot_claim_a_large_matrix(server: Server, tmp_path: Path) -> None:
    path = write_mrd(tmp_path / "a.mrd", header((65535, 12000, 1)), lines_of(random_kspace(1, 16, 12)))
    found = stream(server, path, "zero-filled")
    assert found.images == []
    assert "GiB; the limit is 0.25 GiB" in found.texts[0]


def test_the_reference_file_is_left_as_it_was(scan: Path) -> None:
    with h5py.File(scan) as file:
        assert len(file["dataset/data"]) == len(measurement(scan)[1])


def test_a_header_may_end_with_nul(server: Server, scan: Path) -> None:
    xml, acquisitions = measurement(scan)
    text = xml.encode() + b"\0"
    raw = struct.pack("<HI", 3, len(text)) + text
    assert len(exchange(server, packed(ConfigFile("small"), raw, *acquisitions)).images) == 6
