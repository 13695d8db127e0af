"""A cross-validation's table as Markdown, CSV and LaTeX, and as cells for the page."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from switchrecon.evaluation.volumes import ZERO_FILLED
from switchrecon.metrics.statistics import LEVEL, Interval
from switchrecon.metrics.text import interval, spread
from switchrecon.reports.records import Pair, Row, SettingTable, Table

MISSING_SHOWN = 4


@dataclass(frozen=True)
class Layout:
    """A table ready to be written: a title, a header and rows of text."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


def layouts(table: Table) -> Iterator[Layout]:
    """For each setting: the results, then the differences from row to row."""
    for name, part in table.settings.items():
        if part.methods:
            suffix = f", {name}" if name else ""
            yield _results(table, part, suffix)
            if part.differences:
                yield _differences(table, part, suffix)


def _results(table: Table, part: SettingTable, suffix: str) -> Layout:
    columns = table.all_columns()
    theirs = [column for column in columns if any(column.name in known for known in table.paper.values())]
    header = ["method", *(column.arrow for column in columns), "parameters", "training"]
    header += [f"gap recovered: {column.title}" for column in columns] if table.gap else []
    header += [f"{'' if number else 'paper: '}{column.title}" for number, column in enumerate(theirs)]
    rows = []
    for method, row in part.methods.items():
        values = [(row.value(column.name), column.digits) for column in columns]
        cells = [method + _part_of(method, row, table), *(spread(v.mean, v.std, digits) for v, digits in values)]
        cells += [_parameters(row.parameters), _minutes(row.training_seconds)] if "/" not in method else ["", ""]
        if table.gap:
            known = [(row.recovered or {}).get(column.name, Interval()) for column in columns]
            cells += [interval(each.mean, each.low, each.high, 2) for each in known]
        printed = table.paper.get(method, {})
        cells += [column.text(printed[column.name]) if column.name in printed else "" for column in theirs]
        rows.append(tuple(cells))
    folds, seeds = len(table.folds), len(table.seeds)
    spread_of = "mean ± sample standard deviation over folds" if folds > 1 else "mean"
    subjects = f"{part.test_subjects} test {_plural('subject', part.test_subjects)}"
    gap = table.gap
    return Layout(
        f"{table.title}{suffix}",
        tuple(header),
        tuple(rows),
        f"{spread_of} ({folds} {_plural('fold', folds)}, {seeds} {_plural('seed', seeds)}, {subjects}); "
        f"{table.convention_text.rsplit(';', 1)[0]}. A name alone is the estimate that the recipe asks for, NAME/… "
        "another estimate of the same checkpoint."
        + _over_seeds(table, part)
        + (f" Gap recovered: (metric − {gap.lower}) / ({gap.upper} − {gap.lower})." if gap else ""),
    )


def _over_seeds(table: Table, part: SettingTable) -> str:
    """Return how far the seeds of each row lie apart; empty where there is one."""
    said = []
    for method, row in part.methods.items():
        stds = [(column, row.value(column.name).seed_std) for column in table.all_columns()]
        known = [column.told(std) for column, std in stds if std is not None]
        if known and "/" not in method and method != ZERO_FILLED:
            said.append(f"{method} {', '.join(known)}")
    return f" Standard deviation over seeds: {'; '.join(said)}." if said else ""


def _part_of(method: str, row: Row, table: Table) -> str:
    """Return which part of its folds and seeds a row has, if not all; zero filling is the same for every seed."""
    have_folds = max((len(value.folds) for value in row.values.values()), default=0)
    parts = [(have_folds, len(table.folds), "folds")]
    parts += [(row.seeds, len(table.seeds), "seeds")] if method != ZERO_FILLED else []
    said = [f"{have} of {asked} {what}" for have, asked, what in parts if 0 < have < asked]
    return f" ({', '.join(said)})" if said else ""


