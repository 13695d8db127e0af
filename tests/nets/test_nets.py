"""Networks: sizes, AdaIN, the affine of domain Y, and any image size."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from switchrecon.core import device
from switchrecon.errors import ConfigError
from switchrecon.nets.discriminator import Discriminator
from switchrecon.nets.extractor import Extractor
from switchrecon.nets.generator import CodeGenerator, Generator
from switchrecon.nets.layers import (
    AdaptiveInstanceNorm,
    Code,
    Convolution,
    ImageConvolution,
    InstanceNorm,
    ValidConvolution,
    instance_norm,
)
from switchrecon.nets.unrolled import UNet


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_at_the_default() -> None:
    generator, discriminator, extractor = Generator(2), Discriminator(2), Extractor(2)
    code = CodeGenerator(Generator.site_widths(32))
    assert round(count(generator) / 1e6, 2) == 1.15
    assert round(count(extractor) / 1e6, 2) == 0.17
    assert round(count(discriminator) / 1e6, 2) == 2.79
    iscl = 2 * count(Generator(2, adaptive=False)) + 2 * count(Discriminator(2, switchable=False)) + count(extractor)
    switchable = count(generator) + count(discriminator) + count(extractor)
    assert round(100 * switchable / iscl) == 51
    assert round(100 * (switchable + count(code)) / iscl, 1) == 51.7


@pytest.mark.parametrize("size", [(64, 64), (63, 65), (1, 1), (1, 7), (2, 127), (90, 31)])
@pytest.mark.parametrize("channels", [1, 2])
def test_generator_keeps_any_size_and_the_range(size: tuple[int, int], channels: int) -> None:
    image = torch.randn(2, channels, *size)
    result = Generator(channels, width=4)(image)
    assert result.shape == image.shape
    assert result.abs().max() <= 1


def test_a_small_last_layer_starts_in_the_linear_range_of_tanh() -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 2, 64, 64).clamp(-1, 1)
    assert Generator(2, output_deviation=0.005)(image).abs().mean() < 0.3
    assert Generator(2)(image).abs().mean() > 0.5


def test_adain_without_a_code_is_plain_instance_norm_and_with_one_has_its_statistics() -> None:
    features = torch.randn(2, 3, 8, 8) * 5 + 2
    site = AdaptiveInstanceNorm(3)
    torch.testing.assert_close(site(features), F.instance_norm(features))
    mean, variance = torch.randn(2, 3), torch.rand(2, 3) + 0.5
    coded = site(features, Code(mean, variance))
    torch.testing.assert_close(coded.mean((2, 3)), mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(coded.var((2, 3), unbiased=False), variance, atol=1e-4, rtol=1e-4)
    assert count(site) == 0


@pytest.mark.parametrize("shape", [(3,), (2, 3)], ids=["of all samples", "of each sample"])
def test_scaled_norm_is_the_norm_times_scale_plus_shift_and_so_are_its_gradients(shape: tuple[int, ...]) -> None:
    features, scale, shift = torch.randn(2, 3, 5, 4) * 3 + 1, torch.randn(shape), torch.randn(shape)
    weights = torch.randn(2, 3, 5, 4)
    found = []
    for written_out in (False, True):
        inputs = [each.clone().requires_grad_() for each in (features, scale, shift)]
        h, s, t = inputs
        mean, variance = h.mean((2, 3), keepdim=True), h.var((2, 3), unbiased=False, keepdim=True)
        plain = (h - mean) / (variance + 1e-5).sqrt() * s[..., None, None] + t[..., None, None]
        result = plain if written_out else instance_norm(h, s, t)
        (result * weights).sum().backward()
        found.append([result, *(each.grad for each in inputs)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_norm_of_bfloat16_features_keeps_their_type_and_has_float32_statistics() -> None:
    features = torch.randn(1, 4, 64, 64, dtype=torch.bfloat16) + 8  # summed in bfloat16, 4,096 eights make 2,048
    site = InstanceNorm(4)
    result = site(features)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), site(features.float()), atol=0.02, rtol=0.01)


@pytest.mark.parametrize("network", [Extractor(2, 4, 5), Extractor(1, 4, 5), UNet(2, 4)])
def test_networks_with_channels_last_in_memory_compute_the_same(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.randn(2, next(network.parameters()).shape[1], 24, 20)
    found = []
    for capabilities in ({"avx512_f": True}, {}):
        monkeypatch.setattr(device, "_capabilities", lambda known=capabilities: known)
        own = image.clone().requires_grad_()
        formats: list[bool] = []
        hook = [*network.modules()][-2].register_forward_pre_hook(
            lambda _, inputs: formats.append(inputs[0].is_contiguous(memory_format=torch.channels_last))  # noqa: B023
        )
        result = network(own)
        hook.remove()
        assert formats == [bool(capabilities)]
        network.zero_grad()
        result.square().sum().backward()
        found.append([result, own.grad, *(parameter.grad.clone() for parameter in network.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 4, 4), (1, 2, 2, 3)])
def test_repeated_edges_in_every_memory_format(shape: tuple[int, ...], memory: torch.memory_format) -> None:
    image = torch.randn(shape).contiguous(memory_format=memory)
    layer, plain = Convolution(shape[1], 2), nn.Conv2d(shape[1], 2, 3, padding=1, padding_mode="replicate")
    plain.load_state_dict(layer.state_dict())
    found = []
    for one in (layer, plain):
        own = image.clone(memory_format=memory).requires_grad_()
        result = one(own)
        result.square().sum().backward()
        found.append((result, own.grad))
    torch.testing.assert_close(*found)


class PaddedTypes(TorchDispatchMode):
    """Notes the type of all that is padded."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "pad" in str(func):
            self.found.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("memories", ["both last", "both first", "mixed"])
