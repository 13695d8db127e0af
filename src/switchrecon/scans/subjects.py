"""Who was scanned, where files do not say it: a table of files and subjects."""

import csv
import os
from functools import lru_cache
from pathlib import Path

from switchrecon.core.limits import check_file
from switchrecon.errors import DataError

MOST = 1 << 26  # bytes


def subject_in(table: Path | None, path: Path) -> str | None:
    """Return the subject that a table gives a file; None where there is no table, or it does not list the file.

    Parameters
    ----------
    table
        CSV with two columns, ``file`` and ``subject``, with or without these names in its first line. A file is a path,
        absolute or from the table's folder, or a name alone, which stands for every file of this name.
    path
        The scan.

    Raises
    ------
    DataError
        For a table that cannot be read, or that gives one file two subjects.
    """
    if table is None:
        return None
    try:
        changed = table.stat().st_mtime_ns
    except OSError as error:
        raise DataError(f"{table}: the table of subjects cannot be read ({error.strerror})") from None
    known = _read(table, changed)
    return known.get(os.path.realpath(path), known.get(path.name))


@lru_cache(8)
def _read(table: Path, changed: int) -> dict[str, str]:
    check_file(table, MOST)
    known: dict[str, str] = {}
    try:
        lines = table.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    except OSError as error:
        raise DataError(f"{table}: the table of subjects cannot be read ({error.strerror})") from None
    for number, row in enumerate(csv.reader(lines), 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and [cell.casefold() for cell in cells] == ["file", "subject"]):
            continue
        if len(cells) != 2 or not all(cells):
            raise DataError(f"{table}: line {number} has {len(cells)} columns; expected a file and its subject")
        name, subject = cells
        place = name if os.sep not in name else os.path.realpath(table.parent / name)
        if known.setdefault(place, subject) != subject:
            raise DataError(f"{table}: line {number} gives a second subject to {name}")
    return known
