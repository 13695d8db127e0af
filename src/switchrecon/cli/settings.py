"""The command ``settings``."""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from switchrecon.errors import ConfigError

if TYPE_CHECKING:
    from switchrecon.experiments.settings import Setting

WIDTH = 80  # characters of a line, at most


def settings(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Only this setting, such as mask.kind. Default: all.")
    ] = None,
) -> None:
    """List the settings: default, range or choices, reason, and the methods that use them.

    Give one with --set NAME=VALUE, or several in a YAML file with --config.

    Example: switchrecon settings mask.kind
    """
    from switchrecon.config import Config
    from switchrecon.core.settings import did_you_mean
    from switchrecon.experiments.settings import all_settings

    known = all_settings()
    if name is not None:
        found = [one for one in known if one.name == name or one.name.startswith(f"{name}.")]
        if not found:
            raise ConfigError(f"unknown setting '{name}'; {did_you_mean(Config, name)}")
        typer.echo("\n\n".join("\n".join(_whole(one)) for one in found))
        return
    for group in dict.fromkeys(one.group for one in known):
        typer.echo(f"\n{group}")
        for one in known:
            if one.group == group:
                typer.echo("\n".join(_brief(one)))
    typer.echo("\n'Used by' speaks of methods with the network that they have by default.")


def _brief(one: "Setting") -> Iterator[str]:
    """Name, default and allowed values; what it is; and its methods, where not all use it."""
    yield from _wrapped(f"{one.name} = {one.default}   ({one.allowed})", 2, 6)
    yield from _wrapped(one.reason, 6, 6)
    if one.by_method:
        yield from _wrapped(f"But: {one.by_method}", 6, 6)
    if one.methods != "all":
        yield from _wrapped(f"Used by: {one.methods}", 6, 6)


def _whole(one: "Setting") -> Iterator[str]:
    yield one.name
    told = {"group": one.group, "default": one.default, "allowed": one.allowed, "what": one.reason}
    if one.by_method:
        told["but"] = one.by_method
    for what, text in {**told, "used by": one.methods, "example": f"--set {one.name}={one.example}"}.items():
        yield from _wrapped(f"{what + ':':10}{text}", 2, 12)


def _wrapped(text: str, first: int, others: int) -> list[str]:
    indent = {"initial_indent": " " * first, "subsequent_indent": " " * others}
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False, **indent)  # type: ignore[arg-type]
