"""The table of networks that reconstruct (X → Y), and the one place that builds them, for training and for loading.

A network maps an image (B, channels, H, W) to an image of the same shape. A network that knows the physics has the
attribute ``takes_encoding = True`` and is called as ``network(image, encoding)``; any other as ``network(image)``. To
add a network to the package, add one entry to :data:`NETWORKS`. A network in a user's file is named ``FILE.py:NAME``;
see docs/how-to/network.md.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, MappingProxyType
from typing import Any

from torch import Tensor, nn

from switchrecon.config import Config
from switchrecon.core.user_code import UserCode, is_user_code, read_code
from switchrecon.errors import ConfigError, SwitchreconError, nearest
from switchrecon.nets.classical import START, Regularised, Sense, TotalVariation, Wavelet
from switchrecon.nets.generator import Generator
from switchrecon.nets.unrolled import UNet, Unrolled
from switchrecon.physics.operators import Encoding

RECOMMENDED = MappingProxyType(
    {"optimizer": "adamw", "learning_rate": 3e-3, "schedule": "cosine", "average": "ema", "gradient_clip": 1.0}
)
"""Recommended settings of the unrolled network; benchmarks/unrolled_settings.py compares them with others."""

Text = Callable[[Config], str]


@dataclass(frozen=True)
class Network:
    """One kind of network.

    Attributes
    ----------
    about
        One sentence for lists.
    build
        Function that makes the network from the settings and a flag: whether the network has AdaIN sites.
    architecture, initial_weights
        Functions that describe the network for a publication, from the settings.
    adaptive
        Whether the network can have AdaIN sites, which methods with a switchable generator need.
    recommended
        Settings that measurements recommend for methods without a discriminator. The user's settings win over them.
    """

    about: str
    build: Callable[[Config, bool], nn.Module]
    architecture: Text
    initial_weights: Text
    adaptive: bool = False
    recommended: Mapping[str, Any] = field(default_factory=dict)


def plain_generator(config: Config, adaptive: bool) -> Generator:
    """Return the paper's G with the sizes of the settings."""
    sizes = (config.channels, config.width, config.residual_blocks)
    return Generator(*sizes, adaptive, config.output_deviation)


def _unrolled(config: Config, adaptive: bool) -> Unrolled:
    if adaptive and (config.refiner, config.cascade_weights) != ("generator", "shared"):
        raise ConfigError(
            "cascades of a generator with AdaIN, which also undersamples, need refiner 'generator' and cascade_weights "
            "'shared'"
        )

    def refiner() -> nn.Module:
        if config.refiner == "generator":
            return plain_generator(config, adaptive)
        return UNet(config.channels, config.unet_width)

    networks = 1 if config.cascade_weights == "shared" else config.cascades
    return Unrolled([refiner() for _ in range(networks)], config.cascades, config.cascade_consistency == "soft")


def _paper_architecture(config: Config) -> str:
    return (
        f"generator (7x7 convolution to {config.width} channels, two strided convolutions, "
        f"{config.residual_blocks} residual blocks, two transposed convolutions, 7x7 convolution, tanh)"
    )


def _paper_weights(config: Config) -> str:
    return f"truncated normal with standard deviation 0.05, the generator's last layer {config.output_deviation:g}"


def _unrolled_architecture(config: Config) -> str:
    refiner = f"U-Nets of width {config.unet_width}" if config.refiner == "unet" else "the paper's generator"
    return f"{config.cascades} cascades ({refiner}) with {config.cascade_consistency} data consistency"


def _unrolled_weights(config: Config) -> str:
    return "Kaiming normal, last layer of each U-Net 0.001" if config.refiner == "unet" else _paper_weights(config)


def _classical(about: str, kind: type[Regularised]) -> Network:
    return Network(
        about,
        lambda config, _: kind(config.iterations),
        lambda config: f"{config.network}, {config.iterations} iterations, one weight",
        lambda _: f"a small weight ({START:g} of the image's scale)",
    )


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "paper": Network(
            "The paper's generator G: encoder, residual blocks, decoder; it sees the zero-filled image alone.",
            plain_generator,
            _paper_architecture,
            _paper_weights,
            adaptive=True,
        ),
        "unrolled": Network(
            "Cascades of a small U-Net, or of G, with data consistency between them.",
            _unrolled,
            _unrolled_architecture,
            _unrolled_weights,
            adaptive=True,
            recommended=RECOMMENDED,
        ),
        "total-variation": _classical("Compressed sensing with total variation; one learned weight.", TotalVariation),
        "wavelet": _classical("Compressed sensing with Haar wavelets; one learned weight.", Wavelet),
        "sense": _classical("Regularised SENSE; one learned weight.", Sense),
    }
)


