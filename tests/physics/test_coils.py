"""Whitening, compression and combination of coils, against their definitions and against BART."""

import numpy as np
import pytest
import torch

from switchrecon.errors import DataError
from switchrecon.physics.coils import (
    calibration_region,
    compress_coils,
    geometric_compression,
    mix_coils,
    noise_covariance,
    root_sum_of_squares,
    whiten,
)
from switchrecon.physics.fourier import fourier, inverse_fourier
from switchrecon.physics.masks import MaskConfig, draw_mask
from switchrecon.scans.hdf5 import open_hdf5, read_dataset
from tests.conftest import shared_file
from tests.physics.bart import Bart, bart, relative_difference  # noqa: F401

RANDOM = torch.Generator().manual_seed(0)
MIXING = torch.randn(4, 4, dtype=torch.complex128, generator=RANDOM)
NOISE = MIXING @ torch.randn(4, 20000, dtype=torch.complex128, generator=RANDOM)
KSPACE = torch.randn(2, 6, 16, 12, dtype=torch.complex128, generator=RANDOM)


def real_kspace() -> torch.Tensor:
    """complex64 (8, 320, 256)."""
    path = shared_file("data/raw/espirit_brain_alias_8ch_fullysampled.h5")
    with open_hdf5(path) as file:
        kspace = read_dataset(path, file, "kspace")
    assert kspace is not None
    return torch.from_numpy(kspace[0])


def test_covariance_and_whitening() -> None:
    covariance = noise_covariance(NOISE)
    np.testing.assert_allclose(covariance, np.cov(NOISE.numpy()), rtol=0, atol=0.01 * float(covariance.abs().max()))
    white = whiten(NOISE[:, None], covariance)[:, 0]
    torch.testing.assert_close(noise_covariance(white), torch.eye(4, dtype=torch.complex128))
    # A scan of four times the noise scan's variance comes out with variance 1 as well.
    white = whiten(2 * NOISE[:, None], noise_covariance(NOISE, scale=4))[:, 0]
    torch.testing.assert_close(noise_covariance(white), torch.eye(4, dtype=torch.complex128))


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_whitening_has_no_unit(scale: float) -> None:
    noise, kspace = NOISE.to(torch.complex64), KSPACE[:, :4].to(torch.complex64)
    expected = whiten(kspace, noise_covariance(noise))
    found = whiten(kspace * scale, noise_covariance(noise * scale))
    assert found.dtype == torch.complex64
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_whitening_refuses_what_has_no_answer() -> None:
    with pytest.raises(DataError, match="4 samples for 4 coils"):
        noise_covariance(NOISE[:, :4])
    with pytest.raises(DataError, match=r"shape \(4,\)"):
        noise_covariance(NOISE[:, 0])
    with pytest.raises(DataError, match="NaN"):
        noise_covariance(NOISE * float("nan"))
    repeated = NOISE.clone()
    repeated[2] = repeated[0] - 1j * repeated[1]
    with pytest.raises(DataError, match="coil 2 repeats"):
        whiten(KSPACE[:, :4], noise_covariance(repeated))
    repeated[1] = 0
    with pytest.raises(DataError, match="coil 1 has no noise"):
        whiten(KSPACE[:, :4], noise_covariance(repeated))
    with pytest.raises(DataError, match=r"expected \(6, 6\)"):
        whiten(KSPACE, noise_covariance(NOISE))


def test_whitening_is_that_of_bart(bart: Bart) -> None:  # noqa: F811
    bart.write("noise", NOISE)
    bart.write("kspace", KSPACE[0, :4])
    bart("whiten", "kspace", "noise", "white")
    assert (
        relative_difference(whiten(KSPACE[0, :4], noise_covariance(NOISE)), bart.read("white")) < 2e-4
    )  # BART sums in float32


def test_compression_keeps_the_leading_singular_values() -> None:
    values = torch.linalg.svdvals(KSPACE.transpose(0, 1).flatten(1)).square()
    for n in (1, 3, 6):
        compressed, matrix = compress_coils(KSPACE, n, (16, 12))
        assert compressed.shape == (2, n, 16, 12)
        torch.testing.assert_close(matrix @ matrix.mH, torch.eye(n, dtype=matrix.dtype))
        torch.testing.assert_close(compressed.abs().square().sum(), values[:n].sum())
    torch.testing.assert_close(mix_coils(matrix.mH, compressed), KSPACE)  # all six coils: nothing is lost


