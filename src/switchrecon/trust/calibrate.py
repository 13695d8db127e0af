"""Calibrate a run: one score for each subject, and the factor of doubt that they allow."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from switchrecon.core.messages import PROGRESS
from switchrecon.core.sentences import count
from switchrecon.data.coils import with_maps
from switchrecon.data.corruption import corrupted
from switchrecon.data.piles import usable_slices
from switchrecon.errors import DataError
from switchrecon.physics.fourier import inverse_fourier
from switchrecon.physics.measured import brightest, foreground
from switchrecon.reconstruction.files import reconstruct_scan
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.files import ScanInput, find_scans, read_scan
from switchrecon.scans.scan import Scan, check_fully_sampled, own_mask
from switchrecon.trust.calibration import FILE, Calibration
from switchrecon.trust.conformal import FEWEST, promised, promised_for_fold, quantile, subject_score
from switchrecon.trust.doubt import KIND, PASSES
from switchrecon.trust.held_out import FOLDS
from switchrecon.trust.look import look_at, undersampled_part
from switchrecon.trust.sampling import kind_of

logger = logging.getLogger(__name__)


@dataclass
class Subject:
    """What was found of one subject, of all its scans.

    Attributes
    ----------
    errors, doubts, images
        The errors, doubts and images of the foreground pixels of each slice.
    tops
        The 99th percentile of each slice.
    features
        The features of each scan; see :data:`switchrecon.trust.look.NAMES`.
    shifted
        Features under other conditions, by their name; see :mod:`switchrecon.trust.shifts`.
    fold
        The fold of a cross-validation, which the subject is tested in.
    """

    errors: list[np.ndarray] = field(default_factory=list)
    doubts: list[np.ndarray] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)
    tops: list[float] = field(default_factory=list)
    features: list[tuple[float, ...]] = field(default_factory=list)
    shifted: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)
    fold: int = 0

    @property
    def score(self) -> float:
        """See :func:`~switchrecon.trust.conformal.subject_score`."""
        return subject_score(np.concatenate(self.errors), np.concatenate(self.doubts))

    def covered(self, factor: float) -> float:
        """Return the part of the foreground pixels whose truth lies within image ± factor · doubt."""
        return float((np.concatenate(self.errors) <= factor * np.concatenate(self.doubts)).mean())

    def width(self, factor: float) -> float:
        """Return the mean half width over the mean magnitude."""
        return float(factor * np.concatenate(self.doubts).mean() / np.concatenate(self.images).mean())


@dataclass
class Measured:
    """What was found of references: their subjects by name, all masks, and how many scans were synthetic."""

    subjects: dict[str, Subject] = field(default_factory=dict)
    masks: list[np.ndarray] = field(default_factory=list)
    synthetic: int = 0


Shift = Callable[[Reconstructor, Scan, list[int]], dict[str, tuple[float, ...]]]
"""Features of a fully sampled scan under other conditions, by their name."""


def measure_references(
    run: Path,
    reconstructor: Reconstructor,
    references: ScanInput | Sequence[ScanInput],
    into: Measured,
    subject_table: Path | None = None,
    passes: int = PASSES,
    folds: int = FOLDS,
    shift: Shift | None = None,
    fold: int = 0,
) -> None:
    """Undersample fully sampled scans, reconstruct them, and add what was found to their subjects.

    Parameters
    ----------
    run, reconstructor
        A run folder and what it holds.
    references
        Fully sampled scans of subjects that the run was not trained on.
    into
        Where it is added.
    subject_table
        A table of who was scanned in the place of the run's.
    passes, folds
        How many reconstructions doubt and the error on held-out samples take.
    shift
        Looks at the first subjects under other conditions.
    fold
        The fold of a cross-validation.

    Raises
    ------
    DataError
        For an undersampled reference, or one of a subject that the run was trained on.
    """
    config, card = reconstructor.config, reconstructor.card
    reading = config.reading if subject_table is None else replace(config.reading, subjects=subject_table)
    scans = find_scans(references)
    for number, path in enumerate(scans, 1):
        scan = read_scan(path, reading).resized(card.matrix)
        check_fully_sampled(scan, "a reference must be fully sampled")
        if card.knows(scan.subject):
            raise DataError(f"{scan.path}: its subject was used to train {run}; choose other references")
        known = into.subjects.setdefault(scan.subject, Subject(fold=fold))
        scan = with_maps(scan, config)
        numbers = usable_slices(scan, config)
        into.masks += _measure(reconstructor, scan, numbers, known, passes, folds)
        into.synthetic += scan.synthetic
        if shift is not None:
            for name, features in shift(reconstructor, scan, numbers).items():
                known.shifted.setdefault(name, []).append(features)
        PROGRESS.info("scan %d of %d looked at", number, len(scans))


def calibrate(
    run: str | Path,
    references: ScanInput | Sequence[ScanInput],
    device: str | None = None,
    trust_code: bool = False,
    subject_table: Path | None = None,
    passes: int = PASSES,
    folds: int = FOLDS,
    shift: Shift | None = None,
) -> tuple[Calibration, Measured]:
    """Calibrate a run's doubt and write ``calibration.json`` into its folder.

    Parameters
    ----------
    run
        A run folder.
    references
        Fully sampled scans of subjects that the run was not trained on. They are undersampled with the run's masks.
    device, trust_code
        See :meth:`~switchrecon.reconstruction.reconstructor.Reconstructor.load`.
    subject_table, passes, folds, shift
        See :func:`measure_references`.

    Returns
    -------
    Calibration
        What was written.
    Measured
        What it rests on.

    Raises
    ------
    DataError
        For an undersampled reference, one of a subject that the run was trained on, or fewer than 3 subjects.
    """
    run = Path(run)
    reconstructor = Reconstructor.load(run, device=device, trust_code=trust_code)
    measured = Measured()
    measure_references(run, reconstructor, references, measured, subject_table, passes, folds, shift)
    made = calibration_of(run, reconstructor, measured, passes, folds)
    made.write(run / FILE)
    logger.info("calibrated: %s", made.claim)
    return made, measured


def calibration_of(
    run: Path,
    reconstructor: Reconstructor,
    measured: Measured,
    passes: int = PASSES,
    folds: int = FOLDS,
    fold: int | None = None,
) -> Calibration:
    """Return the calibration that subjects allow.

    Parameters
    ----------
    run, reconstructor
        A run folder and what it holds.
    measured
        What was found of the subjects.
    passes, folds
        How many reconstructions there were.
    fold
        The fold of a cross-validation of the run's subjects, if runs of several folds were measured.

    Raises
    ------
    DataError
        For fewer than 3 subjects.
    """
    known = list(measured.subjects.values())
    if len(known) < FEWEST:
        raise DataError(
            f"{run}: {count(len(known), 'subject')}, too few to calibrate with; expected at least {FEWEST}, and 9 "
            "for a promise of 90 %"
        )
    scores = [subject.score for subject in known]
    unseen = [subject.score for subject in known if subject.fold == fold] if fold is not None else []
    accelerations = [mask.size / np.count_nonzero(mask) for mask in measured.masks]
    return Calibration(
        subjects=len(known),
        percent=promised(len(known)) if fold is None else promised_for_fold(len(unseen)),
        factor=max([quantile(scores), *unseen]),
        scores=tuple(sorted(scores)),
        features=tuple(_stored(features) for features in sorted(map(features_of, known), key=_order)),
        doubt=KIND,
        passes=passes,
        folds=folds,
        estimate=reconstructor.config.estimate,
        data_consistency=reconstructor.config.data_consistency,
        weights_sha256=reconstructor.card.weights_sha256,
        mask=kind_of(measured.masks[0]),
        accelerations=(min(accelerations), max(accelerations)),
        slices=sum(len(subject.errors) for subject in known),
        synthetic=measured.synthetic,
        kind="held out" if fold is None else "cross-fitted",
        fold_subjects=None if fold is None else len(unseen),
    )


def features_of(subject: Subject) -> tuple[float, ...]:
    """Return the mean features of a subject's scans."""
    return tuple(np.mean(subject.features, axis=0).tolist())


