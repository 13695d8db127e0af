"""What a study of lesions found, as records and as a table of all discs."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from switchrecon.core.files import NOTE, write_text
from switchrecon.core.records import Record
from switchrecon.evaluation.runs import Run
from switchrecon.evaluation.volumes import csv_text
from switchrecon.metrics.statistics import Unit, clustered_interval
from switchrecon.runs.environment import versions
from switchrecon.trust.doubt import PASSES
from switchrecon.trust.lesions import THRESHOLDS, Found, Lesion, Seen

FILE = "lesions.json"
CSV = "lesions.csv"


class Kept(Record):
    """What a method made of some discs.

    Attributes
    ----------
    diameter, contrast
        The diameter and contrast of the discs, in pixels and as a fraction of the local mean; None: all of them.
    lesions
        How many discs.
    recovery, leak
        Means; see :mod:`switchrecon.trust.discs`.
    lost, low, high
        The share of which less than half of the contrast is left, and the ends of its 95 % interval with subjects
        drawn; None with one subject.
    doubted
        The share of the lost ones that are among what is doubted most; None where none is lost.
    """

    diameter: int | None = None
    contrast: float | None = None
    lesions: int
    recovery: float
    leak: float
    lost: float
    low: float | None = None
    high: float | None = None
    doubted: float | None = None


class Point(Record):
    """A point of a free-response curve.

    Attributes
    ----------
    threshold
        The threshold, as a fraction of the truth's 99th percentile.
    false
        Connected regions of at least 3 pixels whose error is above it, per slice without a disc.
    found
        The share of the discs that stand out by at least as much, in their own direction.
    """

    threshold: float
    false: float
    found: float


class MethodLesions(Record):
    """One row: all discs, those of each size and contrast, and the free-response curve."""

    total: Kept
    sizes: tuple[Kept, ...]
    curve: tuple[Point, ...]


class LesionStudy(Record):
    """``lesions.json``.

    Attributes
    ----------
    note, created, versions
        The research mark, when, and with what.
    subjects, scans, slices
        That discs were put into.
    passes
        Number of passes for the doubt of lost discs.
    methods
        By name, zero filling first.
    weights_sha256
        Of the runs, by method; several where folds have runs of their own.
    """

    note: str = NOTE
    created: str
    subjects: int
    scans: int
    slices: int
    passes: int
    methods: dict[str, MethodLesions]
    weights_sha256: dict[str, tuple[str, ...]]
    versions: dict[str, str]


def study_of(found: Found, weights: Mapping[str, Sequence[str]], passes: int = PASSES) -> LesionStudy:
    """Summarise what was found.

    Parameters
    ----------
    found
        By method, a record a slice; each method has seen the same slices.
    weights
        Hashes of the runs' weights by method.
    passes
        Number of passes for the doubt.
    """
    lesions = [lesion for seen in next(iter(found.values())) for lesion in seen.lesions]
    return LesionStudy(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        subjects=len({lesion.subject for lesion in lesions}),
        scans=len({lesion.scan for lesion in lesions}),
        slices=len({(lesion.scan, lesion.slice) for lesion in lesions}),
        passes=passes,
        methods={name: _method(seen) for name, seen in found.items()},
        weights_sha256={name: tuple(each) for name, each in weights.items()},
        versions=versions(),
    )


def hashes(runs: Mapping[str, Run]) -> dict[str, list[str]]:
    """Return the hashes of runs' weights by name."""
    return {name: [run.card.weights_sha256] for name, run in runs.items()}


def write_study(out: Path, study: LesionStudy, found: Found) -> None:
    """Write ``lesions.csv``, a line for each disc and method, and ``lesions.json``; each is complete or absent."""
    rows = [
        {
            "method": name,
            "subject": f"subject-{lesion.subject:03d}",
            "scan": f"scan-{lesion.scan:03d}",
            "slice": lesion.slice,
            "row": lesion.disc.row,
            "column": lesion.disc.column,
            "diameter": lesion.disc.diameter,
            "contrast": lesion.contrast,
            "recovery": f"{lesion.recovery:.6g}",
            "leak": f"{lesion.leak:.6g}",
            "lost": int(lesion.lost),
            "doubted": "" if lesion.doubted is None else int(lesion.doubted),
        }
        for name, slices in found.items()
        for seen in slices
        for lesion in seen.lesions
    ]
    write_text(out / CSV, csv_text(rows))
    study.write(out / FILE)


def _method(slices: Sequence[Seen]) -> MethodLesions:
    lesions = [lesion for seen in slices for lesion in seen.lesions]
    kinds = sorted({(lesion.disc.diameter, lesion.contrast) for lesion in lesions})
    return MethodLesions(
        total=_kept(lesions),
        sizes=tuple(
            _kept([each for each in lesions if (each.disc.diameter, each.contrast) == kind], *kind) for kind in kinds
        ),
        curve=tuple(
            Point(
                threshold=threshold,
                false=float(np.mean([seen.false[number] for seen in slices])),
                found=float(np.mean([lesion.shown >= threshold for lesion in lesions])),
            )
            for number, threshold in enumerate(THRESHOLDS)
        ),
    )


def _kept(lesions: Sequence[Lesion], diameter: int | None = None, contrast: float | None = None) -> Kept:
    def mean(values: Iterable[float]) -> float:
        return float(np.mean(list(values)))

    lost = [each for each in lesions if each.lost]
    by_unit = {
        Unit(0, str(each.subject), str(each.scan), str(number)): float(each.lost) for number, each in enumerate(lesions)
    }
    low, high = clustered_interval(by_unit)
    return Kept(
        diameter=diameter,
        contrast=contrast,
        lesions=len(lesions),
        recovery=mean(each.recovery for each in lesions),
        leak=mean(each.leak for each in lesions),
        lost=len(lost) / len(lesions),
        low=low,
        high=high,
        doubted=mean(bool(each.doubted) for each in lost) if lost else None,
    )
