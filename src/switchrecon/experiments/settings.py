"""All settings as data, for the command that lists them and for the reference page."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from switchrecon.config import GROUPS, Config, load_config
from switchrecon.core.settings import Settings, inner_settings
from switchrecon.methods.methods import METHODS, with_method_settings
from switchrecon.methods.uses import methods_using
from switchrecon.nets.builder import NETWORKS
from switchrecon.physics.mask_kinds import KINDS

LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
TYPES = {int: "a whole number", float: "a number", str: "text"}
NOTED = {
    "method": ", ".join(METHODS),
    "matrix": "a side, or [height, width]",
    "mask.kind": ", ".join(KINDS),
    "network": ", ".join(NETWORKS),
}
"""Allowed values of settings whose type does not say them."""


@dataclass(frozen=True)
class Setting:
    """One setting in words.

    Attributes
    ----------
    name
        Name, as in ``--set NAME=VALUE``.
    group
        The group of settings that it belongs to.
    default, allowed, reason
        The default, the range or choices, and what the setting means and why it has this default.
    methods
        Names of the methods that use it, or ``all``.
    example
        A valid value.
    by_method
        The values that methods have instead of the default, in words; empty if none has.
    """

    name: str
    group: str
    default: str
    allowed: str
    reason: str
    methods: str
    example: str
    by_method: str


def all_settings() -> list[Setting]:
    """Return all settings of a run, group by group."""
    return [each for group in GROUPS for each in _settings_of(group, (group.__doc__ or "").rstrip("."), "")]


def _settings_of(kind: type[Settings], group: str, prefix: str) -> Iterator[Setting]:
    fields = {name: field for name, field in kind.model_fields.items() if name in kind.__annotations__}
    for name, field in fields.items():
        inner = inner_settings(field.annotation)
        if inner is not None and isinstance(field.default, Settings):
            yield from _settings_of(inner, group, f"{prefix}{name}.")
        else:
            yield _setting(prefix + name, field, group)


def _setting(name: str, field: FieldInfo, group: str) -> Setting:
    users = methods_using(name)
    default = _text(field.default)
    choices = _choices(field.annotation)
    others = [choice for choice in choices if choice != field.default]
    return Setting(
        name,
        group,
        default,
        NOTED.get(name) or _allowed(field, choices),
        field.description or "",
        "all" if len(users) == len(METHODS) else ", ".join(users) or "none",
        EXAMPLES.get(name) or _text(others[0] if others else field.default),
        _by_method(name, field),
    )


@lru_cache
def _settings_with(method: str) -> Config:
    """Return the settings of a training for which only the method is set."""
    return with_method_settings(load_config(None, method=method), METHODS[method])


def _by_method(name: str, field: FieldInfo) -> str:
    if "." in name or name == "method":
        return ""
    found: dict[str, list[str]] = {}
    for method in METHODS:
        value = getattr(_settings_with(method), name)
        if value != field.default:
            found.setdefault(_text(value), []).append(method)
    return "; ".join(f"{value} for {', '.join(methods)}" for value, methods in found.items())


EXAMPLES = {
    "matrix": "[256, 192]",
    "simulated_mask": "'{kind: random-1d, acceleration: 6}'",
    "calibrate": "'[noise, phase]'",
    "coils": "8",
    "slices_per_scan": "20",
    "pile_slices": "75",
    "variable": "kspace",
    "epochs": "50",
    "steps": "3000",
}
"""Valid values of settings whose default is not an example."""


def _text(value: Any) -> str:
    """Return a value as YAML on one line."""
    plain = list(value) if isinstance(value, tuple) else value
    if plain is None:
        return "null"
    if isinstance(plain, float):
        return f"{plain:g}"
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()


def _parts(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, without None."""
    if get_origin(annotation) in (Union, UnionType):
        return tuple(part for part in get_args(annotation) if part is not NoneType)
    return (annotation,)


def _choices(annotation: Any) -> list[str]:
    [kind, *_] = _parts(annotation)
    if get_origin(kind) is tuple:
        [kind, *_] = get_args(kind)
    return list(get_args(kind)) if get_origin(kind) is Literal else []


def _allowed(field: FieldInfo, choices: list[str]) -> str:
    [kind, *_] = _parts(field.annotation)
    several = "a list of " if get_origin(kind) is tuple else ""
    if choices:
        text = several + ", ".join(choices)
    elif inner_settings(kind) is not None:
        text = "settings as of mask"
    else:
        bounds = [
            f"{words} {getattr(part, limit):g}"
            for limit, words in LIMITS.items()
            for part in field.metadata
            if getattr(part, limit, None) is not None
        ]
        text = " ".join([TYPES[kind], " and ".join(bounds)]).strip()
    optional = NoneType in get_args(field.annotation)
    return f"{text}, or null" if optional else text