def _order(features: tuple[float, ...]) -> tuple[float, ...]:
    """Return what subjects are sorted by, so that their order tells nothing; NaN has no order of its own."""
    return tuple(np.nan_to_num(features).tolist())


def _stored(features: Iterable[float]) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else value for value in features)


def measured_as(reconstructor: Reconstructor, scan: Scan, numbers: list[int], masks: np.ndarray | None = None) -> Scan:
    """Some slices of a fully sampled scan as a run's masks, or others, would have measured them."""
    if masks is None:
        masks = np.stack([own_mask(scan, index, reconstructor.config).numpy() for index in numbers])
    noisy = corrupted(scan, reconstructor.config.corruption).kspace
    return undersampled_part(scan, noisy, masks, numbers)


def _measure(
    reconstructor: Reconstructor, scan: Scan, numbers: list[int], subject: Subject, passes: int, folds: int
) -> list[np.ndarray]:
    """Undersample a fully sampled scan, reconstruct it, and add what was found to its subject; return the masks."""
    truth = scan.sensitivity(numbers).H(inverse_fourier(torch.from_numpy(scan.kspace[numbers]))).abs()
    measured = measured_as(reconstructor, scan, numbers)
    assert measured.mask is not None
    found = reconstruct_scan(reconstructor, measured)
    looked, _ = look_at(reconstructor, measured, found, numbers, passes, folds)
    images = found.image.abs()
    if not images.any():
        raise DataError(f"{scan.path}: the run makes an image of zeros of it; nothing can be calibrated")
    for image, true, doubt in zip(images, truth, looked.doubt, strict=True):
        inside = foreground(image)
        subject.errors.append((image - true).abs()[inside].numpy())
        subject.doubts.append(doubt[inside].numpy())
        subject.images.append(image[inside].numpy())
        subject.tops.append(float(brightest(image)) or float(image.max()) or 1.0)
    subject.features.append(looked.features)
    return list(measured.mask)