def _differences(table: Table, part: SettingTable, suffix: str) -> Layout:
    columns = table.all_columns()
    rows, subjects = [], []
    for pair in part.differences:
        values = [(pair.value(column.name), column.digits) for column in columns]
        found = [interval(v.mean, v.low, v.high, digits, signed=True) for v, digits in values]
        rows.append((f"{pair.second} − {pair.first}", *found))
        subjects += [value.subjects for value, _ in values if value.mean is not None]
    fewest = min(subjects, default=0)
    intervals = (
        f" [{LEVEL:.0%} bootstrap interval, clustered by subject: it rests on {fewest} subjects]" if fewest > 1 else ""
    )
    return Layout(
        f"Differences from row to row{suffix}",
        ("difference", *(column.arrow for column in columns)),
        tuple(rows),
        f"Mean paired difference, every fold counting alike{intervals}.{_caution(fewest)}",
    )


def _caution(subjects: int) -> str:
    if subjects < 2:
        return " One subject gives no interval." if subjects else ""
    return " With so few subjects an interval says little beyond these scans." if subjects < 10 else ""


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _parameters(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.2f} M"


def _minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.1f} min"


def markdown(table: Table) -> str:
    """Return all tables, footnotes and missing cells as Markdown."""
    lines: list[str] = []
    for layout in layouts(table):
        lines += [f"### {layout.title}", "", "| " + " | ".join(layout.header) + " |"]
        lines.append("|---" + "|---:" * (len(layout.header) - 1) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in layout.rows]
        lines += ["", layout.note, ""]
    lines += [f"{number}. {note}" for number, note in enumerate(table.footnotes, 1)]
    if table.missing:
        lines += ["", missing_sentence(table.missing)]
    return "\n".join(lines).rstrip() + "\n"


def missing_sentence(names: Sequence[str]) -> str:
    """Return how many cells are not there yet, and the first of them."""
    shown = "; ".join(names[:MISSING_SHOWN]) + ("; …" if len(names) > MISSING_SHOWN else "")
    return f"Missing: {len(names)} {_plural('cell', len(names))} ({shown})."


def csv_table(table: Table) -> str:
    """Return a line for each setting, method and metric: mean, std, low, high, seed_std, and the paper's number.

    Then one for each difference from row to row, where ``minus`` names the row that is subtracted.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ["mean", "std", "low", "high", "seed_std"]
    writer.writerow(["convention", "setting", "method", "minus", "metric", *names, "paper"])
    columns = table.all_columns()
    for setting, part in table.settings.items():
        lines: list[tuple[str, str, Row | Pair]] = [(name, "", row) for name, row in part.methods.items()]
        lines += [(pair.second, pair.first, pair) for pair in part.differences]
        for method, minus, values in lines:
            for column in columns:
                value = values.value(column.name)
                numbers = [getattr(value, name, None) for name in names]
                printed = ["" if number is None else f"{number:.6g}" for number in numbers]
                theirs = "" if minus else table.paper.get(method, {}).get(column.name, "")
                writer.writerow([table.convention, setting, method, minus, column.name, *printed, theirs])
    return text.getvalue()


_LATEX = {"&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}
_LATEX |= {"−": "--", "×": r"$\times$", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}
_LATEX |= {"^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "…": r"\dots{}"}


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def latex(table: Table) -> str:
    """Return all tables as LaTeX with booktabs; footnotes and missing cells stand below each."""
    below = [*table.footnotes, *([missing_sentence(table.missing)] if table.missing else [])]
    return "\n".join(_latex_one(layout, below) for layout in layouts(table))


def _latex_one(layout: Layout, below: Sequence[str]) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(_latex_text, cells)) + r" \\"

    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex_text(layout.title)}. {_latex_text(layout.note)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(layout.header) - 1)}}}",
            r"\toprule",
            line(layout.header),
            r"\midrule",
            *map(line, layout.rows),
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par\footnotesize {number}. {_latex_text(note)}" for number, note in enumerate(below, 1)),
            r"\end{table}",
            "",
        ]
    )
