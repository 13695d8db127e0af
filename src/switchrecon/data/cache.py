"""Prepared slices kept in a folder, so that memory does not grow with the number of scans.

A scan is read, resized and undersampled, and its coil sensitivity maps are estimated, once. Its slices are then written
to a NumPy file, one record for each, and read from there when they are asked for, with exactly the same numbers.

The key of an entry is a hash of all that it was made from: the scan's files (path, size, time of change), the settings
of :data:`SETTINGS`, a user's mask file, and the versions that made it. ``KEY.json`` holds the SHA-256 of the data file,
and one of its other content. Each entry is verified when it is opened; a damaged one is made again. An entry holds
images, but no name of a file or a subject. The folder may be deleted whenever no training uses it.
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

FORMAT = 3
SETTINGS = ("matrix", "slices_per_scan", "variable", "layout", *SHARED_SETTINGS)
"""All settings that slices may depend on. Slices are made with the other settings at their defaults."""

MOST_JSON = 1 << 24  # bytes
Prepare = Callable[[Path, Config, bool, bool, Format], Prepared]


@dataclass(frozen=True)
class CachedSlice:
    """A slice in the cache: where it is, and facts that are asked for before training; see :class:`Slice`."""

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
        """Read the slice into memory."""
        record = self._record()

        def tensor(name: str) -> torch.Tensor | None:
            return torch.from_numpy(record[name].copy()) if name in (record.dtype.names or ()) else None

        image, mask = torch.from_numpy(record["image"].copy()), torch.from_numpy(record["mask"].copy())
        facts = (self.volume, int(record["index"]), self.subject)
        measured = tensor("measured_images")
        if measured is not None:  # earlier versions wrote one coil without a coil axis
            measured = measured.reshape(-1, *image.shape)
        loaded = Slice(image, mask, 1.0, *facts, coils_of(tensor("maps")), measured)
        return loaded if self.scale == 1 else loaded.divided(self.scale)

    def _record(self) -> Any:
        """Return the slice's record from a memory map, which is closed with it so that read pages are released."""
        kind, offset = _layout(self.file)
        return np.memmap(self.file, kind, "r", offset + self.number * kind.itemsize, shape=())[()]

    @property
    def mask(self) -> torch.Tensor:
        """The mask, read without the images."""
        return torch.from_numpy(self._record()["mask"].copy())

    def brightness(self, center_fraction: float) -> float:
        """Return the stored value for the centre that masks are drawn with; compute it for any other centre."""
        if centre_of(self.matrix, center_fraction) == centre_of(self.matrix, self.center_fraction):
            return self.known_brightness
        return replace(self, scale=1.0).load().brightness(center_fraction)

    def full_centre(self, center_fraction: float) -> float:
        """Return the stored value for the centre that masks are drawn with; compute it for any other centre."""
        if center_fraction == self.center_fraction:
            return self.known_full_centre
        return self.load().full_centre(center_fraction)

    def divided(self, scale: float) -> "CachedSlice":
        """Return the same entry with a scale; the slice is divided when it is loaded."""
        return replace(self, scale=scale)

    def to(self, device: torch.device) -> "CachedSlice":
        """Return the same entry; :class:`Slices` sends the slice to the device once it is loaded."""
        return self


@lru_cache(1024)  # files are named by a hash of their content, so they never change
def _layout(file: Path) -> tuple[np.dtype, int]:
    """Return the dtype of a file's records, and the offset of the first one in bytes."""
    records = np.load(file, mmap_mode="r")
    return records.dtype, records.offset


def through_cache(
    cache: Path, path: Path, config: Config, prepare: Prepare, undersample: bool, paired: bool
) -> Prepared:
    """Return ``prepare(path, config, undersample, paired, format)`` from the cache; make it if it is not there.

    Parameters
    ----------
    cache
        Folder of the cache.
    path
        File of the scan.
    config
        The run's settings.
    prepare, undersample, paired
        How slices are made; see :func:`switchrecon.data.piles.read_pile`.

    Raises
    ------
    DataError
        If ``prepare`` raises it; nothing is stored then.
    """
    used = Config(**{name: getattr(config, name) for name in SETTINGS})
    format = recognise(path)
    entry = cache / f"{_key(format.parts(path), used, undersample, paired)}.json"
    facts = _facts(entry)
    if facts is None:
        facts = _keep(entry, prepare(path, used, undersample, paired, format), used.mask.center_fraction)
    subject, file = subject_of(path, format, config.reading), _data(entry, facts)
    name = draw_name(path, subject_of(path, format))
    matrix, fraction = (facts["matrix"][0], facts["matrix"][1]), used.mask.center_fraction
    places = [
        CachedSlice(file, number, name, subject, matrix, fraction, *known)
        for number, known in enumerate(facts["slices"])
    ]
    others = [facts[name] for name in ("digest", "maps", "dropped", "synthetic", "retrospective", "acceleration")]
    return Prepared(places, subject, matrix, *others)


def _key(files: tuple[Path, ...], config: Config, undersample: bool, paired: bool) -> str:
    """Return the SHA-256 of all that a scan's slices depend on."""
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
    """Read and verify an entry; return None if it is missing or damaged."""
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
    """Write an entry: first its data, then the JSON file that says that they are complete."""
    records = _records([source.load() for source in scan.sources])
    facts = {
        "matrix": list(scan.matrix),
        "digest": scan.digest,
        "maps": scan.maps,
        "slices": [
            [source.brightness(fraction), source.full_centre(fraction), source.line_direction, source.acceleration]
            for source in scan.sources
        ],
        "dropped": scan.dropped,
        "synthetic": bool(scan.synthetic),
        "retrospective": bool(scan.retrospective),
        "acceleration": scan.acceleration,
    }
    digest = hashlib.sha256()
    np.save(SimpleNamespace(write=digest.update), records, allow_pickle=False)  # the name comes before the file
    facts["sha256"] = digest.hexdigest()
    with atomic_file(_data(entry, facts)) as temporary, temporary.open("wb") as file:
        np.save(file, records, allow_pickle=False)
    write_text(entry, json.dumps({"facts": facts, "seal": _sha256(facts)}))
    return facts


def _records(slices: list[Slice]) -> np.ndarray:
    """Return an array with one record for each slice."""
    arrays = ("image", "mask", "maps", "measured_images")
    fields: list[Any] = [("index", np.int64)]
    for name in arrays if slices else ():
        first = getattr(slices[0], name)
        if first is not None:
            fields.append((name, first.numpy().dtype, tuple(first.shape)))
    records = np.zeros(len(slices), fields)
    for record, one in zip(records, slices, strict=True):
        record["index"] = one.index
        for name, *_ in fields[1:]:
            record[name] = getattr(one, name).numpy()
    return records
