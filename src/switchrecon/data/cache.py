"""Prepared slices kept in a folder, so that memory does not grow with the number of scans.

A scan is read, resized, undersampled and its coils are mapped once. Its slices then lie in a NumPy file, a record each,
and a slice is read from there whenever it is asked for. The same numbers come back, to the bits.

An entry is found by what it was made from: the scan's files (path, size, time of change), the settings of
:data:`SETTINGS`, a user's own mask file, and the versions that made it. ``KEY.json`` names the data by its SHA-256 and
is sealed by its own. Each entry is verified when it is opened; a damaged one is made again. An entry holds images, but
no name of a file or a subject. The folder may be deleted whenever no training uses it.
"""

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from switchrecon.config import SHARED_SETTINGS, Config
from switchrecon.core.files import atomic_file, write_text
from switchrecon.core.limits import check_file
from switchrecon.core.user_code import digest, is_user_code
from switchrecon.data.slices import Prepared, Slice
from switchrecon.physics.intensity import centre_of
from switchrecon.physics.masks import Direction
from switchrecon.physics.operators import coils_of
from switchrecon.scans.files import recognise, subject_of
from switchrecon.scans.formats import Format
from switchrecon.scans.scan import draw_name

FORMAT = 2
SETTINGS = ("matrix", "slices_per_scan", "variable", "layout", *SHARED_SETTINGS)
"""All settings that slices may depend on: they are made with the others at their defaults."""

MOST_JSON = 1 << 24  # bytes
Prepare = Callable[[Path, Config, bool, bool, Format], Prepared]


@dataclass(frozen=True)
class Stored:
    """A slice's place in the cache, and what is asked of it before any training; see :class:`Slice`."""

    file: Path
    number: int
    volume: str
    subject: str
    matrix: tuple[int, int]
    center_fraction: float
    known_brightness: float
    known_full_centre: float
    line_direction: Direction
    acceleration: float
    scale: float = 1.0

    def load(self) -> Slice:
        """Return the slice, in memory."""
        record = self._record()

        def tensor(name: str) -> torch.Tensor | None:
            return torch.from_numpy(record[name].copy()) if name in (record.dtype.names or ()) else None

        image, mask = torch.from_numpy(record["image"].copy()), torch.from_numpy(record["mask"].copy())
        facts = (self.volume, int(record["index"]), self.subject)
        measured = tensor("measured_images")
        if measured is not None:  # kept without the axis of a single coil by earlier versions
            measured = measured.reshape(-1, *image.shape)
        own = Slice(image, mask, 1.0, *facts, coils_of(tensor("maps")), measured)
        return own if self.scale == 1 else own.divided(self.scale)

    def _record(self) -> Any:
        """Of a map of the file, which ends with it, or what it has read would count as memory."""
        kind, offset = _layout(self.file)
        return np.memmap(self.file, kind, "r", offset + self.number * kind.itemsize, shape=())[()]

    @property
    def mask(self) -> torch.Tensor:
        """The mask alone."""
        return torch.from_numpy(self._record()["mask"].copy())

    def brightness(self, center_fraction: float) -> float:
        """Known for the centre that masks are drawn with; found out for any other."""
        if centre_of(self.matrix, center_fraction) == centre_of(self.matrix, self.center_fraction):
            return self.known_brightness
        return replace(self, scale=1.0).load().brightness(center_fraction)

    def full_centre(self, center_fraction: float) -> float:
        """Return the same."""
        if center_fraction == self.center_fraction:
            return self.known_full_centre
        return self.load().full_centre(center_fraction)

    def divided(self, scale: float) -> "Stored":
        """Return the same place; the slice is divided when it is loaded."""
        return replace(self, scale=scale)

    def to(self, device: torch.device) -> "Stored":
        """Return the same place; :class:`Slices` sends the slice once it is loaded."""
        return self


@lru_cache(1024)  # a file is named by what it holds
def _layout(file: Path) -> tuple[np.dtype, int]:
    """Of a file of records: the kind of a record, and where the first one begins."""
    records = np.load(file, mmap_mode="r")
    return records.dtype, records.offset


