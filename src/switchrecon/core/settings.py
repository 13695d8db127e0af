"""The base class of all settings; functions to declare, check and read them from YAML and ``NAME=VALUE``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from switchrecon.core.sentences import message_of
from switchrecon.core.yaml_text import load_yaml
from switchrecon.errors import ConfigError, nearest


class Settings(BaseModel):
    """Base class of all settings: unknown keys are refused, and values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    synonyms: ClassVar[Mapping[str, str]] = {}
    """What others call a setting, and its name here; or a sentence, where it is no setting."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: Any) -> Any:
        if isinstance(value, bool):  # YAML's yes and true would otherwise pass as the number 1
            raise ValueError("expected a number or a name")
        return value


Kind = TypeVar("Kind", bound=Settings)


def setting(default: Any, reason: str, **limits: Any) -> Any:
    """Declare a setting: its default, what it means and why it has that default, and its limits as in pydantic."""
    return Field(default, description=reason, **limits)


def inner_settings(annotation: Any) -> type[Settings] | None:
    """Return the class of settings that a field of this type holds; None if it holds no settings."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Settings):
            return kind
    return None


def check_settings(kind: type[Kind], values: dict[str, Any], source: str) -> Kind:
    """Validate settings.

    Parameters
    ----------
    kind
        Class of the settings.
    values
        Nested settings.
    source
        Name for error messages, such as the file.

    Raises
    ------
    ConfigError
        If a key is unknown (the message names the closest valid one), or a value has the wrong type or range.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, kind, source)) from error


def setting_names(kind: type[Settings], prefix: str = "") -> list[str]:
    """Return the names of all settings, those inside of others with a dot, as ``--set`` takes them."""
    names: list[str] = []
    for name, field in kind.model_fields.items():
        inside = inner_settings(field.annotation)
        names += [prefix + name] if inside is None else setting_names(inside, f"{prefix}{name}.")
    return names


def did_you_mean(kind: type[Settings], name: str) -> str:
    """Return a hint for a setting that does not exist.

    A setting of that name inside of others (``acceleration``), what others call a setting (``lr``), or one that is
    written alike.
    """
    *parents, last = name.split(".")
    valid = setting_names(kind)
    plain = last.lower().replace("-", "_")
    known = kind.synonyms.get(plain)
    if known is not None and known not in valid and known not in kind.model_fields:
        return known
    inside = [each for each in valid if each.rpartition(".")[2] == plain]
    found = known or (min(inside, key=len) if inside else None)
    if found is not None:
        return f"did you mean '{found}'?"
    prefix = "".join(f"{part}." for part in parents)
    near = [each for each in valid if each.startswith(prefix)] if prefix else [*{*valid, *kind.model_fields}]
    return nearest(prefix + plain, near or valid)


def _explain(error: ValidationError, kind: type[Settings], source: str) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        return f"{source}: unknown setting '{'.'.join(path)}'; {did_you_mean(kind, '.'.join(path))}"
    names = [part for part in path if not part.startswith("function-")]
    message = message_of(first)
    if not names:
        return f"{source}: {message}"
    if first["type"] == "model_type":
        inner = next(each for each in setting_names(kind) if each.startswith(f"{'.'.join(names)}."))
        message = f"it holds several settings; give them by name, such as {inner}"
    if first["type"] == "tuple_type":
        lists = {"calibrate": "a list, such as [noise]", "matrix": "a side, or [height, width]"}
        message = f"expected {lists[path[0]]}" if path[0] in lists else message
    return f"{source}: setting '{'.'.join(names)}' has a wrong value {_short(first['input'])}: {message}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def read_settings(file: Path) -> dict[str, Any]:
    """Read settings from a YAML file without checking them.

    Raises
    ------
    ConfigError
        If the file cannot be read or holds something else.
    """
    try:
        values = load_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such configuration file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file}: not a readable YAML file ({reason})") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected settings as 'name: value', found {type(values).__name__}")
    return values


def assign(values: dict[str, Any], assignment: str) -> None:
    """Put one ``NAME=VALUE`` into nested settings; the value is read as YAML.

    Raises
    ------
    ConfigError
        If it is not an assignment, or the name goes through a setting that has no parts.
    """
    key, equals, text = assignment.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {assignment!r}: expected NAME=VALUE, such as mask.acceleration=4")
    *parents, last = key.strip().split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {assignment!r}: '{parent}' is a single setting and has no '{last}'")
        values = inner
    try:
        values[last] = load_yaml(text)
    except yaml.YAMLError:
        values[last] = text
