"""Look at a reconstruction: its error on held-out samples, its doubt, and whether the scan is like others."""

import hashlib
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from switchrecon.core.files import NOTE
from switchrecon.core.records import Record
from switchrecon.data.coils import one_coil
from switchrecon.data.features import FEATURES, slice_features
from switchrecon.data.piles import usable_slices
from switchrecon.errors import DataError
from switchrecon.physics.measured import noise_levels
from switchrecon.physics.operators import Encoding
from switchrecon.reconstruction.files import Beside, Look
from switchrecon.reconstruction.reconstructor import Reconstruction, Reconstructor
from switchrecon.runs.environment import versions
from switchrecon.scans.geometry import NO_GEOMETRY
from switchrecon.scans.maps import Map
from switchrecon.scans.scan import Scan
from switchrecon.trust.calibration import Calibration, read_calibration
from switchrecon.trust.conformal import shown, unlikeness
from switchrecon.trust.doubt import PASSES, doubt, softened
from switchrecon.trust.held_out import FOLDS, HeldOut, held_out
from switchrecon.trust.sampling import kind_of

logger = logging.getLogger(__name__)

NAMES = ("error on held-out samples", "chi square", "acceleration", *(name for _, name in FEATURES))
"""What the features of a scan are, in their order."""
UNCALIBRATED = "no doubt is claimed: the run was not calibrated; switchrecon calibrate does it"
SPREAD = "spread of the magnitude over repeated passes; no calibration says how far the truth is"


@dataclass(frozen=True)
class Looked:
    """What was found.

    Attributes
    ----------
    doubt
        Raw doubt + ε of each slice, float32 (N, H, W).
    held_out
        The error at held-out samples, for the slices with an image.
    features
        The numbers named in ``NAMES``; NaN where unknown.
    """

    doubt: Tensor
    held_out: HeldOut
    features: tuple[float, ...]


class TrustRecord(Record):
    """What a sidecar says of a reconstruction.

    Attributes
    ----------
    note
        The research mark.
    invented
        ‖invented part‖ / ‖image‖ over the foreground.
    residual, chi_square
        The residual and chi square of each slice; see :class:`switchrecon.physics.measured.Residual`.
    held_out_errors, held_out_error, held_out_reason
        See :class:`switchrecon.trust.held_out.HeldOut`; of the slices numbered in ``slices``.
    passes, folds
        Reconstructions that the doubt and the error on held-out samples took.
    claim
        What the doubt promises; empty without a calibration that fits.
    subjects, percent, factor
        The number of subjects of the calibration, its probability in percent, and its factor of raw doubt.
    p_value, unlike
        Whether the scan is like the calibration subjects, and the feature that is least so.
    mask, acceleration
        Columns, rows or points; samples over measured samples.
    weights_sha256
        Of the run.
    calibration_sha256, calibrated_on
        Of the calibration, as it is stored; whether its subjects were held out from the training.
    versions
        The versions of the software.
    """

    note: str = NOTE
    invented: float
    residual: tuple[float | None, ...]
    chi_square: tuple[float | None, ...]
    slices: tuple[int, ...]
    held_out_errors: tuple[float | None, ...]
    held_out_error: float | None
    held_out_reason: str
    passes: int
    folds: int
    claim: str = ""
    subjects: int | None = None
    percent: int | None = None
    factor: float | None = None
    p_value: float | None = None
    unlike: str = ""
    mask: str
    acceleration: float
    weights_sha256: str
    calibration_sha256: str = ""
    calibrated_on: str = ""
    versions: dict[str, str]


def look_at(
    reconstructor: Reconstructor,
    scan: Scan,
    found: Reconstruction,
    numbers: list[int] | None = None,
    passes: int = PASSES,
    folds: int = FOLDS,
) -> tuple[Looked, list[int]]:
    """Measure what can be known of a reconstruction without a truth.

    Parameters
    ----------
    reconstructor, scan, found
        A scan with mask, and maps where it has several coils, and what became of it.
    numbers
        The numbers of its slices in its file; None: from 0.
    passes, folds
        How many reconstructions the doubt and the error on held-out samples take.

    Returns
    -------
    Looked
        What was found.
    list of int
        The slices with an image, which the error on held-out samples and the features are of.
    """
    assert scan.mask is not None
    numbers = list(range(len(scan.kspace))) if numbers is None else numbers
    kspace, encoding = torch.from_numpy(scan.kspace), Encoding(torch.from_numpy(scan.mask), scan.sensitivity())
    sigma = noise_levels(kspace, encoding)
    fraction = reconstructor.card.center_fraction
    raw = doubt(reconstructor.phased, kspace, encoding, found.phased, fraction, scan.name, numbers, passes)
    error, features, used = features_at(reconstructor, scan, found, numbers, folds)
    return Looked(softened(raw, found.image, sigma), error, features), used


def features_at(
    reconstructor: Reconstructor, scan: Scan, found: Reconstruction, numbers: list[int], folds: int = FOLDS
) -> tuple[HeldOut, tuple[float, ...], list[int]]:
    """Return the error on held-out samples, the numbers named in ``NAMES``, and which slices these are of.

    Parameters and the slices are those of :func:`look_at`.
    """
    assert scan.mask is not None
    kspace, encoding = torch.from_numpy(scan.kspace), Encoding(torch.from_numpy(scan.mask), scan.sensitivity())
    fraction, used = reconstructor.card.center_fraction, usable_slices(scan, reconstructor.config)
    error = held_out(
        reconstructor.phased,
        kspace[used],
        Encoding(encoding.mask[used], encoding.coils.changed(lambda maps: maps[used])),
        noise_levels(kspace, encoding)[used],
        fraction,
        scan.name,
        [numbers[index] for index in used],
        folds,
    )
    return error, _features(scan, found, error, used, fraction), used


