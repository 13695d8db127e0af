"""The two piles of slices that a method learns from, made from files."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from switchrecon.config import Config
from switchrecon.data.augment import distort, draw_distortion, move, with_gamma
from switchrecon.data.corruption import corrupted
from switchrecon.data.files import file_digest, find_files, read_scan
from switchrecon.data.multicoil import with_maps
from switchrecon.data.scan import Scan, own_mask
from switchrecon.errors import DataError
from switchrecon.fourier import fourier, inverse_fourier
from switchrecon.masks import full_centre_fraction, measured_acceleration
from switchrecon.methods import Pairing
from switchrecon.scaling import combined, intensity_scale

Item = TypeVar("Item")


@dataclass(frozen=True)
class Slice:
    """One slice at the run's matrix.

    Attributes
    ----------
    image
        complex64 (H, W): the image of fully sampled k-space, or the zero-filled one, coils combined; divided by
        ``scale``.
    mask
        Boolean (H, W): the slice's own sampling. For a fully sampled slice, the mask it would have.
    scale
        In the units of the file's image; 1 before :meth:`TrainingData.scaled`.
    volume, index
        File name and slice number.
    subject
        Whose slice it is.
    maps
        Coil sensitivity maps, complex64 (n_coils, H, W); None with one coil.
    measured_images
        Of what was measured, divided by ``scale``: each coil's image, complex64 (n_coils, H, W); with one coil (H, W),
        or None where that is ``image`` itself.
    """

    image: Tensor
    mask: Tensor
    scale: float
    volume: str
    index: int
    subject: str
    maps: Tensor | None = None
    measured_images: Tensor | None = None

    @property
    def kspace(self) -> Tensor:
        """complex64 (H, W), or (n_coils, H, W) with several coils."""
        return fourier(self.image if self.measured_images is None else self.measured_images)

    def sampled_by(self, mask: Tensor) -> "Slice":
        """An undersampled slice with only those of its samples that a mask (H, W) keeps."""
        measured = inverse_fourier(self.kspace * mask)
        image = combined(measured, self.maps)
        several = None if self.maps is None else measured
        return replace(self, image=image, mask=self.mask & mask, measured_images=several)

    def distorted(self, random: RandomState, probability: float) -> "Slice":
        """A fully sampled slice, and its coils, distorted; what would have been measured of it follows from that."""
        matrix, gamma = draw_distortion(random, probability)
        if gamma == 1 and np.array_equal(matrix, np.eye(2, 3)):
            return self
        image = with_gamma(distort(self.image, matrix), gamma)
        maps = None if self.maps is None else distort(self.maps, matrix)
        measured = None if maps is None else maps * image
        return replace(self, image=image, maps=maps, measured_images=measured)

    def moved(self, symmetry: int) -> "Slice":
        """The slice, its mask and its coils, moved by one of :mod:`switchrecon.data.augment`'s symmetries."""
        maps, measured = (None if a is None else move(a, symmetry) for a in (self.maps, self.measured_images))
        image, mask = move(self.image, symmetry), move(self.mask, symmetry)
        return replace(self, image=image, mask=mask, maps=maps, measured_images=measured)


@dataclass
class Pile:
    """Slices of one domain, and what they came from."""

    slices: list[Slice] = field(default_factory=list)
    subjects: dict[str, Path] = field(default_factory=dict)  # each with one of its files
    scans: int = 0
    dropped: int = 0  # near-empty slices
    synthetic: int = 0  # scans whose k-space was computed from magnitudes
    retrospective: int = 0  # fully sampled scans that were undersampled here
    digests: list[str] = field(default_factory=list)  # SHA-256 of the files

    def acceleration(self) -> float:
        """Mean measured acceleration of the slices' own masks."""
        values = [measured_acceleration(s.mask.numpy()) for s in self.slices]
        return sum(values) / max(len(values), 1)

    def thinned(self, count: int | None) -> "Pile":
        """The same pile with ``count`` of its slices, evenly spread; all where that is None."""
        if count is None or count >= len(self.slices):
            return self
        slices = evenly(self.slices, count)
        left = {own.subject for own in slices}
        return replace(
            self,
            slices=slices,
            subjects={subject: path for subject, path in self.subjects.items() if subject in left},
            scans=len({own.volume for own in slices}),
        )