def through_cache(
    cache: Path, path: Path, config: Config, prepare: Prepare, undersample: bool, paired: bool
) -> Prepared:
    """What ``prepare(path, config, undersample, paired, format)`` gives, made only where the cache does not hold it.

    Parameters
    ----------
    cache
        The folder.
    path
        A scan.
    config
        The run's settings.
    prepare, undersample, paired
        How slices are made; see :func:`switchrecon.data.piles.read_pile`.

    Raises
    ------
    DataError
        Where ``prepare`` does; nothing is kept then.
    """
    own = Config(**{name: getattr(config, name) for name in SETTINGS})
    format = recognise(path)
    entry = cache / f"{_key(format.parts(path), own, undersample, paired)}.json"
    facts = _facts(entry)
    if facts is None:
        facts = _keep(entry, prepare(path, own, undersample, paired, format), own.mask.center_fraction)
    subject, file = subject_of(path, format, config.reading), _data(entry, facts)
    name = draw_name(path, subject_of(path, format))
    matrix, fraction = (facts["matrix"][0], facts["matrix"][1]), own.mask.center_fraction
    places = [
        Stored(file, number, name, subject, matrix, fraction, *known) for number, known in enumerate(facts["slices"])
    ]
    others = [facts[name] for name in ("digest", "maps", "dropped", "synthetic", "retrospective")]
    return Prepared(places, subject, matrix, *others)


def _key(files: tuple[Path, ...], config: Config, undersample: bool, paired: bool) -> str:
    """Return SHA-256 over all that a scan's slices depend on."""
    known = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in sorted(files)]
    settings = config.model_dump(mode="json", include=set(SETTINGS))
    kind = config.mask.kind
    code = [digest(kind, "mask")] if is_user_code(kind) else []
    return _sha256([_versions(), known, settings, undersample, paired, *code])


@lru_cache(1)
def _versions() -> list[int | str]:
    return [FORMAT, version("switchrecon"), torch.__version__, np.__version__]


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _data(entry: Path, facts: dict[str, Any]) -> Path:
    return entry.with_name(f"{facts['sha256']}.npy")


def _facts(entry: Path) -> dict[str, Any] | None:
    """Return what an entry says, once it is verified; None where there is none, or a damaged one."""
    if not entry.exists():
        return None
    try:
        check_file(entry, MOST_JSON)
        sealed = json.loads(entry.read_text(encoding="utf-8"))
        facts: dict[str, Any] = sealed["facts"]
        with _data(entry, facts).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        sound = sealed["seal"] == _sha256(facts) and facts["sha256"] == found
    except (OSError, ValueError, LookupError, TypeError):
        sound = False
    if not sound:
        warnings.warn(f"{entry}: damaged; made again from the scan", stacklevel=2)
    return facts if sound else None


def _keep(entry: Path, scan: Prepared, fraction: float) -> dict[str, Any]:
    """Write an entry: first its data, then what says that they are complete."""
    records = _records([source.load() for source in scan.sources])
    facts = {
        "matrix": list(scan.matrix),
        "digest": scan.digest,
        "maps": scan.maps,
        "slices": [
            [own.brightness(fraction), own.full_centre(fraction), own.line_direction, own.acceleration]
            for own in scan.sources
        ],
        "dropped": scan.dropped,
        "synthetic": bool(scan.synthetic),
        "retrospective": bool(scan.retrospective),
    }
    digest = hashlib.sha256()
    np.save(SimpleNamespace(write=digest.update), records, allow_pickle=False)  # the name comes before the file
    facts["sha256"] = digest.hexdigest()
    with atomic_file(_data(entry, facts)) as temporary, temporary.open("wb") as file:
        np.save(file, records, allow_pickle=False)
    write_text(entry, json.dumps({"facts": facts, "seal": _sha256(facts)}))
    return facts


def _records(slices: list[Slice]) -> np.ndarray:
    """Return one record a slice."""
    arrays = ("image", "mask", "maps", "measured_images")
    fields: list[Any] = [("index", np.int64)]
    for name in arrays if slices else ():
        first = getattr(slices[0], name)
        if first is not None:
            fields.append((name, first.numpy().dtype, tuple(first.shape)))
    records = np.zeros(len(slices), fields)
    for record, own in zip(records, slices, strict=True):
        record["index"] = own.index
        for name, *_ in fields[1:]:
            record[name] = getattr(own, name).numpy()
    return records
