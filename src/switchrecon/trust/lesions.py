"""Lesions: what a reconstruction keeps of small structures that are put into a scan, and what it makes up.

Each soft disc of :mod:`switchrecon.trust.discs` is added to the complex truth, before the coils, so that the scan with
it and the scan without share mask and noise. What differs between their two reconstructions is what became of the disc.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from switchrecon.config import Config
from switchrecon.core.messages import PROGRESS
from switchrecon.core.seeds import numpy_random
from switchrecon.data.coils import with_maps
from switchrecon.data.corruption import corrupted
from switchrecon.data.piles import evenly, usable_slices
from switchrecon.errors import DataError
from switchrecon.evaluation.baselines import zero_filled
from switchrecon.evaluation.runs import Run, check_unseen, load_runs
from switchrecon.evaluation.volumes import ZERO_FILLED
from switchrecon.physics.fourier import inverse_fourier
from switchrecon.physics.measured import brightest, foreground
from switchrecon.physics.operators import Encoding
from switchrecon.scans.files import ScanInput, find_scans, read_scan
from switchrecon.scans.scan import Scan, check_fully_sampled, own_mask
from switchrecon.trust.discs import CONTRASTS, DIAMETERS, Disc, addition, doubted, leak, place, recovery, regions
from switchrecon.trust.doubt import PASSES, doubt
from switchrecon.trust.held_out import Estimate

logger = logging.getLogger(__name__)

LOST = 0.5  # of the contrast: less is lost
THRESHOLDS = (0.05, 0.075, 0.1, 0.15, 0.2, 0.3)  # of the truth's 99th percentile
SLICES = 3  # of a scan, evenly spread


@dataclass(frozen=True)
class Lesion:
    """What one method made of one disc.

    Attributes
    ----------
    subject, scan, slice
        Which, by number.
    disc, contrast
        What was added.
    recovery, leak
        See :mod:`switchrecon.trust.discs`.
    doubted
        Whether a lost disc was among what is doubted most; None where it is not lost.
    shown
        The mean change in the disc, over the truth's 99th percentile, in the direction of the true one.
    """

    subject: int
    scan: int
    slice: int
    disc: Disc
    contrast: float
    recovery: float
    leak: float
    doubted: bool | None
    shown: float

    @property
    def lost(self) -> bool:
        """Whether less than half of its contrast is left, or none that can be told."""
        return not self.recovery >= LOST


@dataclass(frozen=True)
class Seen:
    """What one method made of one slice: its lesions, and for each of ``THRESHOLDS`` its false structures."""

    lesions: tuple[Lesion, ...]
    false: tuple[int, ...]


Found = dict[str, list[Seen]]
"""By method, a record a slice."""


def look_for_lesions(
    folders: Sequence[Path],
    references: Sequence[ScanInput],
    device: str | None = None,
    trust_code: bool = False,
    subject_table: Path | None = None,
    slices_per_scan: int | None = SLICES,
    called: Sequence[str] = (),
    passes: int = PASSES,
) -> tuple[Found, dict[str, Run]]:
    """Put discs into fully sampled scans and look what runs, and zero filling, make of them.

    Parameters
    ----------
    folders
        Run folders with equal matrix and masks; the references are undersampled with these.
    references
        Fully sampled scans of subjects that no run was trained on.
    device, trust_code
        See :meth:`~switchrecon.reconstruction.reconstructor.Reconstructor.load`.
    subject_table
        A table of who was scanned in the place of the runs'.
    slices_per_scan
        So many of each scan's usable slices, evenly spread; None: all.
    called
        Names of the runs; none: their methods'.
    passes
        Reconstructions that the doubt of a lost disc takes.

    Returns
    -------
    dict
        What was found by method, zero filling first.
    dict
        The runs by the same names.

    Raises
    ------
    DataError
        For an undersampled reference, one of a subject that a run was trained on, or no slice with room for a disc.
    RunError
        For runs that cannot be compared.
    """
    runs = load_runs(folders, device, trust_code, called)
    first = next(iter(runs.values())).reconstructor
    config = first.config
    reading = config.reading if subject_table is None else replace(config.reading, subjects=subject_table)
    estimates: dict[str, Estimate] = {ZERO_FILLED: _zero_filled}
    estimates |= {name: run.reconstructor.phased for name, run in runs.items()}
    found: Found = {name: [] for name in estimates}
    subjects: dict[str, int] = {}
    scans = find_scans(references)
    for number, path in enumerate(scans, 1):
        scan = read_scan(path, reading).resized(first.card.matrix)
        check_fully_sampled(scan, "a reference must be fully sampled")
        check_unseen(scan, runs)
        scan = with_maps(scan, config)
        subject = subjects.setdefault(scan.subject, len(subjects) + 1)
        for index in evenly(usable_slices(scan, config), slices_per_scan):
            pairs = Pairs.of(scan, index, config)
            for name, estimate in estimates.items():
                place_of = subject, number, index
                found[name].append(pairs.seen_by(estimate, first.card.center_fraction, place_of, passes))
        PROGRESS.info("lesions: scan %d of %d looked at", number, len(scans))
    if not any(seen.lesions for seen in found[ZERO_FILLED]):
        raise DataError(
            f"{scans[0]}: no slice of the references has room for a disc of {min(DIAMETERS)} pixels in its foreground"
        )
    return found, runs


@dataclass(frozen=True)
class Pairs:
    """A slice without and with each disc, as it was measured.

    Attributes
    ----------
    truth
        Complex (1 + discs, H, W); the first is without.
    kspace
        Complex (1 + discs, n_coils, H, W), undersampled.
    encoding
        A, for all of them.
    discs
        What was added, with its contrast.
    name
        The name of the scan, which passes are drawn by.
    """

    truth: Tensor
    kspace: Tensor
    encoding: Encoding
    discs: tuple[tuple[Disc, float], ...]
    name: str

    @staticmethod
    def of(scan: Scan, index: int, config: Config) -> "Pairs":
        """Put every disc into a slice of a fully sampled scan, which has maps where it has several coils."""
        coils = scan.sensitivity([index])
        truth = coils.H(inverse_fourier(torch.from_numpy(scan.kspace[[index]])))
        mask = own_mask(scan, index, config)
        inside = foreground(truth)[0].numpy()
        placed = [place(inside, size, numpy_random("lesion", scan.name, index, size)) for size in DIAMETERS]
        discs = tuple((disc, contrast) for disc in placed if disc is not None for contrast in CONTRASTS)
        added = torch.stack([torch.zeros_like(truth[0]), *(addition(truth[0], *each) for each in discs)])
        many = coils.changed(lambda maps: maps.expand(len(added), -1, -1, -1))
        whole = Encoding(torch.ones_like(mask).expand(len(added), -1, -1), many)
        measured = torch.from_numpy(corrupted(scan, config.corruption).kspace[[index]])
        more = whole(added)
        if config.corruption.kind in ("phase-errors", "ghosts"):  # which befall the discs as well
            more = _spoilt(more, scan, index, config)
        return Pairs(
            truth + added,
            (measured + more) * mask,
            Encoding(mask.expand(len(added), -1, -1), many),
            discs,
            f"{scan.name} {index}",
        )

    def seen_by(self, estimate: Estimate, center_fraction: float, where: tuple[int, int, int], passes: int) -> Seen:
        """Reconstruct without and with each disc, and compare.

        Parameters
        ----------
        estimate
            The reconstruction.
        center_fraction
            The centre of k-space that no pass leaves out.
        where
            The numbers of subject, scan and slice.
        passes
            Reconstructions that the doubt of a lost disc takes.
        """
        phased = estimate(self.kspace, self.encoding)
        images, truths = phased.abs(), self.truth.abs()
        white = brightest(truths[0])
        lesions = [
            Lesion(
                *where,
                disc,
                contrast,
                recovery(change, true_change, profile),
                leak(change, true_change, profile),
                None,
                float((np.sign(contrast) * change[profile >= 0.5]).mean() / white),
            )
            for disc, contrast, change, true_change, profile in self._changes(images, truths)
        ]
        for number, lesion in enumerate(lesions):
            if lesion.lost:
                one = slice(number + 1, number + 2)
                part = self.kspace[one], self.encoding[one]
                raw = doubt(estimate, *part, phased[one], center_fraction, self.name, [0], passes)[0]
                inside = foreground(images[one])[0]
                lesions[number] = replace(
                    lesion, doubted=doubted(raw, lesion.disc.profile((raw.shape[0], raw.shape[1])), inside)
                )
        error = (images[0] - truths[0]).abs() / white
        return Seen(tuple(lesions), tuple(regions(error > threshold) for threshold in THRESHOLDS))

    def _changes(self, images: Tensor, truths: Tensor) -> Iterator[tuple[Disc, float, Tensor, Tensor, Tensor]]:
        for (disc, contrast), image, truth in zip(self.discs, images[1:], truths[1:], strict=True):
            yield disc, contrast, image - images[0], truth - truths[0], disc.profile((truth.shape[0], truth.shape[1]))


def _zero_filled(kspace: Tensor, encoding: Encoding) -> Tensor:
    return zero_filled(kspace, encoding.mask, encoding.coils)


def _spoilt(kspace: Tensor, scan: Scan, index: int, config: Config) -> Tensor:
    """K-space of discs (discs, n_coils, H, W) with the phase errors of its slice."""
    ones = corrupted(replace(scan, kspace=np.ones_like(scan.kspace)), config.corruption).kspace[index]
    return kspace * torch.from_numpy(ones)
