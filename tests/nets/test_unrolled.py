"""The unrolled generator: physics inside, exactness, and what it refuses."""

import pytest
import torch

from switchrecon.errors import ConfigError
from switchrecon.methods.players import SwitchableGenerator
from switchrecon.nets.builder import build_generator, run
from switchrecon.nets.unrolled import UNet, Unrolled
from switchrecon.physics.fourier import fourier, inverse_fourier
from switchrecon.physics.intensity import channels_to_complex
from switchrecon.physics.operators import Encoding, Sampling
from tests.conftest import tiny_config

RANDOM = torch.Generator().manual_seed(0)
MASK = torch.rand(2, 24, 20, generator=RANDOM) < 0.4
TRUTH = torch.randn(2, 24, 20, dtype=torch.complex64, generator=RANDOM)
MEASURED = Sampling(MASK)(fourier(TRUTH))


def zero_filled() -> torch.Tensor:
    image = inverse_fourier(MEASURED)
    return torch.stack([image.real, image.imag], 1)


class Constant(torch.nn.Module):
    """f(u) = 1 + i everywhere, so that what comes out is worked by hand."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(image)


@pytest.mark.parametrize("shape", [(7, 5), (16, 16), (33, 20), (2, 2)])
def test_unet_keeps_any_shape_and_starts_near_the_identity(shape: tuple[int, int]) -> None:
    image = torch.randn(1, 2, *shape)
    result = UNet(2, 4)(image)
    assert result.shape == image.shape
    assert (result - image).abs().max() < 0.2


def test_hard_cascades_keep_measured_samples_exactly() -> None:
    with torch.no_grad():
        result = Unrolled([UNet(2, 4), UNet(2, 4)], 2)(zero_filled(), Encoding(MASK))
    kspace = fourier(channels_to_complex(result))
    torch.testing.assert_close(Sampling(MASK)(kspace), MEASURED, atol=1e-5, rtol=1e-5)
    assert (kspace - MEASURED).abs()[~MASK].max() > 0


def test_a_cascade_by_hand() -> None:
    result = channels_to_complex(Unrolled([Constant()], 1)(zero_filled(), Encoding(MASK)))
    constant = fourier(torch.full((2, 24, 20), 1 + 1j, dtype=torch.complex64))
    torch.testing.assert_close(fourier(result), torch.where(MASK, MEASURED, constant), atol=1e-5, rtol=1e-5)


def test_soft_cascades_take_the_learned_part() -> None:
    network = Unrolled([Constant()], 1, soft=True)
    assert network.weights is not None
    with torch.no_grad():
        network.weights.fill_(0.0)  # sigmoid(0) = 0.5
        kspace = fourier(channels_to_complex(network(zero_filled(), Encoding(MASK))))
    constant = fourier(torch.full((2, 24, 20), 1 + 1j, dtype=torch.complex64))
    expected = torch.where(MASK, 0.5 * MEASURED + 0.5 * constant, constant)
    torch.testing.assert_close(kspace, expected, atol=1e-5, rtol=1e-5)
    network(zero_filled(), Encoding(MASK)).sum().backward()
    assert network.weights.grad is not None
    assert network.weights.grad.abs().sum() > 0


def test_shared_cascades_have_one_network() -> None:
    def parameters(**settings: object) -> int:
        config = tiny_config("network=unrolled", *(f"{name}={value}" for name, value in settings.items()))
        return sum(p.numel() for p in build_generator(config, adaptive=False).parameters())

    one = parameters(cascades=1)
    assert parameters(cascades=3) == 3 * one
    assert parameters(cascades=3, cascade_weights="shared") == one
    assert parameters(cascades=3, cascade_consistency="soft") == 3 * one + 3


def test_the_papers_generator_can_stand_in_cascades_and_still_undersamples() -> None:
    config = tiny_config("network=unrolled", "cascades=2", "refiner=generator", "cascade_weights=shared")
    generator = SwitchableGenerator(config)
    image, mask = torch.randn(1, 2, 64, 64), torch.rand(1, 64, 64) < 0.3
    assert generator.to_full(image, Encoding(mask)).shape == image.shape
    assert generator.to_sub(image, torch.randn(1, 64)).abs().max() <= 1  # one pass through G ends in tanh
    with pytest.raises(ConfigError, match="cascades of a generator with AdaIN"):
        SwitchableGenerator(tiny_config("network=unrolled"))
    with pytest.raises(ConfigError, match="needs representation 'complex'"):
        build_generator(tiny_config("network=unrolled", "representation=magnitude"), adaptive=False)


def test_the_papers_generator_alone_does_not_look_at_the_mask() -> None:
    network = build_generator(tiny_config(), adaptive=True)
    image = torch.randn(1, 2, 64, 64)
    first, second = (run(network, image, Encoding(torch.full((1, 64, 64), value))) for value in (True, False))
    assert torch.equal(first, second)
