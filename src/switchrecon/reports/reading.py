"""Reading what a report is made of: a damaged file is named."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import yaml

from switchrecon.core.sentences import first_problem
from switchrecon.errors import RunError
from switchrecon.reports.page import data_uri

_DAMAGE: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
_UNREADABLE: Final = (OSError, EOFError, BadZipFile, csv.Error, yaml.YAMLError)


@contextmanager
def reading(file: Path) -> Iterator[Path]:
    """Name the file in the error that the block raises, whatever it is.

    Raises
    ------
    RunError
        If the file is missing, or damaged.
    """
    try:
        yield file
    except FileNotFoundError:
        raise RunError(f"{file}: no such file; the report needs it") from None
    except (*_DAMAGE, *_UNREADABLE) as error:
        reason = f"{type(error).__name__}: {first_problem(error)}"[:200]
        raise RunError(f"{file}: damaged or not in the expected form ({reason})") from error


def picture(file: Path, caption: str) -> dict[str, str]:
    """A PNG file for a page."""
    with reading(file):
        png = file.read_bytes()
        if not png.startswith(b"\x89PNG\r\n\x1a\n"):
            raise ValueError("not a PNG file")
    return {"uri": data_uri(png), "caption": caption}
