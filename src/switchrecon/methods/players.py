"""Players: the networks of a method, as five verbs that every method is written with.

The verbs are ``to_full`` (X → Y), ``to_sub`` (Y → X), ``noise`` (H), ``score_full`` (is it a real image of Y?) and
``score_sub`` (of X?). X holds undersampled images, Y fully sampled ones. A :class:`Cast` names the networks: two for
each pair of verbs, as in ISCL, or one switchable network, as the paper proposes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from switchrecon.config import Config
from switchrecon.nets.builder import build_generator, image_parts, plain_generator, run
from switchrecon.nets.discriminator import Discriminator
from switchrecon.nets.extractor import Extractor
from switchrecon.nets.generator import CodeGenerator, Generator
from switchrecon.nets.layers import Code, with_precision
from switchrecon.physics.operators import Encoding


class Generators(nn.Module):
    """Base class of the generators of a cast; ``full`` is the network for X → Y."""

    adaptive = False
    """Whether the networks have AdaIN sites."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.full = build_generator(config, self.adaptive)

    def to_full(self, x: Tensor, encoding: Encoding) -> Tensor:
        """Reconstruct x (B, channels, H, W); AdaIN sites use mean 0 and variance 1."""
        return run(self.full, x, encoding)

    def mixed(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor | None:
        """Return G(x), then G(y, A(z)), from one call of one network; None where they need two networks."""
        return None


class OneGenerator(Generators):
    """One generator for X → Y alone, for the supervised family: affine instance norm, no AdaIN."""

    def to_sub(self, y: Tensor, z: Tensor) -> Tensor:
        """Raise an error: this generator cannot undersample."""
        raise TypeError("this method has no generator from fully sampled to undersampled images")


class TwoGenerators(Generators):
    """Two generators, one for each direction, as in CycleGAN and ISCL. z is not used."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.sub = plain_generator(config, self.adaptive)

    def to_sub(self, y: Tensor, z: Tensor) -> Tensor:
        """Undersample y (B, channels, H, W)."""
        return self.sub(y)


class SwitchableGenerator(Generators):
    """One generator G for both directions, G(x) and G(y, A(z)); the code generator A switches it to Y → X."""

    adaptive = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.code = CodeGenerator(Generator.site_widths(config.width), config.code_size)

    @property
    def plain(self) -> nn.Module:
        """G without the cascades that may surround it."""
        return image_parts(self.full)[0]

    def to_sub(self, y: Tensor, z: Tensor) -> Tensor:
        """Undersample y (B, channels, H, W) with the code A(z), z of shape (B, code_size)."""
        return self.plain(y, self.code(z))

    def mixed(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor | None:
        """Return G(x), then G(y, A(z)), from one call; None with cascades, which only reconstruct."""
        if self.plain is not self.full:
            return None
        codes = [
            Code(
                torch.cat([code.mean.new_zeros(len(x), code.mean.shape[1]), code.mean]),
                torch.cat([code.variance.new_ones(len(x), code.variance.shape[1]), code.variance]),
            )
            for code in self.code(z)
        ]
        made: Tensor = self.plain(torch.cat([x, y]), codes)
        return made


class TwoDiscriminators(nn.Module):
    """Two discriminators, D_X and D_Y, as in CycleGAN and ISCL."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.sub = Discriminator(config.channels, config.width, switchable=False)
        self.full = Discriminator(config.channels, config.width, switchable=False)

    def score_full(self, image: Tensor) -> Tensor:
        """Return D_Y's scores (B, 1, h, w)."""
        return self.full(image)

    def score_sub(self, image: Tensor) -> Tensor:
        """Return D_X's scores (B, 1, h, w)."""
        return self.sub(image)


class OneDiscriminator(nn.Module):
    """One discriminator, D_Y, for methods that never make undersampled images."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.full = Discriminator(config.channels, config.width, switchable=False)

    def score_full(self, image: Tensor) -> Tensor:
        """Return D_Y's scores (B, 1, h, w)."""
        return self.full(image)

    def score_sub(self, image: Tensor) -> Tensor:
        """Raise an error: this discriminator cannot judge undersampled images."""
        raise TypeError("this method has no discriminator of undersampled images")


class SwitchableDiscriminator(nn.Module):
    """One discriminator D for both domains; its affine transform is switched on for domain Y."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.both = Discriminator(config.channels, config.width, switchable=True)

    def score_full(self, image: Tensor) -> Tensor:
        """Return scores (B, 1, h, w) with γ and β."""
        return self.both(image, full=len(image))

    def score_sub(self, image: Tensor) -> Tensor:
        """Return scores (B, 1, h, w) without γ and β."""
        return self.both(image, full=0)

    def mixed(self, full: Tensor, sub: Tensor) -> Tensor:
        """Return the scores of ``full`` as images of Y, then those of ``sub`` as images of X, from one call."""
        return self.both(torch.cat([full, sub]), full=len(full))


GENERATOR, DISCRIMINATOR, EXTRACTOR = "generator", "discriminator", "extractor"
GROUPS = (GENERATOR, DISCRIMINATOR, EXTRACTOR)


def _missing(group: str) -> Callable[..., Tensor]:
    """Return a function for a verb of a group that the method does not have; calling it raises a clear error."""

    def call(*_: object) -> Tensor:
        raise TypeError(f"this method has no {group}, but one of its objectives needs it")

    return call


class Players(nn.Module):
    """The networks of a method, in up to three groups that are updated in turn, and the five verbs that they supply.

    Attributes
    ----------
    generator, discriminator, extractor
        The groups; the last two are None in methods without them.
    to_full
        X → Y: reconstruct x (B, channels, H, W) that was measured with an encoding: G(x).
    to_sub
        Y → X: undersample y with z of shape (B, code_size): G(y, A(z)).
    noise
        H(x), the estimate of what undersampling added.
    score_full, score_sub
        D_Y and D_X: scores (B, 1, h, w) that say how real images look as images of Y and of X.
    """

    def __init__(
        self, generator: nn.Module, discriminator: nn.Module | None = None, extractor: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.extractor = extractor
        g: Any = generator
        d: Any = discriminator
        self.to_full: Callable[[Tensor, Encoding], Tensor] = g.to_full
        self.to_sub: Callable[[Tensor, Tensor], Tensor] = g.to_sub
        self.noise: Callable[[Tensor], Tensor] = extractor.__call__ if extractor else _missing(EXTRACTOR)
        self.score_full: Callable[[Tensor], Tensor] = d.score_full if d else _missing(DISCRIMINATOR)
        self.score_sub: Callable[[Tensor], Tensor] = d.score_sub if d else _missing(DISCRIMINATOR)

    @property
    def full(self) -> nn.Module:
        """The network for X → Y."""
        network: nn.Module = self.generator.full  # type: ignore[assignment]
        return network

    def groups(self) -> dict[str, nn.Module]:
        """Return the groups that this method has, by name."""
        return {name: getattr(self, name) for name in GROUPS if getattr(self, name) is not None}


@dataclass(frozen=True)
class Cast:
    """The classes of a method's networks, one for each group; each is built from the settings alone."""

    generator: type[nn.Module]
    discriminator: type[nn.Module] | None = None
    extractor: bool = False

    def build(self, config: Config) -> Players:
        """Build the networks, with weights drawn from torch's global random generator."""
        players = Players(
            self.generator(config),
            self.discriminator(config) if self.discriminator is not None else None,
            Extractor(config.channels, config.width, config.extractor_depth) if self.extractor else None,
        )
        return with_precision(players, config.precision)

    def using(self, **parts: object) -> "Cast":
        """Return the same cast with some parts replaced."""
        return replace(self, **parts)  # type: ignore[arg-type]


CYCLE = Cast(TwoGenerators, TwoDiscriminators)
TWO_WAY = Cast(TwoGenerators, TwoDiscriminators, extractor=True)
SWITCHABLE = Cast(SwitchableGenerator, SwitchableDiscriminator, extractor=True)
SINGLE = Cast(OneGenerator)
SINGLE_ADVERSARIAL = Cast(OneGenerator, OneDiscriminator)
