"""The commands that say what a run is worth: ``calibrate`` and ``lesions``."""

from pathlib import Path
from typing import Annotated

import typer

from switchrecon.cli.next_steps import beside, say_next
from switchrecon.cli.options import (
    DeviceOption,
    RecursiveOption,
    SubjectsOption,
    ThreadsOption,
    TrustOption,
    expanded,
    use_threads,
)
from switchrecon.errors import SwitchreconError


def calibrate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or the folder of a crossval.")],
    reference: Annotated[
        list[str],
        typer.Option(
            "--reference",
            metavar="PATH",
            help="Fully sampled scans of subjects that the run has not seen; at least 3 subjects. May be repeated. "
            "A crossval has its own: each fold's.",
        ),
    ] = [],  # noqa: B006
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="For the page and its tables. Default: 'calibration' in RUN."),
    ] = None,
    trust_code: TrustOption = False,
    device: DeviceOption = None,
    recursive: RecursiveOption = False,
    subjects: SubjectsOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Calibrate a run: from then on, reconstruct writes a map of doubt with a promise that holds for new subjects.

    References are undersampled with the run's masks, reconstructed, and compared with the truth. 3 subjects allow a
    promise of 75 %, 4 of 80 %, 9 of 90 %, 19 of 95 %. The networks of a crossval are calibrated by cross-fitting, each
    with the test subjects of all folds; what is promised then rests on the subjects of its own fold.

    Example: switchrecon calibrate runs/first --reference others/
    """
    from switchrecon.core.sentences import count
    from switchrecon.experiments.grid import PLAN
    from switchrecon.experiments.trusted import crossval_calibration
    from switchrecon.reports.calibration import write_calibration_page
    from switchrecon.runs.pretrained import writable
    from switchrecon.trust.calibrate import calibrate as run_calibration
    from switchrecon.trust.calibration_study import study_of, write_study
    from switchrecon.trust.shifts import shifts

    use_threads(threads)
    run = writable(run)
    folder = run / "calibration" if out is None else out
    if (folder / "model.safetensors").exists() or folder.is_file():
        raise SwitchreconError(f"{folder}: is a run or a file; choose another --out")
    if (run / PLAN).is_file():
        if reference or subjects is not None:
            raise SwitchreconError(f"{run}: a crossval is calibrated with its own test scans; leave out --reference")
        made = crossval_calibration(run, folder, device, trust_code)
    else:
        if not reference:
            raise SwitchreconError(
                "--reference is missing; name fully sampled scans of subjects that are unknown to the run"
            )
        found, measured = run_calibration(
            run, expanded(reference, recursive), device, trust_code, subjects, shift=shifts()
        )
        write_study(folder, study_of(found, measured))
        made = {folder: found}
    for place, one in made.items():
        known = f"{count(one.slices, 'slice')} of {count(one.subjects, 'subject')}"
        typer.echo(f"{known}; doubt is {one.factor:.2f} times the spread")
        if one.synthetic:
            scans = count(one.synthetic, "scan")
            typer.echo(f"k-space of {scans} was computed from magnitude images: the promise is about such scans")
        typer.echo(f"report: {write_calibration_page(place)}")
    if reference:
        first = ["--undersample", "run", "--resize"]  # the scans may have another matrix than the run
        say_next("reconstruct", run, *reference, "--out", beside(run, "images"), *first)


def lesions(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN…", help="Run folders with equal matrix and masks, or the folder of a crossval."),
    ],
    reference: Annotated[
        list[str],
        typer.Option(
            "--reference",
            metavar="PATH",
            help="Fully sampled scans of unseen subjects. May be repeated. A crossval has its own: each fold's.",
        ),
    ] = [],  # noqa: B006
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to. Default: 'lesions' in the folder of the first run."),
    ] = None,
    slices: Annotated[int, typer.Option(min=1, help="So many of each scan's slices, evenly spread.")] = 3,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a study that exists.")] = False,
    trust_code: TrustOption = False,
    device: DeviceOption = None,
    recursive: RecursiveOption = False,
    subjects: SubjectsOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Put small discs into scans, and look which methods lose them and which make structures up.

    Discs of 3, 5 and 8 pixels, 10, 20 and 30 % brighter and darker than their place, are put into the complex truth
    before the coils. Zero filling is a row. Writes lesions.json, lesions.csv (a line for each disc) and report.html.

    Example: switchrecon lesions runs/joint runs/wavelet --reference others/ --out lesions
    """
    from switchrecon.experiments.grid import PLAN
    from switchrecon.experiments.trusted import crossval_lesions
    from switchrecon.reports.lesions import lost_sentence, write_lesion_page
    from switchrecon.runs.pretrained import writable
    from switchrecon.trust.lesion_study import FILE, hashes, study_of, write_study
    from switchrecon.trust.lesions import look_for_lesions

    use_threads(threads)
    folder = writable(runs[0]) / "lesions" if out is None else out
    if (folder / "model.safetensors").exists() or folder.is_file():
        raise SwitchreconError(f"{folder}: is a run or a file; choose another --out")
    if (folder / FILE).exists() and not overwrite:
        raise SwitchreconError(f"{folder / FILE}: exists already; add --overwrite or choose another --out")
    grid = next((run for run in runs if (run / PLAN).is_file()), None)
    if grid is not None:
        if len(runs) > 1 or reference:
            raise SwitchreconError(
                f"{grid}: a crossval stands alone, and its references are the test scans of its folds"
            )
        studies = crossval_lesions(grid, folder, slices, device, trust_code)
    else:
        if not reference:
            raise SwitchreconError("--reference is missing; name fully sampled scans of subjects that no run has seen")
        found, loaded = look_for_lesions(
            runs, expanded(reference, recursive), device, trust_code, subjects, slices_per_scan=slices
        )
        study = study_of(found, hashes(loaded))
        write_study(folder, study, found)
        studies = {folder: study}
    for place, study in studies.items():
        for name, method in study.methods.items():
            typer.echo(lost_sentence(name, method.total))
        typer.echo(f"report: {write_lesion_page(place)}")