def _features(scan: Scan, found: Reconstruction, error: HeldOut, used: list[int], fraction: float) -> tuple[float, ...]:
    assert scan.mask is not None
    single = one_coil(scan)
    slices = [slice_features(single[index], scan.mask[index], fraction)[0] for index in used]
    chi_square = found.residual.chi_square[used]
    known = chi_square[torch.isfinite(chi_square)]
    middle = float(known.median()) if len(known) else math.nan
    numbers = (_log(error.error), _log(middle), math.log(scan.acceleration))
    return (*numbers, *(np.median(slices, axis=0).tolist() if slices else [math.nan] * len(FEATURES)))


def _log(value: float) -> float:
    """Logarithm of a number that may be as small as rounding makes it; NaN of NaN."""
    return math.log(max(value, 1e-6)) if math.isfinite(value) else math.nan


def looking(calibration: Calibration | None, passes: int = PASSES, folds: int = FOLDS) -> Look:
    """Return what looks at each reconstruction: see :class:`~switchrecon.reconstruction.files.Beside`.

    Parameters
    ----------
    calibration
        The calibration of the run, which says how many passes there are; None: the spread is written without a promise.
    passes, folds
        Without a calibration.
    """
    if calibration is not None:
        passes, folds = calibration.passes, calibration.folds

    def look(reconstructor: Reconstructor, scan: Scan, found: Reconstruction) -> Beside:
        looked, used = look_at(reconstructor, scan, found, passes=passes, folds=folds)
        assert scan.mask is not None
        kind, error = kind_of(scan.mask[used[0] if used else 0]), looked.held_out
        record = TrustRecord(
            invented=found.share,
            residual=_stored(found.residual.relative),
            chi_square=_stored(found.residual.chi_square),
            slices=tuple(used),
            held_out_errors=_stored(torch.tensor(error.errors)),
            held_out_error=error.error if math.isfinite(error.error) else None,
            held_out_reason=error.reason,
            passes=passes,
            folds=folds,
            mask=kind,
            acceleration=scan.acceleration,
            weights_sha256=reconstructor.card.weights_sha256,
            versions=versions(),
        )
        said = f"error on held-out samples: {error.reason}"
        if math.isfinite(error.error):
            said = (
                f"error on held-out samples {error.error:.3f} of their energy, of a reconstruction from fewer samples: "
                "pessimistic"
            )
        if calibration is None:
            return Beside([Map("spread", looked.doubt.numpy(), SPREAD)], [said, UNCALIBRATED], record)
        others = [[math.nan if value is None else value for value in each] for each in calibration.features]
        p_value, which = unlikeness(looked.features, others)
        least = NAMES[which] if which >= 0 else ""
        alike = shown(p_value, calibration.subjects) + (f"; least alike in: {least}" if least else "")
        record = record.model_copy(update={"p_value": p_value, "unlike": least})
        try:
            calibration.check_mask(kind, scan.acceleration)
        except DataError as problem:
            maps = [Map("spread", looked.doubt.numpy(), SPREAD)]
            return Beside(maps, [said, f"no doubt is claimed: {problem}", alike], record)
        claim = calibration.claim
        update = {
            "claim": claim,
            "subjects": calibration.subjects,
            "percent": calibration.percent,
            "factor": calibration.factor,
            "calibration_sha256": hashlib.sha256(calibration.model_dump_json().encode()).hexdigest(),
            "calibrated_on": calibration.kind,
        }
        width = (calibration.factor * looked.doubt).numpy()
        about = f"half width of the band around the image's magnitude: {claim}"
        return Beside([Map("doubt", width, about)], [said, claim, alike], record.model_copy(update=update))

    return look


def look_of(run: Path, reconstructor: Reconstructor, asked: bool, adapted: bool) -> Look | None:
    """Return what looks at a run's reconstructions: where it is calibrated, or where that is asked for; else None.

    Parameters
    ----------
    run
        The folder.
    reconstructor
        The run as it will be used.
    asked
        Look also without a calibration.
    adapted
        Whether the network learns on from each scan, so that a calibration says nothing of it.
    """
    calibration = read_calibration(run, reconstructor)
    if calibration is not None and adapted:
        logger.warning("%s: no doubt is claimed: an adapted network is not the one that was calibrated", run)
        return looking(None)
    return looking(calibration) if calibration is not None or asked else None


def _stored(values: Tensor) -> tuple[float | None, ...]:
    return tuple(value if math.isfinite(value) else None for value in values.tolist())


def undersampled_part(scan: Scan, kspace: np.ndarray, masks: np.ndarray, numbers: list[int]) -> Scan:
    """Some slices of a fully sampled scan with masks (slices, H, W), as if so measured."""
    return replace(
        scan,
        kspace=(kspace[numbers] * masks[:, None]).astype(np.complex64),
        mask=masks,
        maps=None if scan.maps is None else scan.maps[numbers],
        calibration=None,
        noise=None,
        geometry=NO_GEOMETRY,
    )
