"""The two piles of slices that a method learns from, made from files."""

import hashlib
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from switchrecon.config import Config, Pairing
from switchrecon.core.messages import counted, stage
from switchrecon.data.cache import through_cache
from switchrecon.data.coils import with_maps
from switchrecon.data.corruption import corrupted
from switchrecon.data.slices import Prepared, Slice, Slices, SliceSource, evenly
from switchrecon.errors import DataError
from switchrecon.physics.fourier import inverse_fourier, slice_by_slice
from switchrecon.scans.files import ScanInput, file_digest, find_scans, read_scan
from switchrecon.scans.formats import Format
from switchrecon.scans.scan import Scan, check_fully_sampled, own_mask

FINGERPRINT = "2-"
"""What a fingerprint of scans begins with; those of earlier versions held the last bits of every scale."""


@dataclass
class Pile:
    """Slices of one domain, and the scans that they come from."""

    slices: Sequence[Slice] = ()
    subjects: dict[str, Path] = field(default_factory=dict)  # each with one of its files
    scans: int = 0
    dropped: int = 0  # near-empty slices
    synthetic: int = 0  # scans whose k-space was computed from magnitudes
    retrospective: int = 0  # fully sampled scans that were undersampled here
    digests: list[str] = field(default_factory=list)  # SHA-256 of the files
    accelerations: list[float] = field(default_factory=list)  # of the undersampled files, at their own matrix

    @property
    def sources(self) -> Sequence[SliceSource]:
        """Where each slice comes from: facts about slices without reading images."""
        return Slices.of(self.slices).sources

    @property
    def has_lines(self) -> bool:
        """Whether any slice's mask measures whole lines."""
        return any(source.line_direction is not None for source in self.sources)

    def acceleration(self) -> float:
        """Return the mean measured acceleration of the slices' masks."""
        values = [source.acceleration for source in self.sources]
        return sum(values) / max(len(values), 1)

    @property
    def file_acceleration(self) -> float | None:
        """Mean of the undersampled files' accelerations at their own matrix; None where there is none."""
        return sum(self.accelerations) / len(self.accelerations) if self.accelerations else None

    def thinned(self, count: int | None) -> "Pile":
        """Return the same pile with ``count`` of its slices, evenly spread; None: all of them."""
        if count is None or count >= len(self.slices):
            return self
        slices = Slices.of(self.slices).thinned(count)
        left = {source.subject for source in slices.sources}
        return replace(
            self,
            slices=slices,
            subjects={subject: path for subject, path in self.subjects.items() if subject in left},
            scans=len({source.volume for source in slices.sources}),
        )


def usable_slices(scan: Scan, config: Config) -> list[int]:
    """Return the numbers of the slices whose mean magnitude is at least ``empty_below`` of the brightest slice's."""
    return _usable(slice_by_slice(inverse_fourier, torch.from_numpy(scan.kspace)), config)


def _usable(coil_images: Tensor, config: Config) -> list[int]:
    """Return the same from the scan's coil images (slices, n_coils, H, W)."""
    means = [float(np.abs(one).mean()) for one in coil_images.numpy()]  # six times as fast as torch's abs
    return [i for i, mean in enumerate(means) if mean > 0 and mean >= config.empty_below * max(means)]


def slices_of(
    scan: Scan,
    numbers: Sequence[int],
    config: Config,
    undersample: bool,
    measured: Scan | None = None,
    coil_images: Tensor | None = None,
) -> list[Slice]:
    """Return slices of a scan.

    Parameters
    ----------
    scan
        The scan at the run's matrix, with maps if it has several coils.
    numbers
        Numbers of the slices.
    config
        Settings of the masks.
    undersample
        True: the image is the zero-filled one (domain X); False: the fully sampled one (domain Y).
    measured
        The same scan with corrupted k-space, if the measured data are simulated as corrupted.
    coil_images
        Coil images of all slices, fully sampled, so that they are not computed again; None: they are computed.
    """
    slices = []
    for index in numbers:
        mask = own_mask(scan, index, config)
        kspace = torch.from_numpy(scan.kspace[index])
        if undersample or coil_images is None:
            images = inverse_fourier(kspace * mask if undersample else kspace)
        else:
            images = coil_images[index]
            if len(numbers) < len(coil_images):
                images = images.clone()  # otherwise a few slices would keep the whole scan in memory
        coils = scan.sensitivity(index)
        if len(numbers) < len(scan.kspace):
            coils = coils.changed(torch.clone)  # as above
        one = Slice(coils.H(images), mask, 1.0, scan.name, index, scan.subject, coils)
        if measured is not None:
            images = inverse_fourier(torch.from_numpy(measured.kspace[index]))
        seen = coils.alike and measured is None  # then the image holds all that was measured
        slices.append(one if seen else replace(one, measured_images=images))
    return slices


