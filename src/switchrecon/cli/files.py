"""The commands about files: ``inspect`` and ``convert``."""

from pathlib import Path
from typing import Annotated

import typer

from switchrecon.cli.next_steps import say_next
from switchrecon.cli.options import OverwriteOption, RecursiveOption, ThreadsOption, check_new, use_threads

VariableOption = Annotated[
    str | None,
    typer.Option("--variable", metavar="NAME", help="Array to read of files that hold several (MATLAB, .npz, HDF5)."),
]
LayoutOption = Annotated[
    str | None,
    typer.Option(
        "--layout",
        metavar="LETTERS",
        help="What its axes are: s slices, c coils, h readout, w phase encode, r real and imaginary part, t time; such "
        "as hwc. Or calgary-campinas.",
    ),
]


def inspect(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Scans: files, folders or patterns.")],
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", metavar="FILE.png", help="Of one scan: what was measured, and the zero-filled image."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of sentences.")] = False,
    variable: VariableOption = None,
    layout: LayoutOption = None,
    recursive: RecursiveOption = False,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Say what files hold: sizes, coils, sampling, noise scan, geometry, and what of it is read or skipped.

    Example: switchrecon inspect scan.h5 --picture scan.png
    """
    import json

    from switchrecon.core.reading import ReadOptions
    from switchrecon.errors import ConfigError, SwitchreconError
    from switchrecon.scans.files import find_files
    from switchrecon.scans.inspection import describe, inspect_file

    paths, known, failed = find_files(files, recursive), [], 0
    if picture is not None and len(paths) > 1:
        raise ConfigError(f"--picture {picture}: found {len(paths)} scans; expected one")
    use_threads(threads)
    if picture is not None:
        check_new(picture, overwrite)
    for path in paths:
        try:
            known.append(inspect_file(path, picture, ReadOptions(variable=variable, layout=layout)))
        except Exception as error:  # of one file; the others are read all the same
            reason = str(error)
            if isinstance(error, OSError) and error.filename is not None:  # such as a full disk
                reason = f"{error.filename}: {error.strerror}"
            elif not isinstance(error, SwitchreconError):
                reason = f"{path}: unexpected {type(error).__name__}: {error}"
            typer.echo(f"failed: {reason}", err=True)
            failed += 1
            continue
        if not as_json:
            typer.echo("\n".join(describe(known[-1])))
    if as_json:
        typer.echo(json.dumps([facts.to_json() for facts in known], indent=2))
    if picture is not None and known:
        typer.echo(f"picture: {picture}", err=as_json)
    if failed:
        raise typer.Exit(3 if known else 2)
    if not as_json:
        say_next("view", *files)


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A scan of any kind.")],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="What to write: .npy, .npz, .h5 (fastMRI) or .cfl (BART) for sorted k-space; .nii.gz, .png or .dcm "
            "for the zero-filled image, where several slices of e.png go into the folder e-png.",
        ),
    ],
    overwrite: OverwriteOption = False,
    variable: VariableOption = None,
    layout: LayoutOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Write a scan in another format, chosen by the ending of OUT: k-space sorted, readout oversampling removed.

    K-space is complex64 (slices, coils, H, W), centred, orthonormal. Nothing of the patient is written.

    Example: switchrecon convert scan.mrd scan.h5

    Example: switchrecon convert scan.dat scan.nii.gz
    """
    from switchrecon.core.reading import ReadOptions
    from switchrecon.scans.convert import convert_file

    options = ReadOptions(variable=variable, layout=layout)
    use_threads(threads)
    scan, written = convert_file(source, out, overwrite, options)
    shape = "x".join(map(str, (len(scan.kspace), scan.coils, *scan.matrix)))
    folder = ", a folder with a file for each slice" if written.is_dir() else ""
    note = "; synthetic k-space, computed from magnitude images" if scan.synthetic else ""
    typer.echo(f"{source} -> {written}{folder} ({shape}: slices, coils, readout, phase encode{note})")
    say_next("view", written)
