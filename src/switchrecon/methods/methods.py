"""Methods are data: the networks, the updates of one step, and the objectives that each update minimises.

``METHODS`` maps names, as the command line takes them, to methods. To add a method, write one file::

    from switchrecon.methods.methods import ISCL, GENERATOR
    from switchrecon.methods.objectives import l1

    def background(step):
        return l1(step.full_of_x * (step.x.abs() < 0.01))

    MINE = ISCL.adding(GENERATOR, {background: 0.1})

and runs with ``switchrecon train --method mine.py:MINE``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from switchrecon.config import Config, Pairing, parse_config
from switchrecon.core.user_code import is_user_code, read_code
from switchrecon.errors import ConfigError, nearest
from switchrecon.methods.objectives import (
    Objective,
    boosting,
    bypass,
    cycle,
    equivariance,
    held_out_samples,
    hinge_boosting,
    hinge_discriminator,
    hinge_full_discriminator,
    hinge_full_generator,
    hinge_generator,
    identity,
    lsgan_discriminator,
    lsgan_full_discriminator,
    lsgan_full_generator,
    lsgan_generator,
    noise_consistency,
    objective_name,
    pseudo_noise,
    sampling_consistency,
    simulated_pairs,
    supervised,
)
from switchrecon.methods.players import (
    CYCLE,
    DISCRIMINATOR,
    EXTRACTOR,
    GENERATOR,
    SINGLE,
    SINGLE_ADVERSARIAL,
    SWITCHABLE,
    TWO_WAY,
    Cast,
    SwitchableDiscriminator,
    SwitchableGenerator,
)
from switchrecon.nets.builder import NETWORKS


@dataclass(frozen=True)
class Phase:
    """One update: the group of networks whose parameters move, and the weighted objectives that it minimises."""

    group: str
    objectives: Mapping[Objective, float]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the objectives."""
        return tuple(map(objective_name, self.objectives))

    @property
    def kind(self) -> tuple[str, tuple[Objective, ...]]:
        """The group and the objectives without their weights, as a hashable key."""
        return self.group, tuple(self.objectives)


@dataclass(frozen=True)
class Method:
    """A method: its networks, and the updates (phases) of one training step, in order.

    Attributes
    ----------
    cast
        Which networks the method has.
    phases
        The updates of one step.
    pairing
        How x and y belong together. ``unpaired``: of different subjects; ``paired``: y is the reference of x, which is
        undersampled once; ``simulated``: only Y is used, and x is made from y with a new mask in every step;
        ``undersampled``: only X is used.
    settings
        Values of settings that belong to the method. The user's values win over them; a recipe's common values do not.
    recommended
        Values that measurements recommend. The user's values and a recipe's win over them.
    warm_up
        Phases that replace ``phases`` in the first steps; the setting ``warm_up`` says how many steps.
    gated
        Objectives that make G(X) look like Y, which is right only where the two piles of scans are alike.
    """

    cast: Cast
    phases: tuple[Phase, ...]
    pairing: Pairing = "unpaired"
    settings: Mapping[str, Any] = field(default_factory=dict)
    recommended: Mapping[str, Any] = field(default_factory=dict)
    warm_up: tuple[Phase, ...] = ()
    gated: frozenset[Objective] = frozenset()

    def __post_init__(self) -> None:
        """Refuse two objectives with the same name, which could not be told apart in a log.

        Raises
        ------
        ConfigError
            If there are two; the message says their name.
        """
        for phases in (self.phases, self.warm_up):
            known: dict[str, Objective] = {}
            for objective in (f for phase in phases for f in phase.objectives):
                name = objective_name(objective)
                if known.setdefault(name, objective) is not objective:
                    raise ConfigError(
                        f"two objectives of the method are called '{name}'; give one another name: "
                        f"named('other name', objective), from switchrecon.objectives"
                    )

    def adding(self, group: str, objectives: Mapping[Objective, float]) -> "Method":
        """Return the same method with objectives, ``{objective: weight}``, added to the phase of a group."""
        return replace(
            self,
            phases=tuple(
                Phase(p.group, {**p.objectives, **objectives}) if p.group == group else p for p in self.phases
            ),
        )

    def using(self, cast: Cast) -> "Method":
        """Return the same method with another cast."""
        return replace(self, cast=cast)

    def closed(self) -> "Method":
        """Return the same method without its gated objectives, and without a discriminator that nothing else needs."""
        kept = [Phase(p.group, {f: w for f, w in p.objectives.items() if f not in self.gated}) for p in self.phases]
        phases = tuple(phase for phase in kept if phase.objectives)
        judged = any(phase.group == DISCRIMINATOR for phase in phases)
        cast = self.cast if judged else self.cast.using(discriminator=None)
        return replace(self, cast=cast, phases=phases, gated=frozenset())

    def exchanging(self, exchange: Mapping[Objective, Objective]) -> "Method":
        """Return the same method with some objectives replaced by others, at the same weights."""
        return replace(
            self,
            phases=tuple(Phase(p.group, {exchange.get(f, f): w for f, w in p.objectives.items()}) for p in self.phases),
            gated=frozenset(exchange.get(f, f) for f in self.gated),
        )


WARM_UP = (Phase(GENERATOR, {identity: 1}),)
"""The phases of the first ``warm_up`` steps of an unpaired method: a few steps towards the identity.

Cycle consistency cannot tell an inverted contrast from the right one. Methods that start at random leave the inverted
one only by luck, after hundreds or thousands of steps. Steps towards the identity settle the sign, and do not keep G at
the identity as a skip connection does. They also allow a small ``output_deviation``. With ISCL's 0.05 tanh starts
saturated, which cost the supervised family 2 dB in 3,000 steps; with 0.005 and no warm-up, unpaired methods were still
in the inverted contrast after 1,200 steps.
"""

