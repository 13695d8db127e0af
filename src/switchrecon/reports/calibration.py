"""The page about a calibration: who is covered, what the doubt is worth, and which scans look unlike."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from switchrecon.reports.curves import Panel, bars_figure, curves_figure
from switchrecon.reports.sections import Drawing, Section, read_record, write_sections
from switchrecon.reports.tables import Layout
from switchrecon.trust.calibration_study import FILE, CalibrationStudy, Quartiles
from switchrecon.trust.conformal import COVERED


def write_calibration_page(folder: Path) -> Path:
    """Write ``report.html`` about a calibration into the folder of what it rests on.

    Raises
    ------
    RunError
        If that is missing or damaged.
    """
    study = read_study(folder)
    summary = [f"{study.claim[0].upper()}{study.claim[1:]}.", f"Doubt is {study.factor:.3g} times the spread."]
    sections = [_coverage(study), _worth(study), _alike(study)]
    return write_sections(folder / "report.html", "Calibration", study.created, summary, sections, study.versions)


def read_study(folder: Path) -> CalibrationStudy:
    """Read what a calibration rests on from its folder.

    Raises
    ------
    RunError
        If it is missing or damaged.
    """
    return read_record(CalibrationStudy, folder / FILE, "calibrate")


def overview(studies: Mapping[str, CalibrationStudy]) -> Layout:
    """A row for each calibration by its name: coverage and width of the subjects, and what the doubt is worth."""
    rows = []
    for name, study in studies.items():
        covered = [one.covered for one in study.subjects]
        held = sum(share >= COVERED / 100 for share in covered)
        width = float(np.mean([one.half_width for one in study.subjects]))
        worth = [("n/a" if one.median is None else f"{one.median:.2f}") for one in (study.spearman, study.auroc)]
        rows.append((name, f"{len(covered)}", f"{held}", f"{min(covered):.1%}", f"{width:.1%}", *worth))
    header = ("calibration", "subjects", "bands that hold", "least covered", "half width", "Spearman", "AUROC")
    note = (
        "Bands by the largest score of the other subjects; half width over the mean magnitude. Spearman's correlation "
        "of doubt and error, and the area under the curve of large errors: medians of slices."
    )
    return Layout("Calibrations", header, tuple(rows), note)


def _coverage(study: CalibrationStudy) -> Section:
    folds = len({one.fold for one in study.subjects}) > 1
    rows = [
        (
            f"subject-{number:03d}",
            *([f"{one.fold}"] if folds else []),
            f"{one.slices}",
            f"{one.score:.3g}",
            f"{one.covered:.1%}",
            f"{one.half_width:.1%}",
        )
        for number, one in enumerate(study.subjects, 1)
    ]
    header = ("subject", *(["fold"] if folds else []), "slices", "score", "covered", "half width")
    note = (
        "Score: the smallest factor so that nine tenths of the subject's foreground pixels lie in the band. Covered: "
        "the share whose truth lies in the band that the largest score of the other subjects gives; half width: "
        "that band's mean over the mean magnitude."
    )
    covered = [one.covered for one in study.subjects]
    held = sum(share >= COVERED / 100 for share in covered)
    caption = f"Each bar is a subject; the line is at nine tenths. {held} of {len(covered)} bands hold."
    title = "share of the foreground in the band of the other subjects"
    picture = Drawing(bars_figure(title, "subjects, from the least covered", covered, COVERED / 100), caption, caption)
    return Section("Who is covered", (), [Layout("Subjects", header, tuple(rows), note)], [picture])


def _worth(study: CalibrationStudy) -> Section:
    spearman, area = _told(study.spearman), _told(study.auroc)
    sentences = [
        f"Spearman's correlation of doubt and error in the foreground of a slice: {spearman}; 1: perfect, 0: none.",
        f"Area under the curve of errors above a tenth of the 99th percentile: {area}; 1 is perfect, 0.5 is chance.",
    ]
    percent = [100 * share for share in study.kept]
    lines = {
        "doubt": (percent, [100 * value for value in study.risk]),
        "oracle": (percent, [100 * value for value in study.oracle]),
        "chance": (percent, [100 * study.risk[-1]] * len(percent)),
    }
    panel = Panel("Risk and coverage", "% of the pixels kept", "mean error, % of the 99th percentile", lines)
    caption = (
        "The mean error of the pixels that are kept as the most doubted go. The oracle knows the errors. "
        f"The area under the curve is {study.excess:.0%} above the oracle's."
    )
    picture = Drawing(curves_figure([panel]), caption, "The mean error of the pixels kept, by doubt and by the oracle.")
    return Section("Is the doubt where the error is?", sentences, (), [picture])


def _told(values: Quartiles) -> str:
    if values.median is None:
        return "n/a"
    return f"median {values.median:.2f}, quartiles {values.low:.2f} and {values.high:.2f}, of {values.slices} slices"


def _alike(study: CalibrationStudy) -> Section:
    rows = [
        (name, f"{len(values)}", f"{np.median(values):.2f}", f"{min(values):.2f}", f"{max(values):.2f}")
        for name, values in study.p_values.items()
    ]
    note = (
        "p-values of each subject against the others. They are uniform for scans like the others, and small for scans "
        f"unlike them, but never under 1/{len(study.subjects)}."
    )
    table = Layout("p-values", ("condition", "subjects", "median", "least", "most"), tuple(rows), note)
    return Section("Do other scans look unlike?", (), [table])
