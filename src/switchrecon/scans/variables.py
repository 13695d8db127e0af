"""Which of a file's arrays is read."""

import fnmatch
from pathlib import Path

from switchrecon.errors import DataError


def choose_variable(path: Path, wanted: str | None, candidates: list[str], others: list[str]) -> str:
    """The name of the array to read, of a file that may hold several.

    Parameters
    ----------
    path
        The file, for messages.
    wanted
        A name, or a pattern that fits one name; None: ``kspace``, or the only candidate.
    candidates
        Names of the arrays that can be k-space.
    others
        Names of what else is there, for messages.

    Raises
    ------
    DataError
        Where none, or several, can be meant.
    """
    found = ", ".join([*candidates, *others]) or "nothing"
    if wanted is not None:
        fitting = [name for name in candidates if fnmatch.fnmatchcase(name, wanted)]
        if wanted in candidates:
            return wanted
        if len(fitting) != 1:
            raise DataError(f"{path}: variable '{wanted}' fits {len(fitting)} arrays; found {found}")
        return fitting[0]
    if "kspace" in candidates:
        return "kspace"
    if len(candidates) != 1:
        raise DataError(
            f"{path}: {len(candidates)} arrays may be k-space; found {found}; name one with the setting 'variable'"
        )
    return candidates[0]