def evenly(items: Sequence[Item], count: int | None) -> list[Item]:
    """``count`` items at even places, in order; all of them where there are no more, or count is None."""
    if count is None or count >= len(items):
        return list(items)
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


def usable_slices(scan: Scan, config: Config) -> list[int]:
    """Numbers of the slices whose mean magnitude is at least ``empty_below`` of the brightest slice's."""
    means = inverse_fourier(torch.from_numpy(scan.kspace)).abs().reshape(len(scan.kspace), -1).mean(-1)
    return [i for i, mean in enumerate(means.tolist()) if mean > 0 and mean >= config.empty_below * means.max()]


def slices_of(
    scan: Scan, numbers: Sequence[int], config: Config, undersample: bool, measured: Scan | None = None
) -> list[Slice]:
    """Slices of a scan.

    Parameters
    ----------
    scan
        At the run's matrix, with maps where it has several coils.
    numbers
        Which slices.
    config
        Masks.
    undersample
        Whether the image is the zero-filled one (domain X) or the fully sampled one (domain Y).
    measured
        The same scan as it was measured, where that differs from what it should have been.
    """
    slices = []
    for index in numbers:
        mask = own_mask(scan, index, config)
        kspace = torch.from_numpy(scan.kspace[index])
        coil_images = inverse_fourier(kspace * mask if undersample else kspace)
        maps = torch.from_numpy(scan.maps[index]) if scan.maps is not None else None
        own = Slice(combined(coil_images, maps), mask, 1.0, scan.name, index, scan.subject, maps)
        if measured is not None:
            coil_images = inverse_fourier(torch.from_numpy(measured.kspace[index]))
        several = maps is not None or measured is not None
        slices.append(replace(own, measured_images=coil_images) if several else own)
    return slices


class MatrixCheck:
    """Refuses scans of different sizes where no matrix is set."""

    def __init__(self) -> None:
        self.first: Scan | None = None

    def __call__(self, scan: Scan) -> None:
        """Compare with the first scan.

        Raises
        ------
        DataError
            Naming both files and sizes.
        """
        self.first = self.first or scan
        if scan.matrix != self.first.matrix:
            (h, w), (h0, w0) = scan.matrix, self.first.matrix
            raise DataError(
                f"{scan.path}: matrix {h}x{w} differs from {h0}x{w0} of {self.first.path}; "
                "set 'matrix' to resize all scans in k-space"
            )


def read_pile(
    files: Iterable[Path], config: Config, check: MatrixCheck, *, undersample: bool, paired: bool = False
) -> Pile:
    """Read scans into a pile.

    Parameters
    ----------
    files
        Scans.
    config
        The run's settings.
    check
        Shared by the piles of a run.
    undersample
        True for domain X: fully sampled scans are undersampled retrospectively, others used as they are. False for
        domain Y and paired methods: truly undersampled scans are refused.
    paired
        Whether the scans are also measured: x is then made from the corrupted scan and y from the sound one.

    Raises
    ------
    DataError
        For a file that cannot be used, mixed matrix sizes, or no usable slice at all.
    """
    pile, names = Pile(), []
    for path in files:
        scan = with_maps(read_scan(path, config).resized(config.matrix), config)
        check(scan)
        if pile.slices and (scan.coils > 1) != (pile.slices[0].maps is not None):
            raise DataError(f"{path}: has {scan.coils} coils, unlike the scans before it; do not mix one and several")
        if not undersample and scan.mask is not None:
            found = measured_acceleration(scan.mask)
            raise DataError(f"{path}: undersampled k-space (acceleration {found:.1f}); expected a fully sampled scan")
        usable = usable_slices(scan, config)
        numbers = evenly(usable, config.slices_per_scan)
        spoilt = corrupted(scan, config.corruption)
        if undersample:
            pile.slices += slices_of(spoilt, numbers, config, undersample)
        else:
            measured = spoilt if paired and spoilt is not scan else None
            pile.slices += slices_of(scan, numbers, config, undersample, measured)
        pile.digests.append(file_digest(path))
        pile.subjects.setdefault(scan.subject, path)
        pile.scans += 1
        pile.dropped += len(scan.kspace) - len(usable)
        pile.synthetic += scan.synthetic
        pile.retrospective += undersample and scan.mask is None
        names.append(str(path))
    if not pile.slices:
        raise DataError(f"no usable slice in {', '.join(names) or 'an empty list of files'}")
    return pile


