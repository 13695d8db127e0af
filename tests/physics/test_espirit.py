"""Sensitivity maps against the maps a phantom was made with, and against BART."""

import pytest
import torch

from switchrecon.errors import DataError
from switchrecon.phantoms.coils import simulate_maps
from switchrecon.phantoms.head import draw_head
from switchrecon.physics.coil_maps import espirit, walsh
from switchrecon.physics.fourier import crop_or_pad, fourier, inverse_fourier, resize_image
from switchrecon.physics.operators import Sensitivity
from tests.physics.bart import Bart, bart  # noqa: F401
from tests.physics.test_coils import real_kspace

CLEAR = 0.8  # the second eigenvalue over the first: above, BART's 30 power iterations are not at their end


def phantom(matrix: tuple[int, int] = (64, 64)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """K-space (8, H, W), image (H, W) and maps of a head with 0.7 % noise."""
    image = torch.from_numpy(draw_head(3, matrix=64, slices=1, noise=0.0).image[0])
    image = resize_image(image, matrix)
    maps = torch.from_numpy(simulate_maps(8, matrix))
    noise = torch.randn(maps.shape, dtype=maps.dtype, generator=torch.Generator().manual_seed(0))
    return fourier(maps * image) + 0.005 * noise, image, maps


def disagreement(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """1 − |⟨s, t⟩|, which leaves the phase of each pixel open."""
    return 1 - (found.conj() * truth).sum(0).abs()


@pytest.mark.parametrize("matrix", [(64, 64), (63, 59)])
def test_espirit_finds_the_maps_of_a_phantom(matrix: tuple[int, int]) -> None:
    kspace, image, maps = phantom(matrix)
    found = espirit(kspace)
    strength = found.abs().square().sum(0)
    inside = image.abs() > 0.1
    torch.testing.assert_close(strength[strength > 0], torch.ones(int((strength > 0).sum())))
    assert (strength[inside] > 0).all()
    assert disagreement(found, maps)[inside].max() < 2e-3
    residual = inverse_fourier(kspace) - found * Sensitivity(found).H(inverse_fourier(kspace))
    assert residual[:, inside].abs().square().mean().sqrt() < 0.01  # the noise is 0.005 √2 a coil


def test_walsh_finds_the_maps_of_a_phantom() -> None:
    kspace, image, maps = phantom()
    assert disagreement(walsh(inverse_fourier(kspace)), maps)[image.abs() > 0.1].max() < 5e-3


def test_maps_have_no_scale_and_the_phase_of_the_principal_coil() -> None:
    kspace, _, _ = phantom()
    for estimate, data in ((espirit, kspace), (walsh, inverse_fourier(kspace))):
        found = estimate(data)
        samples = data[:, 20:44, 20:44].flatten(1) if estimate is espirit else data.flatten(1)
        principal = torch.linalg.svd(samples, full_matrices=False)[0][:, 0]
        product = (principal.conj()[:, None, None] * found).sum(0)
        product = product[product.abs() > 0.05]
        turn = product / product.abs()
        assert (turn - turn[0]).abs().max() < 1e-3
        for scale in (1e-12, 1e12):
            torch.testing.assert_close(estimate(data * scale), found, rtol=1e-3, atol=1e-3)
        assert not estimate(torch.zeros_like(data)).any()


def test_errors_say_what_was_expected() -> None:
    kspace, _, _ = phantom()
    with pytest.raises(DataError, match="4x24 samples; ESPIRiT needs at least 6x6"):
        espirit(kspace, (4, 24))
    with pytest.raises(DataError, match="expected \\(coils, H, W\\)"):
        espirit(kspace[0])
    with pytest.raises(DataError, match="odd"):
        walsh(kspace, 4)


@pytest.mark.parametrize("data", ["phantom", "real"])
def test_espirit_is_that_of_bart(data: str, bart: Bart) -> None:  # noqa: F811
    kspace = phantom()[0] if data == "phantom" else crop_or_pad(real_kspace(), (96, 64))
    bart.write("kspace", kspace)
    bart("ecalib", "-m1", "kspace", "maps")
    bart("ecalib", "-m2", "-c0", "kspace", "both", "values")
    found, expected, values = espirit(kspace), bart.read("maps"), bart.read("values").real
    supports = found.abs().sum(0) > 0, expected.abs().sum(0) > 0
    assert (supports[0] != supports[1]).float().mean() < 0.005
    clear = supports[0] & supports[1] & (values[1] < CLEAR * values[0])
    assert clear.float().mean() > 0.25
    turn = (found.conj() * expected).sum(0)[clear].sum()  # BART leaves one phase for the whole image open
    error = torch.linalg.vector_norm(found * (turn / turn.abs()) - expected, dim=0)[clear]
    assert error.median() < 0.003  # of 1; found: 0.002 (real) and 0.001 (phantom)
    assert error.square().mean().sqrt() < 0.01
    assert disagreement(found, expected)[clear].max() < 5e-3