def test_geometric_compression_keeps_more_and_is_smooth() -> None:
    kspace = real_kspace()[None, :, 80:240]
    kept = {}
    for n in (1, 3):
        compressed, matrices = geometric_compression(kspace, n)
        assert matrices.shape == (160, n, 8)
        kept[n] = compressed.abs().square().sum() / kspace.abs().square().sum()
        assert kept[n] > compress_coils(kspace, n)[0].abs().square().sum() / kspace.abs().square().sum()
        # Neighbouring bases are aligned: their product is Hermitian and positive.
        product = matrices[1:] @ matrices[:-1].mH
        torch.testing.assert_close(product, product.mH)
        assert torch.linalg.eigvalsh(product).min() >= 0
    assert kept[1] < kept[3] < 1
    compressed, matrices = geometric_compression(KSPACE, 6)
    torch.testing.assert_close(
        root_sum_of_squares(inverse_fourier(compressed)), rss := root_sum_of_squares(inverse_fourier(KSPACE))
    )
    assert rss.shape == (2, 16, 12)


@pytest.mark.parametrize("kind", ["-S", "-G"])
def test_compression_is_that_of_bart(kind: str, bart: Bart) -> None:  # noqa: F811
    kspace = real_kspace()
    bart.write("kspace", kspace)
    region = "24:24:1" if kind == "-S" else "320:24:1"
    bart("cc", "-p4", "-M", kind, "-r", region, "kspace", "matrix")
    bart("ccapply", "-p4", kind, "kspace", "matrix", "compressed")
    bart("ccapply", "-p4", "-u", kind, "compressed", "matrix", "projected")
    if kind == "-S":
        compressed, matrix = compress_coils(kspace[None], 4)
        projected = mix_coils(matrix.mH, compressed)[0]
    else:
        compressed, matrix = geometric_compression(kspace[None], 4)
        rows = torch.einsum("hnc,snhw->schw", matrix.conj().to(compressed.dtype), inverse_fourier(compressed))
        projected = fourier(rows)[0]
    assert relative_difference(projected, bart.read("projected")) < 1e-3  # found: 5e-4 and 6e-6


def test_compression_refuses_what_does_not_fit() -> None:
    for compress in (compress_coils, geometric_compression):
        with pytest.raises(DataError, match="cannot make 7 virtual coils of 6"):
            compress(KSPACE, 7)
        with pytest.raises(DataError, match="expected \\(slices, coils, H, W\\)"):
            compress(KSPACE[0], 2)


@pytest.mark.parametrize("matrix", [(40, 32), (41, 33), (40, 33)])
def test_the_calibration_region_is_the_full_centre(matrix: tuple[int, int]) -> None:
    settings = MaskConfig(kind="random-1d", acceleration=4, center_fraction=0.16)
    lines = draw_mask(settings, matrix, volume="v", index=0)
    rows, columns = calibration_region(lines)
    assert rows == matrix[0]
    assert columns >= 5
    centre = (matrix[1] - columns + 1) // 2
    assert lines[:, centre : centre + columns].all()
    assert calibration_region(lines.T) == (columns, rows)
    points = draw_mask(MaskConfig(kind="random-2d", acceleration=6, center_fraction=0.2), matrix, volume="v", index=0)
    rows, columns = calibration_region(points)
    assert rows >= 0.2 * matrix[0] - 1
    assert columns >= 0.2 * matrix[1] - 1
    assert calibration_region(np.ones(matrix, dtype=bool)) == matrix
    assert calibration_region(np.ones(matrix, dtype=bool), (24, 99)) == (24, matrix[1])
    points[matrix[0] // 2, matrix[1] // 2] = False
    assert calibration_region(points) == (0, 0)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_combination_at_any_scale(scale: float) -> None:
    images = KSPACE.to(torch.complex64)
    expected = images.abs().square().sum(1).sqrt()
    torch.testing.assert_close(root_sum_of_squares(images * scale) / scale, expected)


def test_combination_of_nothing_is_zero_and_has_a_zero_gradient() -> None:
    images = torch.zeros(3, 4, 4, dtype=torch.complex64, requires_grad=True)
    values = root_sum_of_squares(images)
    assert not values.any()
    [slope] = torch.autograd.grad(values.sum(), images)
    assert not slope.any()
    partly = torch.ones(3, 4, 4, dtype=torch.complex64)
    partly[:, 0] = 0
    partly.requires_grad_()
    [slope] = torch.autograd.grad(root_sum_of_squares(partly).sum(), partly)
    torch.testing.assert_close(slope[:, 0].abs(), torch.zeros(3, 4))
    torch.testing.assert_close(slope[:, 1:].abs(), torch.full((3, 3, 4), 3**-0.5))
