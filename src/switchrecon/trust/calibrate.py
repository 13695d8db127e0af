"""Calibrate a run: one score for each subject, and the factor of doubt that they allow."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from switchrecon.core.files import write_text
from switchrecon.core.messages import PROGRESS
from switchrecon.data.coils import with_maps
from switchrecon.data.corruption import corrupted
from switchrecon.data.piles import usable_slices
from switchrecon.errors import DataError
from switchrecon.physics.fourier import inverse_fourier
from switchrecon.physics.measured import foreground
from switchrecon.reconstruction.files import reconstruct_scan
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.files import ScanInput, find_scans, read_scan
from switchrecon.scans.scan import Scan, check_fully_sampled, own_mask
from switchrecon.trust.calibration import FILE, Calibration
from switchrecon.trust.conformal import FEWEST, promised, quantile, sentence, subject_score
from switchrecon.trust.doubt import PASSES
from switchrecon.trust.held_out import FOLDS
from switchrecon.trust.look import look_at, undersampled_part
from switchrecon.trust.sampling import kind_of

logger = logging.getLogger(__name__)


@dataclass
class Subject:
    """What was found of one subject, of all its scans: of each foreground pixel, and of each scan."""

    errors: list[np.ndarray] = field(default_factory=list)
    doubts: list[np.ndarray] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)
    features: list[tuple[float, ...]] = field(default_factory=list)
    slices: int = 0

    @property
    def score(self) -> float:
        """See :func:`~switchrecon.trust.conformal.subject_score`."""
        return subject_score(np.concatenate(self.errors), np.concatenate(self.doubts))

    def covered(self, factor: float) -> float:
        """The part of the foreground pixels whose truth lies within image ± factor · doubt."""
        return float((np.concatenate(self.errors) <= factor * np.concatenate(self.doubts)).mean())

    def width(self, factor: float) -> float:
        """The mean half width over the mean magnitude."""
        return float(factor * np.concatenate(self.doubts).mean() / np.concatenate(self.images).mean())


def calibrate(
    run: Path,
    references: Sequence[ScanInput],
    out: Path | None = None,
    device: str | None = None,
    trust_code: bool = False,
    subject_table: Path | None = None,
    passes: int = PASSES,
    folds: int = FOLDS,
) -> Calibration:
    """Calibrate a run's doubt and write ``calibration.json`` into its folder.

    Parameters
    ----------
    run
        A run folder.
    references
        Fully sampled scans of subjects that the run was not trained on. They are undersampled with the run's masks.
    out
        Gets ``calibration.csv``: a row for each subject, with what the other subjects' scores give it.
    device, trust_code
        See :meth:`~switchrecon.reconstruction.reconstructor.Reconstructor.load`.
    subject_table
        A table of who was scanned in the place of the run's.
    passes, folds
        How many reconstructions doubt and the error on held-out samples take.

    Raises
    ------
    DataError
        For an undersampled reference, one of a subject that the run was trained on, or fewer than 3 subjects.
    """
    reconstructor = Reconstructor.load(run, device=device, trust_code=trust_code)
    config, card = reconstructor.config, reconstructor.card
    reading = config.reading if subject_table is None else replace(config.reading, subjects=subject_table)
    scans = find_scans(references)
    subjects: dict[str, Subject] = {}
    masks: list[np.ndarray] = []
    synthetic = 0
    for number, path in enumerate(scans, 1):
        scan = read_scan(path, reading).resized(card.matrix)
        check_fully_sampled(scan, "a reference must be fully sampled")
        if card.knows(scan.subject):
            raise DataError(f"{scan.path}: its subject was used to train {run}; choose other references")
        subject = subjects.setdefault(scan.subject, Subject())
        masks += _measure(reconstructor, with_maps(scan, config), subject, passes, folds)
        synthetic += scan.synthetic
        PROGRESS.info("scan %d of %d looked at", number, len(scans))
    if len(subjects) < FEWEST:
        raise DataError(
            f"{run}: {len(subjects)} subjects are too few to calibrate with; expected at least {FEWEST}, and 9 for a "
            "promise of 90 %"
        )
    known = list(subjects.values())
    scores = [subject.score for subject in known]
    accelerations = [mask.size / np.count_nonzero(mask) for mask in masks]
    calibration = Calibration(
        subjects=len(known),
        percent=promised(len(known)),
        factor=quantile(scores),
        scores=tuple(sorted(scores)),
        features=tuple(
            tuple(None if np.isnan(value) else value for value in np.mean(subject.features, axis=0).tolist())
            for subject in sorted(known, key=lambda subject: subject.features)
        ),
        passes=passes,
        folds=folds,
        estimate=config.estimate,
        data_consistency=config.data_consistency,
        weights_sha256=card.weights_sha256,
        mask=kind_of(masks[0]),
        accelerations=(min(accelerations), max(accelerations)),
        slices=sum(subject.slices for subject in known),
        synthetic=synthetic,
    )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "calibration.csv", _table(known, scores))
    calibration.write(run / FILE)
    logger.info("calibrated: %s", sentence(len(known)))
    return calibration


def _measure(reconstructor: Reconstructor, scan: Scan, subject: Subject, passes: int, folds: int) -> list[np.ndarray]:
    """Undersample a fully sampled scan, reconstruct it, and add what was found to its subject; return the masks."""
    numbers = usable_slices(scan, reconstructor.config)
    masks = np.stack([own_mask(scan, index, reconstructor.config).numpy() for index in numbers])
    truth = scan.sensitivity(numbers).H(inverse_fourier(torch.from_numpy(scan.kspace[numbers]))).abs()
    noisy = corrupted(scan, reconstructor.config.corruption).kspace
    measured = undersampled_part(scan, noisy, masks, numbers)
    found = reconstruct_scan(reconstructor, measured)
    looked, _ = look_at(reconstructor, measured, found, numbers, passes, folds)
    image = found.image.abs()
    inside = foreground(image)
    subject.errors.append((image - truth).abs()[inside].numpy())
    subject.doubts.append(looked.doubt[inside].numpy())
    subject.images.append(image[inside].numpy())
    subject.features.append(looked.features)
    subject.slices += len(numbers)
    return list(masks)


def _table(known: Sequence[Subject], scores: Sequence[float]) -> str:
    """CSV: each subject's score, and its band by the largest score of the others."""
    rows = ["subject,slices,score,covered_by_others,half_width_by_others"]
    for index, subject in enumerate(known):
        factor = max(score for other, score in enumerate(scores) if other != index)
        rows.append(
            f"subject-{index + 1:03d},{subject.slices},{scores[index]:.6g},{subject.covered(factor):.6g},"
            f"{subject.width(factor):.6g}"
        )
    return "\n".join(rows) + "\n"
