"""Tables of the reference that are made from the package's data, by the name of their mark in a page."""

from collections.abc import Iterator, Sequence

import click
import typer

from switchrecon.cli.app import app
from switchrecon.experiments.settings import Setting, all_settings
from switchrecon.metrics.table import METRICS


def _cell(text: str) -> str:
    """Text that stands in a cell of a table and means nothing to Markdown or HTML."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    for sign in "\\|*_[]`":
        plain = plain.replace(sign, f"\\{sign}")
    return plain


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def settings() -> str:
    """All settings, a table for each group."""
    known = all_settings()
    parts = []
    for group in dict.fromkeys(own.group for own in known):
        rows = [_setting(own) for own in known if own.group == group]
        parts += [f"## {group}", _table(["setting", "default", "allowed", "what it is"], rows)]
    return "\n\n".join(parts)


def _setting(own: Setting) -> list[str]:
    told = [_cell(own.reason)]
    if own.by_method:
        told.append(f"But: {_cell(own.by_method)}.")
    if own.methods != "all":
        told.append(f"Used by {_cell(own.methods)}.")
    return [f'<code id="{own.name}">{own.name}</code>', f"`{own.default}`", _cell(own.allowed), " ".join(told)]


def metrics() -> str:
    """The table of metrics."""
    pooled = {"slices": "mean over its slices", "volume": "of the whole volume at once"}
    better = {"higher": "more", "lower": "less", "": "unknown"}
    rows = [
        [f"`{c.name}`", c.title, c.unit or "none", better[c.better], pooled[c.pooled], _cell(c.note or "")]
        for c in (metric.column for metric in METRICS.values())
    ]
    return _table(["name", "in tables", "unit", "better", "one value of a volume", "version and constants"], rows)


def commands() -> str:
    """Every command with its arguments and options, as ``--help`` has them."""
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    return "\n\n".join(part for name, command in group.commands.items() for part in _command(name, command))


def _command(name: str, command: click.Command) -> Iterator[str]:
    yield f"## {name}"
    for paragraph in (command.help or "").split("\n\n"):
        sentence = " ".join(paragraph.split())
        yield f"    {sentence.removeprefix('Example: ')}" if sentence.startswith("Example: ") else _cell(sentence)
    rows = []
    for own in command.params:
        names = ", ".join(f"`{flag}`" for flag in own.opts if flag.startswith("-")) or f"`{own.metavar or own.name}`"
        value = "" if getattr(own, "is_flag", False) or not names.startswith("`-") else f" {_cell(own.metavar or '')}"
        rows.append([names + value, _cell(getattr(own, "help", None) or "") + (" Required." if own.required else "")])
    yield _table(["", "what it does"], rows)


TABLES = {"settings": settings, "metrics": metrics, "commands": commands}
