"""The commands that train: ``train`` and ``demo``."""

from pathlib import Path
from typing import Annotated

import typer

from switchrecon.cli.next_steps import beside, say_next
from switchrecon.cli.options import (
    CacheOption,
    ConfigOption,
    DeviceOption,
    DryRunOption,
    FullOption,
    LpipsOption,
    OutOption,
    RecursiveOption,
    SetOption,
    SubjectsOption,
    SubOption,
    ThreadsOption,
    expanded,
    progress_console,
    refuse_spilled,
    use_threads,
)

REPORTED = 100  # steps of a run that is worth a report


def known_methods(incomplete: str) -> list[str]:
    """Names of methods that begin so, for a shell's completion."""
    from switchrecon.methods.guide import ADVICE

    return [name for name in ADVICE if name.startswith(incomplete)]


def demo(
    out: OutOption = Path("runs/demo"),
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Only reconstruct two scans with the run that comes with the package."),
    ] = False,
    steps: Annotated[int | None, typer.Option(help="Fewer or more training steps than the demo's own.")] = None,
    lpips_weights: LpipsOption = None,
    device: DeviceOption = None,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads to compute with. Default: 1, as networks are small.")
    ] = None,
) -> None:
    """Reconstruct a real slice, train on synthetic heads, evaluate on held-out ones, and write a report.

    Takes about five minutes on two cores; with --quick, which trains nothing, some seconds. The report is
    DIR/report.html.

    Example: switchrecon demo --quick
    """
    from switchrecon.core.threads import set_threads
    from switchrecon.experiments.demo import quick_look, run_demo

    if quick:
        set_threads(threads or 1)
        typer.echo(f"report: {quick_look(out / 'first', lpips_weights, device)}")
        return
    typer.echo(f"report: {run_demo(out, steps, lpips_weights, device, progress_console(), threads or 1)}")


def train(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="The run folder.")],
    full: FullOption = [],  # noqa: B006
    sub: SubOption = [],  # noqa: B006
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="NAME",
            autocompletion=known_methods,
            help="joint, joint-equivariant, self-supervised, simulated, supervised, switchable, iscl-sampling, iscl, "
            "cyclegan, …, or your own FILE.py:NAME (which is run). Default: joint; switchable is the paper's.",
        ),
    ] = None,
    config: ConfigOption = None,
    settings: SetOption = [],  # noqa: B006
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in RUN; start at zero where there is none.")
    ] = False,
    cache: CacheOption = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget", metavar="TIME", help="Train for so long, such as 30m or 2h, instead of a number of steps."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Begin with the weights, method and network of another run: a folder, or switchrecon:brain-2d-x4.",
        ),
    ] = None,
    device: DeviceOption = None,
    dry_run: DryRunOption = False,
    recursive: RecursiveOption = False,
    subjects: SubjectsOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Train a reconstructor from fully sampled and undersampled scans that do not match.

    Exit code 3: the run is finished, but worse than zero filling.

    Several processes or GPUs: torchrun --nproc-per-node N -m switchrecon train …; each step then has N times as many
    slices.

    Example: switchrecon train --full scans/full --sub scans/fast --out runs/first --budget 30m

    Example: switchrecon train --full 'scans/*_T2w.nii.gz' --sub fast.h5 --out runs/second --set matrix=128 --dry-run

    Example: switchrecon train --full scans/full --sub scans/fast --out runs/first --resume --set steps=6000
    """
    refuse_spilled(context)
    from switchrecon.config import load_config
    from switchrecon.core.durations import parse_duration
    from switchrecon.core.processes import speaks_for_all
    from switchrecon.reports.evaluation import write_report
    from switchrecon.runs.checkpoint import load_model
    from switchrecon.training.dry_run import plan_training
    from switchrecon.training.train import train as run_training

    given = {"method": method, "subjects": None if subjects is None else str(subjects.resolve())}
    chosen = load_config(config, settings, **{name: value for name, value in given.items() if value is not None})
    use_threads(threads)
    named = sub
    full, sub = expanded(full, recursive), expanded(sub, recursive)
    if dry_run:
        plan = plan_training(chosen, full, sub, out, resume, device, start)
        if not speaks_for_all():
            return
        typer.echo("\n".join([plan.config.to_yaml(), *plan.lines(), "nothing was written"]))
        return
    seconds = None if budget is None else parse_duration(budget)
    folder = run_training(chosen, full, sub, out, resume, cache, device, progress_console(), seconds, start)
    if not speaks_for_all():
        return
    typer.echo(f"run: {folder}")
    card = load_model(folder / "model.safetensors")[1]
    if card.step >= REPORTED:
        typer.echo(f"report: {write_report(folder)}")
    failed = card.trial is not None and card.trial.failed
    if sub and not failed:
        first = ["--undersample", "run"] if "sub" in card.data and card.data["sub"].retrospective else []
        first += [] if card.config.matrix is None else ["--resize"]  # the scans may have another matrix than the run
        first += ["--recursive"] if recursive else []
        say_next("reconstruct", folder, *named, "--out", beside(folder, "images"), *first)
    else:
        say_next("report", folder)
    if failed:
        raise typer.Exit(3)
