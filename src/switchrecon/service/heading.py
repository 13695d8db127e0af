"""What a stream's header says that the reconstruction of files does not ask for."""

from dataclasses import dataclass
from pathlib import Path

from switchrecon.errors import DataError
from switchrecon.scans.header import NAMESPACE, Header, parse_header, under, xml_root
from switchrecon.service.collect import Counts

STREAM = Path("stream")
"""Stands for the file in messages: a stream has no name that may be shown."""

PARAMETERS = ("userParameterString", "userParameterLong", "userParameterDouble")


@dataclass(frozen=True)
class Heading:
    """A stream's header.

    Attributes
    ----------
    header
        What the readers of files know.
    counts
        Averages and slices, for each encoding space.
    parameters
        The user parameters, as text.
    """

    header: Header
    counts: list[Counts]
    parameters: dict[str, str]


def read_heading(text: bytes) -> Heading:
    """Read a header.

    Raises
    ------
    DataError
        See :func:`switchrecon.scans.header.parse_header`.
    """
    header = parse_header(STREAM, text)
    root = xml_root(STREAM, text)

    def count(place: object, name: str) -> int | None:
        found = under(place, "encodingLimits", name, "maximum")  # type: ignore[arg-type]
        told = (found.text or "").strip() if found is not None else ""
        return int(told) + 1 if told.isdecimal() and len(told) < 6 else None

    places = root.findall(f"{NAMESPACE}encoding")
    if not places:
        raise DataError(f"{STREAM}: the ISMRMRD header has no encoding; expected at least one")
    parameters = {}
    for kind in PARAMETERS:
        for one in root.findall(f"{NAMESPACE}userParameters/{NAMESPACE}{kind}"):
            name, value = (one.findtext(NAMESPACE + part) or "" for part in ("name", "value"))
            parameters[name.strip()] = value.strip()
    counts = [Counts(count(place, "average"), count(place, "slice")) for place in places]
    return Heading(header, counts, parameters)
