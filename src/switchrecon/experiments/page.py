"""The page about a cross-validation: tables in every convention, figures, notes and the recipe."""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from switchrecon.core.sentences import count
from switchrecon.errors import ConfigError, DataError
from switchrecon.evaluation.volumes import ZERO_FILLED
from switchrecon.experiments.cells import Cell, is_done
from switchrecon.experiments.figures import DrawnFigure
from switchrecon.experiments.folds import Fold
from switchrecon.methods.guide import explained
from switchrecon.reports import calibration, lesions
from switchrecon.reports.lead import Lead, Next, command, place
from switchrecon.reports.page import data_uri, write_page
from switchrecon.reports.records import Table
from switchrecon.reports.tables import Layout, layouts, missing_sentence
from switchrecon.reports.viewer.evaluations import evaluated_scans, read_evaluated
from switchrecon.reports.viewer.page import Part, embed
from switchrecon.reports.viewer.stacks import Stack
from switchrecon.trust import calibration_study, lesion_study

VIEWER_BYTES = 4_000_000  # of the viewer's images, as base64


def write_crossval_page(
    out: Path,
    tables: Sequence[Table],
    figures: Sequence[DrawnFigure],
    failed: Sequence[str],
    folds: Sequence[Fold[int]] = (),
    cells: Sequence[Cell] = (),
) -> Path:
    """Write ``report.html`` into the folder of a cross-validation.

    Parameters
    ----------
    out
        The folder.
    tables
        Tables from :func:`switchrecon.experiments.results.tabulate`, the recipe's convention first.
    figures
        The figures that were drawn, or reasons why they were not.
    failed
        Sentences about cells that failed.
    folds
        How many scans each subject has, by what a fold uses it for; nobody is named.
    cells
        The grid's: the viewer shows images of the first fold and seed of each setting.
    """
    first = tables[0]
    known = [row for part in first.settings.values() for row in part.methods.values()]
    machines = {machine for row in known for machine in row.machines}
    trained = sorted({text for row in known for text in row.versions})
    cut, run = first.recipe["folds"], len(first.folds)
    cut_into = f"{cut} folds" + (f", {run} of which are run" if run < cut else "")
    summary = [f"{count(first.subjects, 'subject')} in {cut_into}; {count(len(first.seeds), 'seed')}."]
    if first.missing:
        summary.append(missing_sentence(first.missing))
    sections = [
        {
            "title": f"Convention {t.convention}",
            "text": t.convention_text.rsplit(";", 1)[0] + ".",
            "layouts": list(layouts(t)),
        }
        for t in tables
    ]
    sections += [{"title": name, "text": "", "layouts": found} for name, found in _trust(out)]
    content = {
        "title": first.title,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "lead": _lead(out, first, [*summary, *failed]),
        "viewer": _viewer(cells),
        "names": explained(list(dict.fromkeys(n for part in first.settings.values() for n in part.methods))),
        "sections": sections,
        "footnotes": first.footnotes,
        "subjects": [
            [number, *(f"{len(part)} ({sum(part)})" for part in (fold.test, fold.full, fold.sub))]
            for number, fold in enumerate(folds)
        ],
        "subject_table": Path(table).name if (table := first.recipe.get("common", {}).get("subjects")) else "",
        "figures": [
            {"name": d.name, "caption": d.caption, "uri": data_uri(d.file.read_bytes()) if d.file else ""}
            for d in figures
        ],
        "recipe": yaml.safe_dump(first.recipe, sort_keys=False, allow_unicode=True, width=100),
        "versions": trained,
        "machines": sorted(machines),
    }
    return write_page(out / "report.html", "crossval.html.j2", content)


def _lead(out: Path, table: Table, done: Sequence[str]) -> Lead:
    """What was done, the best row of each setting, and what to do next."""
    good = []
    for name, part in table.settings.items():
        means = {row: found.value("psnr").mean for row, found in part.methods.items()}
        known = {row: mean for row, mean in means.items() if mean is not None and row != ZERO_FILLED}
        if known:
            best = max(known, key=lambda row: known[row])
            against = means.get(ZERO_FILLED)
            than = "" if against is None else f", where zero filling has {against:.2f} dB"
            where = f"{name}: " if name else ""
            good.append(
                f"{where}{best} has the highest mean PSNR of {count(len(known), 'row')}, {known[best]:.2f} dB{than}."
            )
    here = place(out)
    steps = [Next(command("view", here), "look at the images of every cell: flicker, wipe, error, k-space")]
    if table.missing:
        steps.insert(0, Next(command("crossval", "--out", here), "go on with the cells that are not done"))
    steps.append(Next(command("report", here, "--claim"), "also write the CLAIM checklist, filled from what is known"))
    return Lead(done, good, None, steps)


def _viewer(cells: Sequence[Cell]) -> Part | None:
    """The rows of the first fold and seed of each setting beside each other; None where no cell has images."""
    stacks: list[Stack] = []
    finished = [cell for cell in cells if (cell.folder / "evaluation" / "images.npz").is_file() and is_done(cell)]
    settings = dict.fromkeys(cell.setting for cell in finished)
    for setting in settings:
        mine = [cell for cell in finished if cell.setting == setting]
        mine = [cell for cell in mine if (cell.fold, cell.seed) == (mine[0].fold, mine[0].seed)]
        try:
            stacks += _beside(mine, f"{setting}, " if len(settings) > 1 else "")
        except DataError:  # a damaged file; the tables stand all the same
            continue
    try:
        return embed(stacks, VIEWER_BYTES, embedded=True) if stacks else None
    except ConfigError:  # too many scans for one slice of each
        return None


def _beside(cells: Sequence[Cell], prefix: str) -> list[Stack]:
    """The scans of a fold: reference and zero filling once, then every row's images under the row's name."""
    files = [cell.folder / "evaluation" / "images.npz" for cell in cells]
    found = []
    for scan in evaluated_scans(files[0]):
        read = [read_evaluated(file, scan, f"{prefix}fold {cells[0].fold}, {scan}") for file in files]
        alike = [own for own in read if (own.matrix, own.numbers) == (read[0].matrix, read[0].numbers)]
        rows = [cell.row for cell, own in zip(cells, read, strict=True) if own in alike]
        layers = list(alike[0].layers[:2])  # the reference and zero filling
        for row, own in zip(rows, alike, strict=True):
            layers += [replace(layer, name=_named(row, layer.name)) for layer in own.layers[2:]]
        found.append(replace(alike[0], layers=tuple(layers)))
    return found


def _named(row: str, method: str) -> str:
    """A method's name in a cell, with the row's in its place."""
    return f"{row}/{method.partition('/')[2]}" if "/" in method else row


def _trust(out: Path) -> Iterator[tuple[str, list[Layout]]]:
    """Tables of lesions and of calibrations, where ``lesions`` and ``calibrate`` have written them into the folder."""
    for file in sorted((out / "lesions").rglob(lesion_study.FILE)):
        name = file.parent.relative_to(out / "lesions").as_posix().strip(".")
        yield " ".join(["Lesions", name]).strip(), [lesions.overview(lesions.read_study(file.parent))]
    files = sorted((out / "calibration").rglob(calibration_study.FILE))
    if files:
        studies = {
            " · ".join(file.parent.relative_to(out / "calibration").parts): calibration.read_study(file.parent)
            for file in files
        }
        yield "Calibration", [calibration.overview(studies)]