def prepare(
    path: Path | Scan, config: Config, undersample: bool, paired: bool, format: Format | None = None
) -> Prepared:
    """Read a scan, of the given format if that is known, and make its usable slices; see :func:`read_pile`."""
    whole = read_scan(path, config.reading, format)
    scan = with_maps(whole.resized(config.matrix), config)
    if not undersample:
        check_fully_sampled(scan, "expected a fully sampled scan")
    coil_images = slice_by_slice(inverse_fourier, torch.from_numpy(scan.kspace))
    usable = _usable(coil_images, config)
    numbers = evenly(usable, config.slices_per_scan)
    spoilt = corrupted(scan, config.corruption)
    if undersample:
        slices = slices_of(spoilt, numbers, config, undersample)
    else:
        measured = spoilt if paired and spoilt is not scan else None
        slices = slices_of(scan, numbers, config, undersample, measured, coil_images)
    dropped, retrospective = len(scan.kspace) - len(usable), undersample and scan.mask is None
    maps, digest = not scan.sensitivity(0).alike, file_digest(path, scan.format)
    facts = (digest, maps, dropped, scan.synthetic, retrospective, whole.acceleration)
    return Prepared(slices, scan.subject, scan.matrix, *facts)


class MatrixCheck:
    """Refuses scans of different sizes if the settings give no matrix."""

    def __init__(self) -> None:
        self.first: tuple[Path, tuple[int, int]] | None = None

    def __call__(self, path: Path, matrix: tuple[int, int]) -> None:
        """Compare a scan's matrix with that of the first scan.

        Raises
        ------
        DataError
            If they differ; the message names both files and sizes.
        """
        self.first = self.first or (path, matrix)
        first, (h0, w0) = self.first
        if matrix != (h0, w0):
            raise DataError(
                f"{path}: matrix {matrix[0]}x{matrix[1]} differs from {h0}x{w0} of {first}; "
                "set 'matrix' to resize all scans in k-space"
            )


def read_pile(
    files: Sequence[Path | Scan],
    config: Config,
    check: MatrixCheck,
    *,
    undersample: bool,
    paired: bool = False,
    cache: Path | None = None,
) -> Pile:
    """Read scans into a pile.

    Parameters
    ----------
    files
        Scans.
    config
        The run's settings.
    check
        One check for all piles of a run.
    undersample
        True for domain X: fully sampled scans are undersampled retrospectively, others are used unchanged. False for
        domain Y and paired methods: undersampled scans are refused.
    paired
        Whether x is made from the same scans: x from the corrupted scan, and y from the scan without corruption.
    cache
        Folder of the cache of slices; see :mod:`switchrecon.data.cache`.

    Raises
    ------
    DataError
        If a file cannot be used, matrix sizes differ, or there is no usable slice at all.
    """
    pile, names, sources, several = Pile(), [], list[SliceSource](), set[bool]()
    for source in counted(files, f"reading {'undersampled' if undersample else 'fully sampled'} scan"):
        path = source.path if isinstance(source, Scan) else source
        if cache is None or isinstance(source, Scan):
            scan = prepare(source, config, undersample, paired)
        else:
            scan = through_cache(cache, path, config, prepare, undersample, paired)
        check(path, scan.matrix)
        if scan.sources:
            several.add(scan.maps)
        if len(several) > 1:
            raise DataError(f"{path}: has one coil and other scans several, or the reverse; do not mix one and several")
        sources += scan.sources
        pile.digests.append(scan.digest)
        pile.subjects.setdefault(scan.subject, path)
        pile.scans += 1
        pile.dropped += scan.dropped
        pile.synthetic += scan.synthetic
        pile.retrospective += scan.retrospective
        pile.accelerations += [scan.acceleration] if scan.acceleration > 1 else []
        names.append(str(path))
    if not sources:
        raise DataError(f"no usable slice in {', '.join(names) or 'an empty list of files'}")
    pile.slices = Slices(sources)
    return pile


def check_disjoint(first: dict[str, Path], second: dict[str, Path], what: str) -> None:
    """Refuse a subject that is on both sides.

    Raises
    ------
    DataError
        If there is one. The message names a file of each side, but not the subject, which may be a patient's number.
    """
    for subject in sorted(first.keys() & second.keys()):
        raise DataError(
            f"one subject is in both {what}: {first[subject]} and {second[subject]}; subjects must not be shared"
        )


