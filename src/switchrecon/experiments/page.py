"""The page about a cross-validation: tables in every convention, figures, notes and the recipe."""

import datetime
from collections.abc import Sequence
from pathlib import Path

import yaml

from switchrecon.core.sentences import count
from switchrecon.experiments.figures import DrawnFigure
from switchrecon.experiments.folds import Fold
from switchrecon.reports.page import data_uri, write_page
from switchrecon.reports.records import Table
from switchrecon.reports.tables import layouts, missing_sentence


def write_crossval_page(
    out: Path,
    tables: Sequence[Table],
    figures: Sequence[DrawnFigure],
    failed: Sequence[str],
    folds: Sequence[Fold[int]] = (),
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
        {"convention": t.convention, "text": t.convention_text.rsplit(";", 1)[0] + ".", "layouts": list(layouts(t))}
        for t in tables
    ]
    content = {
        "title": first.title,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "summary": [*summary, *failed],
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
