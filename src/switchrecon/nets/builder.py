"""The table of networks that reconstruct (X → Y), and the one place that builds them, for training and for loading.

A network maps an image (B, channels, H, W) to an image of that shape. One that knows the physics has the attribute
``takes_encoding = True`` and is called as ``network(image, encoding)``; any other as ``network(image)``. A new network
is one entry of :data:`NETWORKS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor, nn

from switchrecon.config import Config
from switchrecon.errors import ConfigError, nearest
from switchrecon.nets.classical import START, Regularised, Sense, TotalVariation, Wavelet
from switchrecon.nets.generator import Generator
from switchrecon.nets.unrolled import UNet, Unrolled
from switchrecon.physics.operators import Encoding

Text = Callable[[Config], str]


@dataclass(frozen=True)
class Network:
    """One kind of network.

    Attributes
    ----------
    about
        One sentence for lists.
    build
        Makes the network from the settings; the flag says whether it has AdaIN sites.
    architecture, initial_weights
        What a publication says of it.
    adaptive
        Whether it can have AdaIN sites, which methods with a switchable generator need.
    """

    about: str
    build: Callable[[Config, bool], nn.Module]
    architecture: Text
    initial_weights: Text
    adaptive: bool = False


def plain_generator(config: Config, adaptive: bool) -> Generator:
    """The paper's G with the sizes of the settings."""
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
        ),
        "total-variation": _classical("Compressed sensing with total variation; one learned weight.", TotalVariation),
        "wavelet": _classical("Compressed sensing with Haar wavelets; one learned weight.", Wavelet),
        "sense": _classical("Regularised SENSE; one learned weight.", Sense),
    }
)


def find_network(config: Config) -> Network:
    """Return the entry of the network that the settings name.

    Raises
    ------
    ConfigError
        If there is no such network; the message names the nearest one.
    """
    if config.network not in NETWORKS:
        raise ConfigError(f"unknown network '{config.network}'; {nearest(config.network, NETWORKS)}")
    return NETWORKS[config.network]


def build_generator(config: Config, adaptive: bool) -> nn.Module:
    """Build the network that maps X to Y, with weights drawn from torch's global generator.

    Parameters
    ----------
    config
        Its ``network`` and the sizes.
    adaptive
        Whether the method needs AdaIN sites.

    Raises
    ------
    ConfigError
        If the network does not go with the other settings.
    """
    entry = find_network(config)
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
    """Whether a network knows the physics: it is called as ``network(image, encoding)``."""
    return bool(getattr(network, "takes_encoding", False))


def run(network: nn.Module, image: Tensor, encoding: Encoding) -> Tensor:
    """Reconstruct an image (B, channels, H, W) that was measured with this encoding; the result has its shape."""
    found: Tensor = network(image, encoding) if takes_encoding(network) else network(image)
    return found


def image_parts(network: nn.Module) -> list[nn.Module]:
    """The networks inside that map an image alone to an image: itself, the refiners of its cascades, or none."""
    if isinstance(network, Unrolled):
        return list(network.refiners)
    return [] if takes_encoding(network) else [network]


def ends_consistent(network: nn.Module, coils: int) -> bool:
    """Whether a network itself puts measured samples back at its end, exactly; with several coils none does."""
    return coils == 1 and bool(getattr(network, "ends_consistent", False))


def check_consistency(network: nn.Module, config: Config, coils: int) -> None:
    """Refuse soft data consistency where the network leaves it nothing to do.

    Raises
    ------
    ConfigError
        Saying what to train instead.
    """
    if config.data_consistency == "soft" and ends_consistent(network, coils):
        raise ConfigError(
            "data_consistency 'soft' has nothing to weigh after a network that puts measured samples back itself; "
            "train with cascade_consistency=soft"
        )
