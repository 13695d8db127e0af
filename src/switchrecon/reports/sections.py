"""Pages that are made of sections: sentences, tables and drawings, in this order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from switchrecon.core.records import Record
from switchrecon.core.sentences import first_problem
from switchrecon.errors import RunError
from switchrecon.reports.lead import Lead
from switchrecon.reports.page import data_uri, write_page
from switchrecon.reports.tables import Layout
from switchrecon.reports.viewer.page import Part


@dataclass(frozen=True)
class Drawing:
    """A drawing on a page.

    Attributes
    ----------
    png
        The bytes of its file.
    caption, alt
        What is said under it, and in its place.
    style
        ``plot`` or ``picture``.
    """

    png: bytes
    caption: str
    alt: str
    style: str = "plot"

    @property
    def uri(self) -> str:
        """The drawing as a data URI."""
        return data_uri(self.png)


@dataclass(frozen=True)
class Section:
    """A part of a page under a title."""

    title: str
    sentences: Sequence[str] = ()
    layouts: Sequence[Layout] = ()
    figures: Sequence[Drawing] = ()


def write_sections(
    file: Path,
    title: str,
    created: str,
    summary: Sequence[str],
    sections: Sequence[Section],
    versions: Mapping[str, str],
    viewer: Part | None = None,
    lead: Lead | None = None,
) -> Path:
    """Write a page, complete or not at all, and return its file.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    content = {
        "title": title,
        "created": created,
        "summary": summary,
        "sections": sections,
        "versions": list(versions.items()),
        "viewer": viewer,
        "lead": lead,
    }
    return write_page(file, "trust.html.j2", content)


Kind = TypeVar("Kind", bound=Record)


def read_record(kind: type[Kind], file: Path, command: str) -> Kind:
    """Read the record that a page is about, which ``command`` has written.

    Raises
    ------
    RunError
        If it is missing or damaged.
    """
    try:
        return kind.read(file)
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: damaged or absent ({first_problem(error)}); run {command} again") from error