def test_a_convolution_of_two_images_is_that_of_their_channels_side_by_side(memories: str) -> None:
    random = torch.Generator().manual_seed(0)
    layer = Convolution(5, 3)
    images = [torch.rand(2, channels, 6, 7, generator=random) for channels in (2, 3)]
    last = {"both last": (0, 1), "both first": (), "mixed": (1,)}[memories]
    for place in last:
        images[place] = images[place].contiguous(memory_format=torch.channels_last)
    found = []
    for together in (False, True):
        own = [image.clone(memory_format=torch.preserve_format).requires_grad_() for image in images]
        result = layer(torch.cat(own, 1)) if together else layer(*own)
        result.square().sum().backward()
        found.append([result, *(image.grad for image in own), layer.weight.grad.clone()])
        layer.zero_grad()
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    if memories == "both last":  # or upsampling's backward takes six times as long
        assert all(own.is_contiguous(memory_format=torch.channels_last) for own in found[0][1:3])


@pytest.mark.parametrize("layer", [Convolution(3, 4), ImageConvolution(3, 2)])
def test_edges_are_padded_in_the_precision_of_the_convolutions(layer: nn.Module) -> None:
    with PaddedTypes() as padded, torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(1, 3, 8, 8, dtype=torch.bfloat16))
    assert padded.found[-1] == torch.bfloat16  # the weights of the second are padded before, as they are


def test_code_generator_starts_near_mean_0_and_variance_1_and_stays_positive() -> None:
    codes = CodeGenerator([4, 8], 64)(torch.randn(5, 64))
    assert [tuple(c.mean.shape) for c in codes] == [(5, 4), (5, 8)]
    for code in codes:
        assert code.mean.abs().max() < 0.3
        assert (code.variance - 1).abs().max() < 0.3
    extreme = CodeGenerator([4], 64)
    nn.init.constant_(extreme.variances[0].bias, -50.0)  # type: ignore[arg-type]
    assert extreme(torch.randn(3, 64))[0].variance.min() > 0


def test_codes_act_on_their_own_sample() -> None:
    generator, code = Generator(1, width=4), CodeGenerator(Generator.site_widths(4))
    images, z = torch.randn(2, 1, 16, 16), torch.randn(2, 64)
    together = generator(images, code(z))
    apart = torch.cat([generator(images[i : i + 1], code(z[i : i + 1])) for i in range(2)])
    torch.testing.assert_close(together, apart)
    assert not torch.allclose(together, generator(images), atol=1e-3)


def test_a_generator_without_adain_takes_no_code() -> None:
    with pytest.raises(ValueError, match="takes no code"):
        Generator(1, width=2, adaptive=False)(torch.zeros(1, 1, 8, 8), [Code(torch.zeros(1, 2), torch.ones(1, 2))] * 5)


@pytest.mark.parametrize(("side", "patches"), [(64, 1), (96, 3), (256, 13)])
def test_discriminator_scores_patches(side: int, patches: int) -> None:
    assert Discriminator(1, width=2)(torch.randn(2, 1, side, side)).shape == (2, 1, patches, patches)