@dataclass
class TrainingData:
    """The piles that a run learns from: ``full`` (Y) and ``sub`` (X).

    Paired and simulated methods have only ``full``; methods that learn from X alone have only ``sub``.
    """

    full: Pile | None
    sub: Pile | None

    @cached_property
    def matrix(self) -> tuple[int, int]:
        """Matrix (H, W) of all slices."""
        height, width = next(iter(self.piles.values())).slices[0].image.shape
        return height, width

    @property
    def coils(self) -> int:
        """Number of coils of a pile's first slice, the larger of both piles; 1 for coil-combined k-space."""
        first = [pile.slices[0] for pile in self.piles.values()]
        return max(one.coils.number for one in first)

    @property
    def piles(self) -> dict[str, Pile]:
        """The piles that this run has, by name."""
        return {name: pile for name, pile in (("full", self.full), ("sub", self.sub)) if pile is not None}

    def centre_fraction(self, config: Config) -> float:
        """Return the fraction whose k-space centre every slice has measured; it scales both domains by one rule."""
        fraction = config.mask.center_fraction
        sources = self.sub.sources if self.sub is not None else ()
        return min((source.full_centre(fraction) for source in sources), default=fraction)

    def scaled(self, config: Config) -> "TrainingData":
        """Divide every slice by its intensity scale, in place, and return the data."""
        stage("scaling the slices")
        fraction = self.centre_fraction(config)
        for pile in self.piles.values():
            pile.slices = slices = Slices.of(pile.slices)
            slices.scale(fraction, config.headroom)
        return self

    def to(self, device: torch.device) -> "TrainingData":
        """Return a copy of the data with its slices on a device."""

        def moved(pile: Pile | None) -> Pile | None:
            return None if pile is None else replace(pile, slices=Slices.of(pile.slices).to(device))

        return TrainingData(moved(self.full), moved(self.sub))

    def fingerprint(self) -> str:
        """Return a SHA-256 over the hashes of the scans, each slice's volume and acceleration, and the mean scale.

        It keeps a run from being continued with other data, or with data that another version scales or samples
        differently. Processors differ in the last bits of a scale, so that its geometric mean counts to a hundredth. No
        image is read for it.
        """
        digest = hashlib.sha256()
        for name, pile in self.piles.items():
            slices = [[source.volume, round(source.acceleration, 6)] for source in pile.sources]
            scale = statistics.fmean(math.log(source.scale) for source in pile.sources)
            digest.update(json.dumps([name, pile.digests, slices, round(scale, 2)]).encode())
        return FINGERPRINT + digest.hexdigest()


def read_training_data(
    full: Sequence[ScanInput],
    sub: Sequence[ScanInput],
    config: Config,
    pairing: Pairing,
    cache: Path | None = None,
) -> TrainingData:
    """Read the piles that a method needs.

    Parameters
    ----------
    full, sub
        Fully sampled and undersampled scans: files, folders, patterns, or scans in memory.
    config
        The run's settings.
    pairing
        ``unpaired`` needs both. ``paired`` pairs each fully sampled scan with its undersampled version; it takes the
        scans of both, or of ``sub`` alone if the settings say so. ``simulated`` uses ``full`` alone, ``undersampled``
        uses ``sub`` alone.
    cache
        Folder for prepared slices, so that memory does not grow with the number of scans; it is made if it is missing.
        None keeps all slices in memory.

    Raises
    ------
    DataError
        If a pile is missing or unusable, or a subject is in both.
    """
    check, count = MatrixCheck(), config.pile_slices

    def read(paths: Sequence[ScanInput], parts: int = 1, **how: bool) -> tuple[Pile, dict[str, Path]]:
        """Return a pile with at most the number of slices that the settings ask for, and all its subjects."""
        pile = read_pile(find_scans(paths), config, check, cache=cache, **how)
        return pile.thinned(count and count * parts), pile.subjects

    if pairing == "undersampled":
        if not sub:
            raise DataError(f"no undersampled scans: method '{config.method}' needs --sub PATH")
        return TrainingData(None, read(sub, undersample=True)[0]).scaled(config)
    if not full:
        raise DataError("no fully sampled scans: give --full PATH")
    if pairing == "simulated":
        return TrainingData(read(full, undersample=False)[0], None).scaled(config)
    if pairing == "paired":
        piles = [paths for paths in ((full, sub) if config.pairs == "both" else (sub,)) if paths]
        if not piles:
            raise DataError("pairs 'sub': learns from the scans of --sub PATH alone, but none are given")
        together = [path for paths in piles for path in paths]
        return TrainingData(read(together, len(piles), undersample=False, paired=True)[0], None).scaled(config)
    if not sub:
        raise DataError(f"no undersampled scans: method '{config.method}' needs --sub PATH")
    full_pile, full_subjects = read(full, undersample=False)
    sub_pile, sub_subjects = read(sub, undersample=True)
    check_disjoint(full_subjects, sub_subjects, "--full and --sub")
    return TrainingData(full_pile, sub_pile).scaled(config)
