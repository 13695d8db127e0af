"""The training step written naively, pass by pass, as the equations read: the reference that the package's must equal.

Nothing is shared: what two equations need is computed twice, so that a step of ISCL costs 9 forward calls of G,
6 of H and 8 of D. Eager, float32, one optimiser step a group, in the order D, G, H. :func:`with_torchs_layers` takes
the networks, too, as they are written down.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from switchrecon.config import Config
from switchrecon.methods.players import Players
from switchrecon.methods.step import Batch
from switchrecon.nets.extractor import Extractor
from switchrecon.nets.layers import (
    EPSILON,
    AdaptiveInstanceNorm,
    Code,
    Convolution,
    ImageConvolution,
    InstanceNorm,
    ValidConvolution,
)
from switchrecon.physics.fourier import fourier, inverse_fourier
from switchrecon.physics.intensity import channels_to_complex
from switchrecon.training.state import State

HAS_EXTRACTOR = ("iscl", "iscl-sampling", "iscl-sampling-adain", "iscl-sampling-affine", "switchable")
HAS_SAMPLING = HAS_EXTRACTOR[1:]
WITH_PHYSICS = ("self-supervised", "joint", "joint-equivariant", "joint-adversarial")


Map = Callable[[Tensor], Tensor]


def with_torchs_layers(state: State) -> State:
    """The same weights in networks of torch's own layers, one operation after the other; in place."""
    for module in state.players.modules():
        if isinstance(module, Convolution):
            module.forward = lambda *images, m=module: F.conv2d(  # type: ignore[method-assign]
                F.pad(torch.cat(images, 1), (1, 1, 1, 1), mode="replicate"), m.weight, m.bias, m.stride
            )
        elif isinstance(module, ImageConvolution | ValidConvolution):
            module.forward = lambda h, m=module: nn.Conv2d.forward(m, h)  # type: ignore[method-assign]
        elif isinstance(module, InstanceNorm | AdaptiveInstanceNorm):
            module.forward = lambda h, code=None, m=module: _norm(m, h, code)  # type: ignore[method-assign]
        elif isinstance(module, nn.LeakyReLU):
            module.inplace = False
        elif isinstance(module, Extractor):
            module.forward = module.body.forward  # type: ignore[method-assign]
    return state


def _norm(module: nn.Module, features: Tensor, code: Code | None) -> Tensor:
    one_pixel = features.shape[-2:] == (1, 1)
    normalised = features if one_pixel else F.instance_norm(features, eps=EPSILON)
    if isinstance(module, InstanceNorm):
        return normalised * module.scale[:, None, None] + module.shift[:, None, None]
    return (
        normalised if code is None else normalised * code.variance.sqrt()[..., None, None] + code.mean[..., None, None]
    )


def norm(difference: Tensor) -> Tensor:
    """‖·‖₁, the mean of absolute values; of complex entries, of |re| + |im|."""
    if difference.is_complex():
        return difference.real.abs().mean() + difference.imag.abs().mean()
    return difference.abs().mean()


