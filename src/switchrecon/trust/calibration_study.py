"""What a calibration rests on, as records and as a table of subjects: coverage, and what the doubt is worth."""

import datetime
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from switchrecon.core.files import NOTE, write_text
from switchrecon.core.records import Record
from switchrecon.evaluation.volumes import csv_text
from switchrecon.runs.environment import versions
from switchrecon.trust.calibrate import Measured, Subject, features_of
from switchrecon.trust.calibration import Calibration
from switchrecon.trust.conformal import unlikeness
from switchrecon.trust.worth import KEPT, auroc, risk, spearman

FILE = "calibration-study.json"
CSV = "calibration.csv"
LARGE = 0.1  # of the 99th percentile: an error above it is large
SAME = "the same law"


class SubjectRow(Record):
    """One subject.

    Attributes
    ----------
    slices
        How many.
    score
        The smallest factor that would do for it.
    covered, half_width
        The share of its foreground pixels whose truth lies in the band that the largest score of the *other* subjects
        gives, and the mean half width of that band over the mean magnitude.
    fold
        The fold of a cross-validation.
    """

    slices: int
    score: float
    covered: float
    half_width: float
    fold: int = 0


class Quartiles(Record):
    """Median and quartiles over slices, and how many slices have such a number."""

    low: float | None = None
    median: float | None = None
    high: float | None = None
    slices: int = 0


class CalibrationStudy(Record):
    """``calibration-study.json``; it names no subject.

    Attributes
    ----------
    note, created, versions
        The research mark, when, and with what.
    claim, percent, factor, kind
        The calibration's promise, its percentage, factor and kind.
    subjects
        A row each.
    spearman, auroc
        Rank correlation of doubt and error in the foreground of each slice; AUROC for errors above 10 % of the 99th
        percentile.
    kept, risk, oracle
        The mean error, in units of the 99th percentile, of the share of pixels that is kept as the most doubted go,
        over all subjects alike; and as those with the largest error go.
    excess
        The mean of ``risk`` over that of ``oracle``, less 1: 0 is perfect.
    p_values
        By condition, one for each subject that was looked at, against the others.
    """

    note: str = NOTE
    created: str
    claim: str
    percent: int
    factor: float
    kind: str
    subjects: tuple[SubjectRow, ...]
    spearman: Quartiles
    auroc: Quartiles
    kept: tuple[float, ...]
    risk: tuple[float, ...]
    oracle: tuple[float, ...]
    excess: float
    p_values: dict[str, tuple[float, ...]]
    versions: dict[str, str]


def study_of(made: Calibration, measured: Measured) -> CalibrationStudy:
    """Summarise what was measured of the subjects of a calibration."""
    known = list(measured.subjects.values())
    slices = [pair for one in known for pair in zip(one.errors, one.doubts, one.tops, strict=True)]
    kept = [_risks(one) for one in known]
    risks, oracle = (np.mean([one[which] for one in kept], axis=0) for which in (0, 1))
    return CalibrationStudy(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        claim=made.claim,
        percent=made.percent,
        factor=made.factor,
        kind=made.kind,
        subjects=tuple(_row(known, number) for number in range(len(known))),
        spearman=quartiles([spearman(error, doubt) for error, doubt, _ in slices]),
        auroc=quartiles([auroc(doubt, error > LARGE * top) for error, doubt, top in slices]),
        kept=KEPT,
        risk=tuple(risks.tolist()),
        oracle=tuple(oracle.tolist()),
        excess=float(risks.mean() / oracle.mean() - 1) if oracle.mean() > 0 else math.inf,
        p_values=_p_values(known),
        versions=versions(),
    )


def write_study(out: Path, study: CalibrationStudy) -> None:
    """Write ``calibration.csv``, a line for each subject, and ``calibration-study.json``; each complete or absent."""
    rows = [
        {
            "subject": f"subject-{number:03d}",
            "fold": one.fold,
            "slices": one.slices,
            "score": f"{one.score:.6g}",
            "covered_by_others": f"{one.covered:.6g}",
            "half_width_by_others": f"{one.half_width:.6g}",
        }
        for number, one in enumerate(study.subjects, 1)
    ]
    write_text(out / CSV, csv_text(rows))
    study.write(out / FILE)


def quartiles(values: Sequence[float]) -> Quartiles:
    """Median and quartiles of what is a number."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return Quartiles()
    low, median, high = np.percentile(known, (25, 50, 75)).tolist()
    return Quartiles(low=low, median=median, high=high, slices=len(known))


def _row(known: Sequence[Subject], number: int) -> SubjectRow:
    one = known[number]
    factor = max(other.score for place, other in enumerate(known) if place != number)
    return SubjectRow(
        slices=len(one.errors),
        score=one.score,
        covered=one.covered(factor),
        half_width=one.width(factor),
        fold=one.fold,
    )


def _risks(one: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Return a subject's curve and the oracle's, in units of each slice's 99th percentile."""
    error, doubt = (
        np.concatenate([values / top for values, top in zip(of, one.tops, strict=True)])
        for of in (one.errors, one.doubts)
    )
    return risk(error, doubt), risk(error, error)


def _p_values(known: Sequence[Subject]) -> dict[str, tuple[float, ...]]:
    """Return each subject's p-value against the others, as it is and under other conditions."""
    found: dict[str, list[float]] = {SAME: []}
    for number, one in enumerate(known):
        others = [features_of(other) for place, other in enumerate(known) if place != number]
        found[SAME].append(unlikeness(features_of(one), others)[0])
        for name, features in one.shifted.items():
            found.setdefault(name, []).append(unlikeness(np.mean(features, axis=0).tolist(), others)[0])
    return {name: tuple(values) for name, values in found.items()}
