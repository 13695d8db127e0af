"""The runs that come with the package, to begin with: named ``switchrecon:NAME`` wherever a run folder is named."""

from pathlib import Path

from switchrecon.errors import RunError, nearest

PREFIX = "switchrecon:"
FOLDER = Path(__file__).parent / "pretrained"


def pretrained() -> list[str]:
    """Names of the runs that come with the package, such as ``switchrecon:brain-2d-x4``."""
    return sorted(f"{PREFIX}{file.parent.name}" for file in FOLDER.glob("*/model.safetensors"))


def is_pretrained(run: str | Path) -> bool:
    """Return whether this names a run of the package, or would if there were one of that name."""
    return str(run).startswith(PREFIX)


def run_folder(run: str | Path) -> Path:
    """Return the folder of a run.

    Parameters
    ----------
    run
        A folder, or ``switchrecon:NAME``.

    Raises
    ------
    RunError
        If the package has no run of that name.
    """
    if not is_pretrained(run):
        return Path(run)
    if str(run) not in pretrained():
        raise RunError(f"the package has no run '{run}'; {nearest(str(run), pretrained())}")
    return FOLDER / str(run).removeprefix(PREFIX)


def writable(run: Path) -> Path:
    """Return the folder of a run into which something may be written.

    Raises
    ------
    RunError
        If the run comes with the package: nothing is written there.
    """
    if is_pretrained(run):
        raise RunError(
            f"{run}: comes with the package, and nothing is written there; copy the folder {run_folder(run)}, and name "
            "the copy"
        )
    return run