def check_disjoint(first: dict[str, Path], second: dict[str, Path], what: str) -> None:
    """Refuse a subject that stands on both sides.

    Raises
    ------
    DataError
        Naming a file of each side; not the subject, which may be a patient's number.
    """
    for subject in sorted(first.keys() & second.keys()):
        raise DataError(
            f"one subject is in both {what}: {first[subject]} and {second[subject]}; subjects must not be shared"
        )


@dataclass
class TrainingData:
    """What a run learns from: ``full`` (Y) and ``sub`` (X); paired and simulated methods have only ``full``.

    Methods that learn from X alone have only ``sub``.
    """

    full: Pile | None
    sub: Pile | None

    @property
    def matrix(self) -> tuple[int, int]:
        """(H, W)."""
        height, width = next(iter(self.piles.values())).slices[0].image.shape
        return height, width

    @property
    def piles(self) -> dict[str, Pile]:
        """The piles that there are, by name."""
        return {name: pile for name, pile in (("full", self.full), ("sub", self.sub)) if pile is not None}

    def centre_fraction(self, config: Config) -> float:
        """The k-space centre that every slice has measured, so that one rule scales both domains."""
        masks = [s.mask.numpy() for s in self.sub.slices] if self.sub is not None else []
        fraction = config.mask.center_fraction
        return min((full_centre_fraction(mask, fraction) for mask in masks), default=fraction)

    def scaled(self, config: Config) -> "TrainingData":
        """The same data with every slice divided by its intensity scale."""
        fraction = self.centre_fraction(config)
        for pile in self.piles.values():
            pile.slices = [_scaled(own, fraction, config.headroom) for own in pile.slices]
        return self

    def fingerprint(self) -> str:
        """SHA-256 over all images and masks, so that a run is never continued with other data."""
        digest = hashlib.sha256()
        for name, pile in self.piles.items():
            digest.update(name.encode())
            for own in pile.slices:
                digest.update(own.image.numpy().tobytes() + own.mask.numpy().tobytes())
        return digest.hexdigest()


def _scaled(own: Slice, fraction: float, headroom: float) -> Slice:
    scale = intensity_scale(own.kspace, fraction, headroom, maps=own.maps).item()
    measured = None if own.measured_images is None else own.measured_images / scale
    return replace(own, image=own.image / scale, scale=scale, measured_images=measured)


def read_training_data(
    full: Sequence[str | Path], sub: Sequence[str | Path], config: Config, pairing: Pairing
) -> TrainingData:
    """Read the piles that a method needs.

    Parameters
    ----------
    full, sub
        Paths of fully sampled and of undersampled scans: files, folders or patterns.
    config
        The run's settings.
    pairing
        ``unpaired`` needs both; ``paired`` takes each fully sampled scan of both with its own undersampled
        version; ``simulated`` uses ``full`` alone, ``undersampled`` uses ``sub`` alone.

    Raises
    ------
    DataError
        If a pile is missing or unusable, or a subject is in both.
    """
    check, count = MatrixCheck(), config.pile_slices
    if pairing == "undersampled":
        if not sub:
            raise DataError(f"no undersampled scans: method '{config.method}' needs --sub PATH")
        pile = read_pile(find_files(sub), config, check, undersample=True)
        return TrainingData(None, pile.thinned(count)).scaled(config)
    if not full:
        raise DataError("no fully sampled scans: give --full PATH")
    if pairing == "simulated":
        pile = read_pile(find_files(full), config, check, undersample=False)
        return TrainingData(pile.thinned(count), None).scaled(config)
    if pairing == "paired":
        files = sorted({*find_files(full), *(find_files(sub) if sub else [])})
        pile = read_pile(files, config, check, undersample=False, paired=True)
        return TrainingData(pile.thinned(count and count * (2 if sub else 1)), None).scaled(config)
    if not sub:
        raise DataError(f"no undersampled scans: method '{config.method}' needs --sub PATH")
    full_pile = read_pile(find_files(full), config, check, undersample=False)
    sub_pile = read_pile(find_files(sub), config, check, undersample=True)
    check_disjoint(full_pile.subjects, sub_pile.subjects, "--full and --sub")
    return TrainingData(full_pile.thinned(count), sub_pile.thinned(count)).scaled(config)
