"""Which methods use a setting."""

from collections.abc import Callable, Mapping

from switchrecon.methods.methods import METHODS, Method
from switchrecon.methods.objectives import held_out_samples, sampling_consistency, simulated_pairs
from switchrecon.methods.players import SwitchableGenerator


def _network(*names: str) -> Callable[[Method], bool]:
    return lambda method: method.settings.get("network", "paper") in names


def _learns(objective: object) -> Callable[[Method], bool]:
    return lambda method: any(objective in phase.objectives for phase in method.phases)


def _adversarial(method: Method) -> bool:
    return method.cast.discriminator is not None


def _switchable(method: Method) -> bool:
    return method.cast.generator is SwitchableGenerator


def _extracting(method: Method) -> bool:
    return method.cast.extractor


def _several(method: Method) -> bool:
    return _adversarial(method) or _extracting(method)


def _sees_full(method: Method) -> bool:
    return method.pairing != "undersampled"


_paper, _unrolled = _network("paper"), _network("unrolled")
_simulates = _learns(simulated_pairs)

USED_BY: Mapping[str, Callable[[Method], bool]] = {
    "simulated_mask": lambda method: method.pairing == "simulated" or _simulates(method),
    "pairs": lambda method: method.pairing == "paired",
    "distortion": _sees_full,
    "contrast": lambda method: _sees_full(method) and not _adversarial(method),
    "width": lambda method: _paper(method) or _several(method),
    "residual_blocks": _paper,
    "output_deviation": _paper,
    "cascades": _unrolled,
    "refiner": _unrolled,
    "unet_width": _unrolled,
    "cascade_weights": _unrolled,
    "cascade_consistency": _unrolled,
    "iterations": _network("total-variation", "wavelet", "sense"),
    "extractor_depth": _extracting,
    "code_size": _switchable,
    "code_noise": _switchable,
    "code_renewed": _switchable,
    "adversarial": _adversarial,
    "sampling_consistency_mask": _learns(sampling_consistency),
    "gate": lambda method: bool(method.gated),
    "calibrate": _simulates,
    "kept_part": _learns(held_out_samples),
    "warm_up": lambda method: bool(method.warm_up),
    "lookahead_steps": _several,
    "lookahead_rate": _several,
}
"""For each setting that not all methods use: whether a method uses it with the method's default network."""


def methods_using(name: str) -> list[str]:
    """Return the names of the package's methods that use a setting such as ``mask.kind``."""
    uses = USED_BY.get(name.partition(".")[0], lambda method: True)
    return [method_name for method_name, method in METHODS.items() if uses(method)]
