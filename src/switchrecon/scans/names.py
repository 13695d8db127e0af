"""The meaning of scans' names (IXI and BIDS), and names of files that are written for scans."""

import re
from pathlib import Path

# The subject is taken from the start of the name alone, so that a derived file keeps its subject.
IXI = re.compile(r"^(?P<subject>IXI\d{3})(?:-(?P<site>Guys|HH|IOP))?(?:-\d{4}-(?P<contrast>T1|T2|PD|MRA|DTI-\d\d))?")
BIDS = re.compile(r"^sub-(?P<subject>[^_.]+)(?:_[^.]*?(?P<contrast>[A-Za-z0-9]+)(?:\.|$))?")


PLACEHOLDERS = {  # words that name no one, also where several stand together
    *("na", "nan", "none", "null", "nil", "no", "not", "unknown", "unnamed", "noname", "noid", "nobody", "empty"),
    *("missing", "removed", "redacted", "hidden", "blank", "default", "deidentified", "deident", "de", "identified"),
    *("patient", "patientid", "patientname", "subject", "subjectid", "name", "id", "undefined", "defined", "given"),
    *("notavailable", "available", "notapplicable", "applicable", "known", "specified", "tbd", "johndoe", "janedoe"),
    *("pseudonym", "pseudonymized", "pseudonymised", "n", "a", "the", "of", "and"),
}
FILLING = 3  # so many equal characters, and no other, fill a field


def identity(*texts: str | None) -> str:
    """Return the first text that tells one person from others; empty where none does.

    Anonymisers write placeholders, which are the same for everyone: nothing, ``anonymous`` and what begins so,
    ``N/A``, ``Unknown Patient``, ``xxxxxxxx``, ``999``, and the like. Case, spaces and punctuation do not matter.
    """
    for text in texts:
        words = re.sub(r"[\W_]+", " ", text or "").casefold().split()
        plain = "".join(words)
        filled = set(plain) <= {"x"} or set(plain) <= {"0"} or (len(plain) >= FILLING and len(set(plain)) == 1)
        if not (filled or plain.startswith("anon") or plain in PLACEHOLDERS or set(words) <= PLACEHOLDERS):
            return (text or "").strip()
    return ""


def stem(path: Path) -> str:
    """Return the scan's name without the suffix of its format; other dots stay."""
    from switchrecon.scans.formats import known_endings  # which imports the formats, and they this module

    ending = max((end for end in known_endings() if path.name.lower().endswith(end)), key=len, default="")
    return path.name[: len(path.name) - len(ending)]


def named(path: Path, *suffixes: str) -> str:
    """Return the name of a file written for a scan: the scan's, with the first suffix unless it has one of them."""
    return path.name if path.name.lower().endswith(suffixes) else stem(path) + suffixes[0]


def known_name(path: Path) -> dict[str, str] | None:
    """Subject, and site and contrast where given, of an IXI or BIDS name; None for any other."""
    name = stem(path)
    for pattern in (IXI, BIDS):
        if match := pattern.match(name):
            return {key: value for key, value in match.groupdict().items() if value}
    return None


def describe_name(path: Path) -> dict[str, str]:
    """As :func:`known_name`; any other name is the subject itself."""
    return known_name(path) or {"subject": stem(path)}