def test_discriminator_refuses_images_under_64_pixels() -> None:
    with pytest.raises(ConfigError, match="at least 64 pixels a side, found 63x80"):
        Discriminator(1, width=2)(torch.zeros(1, 1, 63, 80))


def test_domain_affine_is_the_identity_at_first_and_acts_in_domain_y_alone() -> None:
    discriminator = Discriminator(1, width=2)
    image = torch.randn(1, 1, 96, 96)
    before = discriminator(image)
    torch.testing.assert_close(discriminator(image, full=len(image)), before)
    assert len(discriminator.scales) == len(discriminator.shifts) == 5  # each layer but the last
    with torch.no_grad():
        for parameter in [*discriminator.scales, *discriminator.shifts]:
            parameter.add_(0.5)
    torch.testing.assert_close(discriminator(image), before)
    assert not torch.allclose(discriminator(image, full=len(image)), before)


def test_discriminator_does_not_normalise_one_pixel_away() -> None:
    discriminator = Discriminator(1, width=2)
    scores = discriminator(torch.randn(4, 1, 64, 64))
    assert scores.std() > 0
    one = torch.randn(2, 3, 1, 1)
    torch.testing.assert_close(instance_norm(one), one)
    torch.testing.assert_close(InstanceNorm(3)(one), one)


def test_receptive_field_of_the_discriminator_is_94_pixels() -> None:
    discriminator = Discriminator(1, width=2).double()
    for norm in discriminator.norms:
        norm.forward = lambda h, code=None: h  # type: ignore[method-assign]
    image = torch.randn(1, 1, 256, 256, dtype=torch.float64, requires_grad=True)
    discriminator(image)[0, 0, 6, 6].backward()
    assert image.grad is not None
    touched = image.grad[0, 0].abs().sum(0).nonzero()
    assert int(touched.max() - touched.min()) + 1 == 94


def test_extractor_keeps_the_size_and_has_its_depth() -> None:
    extractor = Extractor(2, width=4, depth=6)
    assert extractor(torch.randn(1, 2, 9, 5)).shape == (1, 2, 9, 5)
    assert sum(isinstance(layer, nn.Conv2d) for layer in extractor.body) == 6


@pytest.mark.parametrize(("side", "stride"), [(3, 1), (4, 2)])
@pytest.mark.parametrize("size", [(1, 2, 2, 2), (2, 3, 7, 4), (1, 2, 6, 8)])
def test_a_convolution_repeats_edges_as_torch_does(size: tuple[int, ...], side: int, stride: int) -> None:
    own = Convolution(size[1], 3, side, stride).double()
    known = nn.Conv2d(size[1], 3, side, stride, padding=1, padding_mode="replicate").double()
    known.load_state_dict(own.state_dict())
    image = torch.randn(size, dtype=torch.float64)
    assert torch.equal(own(image), known(image))
    assert_same_with_gradients(own, known, image)
    single = torch.randn(1, size[1], 1, 1, dtype=torch.float64, requires_grad=True)
    if side == 3:
        torch.autograd.gradcheck(own, (single,))


@pytest.mark.parametrize(("outputs", "size"), [(1, (2, 3, 9, 12)), (2, (1, 4, 8, 8)), (2, (1, 2, 8, 10))])
def test_an_image_convolution_is_torchs(outputs: int, size: tuple[int, ...]) -> None:
    own = ImageConvolution(size[1], outputs).double()
    known = nn.Conv2d(size[1], outputs, 7, padding=3, padding_mode="reflect").double()
    known.load_state_dict(own.state_dict())
    assert_same_with_gradients(own, known, torch.randn(size, dtype=torch.float64))


@pytest.mark.parametrize("size", [(2, 3, 4, 4), (1, 3, 6, 5)])
def test_a_valid_convolution_is_torchs(size: tuple[int, ...]) -> None:
    own, known = ValidConvolution(3, 5, 4).double(), nn.Conv2d(3, 5, 4).double()
    known.load_state_dict(own.state_dict())
    assert_same_with_gradients(own, known, torch.randn(size, dtype=torch.float64))


def assert_same_with_gradients(own: nn.Module, known: nn.Module, image: torch.Tensor) -> None:
    """Two layers give the same output, and the same gradients of it by the image and their parameters."""
    image.requires_grad_()
    torch.testing.assert_close(own(image), known(image))
    gradients = [torch.autograd.grad(c(image).square().sum(), [image, *c.parameters()]) for c in (own, known)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)
