"""The Fourier transform is centred and orthonormal; resizing keeps intensities and geometry."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from switchrecon.physics.fourier import (
    crop_or_pad,
    fourier,
    fourier_centre,
    inverse_fourier,
    inverse_fourier_centre,
    resize_image,
    resize_kspace,
    slice_by_slice,
)


@pytest.mark.parametrize("shape", [(64, 64), (63, 48), (7, 1), (1, 2)])
def test_inverse_and_energy(shape: tuple[int, int]) -> None:
    image = torch.randn(2, *shape, dtype=torch.complex128)
    kspace = fourier(image)
    torch.testing.assert_close(inverse_fourier(kspace), image)
    assert kspace.norm().item() == pytest.approx(image.norm().item())


def test_point_at_the_centre_is_flat_and_constant_is_a_point() -> None:
    point = torch.zeros(8, 6)
    point[4, 3] = 1
    torch.testing.assert_close(fourier(point), torch.full((8, 6), 1 / 48**0.5, dtype=torch.complex64))
    constant = fourier(torch.ones(8, 6))
    assert constant[4, 3].item() == pytest.approx(48**0.5)
    assert constant.abs().sum().item() == pytest.approx(48**0.5, rel=1e-5)


def test_equals_the_definition_in_numpy() -> None:
    image = np.random.RandomState(0).normal(size=(9, 12)) + 0j
    expected = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image), norm="ortho"))
    np.testing.assert_allclose(fourier(torch.from_numpy(image)).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(16, 12), (9, 14), (7, 7)])
def test_a_rectangle_of_kspace_is_transformed_as_if_the_rest_were_there(shape: tuple[int, int]) -> None:
    centre = (slice(3, 6), slice(2, 7))
    image = torch.randn(2, *shape, dtype=torch.complex128)
    samples = fourier_centre(image, centre)
    torch.testing.assert_close(samples, fourier(image)[:, *centre])
    alone = torch.zeros_like(image)
    alone[:, *centre] = samples
    torch.testing.assert_close(inverse_fourier_centre(samples, centre, shape), inverse_fourier(alone))


def test_a_volume_slice_by_slice_has_the_same_bits() -> None:
    volume = torch.randn(3, 2, 16, 12, dtype=torch.complex64)
    assert torch.equal(slice_by_slice(inverse_fourier, volume), inverse_fourier(volume))


def _write_cfl(path: Path, array: np.ndarray) -> None:
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n")
    array.astype(np.complex64).ravel(order="F").tofile(path.with_suffix(".cfl"))


@pytest.mark.skipif(shutil.which("bart") is None, reason="the program bart is not installed (apt-get install bart)")
def test_equals_bart(tmp_path: Path) -> None:
    image = np.random.RandomState(1).normal(size=(12, 10)).astype(np.complex64)
    _write_cfl(tmp_path / "image", image)
    subprocess.run(["bart", "fft", "-u", "3", "image", "kspace"], cwd=tmp_path, check=True)
    found = np.fromfile(tmp_path / "kspace.cfl", dtype=np.complex64).reshape(image.shape, order="F")
    np.testing.assert_allclose(fourier(torch.from_numpy(image)).numpy(), found, atol=1e-5)


@pytest.mark.parametrize(("size", "wanted"), [(8, 4), (8, 5), (7, 4), (7, 5), (4, 8), (5, 8), (4, 7), (5, 9)])
def test_crop_or_pad_keeps_the_centre_sample(size: int, wanted: int) -> None:
    array = torch.zeros(3, size)
    array[1, size // 2] = 5
    changed = crop_or_pad(array, (3, wanted))
    assert changed.shape == (3, wanted)
    assert changed[1, wanted // 2] == 5
    assert changed.sum() == 5


def test_resizing_keeps_intensities_and_round_trips_when_enlarged() -> None:
    flat = torch.full((1, 16, 16), 3.0)
    torch.testing.assert_close(resize_image(flat, (8, 10)), torch.full((1, 8, 10), 3.0))
    image = torch.randn(16, 12)
    enlarged = resize_kspace(fourier(image), (32, 30))
    torch.testing.assert_close(inverse_fourier(resize_kspace(enlarged, (16, 12))).real, image)


def test_resizing_does_not_shift() -> None:
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    image = torch.exp(-((rows - 40) ** 2 + (columns - 20) ** 2) / 40)
    small = resize_image(image, (32, 32))
    assert divmod(int(small.argmax()), 32) == (20, 10)