def literal_step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One step of a learned method, in place; returns the losses before each update."""
    players, x, y, z = state.players, batch.x, batch.y, batch.z
    values: dict[str, float] = {}

    def G(image: Tensor) -> Tensor:
        return players.to_full(image, batch.encoding_x)

    def F_sub(image: Tensor) -> Tensor:
        return players.to_sub(image, z)

    def minimise(group: str, losses: Callable[[], dict[str, tuple[float, Tensor]]]) -> None:
        module = getattr(players, group)
        for parameter in players.parameters():
            parameter.grad = None
        terms = losses()
        torch.stack([weight * value for weight, value in terms.values()]).sum().backward(
            inputs=list(module.parameters())
        )
        state.optimizers[group].step()
        values.update({name: value.item() for name, (_, value) in terms.items()})

    if config.method in ("supervised", "simulated"):
        minimise("generator", lambda: {"supervised": (1, norm(G(x) - y))})
        return values
    if config.method in WITH_PHYSICS:
        if config.method == "joint-adversarial":
            minimise("discriminator", lambda: {"lsgan_full_discriminator": (1, _judged(players, x, y, G))})
        minimise("generator", lambda: _with_physics(players, batch, config.method))
        return values
    with_extractor = config.method in HAS_EXTRACTOR
    minimise("discriminator", lambda: _discriminator(players, x, y, G, F_sub, with_extractor))
    minimise("generator", lambda: _generator(players, batch, G, F_sub, config.method))
    if with_extractor:
        minimise("extractor", lambda: _extractor(players, x, y, G, F_sub))
    return values


def _discriminator(
    players: Players, x: Tensor, y: Tensor, G: Map, F_sub: Map, with_extractor: bool
) -> dict[str, tuple[float, Tensor]]:
    D_Y, D_X, H = players.score_full, players.score_sub, players.noise
    real = (D_Y(y) - 1).square().mean() + (D_X(x) - 1).square().mean()
    fake = D_Y(G(x).detach()).square().mean() + D_X(F_sub(y).detach()).square().mean()
    terms = {"lsgan_discriminator": (1.0, real + fake)}
    if with_extractor:
        boosting = D_Y((x - H(x)).detach()).square().mean() + D_X((y + H(x)).detach()).square().mean()
        terms["boosting"] = (1.0, boosting)
    return terms


def _generator(players: Players, batch: Batch, G: Map, F_sub: Map, method: str) -> dict[str, tuple[float, Tensor]]:
    x, y, H = batch.x, batch.y, players.noise
    G_x, F_y = G(x), F_sub(y)
    adversarial = (players.score_full(G_x) - 1).square().mean() + (players.score_sub(F_y) - 1).square().mean()
    terms = {
        "lsgan_generator": (1.0, adversarial),
        "cycle": (30.0, norm(x - F_sub(G_x)) + norm(y - G(F_y))),
    }
    if method in HAS_EXTRACTOR:
        terms["bypass"] = (30.0, norm(G_x - (x - H(x))) + norm(y - G(y + H(x))))
    if method in HAS_SAMPLING:

        def RF(image: Tensor, mask: Tensor) -> Tensor:
            return mask * fourier(channels_to_complex(image))

        mask_x, mask_y = batch.encoding_x.mask, batch.encoding_y.mask
        first = norm(RF(x, mask_x) - RF(G_x, mask_x))
        terms["sampling_consistency"] = (1.0, first + norm(RF(y, mask_y) - RF(F_y, mask_y)))
    return terms


def _judged(players: Players, x: Tensor, y: Tensor, G: Map) -> Tensor:
    real, made = players.score_full(y), players.score_full(G(x).detach())
    return (real - 1).square().mean() + made.square().mean()


def _with_physics(players: Players, batch: Batch, method: str) -> dict[str, tuple[float, Tensor]]:
    assert batch.draws is not None
    x, mask = batch.x, batch.encoding_x.mask
    terms = {}
    if method != "self-supervised":
        image, encoding, reference = batch.draws.pair()
        terms["simulated_pairs"] = (1.0, norm(players.to_full(image, encoding) - reference))
    image, encoding, weight = batch.draws.split()
    error = mask * fourier(channels_to_complex(players.to_full(image, encoding))) - mask * fourier(
        channels_to_complex(x)
    )
    errors = (weight * (error.real.abs() + error.imag.abs())).sum((-2, -1)) / weight.sum((-2, -1))
    terms["held_out_samples"] = (1.0 if method == "self-supervised" else 0.3, errors.mean())
    if method in ("self-supervised", "joint-equivariant"):
        places, encoding = batch.draws.turn()
        turned = players.to_full(x, batch.encoding_x).flatten(2)
        turned = torch.stack([turned[own][:, places[own]] for own in range(len(x))]).view_as(x)
        aliased = inverse_fourier(encoding.mask * fourier(channels_to_complex(turned)))
        again = players.to_full(torch.stack([aliased.real, aliased.imag], 1), encoding)
        terms["equivariance"] = (0.3, norm(again - turned))
    if method == "joint-adversarial":
        score = players.score_full(players.to_full(x, batch.encoding_x))
        terms["lsgan_full_generator"] = (0.01, (score - 1).square().mean())
    return terms


def _extractor(players: Players, x: Tensor, y: Tensor, G: Map, F_sub: Map) -> dict[str, tuple[float, Tensor]]:
    H, F_y = players.noise, F_sub(y)
    return {
        "pseudo_noise": (1.0, norm(H(x) - (x - G(x)))),
        "noise_consistency": (1.0, norm(F_y - y - H(F_y))),
    }