def find_network(config: Config, code: UserCode | None = None) -> Network:
    """Return the table entry of the network that the settings name; a user's code runs only when it is built.

    Parameters
    ----------
    config
        Settings; ``config.network`` is a name of :data:`NETWORKS`, or ``FILE.py:NAME``.
    code
        Code to run for ``FILE.py:NAME``, such as a run's copy of it. None: the code is read from that file.

    Raises
    ------
    ConfigError
        If there is no such network; the message names the one with the closest name.
    """
    if is_user_code(config.network):
        return Network(
            "A network of the user's.",
            lambda settings, _: _from_code(code or read_code(settings.network, "network"), settings),
            lambda settings: f"the authors' network {settings.network.rpartition(':')[2]}, in network.py of the run",
            lambda _: "as that network's code draws them",
        )
    if config.network not in NETWORKS:
        raise ConfigError(f"unknown network '{config.network}'; {nearest(config.network, NETWORKS)}")
    return NETWORKS[config.network]


def check_network(config: Config) -> None:
    """Check early that the network exists and, if it is a user's file, that the file runs.

    Raises
    ------
    ConfigError
        As :func:`find_network`, or if the file cannot be run or has no such name.
    """
    find_network(config)
    if is_user_code(config.network):
        _load(read_code(config.network, "network"))


def _from_code(code: UserCode, config: Config) -> nn.Module:
    """Return ``NAME(config)``, checked.

    Raises
    ------
    ConfigError
        If the result is not a network with parameters, or its ``forward`` does not take the arguments that it will get.
    """
    make = _load(code)
    try:
        network = make(config)
    except SwitchreconError:
        raise
    except Exception as error:
        raise code.error(f"{code.name}(config) raised {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise code.error(f"{code.name}(config) gave {type(network).__name__}; expected a torch.nn.Module")
    if not any(True for _ in network.parameters()):
        raise code.error("has no parameters; expected a network that learns")
    expected = ("image", "encoding") if takes_encoding(network) else ("image",)
    try:
        inspect.signature(network.forward).bind(*expected)
    except TypeError as error:
        raise code.error(
            f"its forward cannot be called with ({', '.join(expected)}): {error}; it gets the encoding where the "
            "network has the attribute takes_encoding = True"
        ) from error
    return network


def _load(code: UserCode) -> Callable[[Config], object]:
    made: Callable[[Config], object] = code.load(
        "class or function that makes a network", _makes_networks, defined_here=True
    )
    return made


def _makes_networks(value: Any) -> bool:
    return isinstance(value, FunctionType) or (isinstance(value, type) and issubclass(value, nn.Module))


def build_generator(config: Config, adaptive: bool, code: UserCode | None = None) -> nn.Module:
    """Build the network that maps X to Y, with weights drawn from torch's global random generator.

    Parameters
    ----------
    config
        Settings: the name of the network and its sizes.
    adaptive
        Whether the method needs AdaIN sites.
    code
        See :func:`find_network`.

    Raises
    ------
    ConfigError
        If there is no such network, or it does not fit the other settings.
    """
    entry = find_network(config, code)
    if adaptive and not entry.adaptive:
        able = ", ".join(name for name, other in NETWORKS.items() if other.adaptive)
        raise ConfigError(
            f"network '{config.network}' has no AdaIN sites, which method '{config.method}' needs to undersample with "
            f"it; choose network {able}, or a method such as joint"
        )
    network = entry.build(config, adaptive)
    if takes_encoding(network) and config.representation != "complex":
        raise ConfigError(
            f"network '{config.network}' needs representation 'complex': magnitudes are not consistent with k-space"
        )
    return network


def takes_encoding(network: nn.Module) -> bool:
    """Return whether a network knows the physics: it is called as ``network(image, encoding)``."""
    return bool(getattr(network, "takes_encoding", False))


def run(network: nn.Module, image: Tensor, encoding: Encoding) -> Tensor:
    """Reconstruct an image (B, channels, H, W) that was measured with this encoding.

    Raises
    ------
    ConfigError
        If the result has another shape.
    """
    found: Tensor = network(image, encoding) if takes_encoding(network) else network(image)
    if found.shape != image.shape:
        raise ConfigError(
            f"network {type(network).__name__} made {tuple(found.shape)} of an image {tuple(image.shape)}; expected "
            "the same shape"
        )
    return found


def image_parts(network: nn.Module) -> list[nn.Module]:
    """Return the parts that map an image alone to an image: the network itself, its cascades' refiners, or none."""
    parts: list[nn.Module] = getattr(network, "image_parts", [] if takes_encoding(network) else [network])
    return parts


def step_sizes(network: nn.Module) -> list[float]:
    """Return the data consistency weight w of each cascade, in [0, 1]; an empty list for networks without cascades."""
    sizes: list[float] = getattr(network, "step_sizes", [])
    return sizes


def ends_consistent(network: nn.Module, coils: int) -> bool:
    """Return whether a network's last layer restores measured samples exactly; never so with several coils."""
    return coils == 1 and bool(getattr(network, "ends_consistent", False))


def check_consistency(network: nn.Module, config: Config, coils: int) -> None:
    """Refuse soft data consistency after a network that restores measured samples exactly: it would change nothing.

    Raises
    ------
    ConfigError
        If that is so; the message says what to train instead.
    """
    if config.data_consistency == "soft" and ends_consistent(network, coils):
        raise ConfigError(
            "data_consistency 'soft' has nothing to weigh after a network that puts measured samples back itself; "
            "train with cascade_consistency=soft"
        )
