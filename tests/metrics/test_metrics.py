"""Metrics against scikit-image and against numbers worked by hand."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from switchrecon.metrics.conventions import Summary, pool, seen, slice_metrics, summarise
from switchrecon.metrics.metrics import nmse, psnr, radial_energy, ssim
from switchrecon.metrics.table import METRICS, Column, Metric

RANDOM = np.random.RandomState(0)
REFERENCE = RANDOM.uniform(size=(3, 40, 31)) * np.array([1.0, 2.0, 0.5])[:, None, None]
IMAGES = np.abs(REFERENCE + 0.1 * RANDOM.normal(size=REFERENCE.shape))


@pytest.mark.parametrize("data_range", [None, 2.5])
def test_equal_to_scikit_image(data_range: float | None) -> None:
    for reference, image in zip(REFERENCE, IMAGES, strict=True):
        used = data_range or reference.max()
        expected = peak_signal_noise_ratio(reference, image, data_range=used)
        assert psnr(reference, image, data_range) == pytest.approx(expected, abs=1e-6)
        expected = structural_similarity(reference, image, data_range=used)
        assert ssim(reference, image, data_range) == pytest.approx(expected, abs=1e-6)


def test_numbers_worked_by_hand() -> None:
    reference, image = np.array([[2.0, 0.0]]), np.array([[1.0, 1.0]])
    assert psnr(reference, image) == pytest.approx(10 * math.log10(4 / 1))
    assert nmse(reference, image) == pytest.approx(2 / 4)
    assert psnr(reference, reference) == math.inf
    assert math.isnan(nmse(np.zeros((2, 2)), np.ones((2, 2))))
    assert psnr(np.zeros((2, 2)), np.ones((2, 2))) == -math.inf
    assert psnr(np.zeros((2, 2)), np.zeros((2, 2))) == math.inf
    assert psnr(reference, image, 3.0) == pytest.approx(10 * math.log10(9 / 1))
    assert nmse(3j * reference, 3 * image) == pytest.approx(2 / 4)  # of magnitudes
    small = np.array([[200, 0]], dtype=np.uint8), np.array([[0, 200]], dtype=np.uint8)
    assert nmse(*small) == 2  # no overflow of a small type


def test_torch_s_tensors_are_images_too() -> None:
    reference, image = (torch.from_numpy(images[0]).requires_grad_() for images in (REFERENCE, IMAGES))
    for metric in (psnr, nmse, ssim):
        expected = metric(REFERENCE[0], IMAGES[0])
        assert metric(reference, image) == metric(REFERENCE[0], image) == metric(reference, IMAGES[0]) == expected


def test_volume_convention_is_that_of_fastmri() -> None:
    [found] = pool(REFERENCE, IMAGES, slice_metrics(REFERENCE, IMAGES, "fastmri"), "fastmri")
    # 40 rows of 31 columns: fastMRI crops to (width, width), here to rows 4 … 34.
    reference, images = REFERENCE[:, 4:35], IMAGES[:, 4:35]
    maximum = reference.max()
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(reference, images, data_range=maximum))
    expected = np.mean(
        [structural_similarity(r, u, data_range=maximum) for r, u in zip(reference, images, strict=True)]
    )
    assert found["ssim"] == pytest.approx(expected, abs=1e-6)
    norm = np.linalg.norm
    assert found["nmse"] == pytest.approx(norm(reference - images) ** 2 / norm(reference) ** 2)


def test_slice_convention_uses_each_slice_and_complex_images_their_magnitude() -> None:
    images = IMAGES * np.exp(1j)
    found = pool(REFERENCE, images, slice_metrics(REFERENCE, images, "slice-max"), "slice-max")
    assert len(found) == 3
    expected = [peak_signal_noise_ratio(r, u, data_range=r.max()) for r, u in zip(REFERENCE, IMAGES, strict=True)]
    assert [value["psnr"] for value in found] == pytest.approx(expected)
    square = slice(4, 35)
    whole = slice_metrics(REFERENCE, IMAGES, "fastmri")
    assert whole[2]["psnr"] == pytest.approx(
        peak_signal_noise_ratio(REFERENCE[2, square], IMAGES[2, square], data_range=REFERENCE[:, square].max())
    )


def test_radial_energy_is_parseval_in_the_rings_and_finds_a_wave_where_it_is() -> None:
    side, cycles = 32, 6
    wave = np.cos(2 * np.pi * cycles * np.arange(side) / side)[None, None, :].repeat(side, axis=1)
    energy = radial_energy(wave, rings=16)  # Nyquist is 16 cycles, so a ring is one cycle wide
    assert energy[cycles] == pytest.approx((wave**2).sum())
    assert np.delete(energy, cycles).max() < 1e-20
    smooth = np.ones((2, 24, 30))
    assert radial_energy(smooth, 4) == pytest.approx([2 * 24 * 30, 0, 0, 0])
    assert radial_energy(np.ones((1, 1, 1)), 4).tolist() == [1, 0, 0, 0]  # a ring without a frequency has no energy


@pytest.mark.parametrize("shape", [(12, 20), (2, 20, 12), (2, 3, 9, 8)])
def test_a_wave_s_ring_is_its_part_of_the_nyquist_frequency_of_each_axis(shape: tuple[int, ...]) -> None:
    """Each wave alone, by a plain loop; corners belong to no ring, the Nyquist frequency neither."""
    height, width = shape[-2:]
    rings = 3
    for row in range(-(height // 2), (height + 1) // 2):
        for column in range(-(width // 2), (width + 1) // 2):
            phase = row * np.arange(height)[:, None] / height + column * np.arange(width) / width
            radius = math.hypot(2 * row / height, 2 * column / width)
            expected = np.zeros(rings + 1)
            expected[min(int(radius * rings + 1e-12), rings)] = np.prod(shape)
            found = radial_energy(np.broadcast_to(np.exp(2j * np.pi * phase), shape), rings)
            np.testing.assert_allclose(found, expected[:rings], atol=1e-9)


def test_summary_and_errors() -> None:
    assert summarise([{"psnr": 1.0}, {"psnr": 3.0}]) == {"psnr": Summary(mean=2.0, std=1.0)}
    assert summarise([{"psnr": 1.0}]) == {"psnr": Summary(mean=1.0, std=None)}  # one value has no spread
    assert summarise([{"psnr": 1.0}, {"psnr": math.inf}]) == {"psnr": Summary(mean=None, std=None)}
    both = summarise([{"psnr": 1.0, "ssim": 0.5}, {"psnr": 4.0, "ssim": math.nan}, {"psnr": 4.0, "ssim": 0.5}])
    assert both == {"psnr": Summary(mean=3.0, std=math.sqrt(2)), "ssim": Summary()}
    with pytest.raises(ValueError, match=r"^images differ in shape: reference \(3, 40, 31\), image \(2, 40, 31\)$"):
        psnr(REFERENCE, IMAGES[:2])
    for small in (REFERENCE[0, :6], REFERENCE[0, :, :6], REFERENCE):
        with pytest.raises(ValueError) as error:
            ssim(small, small)
        assert str(error.value) == f"SSIM needs images of at least 7x7 pixels, found shape {small.shape}"
    assert ssim(np.ones((7, 7)), np.ones((7, 7))) == 1


def test_the_data_range_is_the_volume_s_maximum_where_it_is_said() -> None:
    images = REFERENCE[:2] + 0.1
    for metric in ("psnr", "ssim"):
        measure = {"psnr": psnr, "ssim": ssim}[metric]
        for convention, maximum, ranges in (
            ("fastmri", 5.0, (5.0, 5.0)),
            ("fastmri", None, (REFERENCE[:2, 4:35].max(),) * 2),
            ("slice-max", 5.0, (REFERENCE[0].max(), REFERENCE[1].max())),
        ):
            found = slice_metrics(REFERENCE[:2], images, convention, maximum)
            rows = slice(4, 35) if convention == "fastmri" else slice(None)
            expected = [measure(r[rows], u[rows], top) for r, u, top in zip(REFERENCE[:2], images, ranges, strict=True)]
            assert [values[metric] for values in found] == pytest.approx(expected)
    both, slices = [METRICS["psnr"], METRICS["ssim"]], [{"ssim": 0.25}, {"ssim": 0.5}]
    [whole] = pool(REFERENCE[:2], images, slices, "fastmri", 5.0, both)
    assert whole == {"psnr": pytest.approx(20 * math.log10(5.0 / 0.1)), "ssim": 0.375}
    with pytest.raises(ValueError, match="zip"):
        slice_metrics(REFERENCE, images, "fastmri")


def test_a_metric_of_a_whole_volume_is_given_its_central_squares_and_its_maximum() -> None:
    given: list[tuple[int, ...] | float] = []

    def note(reference: np.ndarray, images: np.ndarray, maximum: float) -> float:
        given.extend([reference.shape, images.shape, maximum])
        return 1.5

    metric = Metric(Column("mine", "Mine", pooled="volume"), note)
    assert pool(REFERENCE, -IMAGES, [{"mine": 9.0}] * 3, "fastmri", metrics=[metric]) == [{"mine": 1.5}]
    assert given == [(3, 31, 31), (3, 31, 31), REFERENCE[:, 4:35].max()]
    pool(REFERENCE, IMAGES, [], "fastmri", 7.0, [metric])
    assert given[5] == 7


def test_values_and_their_metrics_are_those_asked_for() -> None:
    only = [METRICS["nmse"]]
    found = slice_metrics(REFERENCE, IMAGES, "slice-max", metrics=only)
    assert [list(values) for values in found] == [["nmse"]] * 3
    assert pool(REFERENCE, IMAGES, found, "slice-max", metrics=only) == found
    assert list(slice_metrics(REFERENCE, IMAGES, "fastmri")[0]) == list(METRICS)
    assert list(pool(REFERENCE, IMAGES, slice_metrics(REFERENCE, IMAGES, "fastmri"), "fastmri")[0]) == list(METRICS)


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [
        ((40, 31), (4, 35), (0, 31)),
        ((2, 31, 40), (0, 31), (4, 35)),
        ((1, 8, 8), (0, 8), (0, 8)),
        ((9, 4), (2, 6), (0, 4)),
    ],
)
def test_the_square_is_central(shape: tuple[int, ...], rows: tuple[int, int], columns: tuple[int, int]) -> None:
    """Of an odd difference the smaller half is cut before it, as by fastMRI's ``center_crop``."""
    images = np.arange(np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(seen(images, "fastmri"), images[..., slice(*rows), slice(*columns)])
    assert seen(images, "slice-max") is images
