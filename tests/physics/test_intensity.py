"""Scales of slices, against the Hann-weighted centre transformed by NumPy, and what networks are shown, by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from switchrecon.physics.intensity import (
    brightness,
    centre_of,
    channels_to_complex,
    complex_to_channels,
    from_network,
    intensity_scale,
    largest_magnitude,
    low_resolution,
    low_resolution_of_centre,
    scale_of,
    to_network,
)
from switchrecon.physics.operators import Sensitivity

RANDOM = torch.Generator().manual_seed(0)
KSPACE = torch.randn(2, 3, 20, 31, dtype=torch.complex64, generator=RANDOM)  # (slices, coils, H, W)
MAPS = torch.randn(2, 3, 20, 31, dtype=torch.complex64, generator=RANDOM)


def by_numpy(kspace: Tensor, rows: slice, columns: slice) -> Tensor:
    """Images of some rows and columns of k-space times sin²(π k / (n + 1)), k = 1 … n, along each."""
    weighted = np.zeros(kspace.shape, dtype=np.complex128)
    along = [
        np.sin(np.pi * np.arange(1, n + 1) / (n + 1)) ** 2
        for n in (rows.stop - rows.start, columns.stop - columns.start)
    ]
    weighted[..., rows, columns] = kspace.numpy()[..., rows, columns] * np.outer(*along)
    axes = (-2, -1)
    image = np.fft.ifft2(np.fft.ifftshift(weighted, axes), axes=axes, norm="ortho")
    return torch.from_numpy(np.fft.fftshift(image, axes))


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("fraction", "rows", "columns"),
    [
        (0.2, slice(8, 12), slice(13, 19)),
        (0.25, slice(8, 13), slice(12, 20)),
        (1.0, slice(0, 20), slice(0, 31)),
        (0.03, slice(10, 11), slice(15, 16)),  # 0.6 and 0.93 of a sample
        (0.0, slice(10, 11), slice(15, 16)),
    ],
)
def test_the_low_resolution_image_is_of_the_weighted_centre(fraction: float, rows: slice, columns: slice) -> None:
    assert centre_of((20, 31), fraction) == (rows, columns)
    expected = by_numpy(KSPACE, rows, columns)
    close(low_resolution(KSPACE, fraction), expected)
    close(low_resolution(KSPACE[0, 0], fraction), expected[0, 0])
    close(low_resolution_of_centre(KSPACE[..., rows, columns], (20, 31), fraction), expected)
    assert low_resolution(KSPACE.to("meta"), fraction).is_meta  # whatever the device
    full = torch.ones(2, 20, 31, dtype=torch.bool)
    close(low_resolution(KSPACE, fraction, full), expected)


def test_each_slice_has_the_centre_that_its_mask_measures() -> None:
    mask = torch.ones(3, 20, 31, dtype=torch.bool)
    mask[1, 11, 12] = False  # outside 4 × 6 samples, which 6 / 31 has, and inside 5 × 7 and more
    mask[2, 8, 15] = False  # outside 3 × 5 samples
    kspace = torch.stack([KSPACE[0], KSPACE[1], KSPACE[0]])
    found = low_resolution(kspace, 0.25, mask)
    centres = (slice(8, 13), slice(12, 20)), (slice(8, 12), slice(13, 19)), (slice(9, 12), slice(13, 18))
    for image, slice_, centre in zip(found, kspace, centres, strict=True):
        close(image, by_numpy(slice_, *centre))
    close(low_resolution(kspace.view(3, 1, 3, 20, 31), 0.25, mask.view(3, 1, 20, 31))[:, 0], found)
    close(low_resolution(kspace[1], 0.25, mask[1]), found[1])
    mask[2, 10, 15] = False  # nothing of the centre is left, whatever its k-space holds
    assert not low_resolution(kspace, 0.25, mask)[2].any()
    close(low_resolution(kspace, 0.25, mask)[:2], found[:2])


def test_the_largest_magnitude_is_of_each_image() -> None:
    images = torch.zeros(2, 3, 4, 5, dtype=torch.complex64)
    images[1, 2, 3, 0] = 3 - 4j
    images[1, 0, 0, 4] = -2
    found = largest_magnitude(images)
    assert found.shape == (2, 3, 1, 1)
    assert found[..., 0, 0].tolist() == [[0, 0, 0], [2, 0, 5]]
    images.requires_grad_()
    largest_magnitude(images)[1, 2].sum().backward()
    assert images.grad is not None
    assert images.grad[1, 2, 3, 0].item() == pytest.approx(0.6 - 0.8j)
    assert images.grad.count_nonzero() == 1


@pytest.mark.parametrize("several", [True, False])
def test_the_scale_is_the_headroom_times_the_brightest_place_of_the_low_resolution_image(several: bool) -> None:
    """Seen by all coils; by default there is one, which sees all places alike."""
    kspace, coils = (KSPACE, {"coils": Sensitivity(MAPS)}) if several else (KSPACE[:, :1], {})
    low = by_numpy(kspace, slice(8, 12), slice(13, 19))
    expected = (MAPS.conj() * low if several else low).sum(1).abs().amax((1, 2)).float()
    found = brightness(kspace, 0.2, **coils)
    assert (found.shape, found.dtype) == ((2, 1, 1), torch.float32)
    close(found[:, 0, 0], expected)
    close(intensity_scale(kspace, 0.2, 3.0, **coils)[:, 0, 0], 3 * expected)
    mask = torch.ones(2, 20, 31, dtype=torch.bool)
    mask[0, 8] = False  # leaves 3 × 5
    low = by_numpy(kspace[0], slice(9, 12), slice(13, 18))
    smaller = (MAPS[0].conj() * low if several else low).sum(0).abs().max().float()
    for image in (brightness(kspace, 0.2, mask, **coils), intensity_scale(kspace, 0.2, 1.0, mask, **coils)):
        close(image[:, 0, 0], torch.stack([smaller, expected[1]]))


def test_the_whole_image_takes_the_place_of_a_centre_that_is_not_measured() -> None:
    """Of that slice alone, and of what its mask measures."""
    mask = torch.ones(2, 20, 31, dtype=torch.bool)
    mask[0, 7:14] = False
    coils = Sensitivity(MAPS)
    found = brightness(KSPACE, 0.2, mask, coils)
    whole = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(KSPACE[0] * mask[0], (1, 2)), norm="ortho"), (1, 2))
    assert found[0].item() == pytest.approx(np.abs((MAPS[0].numpy().conj() * whole).sum(0)).max(), rel=1e-4)
    close(found[1], brightness(KSPACE, 0.2, None, coils)[1])
    dark = KSPACE.clone()
    dark[0] *= mask[0]
    close(brightness(dark, 0.2, None, coils), found)
    close(brightness(dark[:1], 0.2, None, Sensitivity(MAPS[:1])), found[:1])
    assert brightness(0 * KSPACE[:, :1], 0.2).tolist() == [[[0]], [[0]]]


def test_a_slice_of_nothing_has_the_scale_one() -> None:
    bright = torch.tensor([0.0, 0.25, 2.0])
    assert scale_of(bright, 3.0).tolist() == [1, 0.75, 6]
    assert intensity_scale(0 * KSPACE[:, :1], 0.2, 3.0).tolist() == [[[1]], [[1]]]


def test_real_and_imaginary_parts_are_channels() -> None:
    image = torch.tensor([[[1 + 2j, 3 - 4j]], [[-5j, 6]]], dtype=torch.complex64)
    channels = torch.tensor([[[[1.0, 3.0]], [[2.0, -4.0]]], [[[0.0, 6.0]], [[-5.0, 0.0]]]])
    assert torch.equal(complex_to_channels(image), channels)
    assert torch.equal(channels_to_complex(channels), image)
    real = channels_to_complex(channels[:, :1])
    assert torch.equal(real, torch.tensor([[[1, 3]], [[0, 6]]], dtype=torch.complex64))


def test_networks_see_parts_or_a_magnitude_about_zero() -> None:
    image = torch.tensor([[[0.3 + 0.4j, -1j]]], dtype=torch.complex64)
    assert torch.equal(to_network(image, "complex"), complex_to_channels(image))
    assert torch.equal(from_network(complex_to_channels(image), "complex"), image)
    shown = to_network(image, "magnitude")
    torch.testing.assert_close(shown, torch.tensor([[[[0.0, 1.0]]]]))
    torch.testing.assert_close(from_network(shown, "magnitude"), image.abs())
    below = torch.tensor([[[[-1.5, -1.0, 0.0, 3.0]]]])
    assert from_network(below, "magnitude").tolist() == [[[0, 0, 0.5, 2]]]
