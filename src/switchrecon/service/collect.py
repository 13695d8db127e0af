"""Readouts of a stream, kept until a slice or a repetition is complete."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct

import numpy as np

from switchrecon.scans.header import Encoding
from switchrecon.scans.readouts import ORDER, Readouts, kinds_of
from switchrecon.service.messages import ACQUISITION, LAST_IN_MEASUREMENT, LAST_IN_REPETITION, LAST_IN_SLICE

_COUNTERS = tuple(name for name in ACQUISITION["idx"].names or () if name != "user")
_FLAGS, _SPACE, _IDX = Struct("<Q"), Struct("<H"), Struct(f"<{len(_COUNTERS)}H")
_FLAGS_AT, _SPACE_AT, _IDX_AT = (
    int(ACQUISITION.fields[name][1])  # type: ignore[index]
    for name in ("flags", "encoding_space_ref", "idx")
)

Key = tuple[int, ...]
"""The counters of :data:`~switchrecon.scans.readouts.ORDER`: what tells one slice from another."""


@dataclass
class Group:
    """Readouts of one slice: their numbers in the stream, heads and samples.

    Attributes
    ----------
    ended
        Whether its last readout was announced.
    sent
        How many readouts its image was made of, when one was; 0 before.
    """

    rows: list[tuple[int, bytes, np.ndarray]] = field(default_factory=list)
    ended: bool = False
    sent: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Unit:
    """What is reconstructed at a time: readouts in the order of the stream, with noise and calibration lines.

    Attributes
    ----------
    readouts
        All of them.
    keys
        The slices.
    again
        Whether an image of one of them was sent before, from fewer readouts.
    """

    readouts: Readouts
    keys: tuple[Key, ...]
    again: bool


@dataclass(frozen=True)
class Counts:
    """How many averages and slices a header announces; None where it does not."""

    averages: int | None = None
    slices: int | None = None


class Collector:
    """Sorts readouts by slice and says what is complete.

    Parameters
    ----------
    encodings
        The encodings of the header.
    counts
        One for each encoding space.
    whole
        Whether all slices of a repetition are needed together, as for coil compression.
    most
        Bytes of slices that were sent and are kept for readouts that come late.
    """

    def __init__(self, encodings: list[Encoding], counts: list[Counts], whole: bool, most: int) -> None:
        self.encodings, self.counts, self.whole, self.most = encodings, counts, whole, most
        self.imaging: dict[Key, Group] = {}
        self.calibration: dict[Key, Group] = {}
        self.noise = Group()
        self.number = 0
        self.space: int | None = None  # of the image: that of the first readout that is for nothing else
        self.late: set[Key] = set()  # slices that were sent and forgotten before all their readouts had come
        self._waiting: list[Key] = []  # ended, and not yet known to have no more

    def add(self, raw: bytes, samples: np.ndarray) -> list[Unit]:
        """Take a readout; return what has become complete before it."""
        flags, space = _FLAGS.unpack_from(raw, _FLAGS_AT)[0], _SPACE.unpack_from(raw, _SPACE_AT)[0]
        counters = dict(zip(_COUNTERS, _IDX.unpack_from(raw, _IDX_AT), strict=True))
        kind = _kind(flags, False)
        if kind == "imaging" and self.space is None:
            self.space = space
        elsewhere = space != (space if self.space is None else self.space)
        if not elsewhere and space < len(self.encodings) and self.encodings[space].embedded:
            kind = _kind(flags, True)
        key: Key = tuple(counters[name] for name in ORDER)
        row = (self.number, raw, samples)
        self.number += 1
        if kind == "noise":
            self.noise.rows.append(row)
            return []
        if kind == "parallel calibration":
            self.calibration.setdefault(key, Group()).rows.append(row)
            group = self.imaging.get(key)
            done: list[Unit] = []
        elif kind == "imaging" and not elsewhere:
            done = self.settled(key)
            group = self._imaging(key, row)
        else:
            return []
        if group is not None and group.rows and self._look_at_flags(key, flags, counters["average"], space):
            done += self.settled()
        return done

    def _imaging(self, key: Key, row: tuple[int, bytes, np.ndarray]) -> Group:
        if key not in self.imaging:
            self.imaging[key] = Group()
        group = self.imaging[key]
        if group.sent and not group.rows:
            self.late.add(key)
            return group
        group.rows.append(row)
        group.bytes += row[2].nbytes
        return group

    def _look_at_flags(self, key: Key, flags: int, average: int, space: int) -> bool:
        """Note which slices end here; return whether it is certain that no more of them will come."""
        counts = self.counts[space] if space < len(self.counts) else Counts()
        last_average = counts.averages is None or average + 1 >= counts.averages
        ended = []
        if _has(flags, LAST_IN_SLICE) and last_average:
            ended = [key]
        if _has(flags, LAST_IN_REPETITION) and last_average:
            ended += [other for other in self.imaging if _series(other) == _series(key)]
        if _has(flags, LAST_IN_MEASUREMENT):
            ended += list(self.imaging)
        for other in dict.fromkeys(ended):
            self.imaging[other].ended = True
            if other not in self._waiting:
                self._waiting.append(other)
        return bool(ended) and (counts.averages is not None or _has(flags, LAST_IN_MEASUREMENT))

    def settled(self, current: Key | None = None) -> list[Unit]:
        """What is complete, now that a readout of slice ``current`` has come, or none for a while.

        A slice whose last readout was announced may go on, with another average. So it is complete only when a
        readout of another one follows, or a pause.
        """
        ready = [key for key in self._waiting if key != current]
        if current in self._waiting:
            self.imaging[current].ended = False
        self._waiting = []
        if not self.whole:
            return self._units([(key,) for key in ready if self._unsent(key)])
        series = dict.fromkeys(_series(key) for key in ready)
        following = None if current is None else _series(current)
        return self._units([keys for own in series if (keys := self._complete_series(own, following))])

    def rest(self) -> list[Unit]:
        """What is left at the end of the stream: slices whose end was not announced, or to which readouts came late."""
        keys = [key for key in self.imaging if self._unsent(key)]
        self._waiting = []
        if not self.whole:
            return self._units([(key,) for key in keys])
        series = dict.fromkeys(_series(key) for key in keys)
        return self._units([tuple(key for key in self.imaging if _series(key) == own) for own in series])

    def _unsent(self, key: Key) -> bool:
        group = self.imaging[key]
        return len(group.rows) > group.sent

    def _complete_series(self, series: Key, following: Key | None) -> tuple[Key, ...]:
        """The slices of a series if all have ended, and are as many as the header announces; none otherwise.

        Without a number in the header, they are complete once a readout of another series follows.
        """
        keys = tuple(key for key in self.imaging if _series(key) == series)
        counts = self.counts[self.space] if self.space is not None and self.space < len(self.counts) else Counts()
        there = following not in (None, series) if counts.slices is None else len(keys) >= counts.slices
        complete = there and all(self.imaging[key].ended for key in keys)
        return keys if complete and any(map(self._unsent, keys)) else ()

    def _units(self, found: Iterable[tuple[Key, ...]]) -> list[Unit]:
        units = []
        for keys in found:
            groups = [self.imaging[key] for key in keys]
            rows = [row for group in groups for row in group.rows]
            rows += self.noise.rows + [row for key in keys for row in self._lines_for(key)]
            rows = list({row[0]: row for row in rows}.values())
            rows.sort(key=lambda row: row[0])
            samples = np.empty(len(rows), object)
            samples[:] = [row[2] for row in rows]
            heads = np.frombuffer(b"".join(row[1] for row in rows), ACQUISITION)
            units.append(Unit(Readouts(heads, samples), keys, any(group.sent for group in groups)))
            for group in groups:
                group.sent = len(group.rows)
        self._forget()
        return units

    def _lines_for(self, key: Key) -> list[tuple[int, bytes, np.ndarray]]:
        """Calibration lines of a slice: of its own repetition, contrast, ..., else of the first that has some."""
        own = self.calibration.get(key)
        same = [group for other, group in sorted(self.calibration.items()) if other[-1] == key[-1]]
        found = own or (same[0] if same else None)
        return [] if found is None else found.rows

    def _forget(self) -> None:
        """Free the readouts of the first images that were sent, where they take too much."""
        sent = [group for group in self.imaging.values() if group.sent and group.rows]
        total = sum(group.bytes for group in sent)
        for group in sent:
            if total <= self.most:
                break
            total -= group.bytes
            group.rows, group.bytes = [], 0


def _series(key: Key) -> Key:
    """All but the slice."""
    return key[:-1]


@lru_cache(maxsize=4096)
def _kind(flags: int, embedded: bool) -> str:
    """See :func:`~switchrecon.scans.readouts.kinds_of`; a scan has few different flags."""
    head = np.zeros(1, ACQUISITION)
    head["flags"] = flags
    return str(kinds_of(head, embedded)[0])


def _has(flags: int, number: int) -> bool:
    return bool(flags >> (number - 1) & 1)
