"""Which method to take: what each learns from and needs, how long a step is, and when it is the right one."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

FULL, SUB, BOTH, PAIRS = "full scans alone", "fast scans alone", "both, unmatched", "matched pairs"
D_SIDE = "64x64 or more"
MASKS = "each scan's mask"


@dataclass(frozen=True)
class Advice:
    """What a user wants to know of a method.

    Attributes
    ----------
    learns_from
        The scans: full ones are fully sampled, fast ones undersampled.
    needs
        What else.
    speed
        Speed of a training step: quick (one or two network calls), middling (a few), slow (networks teach each other).
    when
        When it is the right one.
    """

    learns_from: str
    needs: str
    speed: str
    when: str


ADVICE: Mapping[str, Advice] = MappingProxyType(
    {
        "joint": Advice(BOTH, MASKS, "quick", "first choice: piles of the same contrast, measured by the same scanner"),
        "joint-equivariant": Advice(
            BOTH, MASKS, "middling", "the piles differ in contrast (with contrast=1), or there are few scans"
        ),
        "joint-adversarial": Advice(
            BOTH, MASKS, "slow", "compare-domains finds the piles alike; elsewhere it is joint (setting gate)"
        ),
        "self-supervised": Advice(SUB, MASKS, "quick", "there is no fully sampled scan at all"),
        "simulated": Advice(FULL, "the mask settings", "quick", "there is no undersampled scan yet, only its protocol"),
        "supervised": Advice(PAIRS, "pairs", "quick", "an upper bound to compare with"),
        "switchable": Advice(BOTH, D_SIDE, "slow", "the paper's proposal; X is spoilt by more than undersampling"),
        "iscl-sampling": Advice(BOTH, D_SIDE, "slow", "to compare: ISCL with the paper's Eq. (1)"),
        "iscl-sampling-adain": Advice(BOTH, D_SIDE, "slow", "to compare: the switchable generator alone"),
        "iscl-sampling-affine": Advice(BOTH, D_SIDE, "slow", "to compare: the switchable discriminator alone"),
        "iscl": Advice(BOTH, D_SIDE, "slow", "to compare: without any physics"),
        "cyclegan": Advice(BOTH, D_SIDE, "slow", "to compare: cycle consistency alone"),
        "total-variation": Advice(FULL, "the mask settings", "quick", "compressed sensing: one weight is tuned"),
        "wavelet": Advice(FULL, "the mask settings", "quick", "compressed sensing with wavelets: one weight is tuned"),
        "sense": Advice(FULL, "several coils", "quick", "CG-SENSE: parallel imaging without learning"),
    }
)
"""By name, the ones that are recommended first."""

SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        "hard": "data consistency afterwards: measured k-space is put back",
        "soft": "data consistency afterwards, as far as the noise of the measured samples deserves",
        "ensemble": "the mean of G(x) and x − H(x), of generator and noise extractor",
        "generator": "G(x) alone",
    }
)
"""What stands behind a method's name in tables, after ``/`` or ``-``."""


def explained(names: list[str]) -> list[tuple[str, str]]:
    """What the names in a table mean, each once: methods, and what stands behind them after a slash."""
    found: dict[str, str] = {}
    for name in names:
        method, _, rest = name.partition("/")
        if method == "zero-filled":
            found[method] = "what was measured, with zeros elsewhere: where every method begins"
        elif method in ADVICE:
            advice = ADVICE[method]
            found[method] = f"learns from {advice.learns_from}; {advice.when}"
        for suffix in rest.split("-") if rest else ():
            if suffix in SUFFIXES:
                found[f"/{suffix}"] = SUFFIXES[suffix]
    return list(found.items())
