"""What the fourth axis of a NIfTI file is: repetitions, contrasts, phases or sets.

NIfTI itself calls it time and says no more. This package writes the names into ``intent_name``, and how many there are
along the first axes into ``intent_p1`` to ``intent_p3``. Of other files, the BIDS sidecar and the BIDS name are asked.
"""

import json
import math
from pathlib import Path
from typing import Any

import nibabel

from switchrecon.core.limits import check_file
from switchrecon.scans.names import stem

NAMES = ("contrast", "repetition", "phase", "set")  # of the axes of series, in their order
INTENT = 15  # characters of a name that the header holds
SHORT = 3  # characters that tell the names apart
COUNTS = ("intent_p1", "intent_p2", "intent_p3")
LISTS = {  # of the sidecar, an entry a volume
    "EchoTime": "contrast",
    "FlipAngle": "contrast",
    "InversionTime": "contrast",
    "VolumeTiming": "repetition",
    "FrameTimesStart": "repetition",
}
SUFFIXES = {"MEGRE": "contrast", "MESE": "contrast", "dwi": "set"}  # of BIDS; others' fourth axis is time
MOST_SIDECAR = 1 << 24  # bytes


def name_series(header: nibabel.Nifti1Header, labels: dict[str, int]) -> None:
    """Write the names of the series' axes, and how many there are along each.

    Parameters
    ----------
    header
        The header of the file to write.
    labels
        The labels of the last series, so that they are the numbers of entries.
    """
    text = ",".join(labels)
    if len(text) > INTENT and _parsed(text[:INTENT]) != list(labels):
        text = ",".join(name[:SHORT] for name in labels)
    header["intent_name"] = text[:INTENT].encode()
    for field, count in zip(COUNTS, labels.values(), strict=False):
        header[field] = count


def series_axes(path: Path, header: nibabel.Nifti1Header, volumes: int) -> dict[str, int]:
    """Return the names of the axes that volumes run over, and how many there are along each; the last is the fastest.

    Parameters
    ----------
    path
        The file, beside which a sidecar may lie.
    header
        The file's header.
    volumes
        How many.

    Raises
    ------
    DataError
        For a sidecar that is larger than the limit.
    """
    if volumes == 1:
        return {"repetition": 1}
    names = _parsed(bytes(header["intent_name"]).rstrip(b"\0").decode("ascii", "replace"))
    counts = [float(header[field]) for field in COUNTS][: max(len(names) - 1, 0)]
    if names and all(count >= 1 and count.is_integer() for count in counts):
        known = [int(count) for count in counts]
        last, left = divmod(volumes, math.prod(known))
        if last and not left:
            return dict(zip(names, [*known, last], strict=True))
    return {names[0] if len(names) == 1 else _name_in_bids(path, volumes): volumes}


def _parsed(text: str) -> list[str]:
    """Return the names of axes in a header's text, which may be cut; none where it says something else."""
    found = []
    for word in text.split(","):
        meant = [name for name in NAMES if name.startswith(word) and len(word) >= SHORT]
        found += meant
        if not meant:
            return []
    return found if found == [name for name in NAMES if name in found] else []


def _name_in_bids(path: Path, volumes: int) -> str:
    """Return what the sidecar has a list of, an entry a volume; else what the name's suffix stands for; else time."""
    sidecar = _sidecar(path.with_name(f"{stem(path)}.json"))
    for key, name in LISTS.items():
        value = sidecar.get(key)
        if isinstance(value, list) and len(value) == volumes and len({str(entry) for entry in value}) > 1:
            return name
    suffix = stem(path).rpartition("_")[2] if path.name.startswith("sub-") else ""
    return SUFFIXES.get(suffix, "repetition")


def _sidecar(file: Path) -> dict[str, Any]:
    """Return the sidecar of an image; empty where there is none that can be read."""
    if not file.is_file():
        return {}
    check_file(file, MOST_SIDECAR)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
