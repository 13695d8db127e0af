"""The last line of a command: what to do next, as a command that can be pasted."""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from switchrecon.core.messages import PROGRESS


def command(*words: object) -> str:
    """The command line with these words, quoted for the shell where they need it; bytes that are no text escaped."""
    return " ".join(map(_quoted, ["switchrecon", *map(str, words)]))


def _quoted(word: str) -> str:
    content = os.fsencode(word)
    try:
        content.decode()
    except UnicodeDecodeError:
        return "$'" + "".join(chr(c) if 32 <= c < 127 and c not in b"'\\" else f"\\x{c:02x}" for c in content) + "'"
    return shlex.quote(word)


def say_next(*words: object) -> None:
    """Say on standard error what to do next; nothing with --quiet."""
    PROGRESS.info(f"next: {command(*words)}")


def fresh(folder: Path) -> Path:
    """The folder, with a number behind its name if it exists already."""
    number = 1
    while (found := folder.with_name(f"{folder.name}{'' if number == 1 else f'-{number}'}")).exists():
        number += 1
    return found


def beside(folder: Path, what: str) -> Path:
    """A folder beside another, named by what it will hold, that does not exist yet."""
    return fresh(folder.with_name(f"{folder.name}-{what}"))


def options(name: str, values: Iterable[object]) -> list[str]:
    """An option given once for each value."""
    return [word for value in values for word in (name, str(value))]
