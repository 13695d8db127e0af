"""The command ``methods``."""

import textwrap

import typer

WIDTH = 80  # characters of a line, at most
COLUMNS = (22, 18, 19)  # characters of name, scans and needs


def methods() -> None:
    """List the methods: what each learns from and needs, how long a step is, and when it is the right one.

    Example: switchrecon methods
    """
    from switchrecon.methods.guide import ADVICE

    def row(*words: str) -> str:
        return "".join(f"{word:{width}}" for word, width in zip(words, (*COLUMNS, 0), strict=True))

    typer.echo(row("--method", "learns from", "needs", "a step is"))
    for name, advice in ADVICE.items():
        typer.echo(row(name, advice.learns_from, advice.needs, advice.speed))
        typer.echo("\n".join(textwrap.wrap(advice.when, WIDTH, initial_indent="    ", subsequent_indent="    ")))
    typer.echo("\nfull: fully sampled; fast: undersampled. A k-space file shows its mask.")
    typer.echo("'switchrecon settings' lists their settings. Your own: --method FILE.py:NAME")