CYCLEGAN = Method(
    CYCLE,
    (
        Phase(DISCRIMINATOR, {lsgan_discriminator: 1}),
        Phase(GENERATOR, {lsgan_generator: 1, cycle: 30}),
    ),
    warm_up=WARM_UP,
)
ISCL = Method(
    TWO_WAY,
    (
        Phase(DISCRIMINATOR, {lsgan_discriminator: 1, boosting: 1}),
        Phase(GENERATOR, {lsgan_generator: 1, cycle: 30, bypass: 30}),
        Phase(EXTRACTOR, {pseudo_noise: 1, noise_consistency: 1}),
    ),
    warm_up=WARM_UP,
)
ISCL_SAMPLING = ISCL.adding(GENERATOR, {sampling_consistency: 1})
ISCL_SAMPLING_ADAIN = ISCL_SAMPLING.using(TWO_WAY.using(generator=SwitchableGenerator))
ISCL_SAMPLING_AFFINE = ISCL_SAMPLING.using(TWO_WAY.using(discriminator=SwitchableDiscriminator))
SWITCHABLE_ISCL = ISCL_SAMPLING.using(SWITCHABLE)
SUPERVISED = Method(SINGLE, (Phase(GENERATOR, {supervised: 1}),), pairing="paired")
SIMULATED = replace(SUPERVISED, pairing="simulated")

# RAdam is slow at first; with these values the logarithm of the one weight can move by several units.
TUNING = MappingProxyType({"steps": 100, "learning_rate": 1.0})
TOTAL_VARIATION = replace(SIMULATED, settings={"network": "total-variation", **TUNING})
SENSE = replace(SIMULATED, settings={"network": "sense", **TUNING})
WAVELET = replace(SIMULATED, settings={"network": "wavelet", **TUNING})

UNROLLED = MappingProxyType({"network": "unrolled"})
"""Settings of methods whose generator knows the physics."""

SELF_SUPERVISED = Method(
    SINGLE,
    (Phase(GENERATOR, {held_out_samples: 1, equivariance: 0.3}),),
    pairing="undersampled",
    settings=UNROLLED,
)
JOINT = Method(
    SINGLE,
    (Phase(GENERATOR, {simulated_pairs: 1, held_out_samples: 0.3}),),
    settings=UNROLLED,
)
JOINT_EQUIVARIANT = JOINT.adding(GENERATOR, {equivariance: 0.3})
JOINT_ADVERSARIAL = Method(
    SINGLE_ADVERSARIAL,
    (
        Phase(DISCRIMINATOR, {lsgan_full_discriminator: 1}),
        Phase(GENERATOR, {**JOINT.phases[0].objectives, lsgan_full_generator: 0.01}),
    ),
    settings=UNROLLED,
    recommended=MappingProxyType({"learning_rate": 1e-3}),
    gated=frozenset({lsgan_full_discriminator, lsgan_full_generator}),
)

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "cyclegan": CYCLEGAN,
        "iscl": ISCL,
        "iscl-sampling": ISCL_SAMPLING,
        "iscl-sampling-adain": ISCL_SAMPLING_ADAIN,
        "iscl-sampling-affine": ISCL_SAMPLING_AFFINE,
        "switchable": SWITCHABLE_ISCL,
        "supervised": SUPERVISED,
        "simulated": SIMULATED,
        "total-variation": TOTAL_VARIATION,
        "wavelet": WAVELET,
        "sense": SENSE,
        "self-supervised": SELF_SUPERVISED,
        "joint": JOINT,
        "joint-equivariant": JOINT_EQUIVARIANT,
        "joint-adversarial": JOINT_ADVERSARIAL,
    }
)

HINGE: Mapping[Objective, Objective] = {
    lsgan_generator: hinge_generator,
    lsgan_discriminator: hinge_discriminator,
    boosting: hinge_boosting,
    lsgan_full_generator: hinge_full_generator,
    lsgan_full_discriminator: hinge_full_discriminator,
}


def _from_file(name: str) -> Method:
    found: Method = read_code(name, "method").load("Method", lambda value: isinstance(value, Method))
    return found


def with_method_settings(config: Config, method: Method) -> Config:
    """Return the settings with the method's values, and those recommended for its network, where the user set none."""
    asked = config.network if "network" in config.model_fields_set else method.settings.get("network", config.network)
    network = NETWORKS.get(asked)
    judged = method.cast.discriminator is not None
    recommended = network.recommended if network is not None and not judged else {}
    values = {**recommended, **method.recommended, **method.settings}
    more = {name: value for name, value in values.items() if name not in config.model_fields_set}
    return parse_config({**config.model_dump(), **more}, f"method '{config.method}'")


def find_method(config: Config) -> Method:
    """Return the method that the settings name.

    A name of :data:`METHODS`, or ``FILE.py:NAME``, which runs that file.

    Raises
    ------
    ConfigError
        If there is no such method; the message names the one with the closest name.
    """
    if is_user_code(config.method):
        method = _from_file(config.method)
    elif config.method in METHODS:
        method = METHODS[config.method]
    else:
        raise ConfigError(f"unknown method '{config.method}'; {nearest(config.method, METHODS)}")
    return method.exchanging(HINGE) if config.adversarial == "hinge" else method
