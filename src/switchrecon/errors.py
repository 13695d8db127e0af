"""The errors that users see; each message is one clear sentence."""

from collections.abc import Iterable
from difflib import get_close_matches


class SwitchreconError(Exception):
    """Base class: bad input or a bad request. The message says what was found and what was expected."""


class ConfigError(SwitchreconError):
    """A setting that does not exist or has a wrong value."""


class DataError(SwitchreconError):
    """A file that cannot be used. The message names the file."""


class RunError(SwitchreconError):
    """A run folder that is missing, incomplete, damaged, or belongs to another run."""


class EndedElsewhere(SwitchreconError):
    """One of several processes failed and has said why; the others end without a word."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a hint that names the closest valid name, or lists them all.

    Parameters
    ----------
    name
        What the user wrote.
    valid
        The names that exist.

    Returns
    -------
    str
        ``"did you mean 'x'?"`` or ``"choose from a, b, c"``.
    """
    names = sorted(valid)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(names)}"
