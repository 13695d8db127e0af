"""The command that says what a run's doubt is worth: ``calibrate``."""

from pathlib import Path
from typing import Annotated

import typer

from switchrecon.cli.options import (
    DeviceOption,
    RecursiveOption,
    SubjectsOption,
    ThreadsOption,
    TrustOption,
    expanded,
    use_threads,
)


def calibrate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    reference: Annotated[
        list[str],
        typer.Option(
            "--reference",
            metavar="PATH",
            help="Fully sampled scans of subjects that the run has not seen; at least 3 subjects. May be repeated.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for calibration.csv, a row for each subject.")
    ] = None,
    trust_code: TrustOption = False,
    device: DeviceOption = None,
    recursive: RecursiveOption = False,
    subjects: SubjectsOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Calibrate a run: from then on, reconstruct writes a map of doubt with a promise that holds for new subjects.

    References are undersampled with the run's masks, reconstructed, and compared with the truth. 3 subjects allow a
    promise of 75 %, 4 of 80 %, 9 of 90 %, 19 of 95 %.

    Example: switchrecon calibrate runs/first --reference others/
    """
    from switchrecon.trust.calibrate import calibrate as run_calibration

    use_threads(threads)
    found = run_calibration(run, expanded(reference, recursive), out, device, trust_code, subjects)
    typer.echo(f"{found.slices} slices of {found.subjects} subjects; doubt is {found.factor:.2f} times the spread")
    if found.synthetic:
        typer.echo("their k-space was computed from magnitude images: the promise is about such scans alone")
