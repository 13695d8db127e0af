"""The first screen of a page: what was done, how good it is, an image, and what to do next."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Next:
    """A command that can be pasted, and what it is for."""

    command: str
    what: str


@dataclass(frozen=True)
class Lead:
    """What stands before all else on a page.

    Attributes
    ----------
    done, good
        Sentences: what was done, and how good it is.
    picture
        ``uri``, ``alt`` and ``caption``; None for none.
    next
        What to do next.
    """

    done: Sequence[str] = ()
    good: Sequence[str] = ()
    picture: dict[str, str] | None = None
    next: Sequence[Next] = ()


def place(folder: Path) -> str:
    """A folder as a command on this machine names it; without the folders above it where they are not of this place.

    They may tell who works here, and a page may be sent to others.
    """
    whole, here = folder.resolve(), Path.cwd()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) and whole != here else whole.name


def command(*words: object) -> str:
    """A command line of switchrecon, quoted for the shell; words in capitals are for the reader to replace."""
    return shlex.join(["switchrecon", *map(str, words)])
