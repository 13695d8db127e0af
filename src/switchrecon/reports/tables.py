"""A cross-validation's table as Markdown, CSV and LaTeX, and as cells for the page."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from switchrecon.evaluation.volumes import ZERO_FILLED
from switchrecon.metrics.statistics import LEVEL

LABELS = {"psnr": "PSNR / dB ↑", "ssim": "SSIM ↑", "nmse": "NMSE ↓", "lpips": "LPIPS ↓"}
MISSING_SHOWN = 4
RECOVERED = ("psnr", "ssim", "lpips")  # of which the table shows the part of a gap
DECIMALS = {"psnr": 2, "ssim": 3, "nmse": 4, "lpips": 3}


@dataclass(frozen=True)
class Layout:
    """A table ready to be written: a title, a header and rows of text."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


def settings_of(table: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The parts of a table by setting, also where there is one."""
    return dict(table["settings"]) if "settings" in table else {"": table}


def layouts(table: Mapping[str, Any]) -> Iterator[Layout]:
    """For each setting: the results, then the differences from row to row."""
    for name, part in settings_of(table).items():
        if part["methods"]:
            suffix = f", {name}" if name else ""
            yield _results(table, part, suffix)
            if part["differences"]:
                yield _differences(part, suffix)


def _results(table: Mapping[str, Any], part: Mapping[str, Any], suffix: str) -> Layout:
    paper = table["paper"]
    header = ["method", *LABELS.values(), "parameters", "training"]
    gap = table.get("gap")
    header += [f"gap recovered: {metric.upper()}" for metric in RECOVERED] if gap else []
    header += ["paper: PSNR", "SSIM", "LPIPS"] if paper else []
    rows = []
    for method, values in part["methods"].items():
        name = method + _part_of(method, values, table)
        row = [name, *(spread(values[metric], DECIMALS[metric]) for metric in LABELS)]
        main = "/" not in method
        row += [_parameters(values.get("parameters")), _minutes(values.get("training_seconds"))] if main else ["", ""]
        if gap:
            known = values.get("recovered")
            row += [interval(known[metric], 2) if known else "n/a" for metric in RECOVERED]
        if paper:
            theirs = paper.get(method)
            row += [f"{theirs[m]:.{d}f}" for m, d in (("psnr", 2), ("ssim", 3), ("lpips", 3))] if theirs else [""] * 3
        rows.append(tuple(row))
    folds, seeds = len(table["folds"]), len(table["seeds"])
    spread_of = "mean ± sample standard deviation over folds" if folds > 1 else "mean"
    subjects = f"{part['test_subjects']} test {_plural('subject', part['test_subjects'])}"
    return Layout(
        f"{table['title']}{suffix}",
        tuple(header),
        tuple(rows),
        f"{spread_of} ({folds} {_plural('fold', folds)}, {seeds} {_plural('seed', seeds)}, {subjects}); "
        f"{table['convention_text'].rsplit(';', 1)[0]}. A name alone is the "
        "recipe's own estimate, NAME/… another estimate of the same checkpoint."
        + _over_seeds(part)
        + (f" Gap recovered: (metric − {gap['lower']}) / ({gap['upper']} − {gap['lower']})." if gap else ""),
    )


def _over_seeds(part: Mapping[str, Any]) -> str:
    """How far the seeds of each row lie apart; empty where there is one."""
    said = []
    for method, values in part["methods"].items():
        psnr, lpips = (values[metric]["seed_std"] for metric in ("psnr", "lpips"))
        if psnr is not None and "/" not in method and method != ZERO_FILLED:
            said.append(f"{method} {psnr:.2f} dB" + ("" if lpips is None else f", {lpips:.3f}"))
    return f" Standard deviation over seeds of PSNR and LPIPS: {'; '.join(said)}." if said else ""


def _part_of(method: str, values: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    """Which part of its folds and seeds a row has, if not all; zero filling is the same for every seed."""
    parts = [(len(values["psnr"]["folds"]), len(table["folds"]), "folds")]
    parts += [(values["seeds"], len(table["seeds"]), "seeds")] if method != ZERO_FILLED else []
    said = [f"{have} of {asked} {what}" for have, asked, what in parts if 0 < have < asked]
    return f" ({', '.join(said)})" if said else ""


def _differences(part: Mapping[str, Any], suffix: str) -> Layout:
    rows = tuple(
        (f"{pair['second']} − {pair['first']}", *(interval(pair[m], DECIMALS[m], signed=True) for m in LABELS))
        for pair in part["differences"]
    )
    subjects = min(pair[m]["subjects"] for pair in part["differences"] for m in ("psnr", "ssim"))
    note = (
        f"Mean paired difference, every fold counting alike [{LEVEL:.0%} bootstrap interval, clustered by subject: it "
        f"rests on {subjects} "
    )
    return Layout(
        f"Differences from row to row{suffix}",
        ("difference", *LABELS.values()),
        rows,
        f"{note}{_plural('subject', subjects)}].{_caution(subjects)}",
    )


def _caution(subjects: int) -> str:
    return " With so few subjects an interval says little beyond these scans." if subjects < 10 else ""


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def spread(value: Mapping[str, Any], decimals: int) -> str:
    """``mean ± std``; ``n/a`` where there is none."""
    if value["mean"] is None:
        return "n/a"
    text = f"{value['mean']:.{decimals}f}"
    return text if value["std"] is None else f"{text} ± {value['std']:.{decimals}f}"


def interval(value: Mapping[str, Any], decimals: int, signed: bool = False) -> str:
    """``mean [low, high]``; ``n/a`` where there is no mean."""
    if value["mean"] is None:
        return "n/a"
    sign = "+" if signed else ""
    text = f"{value['mean']:{sign}.{decimals}f}"
    if value["low"] is None:
        return text
    return f"{text} [{value['low']:{sign}.{decimals}f}, {value['high']:{sign}.{decimals}f}]"


def _parameters(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.2f} M"


def _minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.1f} min"


def markdown(table: Mapping[str, Any]) -> str:
    """All tables, footnotes and missing cells as Markdown."""
    lines: list[str] = []
    for layout in layouts(table):
        lines += [f"### {layout.title}", "", "| " + " | ".join(layout.header) + " |"]
        lines.append("|---" + "|---:" * (len(layout.header) - 1) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in layout.rows]
        lines += ["", layout.note, ""]
    lines += [f"{number}. {note}" for number, note in enumerate(table["footnotes"], 1)]
    if table["missing"]:
        lines += ["", missing_sentence(table["missing"])]
    return "\n".join(lines).rstrip() + "\n"


def missing_sentence(names: Sequence[str]) -> str:
    """How many cells are not there yet, and the first of them."""
    shown = "; ".join(names[:MISSING_SHOWN]) + ("; …" if len(names) > MISSING_SHOWN else "")
    return f"Missing: {len(names)} {_plural('cell', len(names))} ({shown})."


def csv_table(table: Mapping[str, Any]) -> str:
    """A line for each setting, method and metric: mean, std, low, high, seed_std, and the paper's number.

    Then one for each difference from row to row, where ``minus`` names the row that is subtracted.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ["mean", "std", "low", "high", "seed_std"]
    writer.writerow(["convention", "setting", "method", "minus", "metric", *names, "paper"])
    for setting, part in settings_of(table).items():
        lines: list[tuple[str, str, Mapping[str, Any]]] = [(name, "", own) for name, own in part["methods"].items()]
        lines += [(pair["second"], pair["first"], pair) for pair in part["differences"]]
        for method, minus, values in lines:
            for metric in LABELS:
                numbers = [values[metric].get(name) for name in names]
                printed = ["" if number is None else f"{number:.6g}" for number in numbers]
                theirs = "" if minus else table["paper"].get(method, {}).get(metric, "")
                writer.writerow([table["convention"], setting, method, minus, metric, *printed, theirs])
    return text.getvalue()


_LATEX = {"&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}
_LATEX |= {"−": "--", "×": r"$\times$", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}
_LATEX |= {"^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "…": r"\dots{}"}


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def latex(table: Mapping[str, Any]) -> str:
    """All tables as LaTeX with booktabs; footnotes and missing cells stand below each."""
    below = [*table["footnotes"], *([missing_sentence(table["missing"])] if table["missing"] else [])]
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
