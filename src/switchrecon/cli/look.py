"""The commands that draw what is sampled and what the demo learns from: ``masks`` and ``phantom``."""

from pathlib import Path
from typing import Annotated

import typer

from switchrecon.cli.options import SetOption


def masks(
    out: Annotated[Path, typer.Option("--out", metavar="FILE.png", help="The picture.")] = Path("masks.png"),
    matrix: Annotated[int, typer.Option(min=1, help="Side of the mask.")] = 256,
    count: Annotated[int, typer.Option(min=1, max=16, help="How many slices' masks.")] = 4,
    settings: SetOption = [],  # noqa: B006
) -> None:
    """Draw sampling masks and print their measured beside their nominal acceleration.

    Example: switchrecon masks --set mask.kind=random-1d --set mask.acceleration=6
    """
    from switchrecon.config import load_config
    from switchrecon.reports.look import picture_of_masks

    for line in picture_of_masks(load_config(None, settings).mask, (matrix, matrix), count, out):
        typer.echo(line)
    typer.echo(f"picture: {out}")


def phantom(
    out: Annotated[Path, typer.Option("--out", metavar="FILE.png", help="The picture.")] = Path("phantom.png"),
    subject: Annotated[int, typer.Option(min=0, help="Number of the synthetic subject.")] = 0,
    matrix: Annotated[int, typer.Option(help="Side of the image.")] = 256,
    slices: Annotated[int, typer.Option(min=1, help="Number of slices.")] = 4,
    lesions: Annotated[int, typer.Option(min=0, help="Number of lesions.")] = 0,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="DIR", help="Also write the k-space of each contrast as .npy."),
    ] = None,
    coils: Annotated[int, typer.Option(min=1, help="Receiver coils of the k-space, loops around the head.")] = 1,
) -> None:
    """Draw a synthetic head in T1w, T2w, PD and FLAIR contrast; with --save, write its k-space."""
    from switchrecon.reports.look import picture_of_phantom

    for line in picture_of_phantom(subject, matrix, slices, lesions, out, save, coils):
        typer.echo(line)
    typer.echo(f"picture: {out}")
