"""The commands that look before any training: ``compare-domains``, ``masks`` and ``phantom``."""

from pathlib import Path
from typing import Annotated

import typer

from switchrecon.cli.next_steps import fresh, options, say_next
from switchrecon.cli.options import (
    ConfigOption,
    FullOption,
    OutOption,
    OverwriteOption,
    RecursiveOption,
    SetOption,
    SubjectsOption,
    SubOption,
    ThreadsOption,
    check_new,
    expanded,
    refuse_spilled,
    use_threads,
)


def compare_domains(
    context: typer.Context,
    full: FullOption,
    sub: SubOption,
    out: OutOption,
    config: ConfigOption = None,
    settings: SetOption = [],  # noqa: B006
    recursive: RecursiveOption = False,
    subjects: SubjectsOption = None,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Test before any training whether the two piles are alike: in contrast, anatomy, sharpness, noise and phase.

    Uses what both show without aliasing, the fully sampled centre of k-space. Writes domains.json and domains.png.

    Example: switchrecon compare-domains --full scans/full --sub scans/fast --out runs/piles
    """
    refuse_spilled(context)
    import json
    from dataclasses import asdict
    from functools import partial

    from switchrecon.config import load_config
    from switchrecon.core.files import write_text
    from switchrecon.core.sentences import count
    from switchrecon.data.domains import compare_domains as compare
    from switchrecon.reports.look import save_piles

    for name in ("domains.json", "domains.png"):
        check_new(out / name, overwrite)
    given = {} if subjects is None else {"subjects": str(subjects.resolve())}
    chosen = load_config(config, settings, **given)
    use_threads(threads)
    full, sub = expanded(full, recursive), expanded(sub, recursive)
    found = compare(full, sub, chosen, partial(save_piles, out / "domains.png"))
    write_text(out / "domains.json", json.dumps(asdict(found), indent=1))
    typer.echo(found.sentence)
    numbers = found.subjects
    piles = f"{count(numbers['full'], 'subject')} in --full, {count(numbers['sub'], 'subject')} in --sub"
    typer.echo(f"{found.auc_text} (0.5: alike, 1: told apart always); {piles}; {found.masks}")
    for own in found.differences:
        typer.echo(f"  {own.about:10s} {own.what:42s} {own.standardised:+.2f} standard deviations")
    typer.echo(f"pictures: {out / 'domains.png'}")
    say_next(
        "train", *options("--full", full), *options("--sub", sub), "--out", fresh(Path("runs/first")), *found.advice
    )


def masks(
    out: Annotated[Path, typer.Option("--out", metavar="FILE.png", help="The picture.")] = Path("masks.png"),
    matrix: Annotated[int, typer.Option(min=1, help="Side of the mask.")] = 256,
    count: Annotated[int, typer.Option(min=1, max=16, help="How many slices' masks.")] = 4,
    settings: SetOption = [],  # noqa: B006
    overwrite: OverwriteOption = False,
) -> None:
    """Draw sampling masks and print their measured beside their nominal acceleration.

    Example: switchrecon masks --set mask.kind=random-1d --set mask.acceleration=6
    """
    from switchrecon.config import load_config
    from switchrecon.reports.look import picture_of_masks

    check_new(out, overwrite)
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
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw a synthetic head in T1w, T2w, PD and FLAIR contrast; with --save, write its k-space.

    Example: switchrecon phantom --subject 3 --coils 8 --save heads
    """
    from switchrecon.reports.look import picture_of_phantom

    use_threads(threads)
    check_new(out, overwrite)
    for line in picture_of_phantom(subject, matrix, slices, lesions, out, save, coils):
        typer.echo(line)
    typer.echo(f"picture: {out}")
