"""Metrics against scikit-image and against numbers worked by hand."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from switchrecon.metrics.conventions import Summary, pool, slice_metrics, summarise
from switchrecon.metrics.metrics import nmse, psnr, radial_energy, ssim

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


def test_summary_and_errors() -> None:
    assert summarise([{"psnr": 1.0}, {"psnr": 3.0}]) == {"psnr": Summary(mean=2.0, std=1.0)}
    assert summarise([{"psnr": 1.0}]) == {"psnr": Summary(mean=1.0, std=None)}  # one value has no spread
    assert summarise([{"psnr": 1.0}, {"psnr": math.inf}]) == {"psnr": Summary(mean=None, std=None)}
    with pytest.raises(ValueError, match="differ in shape"):
        psnr(REFERENCE, IMAGES[:2])
    with pytest.raises(ValueError, match="at least 7x7"):
        ssim(REFERENCE[0, :6], IMAGES[0, :6])
