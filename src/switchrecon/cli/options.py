"""Options that several commands share."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from switchrecon.core.device_names import check_name
from switchrecon.core.messages import PROGRESS
from switchrecon.errors import SwitchreconError

if TYPE_CHECKING:
    from rich.console import Console

LPIPS_VARIABLE = "SWITCHRECON_LPIPS_WEIGHTS"
SPILLED = {"allow_extra_args": True, "ignore_unknown_options": False}
"""Of commands that refuse an unquoted pattern in one sentence."""


def progress_console() -> "Console | None":
    """Return where progress is shown: on standard error, unless --quiet is given."""
    from rich.console import Console

    return Console(stderr=True) if PROGRESS.isEnabledFor(logging.INFO) else None


def use_threads(number: int | None) -> None:
    """Compute with so many threads; None: with as many as cores are free."""
    from switchrecon.core.threads import set_threads  # which imports torch

    set_threads(number)


def refuse_spilled(context: typer.Context) -> None:
    """Refuse arguments that the shell has made from an unquoted pattern."""
    if context.args:
        raise SwitchreconError(
            f"unexpected argument '{context.args[0]}'; if you gave a pattern, quote it so that the shell does not "
            "expand it: --full 'scans/*.nii.gz'"
        )


def check_new(target: Path, overwrite: bool) -> None:
    """Refuse a file that exists, unless it may be replaced."""
    if target.is_dir():
        raise SwitchreconError(f"{target}: is a folder; expected the name of a file")
    if target.exists() and not overwrite:
        raise SwitchreconError(f"{target}: exists already; add --overwrite or choose another name")


def expanded(paths: list[str], recursive: bool) -> list[str]:
    """The paths, with every scan of a folder and its subfolders in the place of the folder where that is asked for."""
    from switchrecon.scans.files import find_files

    return [str(path) for path in find_files(paths, recursive=True)] if recursive and paths else paths


def _checked(name: str | None) -> str | None:
    return None if name is None else check_name(name)


FullOption = Annotated[
    list[str],
    typer.Option(
        "--full",
        metavar="PATH",
        help="Fully sampled scans (domain Y): a file, a folder or a quoted pattern. May be repeated.",
    ),
]
SubOption = Annotated[
    list[str],
    typer.Option(
        "--sub",
        metavar="PATH",
        help="Undersampled scans (domain X) of other subjects. Fully sampled ones are undersampled retrospectively. "
        "May be repeated.",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for what is written.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings in YAML; or paper, for the paper's.")
]
SetOption = Annotated[
    list[str],
    typer.Option("--set", metavar="NAME=VALUE", help="One setting, such as mask.acceleration=6. May be repeated."),
]
LpipsOption = Annotated[
    Path | None,
    typer.Option(
        "--lpips-weights",
        metavar="FILE",
        envvar=LPIPS_VARIABLE,
        help="LPIPS weights; see 'switchrecon weights lpips'.",
    ),
]
MetricOption = Annotated[
    list[str],
    typer.Option(
        "--metric",
        metavar="FILE.py:NAME",
        help="Measure this metric, too: a Metric in your file, which is run. May be repeated.",
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        envvar="SWITCHRECON_CACHE",
        help="Keep prepared slices there, so that memory does not grow with the scans and other trainings find them.",
    ),
]
RecursiveOption = Annotated[
    bool, typer.Option("--recursive", help="Read the scans in all subfolders of a folder, too.")
]
SubjectsOption = Annotated[
    Path | None,
    typer.Option(
        "--subjects",
        metavar="FILE",
        help="CSV table with the columns file and subject: who was scanned, where the files do not say it.",
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what exists there.")]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Where a folder names code, FILE.py:NAME, that you have not run here before: run it. Only for folders "
        "from somebody you trust.",
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what would be done (settings, data found, parameters, estimated time and memory), and write nothing.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        help="Threads to compute with. Default: OMP_NUM_THREADS, else as many as cores are free; the last bits of "
        "results depend on it.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        envvar="SWITCHRECON_DEVICE",
        callback=_checked,
        help="cpu, cuda, cuda:NUMBER, or auto: a GPU where there is one. Default: auto.",
    ),
]
