"""The page about a study of lesions."""

from collections.abc import Sequence
from pathlib import Path

from switchrecon.reports.curves import Panel, curves_figure
from switchrecon.reports.sections import Drawing, Section, read_record, write_sections
from switchrecon.reports.tables import Layout
from switchrecon.trust.lesion_study import FILE, Kept, LesionStudy

NOTE = (
    "Recovery: the mean change of the magnitude in the disc, over the change of the truth; 1 is perfect. Lost: the "
    "share of discs with a recovery under 0.5. Leak: what changes outside the disc, over the change of the truth. Lost "
    "but doubted: the share of the lost discs of which half lies in the tenth of the slice that is doubted most."
)


def write_lesion_page(folder: Path) -> Path:
    """Write ``report.html`` about a study of lesions into its folder.

    Raises
    ------
    RunError
        If the study is missing or damaged.
    """
    study = read_study(folder)
    discs = next(iter(study.methods.values())).total.lesions
    summary = [
        f"Soft discs were put into {study.slices} slices of {study.scans} scans of {study.subjects} subjects, {discs} "
        "in all, one at a time, and each scan was reconstructed with and without. Nothing is a real lesion.",
        *(lost_sentence(name, method.total) for name, method in study.methods.items()),
    ]
    sections = [
        Section("Which discs are lost", (), [overview(study), *_by_size(study)]),
        Section("What is made up", (), [_false(study)], [_curve(study)]),
    ]
    return write_sections(folder / "report.html", "Lesions", study.created, summary, sections, study.versions)


def read_study(folder: Path) -> LesionStudy:
    """Read a study of lesions from its folder.

    Raises
    ------
    RunError
        If it is missing or damaged.
    """
    return read_record(LesionStudy, folder / FILE, "lesions")


def lost_sentence(name: str, total: Kept) -> str:
    """Return how many discs a method lost, in words."""
    between = "" if total.low is None else f" (95 % interval over subjects {total.low:.0%} to {total.high:.0%})"
    doubted = "" if total.doubted is None else f"; {total.doubted:.0%} of these are doubted"
    lost = f"lost {total.lost:.0%} of {total.lesions} discs{between}{doubted}"
    return f"{name}: {lost}; mean recovery {total.recovery:.2f}."


def overview(study: LesionStudy) -> Layout:
    """Return all discs of each method."""
    header = ("method", "discs", "recovery", "leak", "lost", "95 % interval", "lost but doubted")
    rows = []
    for name, method in study.methods.items():
        one = method.total
        interval = "n/a" if one.low is None else f"{one.low:.0%} to {one.high:.0%}"
        doubted = "n/a" if one.doubted is None else f"{one.doubted:.0%}"
        rows.append(
            (name, f"{one.lesions}", f"{one.recovery:.2f}", f"{one.leak:.2f}", f"{one.lost:.0%}", interval, doubted)
        )
    return Layout("All discs", header, tuple(rows), f"{NOTE} The interval is over subjects.")


def _by_size(study: LesionStudy) -> list[Layout]:
    """Return a table for each diameter: recovery and share lost by contrast."""
    sizes = next(iter(study.methods.values())).sizes
    layouts = []
    for diameter in sorted({one.diameter for one in sizes if one.diameter is not None}):
        contrasts = sorted({one.contrast for one in sizes if one.diameter == diameter and one.contrast is not None})
        rows = []
        for name, method in study.methods.items():
            by_contrast = {one.contrast: one for one in method.sizes if one.diameter == diameter}
            rows.append((name, *(_cell(by_contrast[contrast]) for contrast in contrasts)))
        header = ("method", *(f"{contrast:+.0%}" for contrast in contrasts))
        layouts.append(Layout(f"Diameter {diameter} pixels", header, tuple(rows), "Mean recovery; share lost."))
    return layouts


def _cell(one: Kept) -> str:
    return f"{one.recovery:.2f}; {one.lost:.0%}"


def _false(study: LesionStudy) -> Layout:
    thresholds = [point.threshold for point in next(iter(study.methods.values())).curve]
    rows = [
        (name, *(f"{point.false:.2f}; {point.found:.0%}" for point in method.curve))
        for name, method in study.methods.items()
    ]
    return Layout(
        "False structures per slice, and discs that stand out",
        ("method", *(f"{threshold:.1%}" for threshold in thresholds)),
        tuple(rows),
        "Connected regions of at least 3 pixels of a slice without a disc whose magnitude is wrong by more than the "
        "threshold, a part of the truth's 99th percentile; and the share of discs that change the image by as much.",
    )


def _curve(study: LesionStudy) -> Drawing:
    lines = {
        name: ([point.false for point in method.curve], [point.found for point in method.curve])
        for name, method in study.methods.items()
    }
    counts: dict[str, tuple[Sequence[float], Sequence[float]]] = {
        name: ([100 * point.threshold for point in method.curve], [point.false for point in method.curve])
        for name, method in study.methods.items()
    }
    panels = [
        Panel("Free response", "false structures per slice", "share of discs that stand out", lines, logarithmic=True),
        Panel("False structures", "threshold, % of the 99th percentile", "per slice", counts),
    ]
    caption = "Each point is a threshold of the table. Up and to the left is better."
    return Drawing(curves_figure(panels), caption, f"Free-response curves of {', '.join(lines)}.")
