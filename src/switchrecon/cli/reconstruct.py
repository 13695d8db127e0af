"""The commands that use a run: ``reconstruct`` and ``export``."""

import math
from pathlib import Path
from typing import Annotated

import typer

from switchrecon.cli.next_steps import say_next
from switchrecon.cli.options import (
    DeviceOption,
    OutOption,
    OverwriteOption,
    RecursiveOption,
    ThreadsOption,
    TrustOption,
    expanded,
    use_threads,
)
from switchrecon.errors import SwitchreconError


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
        typer.Option(
            "--resize", help="Allow another matrix than the run's: the network then works at the scan's own matrix."
        ),
    ] = False,
    image_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="own (each scan's format), nifti, bids, dicom, numpy, hdf5, bart or png.",
        ),
    ] = "own",
    no_maps: Annotated[
        bool, typer.Option("--no-maps", help="Write images alone: no map of what was invented, no doubt.")
    ] = False,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Measure the error on held-out samples and the spread over repeated passes, too: about 12 more "
            "reconstructions. A calibrated run does so always; see 'switchrecon calibrate'.",
        ),
    ] = False,
    report_page: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Write NAME.report.html beside each image: the maps with their scales, and the error where the scan "
            "was fully sampled.",
        ),
    ] = False,
    overwrite: OverwriteOption = False,
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
    trust_code: TrustOption = False,
    device: DeviceOption = None,
    recursive: RecursiveOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Reconstruct scans into their own format, or another, with their matrix, units and geometry.

    Example: switchrecon reconstruct runs/first scan.h5 --out images --format nifti

    Example: switchrecon reconstruct runs/first full.nii.gz --undersample run --resize --out images --report
    """
    from switchrecon.reconstruction.files import Outcome, reconstruct_files
    from switchrecon.reconstruction.reconstructor import Reconstructor
    from switchrecon.reports.scan import write_scan_page
    from switchrecon.trust.look import look_of

    for asked, name in ((trust, "--trust"), (report_page, "--report")):
        if no_maps and asked:
            raise SwitchreconError(f"--no-maps and {name}: choose one")

    def report(outcome: Outcome) -> None:
        if outcome.error is not None:
            typer.echo(f"failed: {outcome.error}", err=True)
        else:
            note = "" if math.isnan(outcome.noise) else f", noise at most {outcome.noise:.2%} of the brightest pixel"
            note += ", synthetic k-space computed from magnitude images" if outcome.synthetic else ""
            typer.echo(f"{outcome.scan} -> {outcome.written} (acceleration {outcome.acceleration:.2f}{note})")
            for sentence in outcome.sentences:
                typer.echo(f"  {sentence}")
            if outcome.adaptation is not None:
                typer.echo(f"  {outcome.adaptation}")

    use_threads(threads)
    loaded = Reconstructor.load(run, estimate, data_consistency, resize, device, precision, trust_code)
    look = None if no_maps else look_of(run, loaded, trust, adapt > 0)
    outcomes = reconstruct_files(
        loaded,
        expanded(scans, recursive),
        out,
        undersample,
        overwrite,
        report,
        image_format,
        adapt,
        not no_maps,
        look,
        write_scan_page if report_page else None,
    )
    failed = [o for o in outcomes if o.error is not None]
    if len(failed) < len(outcomes):
        say_next("view", *scans, out)
    if failed:
        typer.echo(f"{len(outcomes) - len(failed)} of {len(outcomes)} scans reconstructed", err=True)
        raise typer.Exit(2 if len(failed) == len(outcomes) else 3)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE.onnx", help="Where to. Cascades with separate networks become FILE-1.onnx, …"
        ),
    ],
    trust_code: TrustOption = False,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a run's generator network as ONNX, for programs without torch.

    Fourier transforms, scaling and data consistency stay outside; the file's metadata say what they are.

    Example: switchrecon export runs/first --out first.onnx
    """
    from switchrecon.reconstruction.onnx import export_run

    use_threads(threads)
    for file in export_run(run, out, trust_code, overwrite):
        typer.echo(f"written: {file}")
