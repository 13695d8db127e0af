"""The page about a cross-validation: tables in every convention, figures, notes and the recipe."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from switchrecon.experiments.figures import Drawn
from switchrecon.reports.page import data_uri, write_page
from switchrecon.reports.tables import layouts, missing_sentence, settings_of


def write_crossval_page(
    out: Path, tables: Sequence[Mapping[str, Any]], figures: Sequence[Drawn], failed: Sequence[str]
) -> Path:
    """Write ``report.html`` into the folder of a cross-validation.

    Parameters
    ----------
    out
        The folder.
    tables
        From :func:`switchrecon.experiments.results.tabulate`, the recipe's own convention first.
    figures
        What was drawn.
    failed
        Sentences about cells that failed.
    """
    first = tables[0]
    missing = first["missing"]
    known = [values for part in settings_of(first).values() for values in part["methods"].values()]
    machines = {machine for values in known for machine in values.get("machines", [])}
    trained = sorted({text for values in known for text in values.get("versions", [])})
    cut, run = first["recipe"]["folds"], len(first["folds"])
    folds = f"{cut} folds" + (f", {run} of which are run" if run < cut else "")
    summary = [f"{first['subjects']} subjects in {folds}; {len(first['seeds'])} seed(s)."]
    if missing:
        summary.append(missing_sentence(missing))
    sections = [
        {
            "convention": t["convention"],
            "text": t["convention_text"].rsplit(";", 1)[0] + ".",
            "layouts": list(layouts(t)),
        }
        for t in tables
    ]
    content = {
        "title": first["title"],
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "summary": [*summary, *failed],
        "sections": sections,
        "footnotes": first["footnotes"],
        "figures": [
            {"name": d.name, "caption": d.caption, "uri": data_uri(d.file.read_bytes()) if d.file else ""}
            for d in figures
        ],
        "recipe": yaml.safe_dump(first["recipe"], sort_keys=False, allow_unicode=True, width=100),
        "versions": trained,
        "machines": sorted(machines),
    }
    return write_page(out / "report.html", "crossval.html.j2", content)
