"""Mean and standard deviation over folds, from the metrics of every cell, as a Markdown table.

Usage: python benchmarks/over_folds.py docs/results/cells-t2w.csv [--setting x4] [--convention slice-max]
    [--minus METHOD METHOD] [--recovered LOWER UPPER]

Folds may have been run at different times, as long as their cells stand in one file. A value is the mean of a fold's
test slices, averaged over seeds; the deviation is over folds, with n − 1. A row that lacks a fold says so; PSNR of a
fold is given for each of its seeds. ``--minus`` prints the differences of two methods in every fold and seed that
both have, and their mean. ``--recovered`` prints, by fold, each method's mean over seeds and which part of the way from
the lower to the upper method it has gone, (method − lower) / (upper − lower), each the mean over the seeds that all
three have.
"""

import argparse
import csv
from pathlib import Path
from statistics import mean, stdev

from switchrecon.metrics.table import RESERVED, Column, columns_of

Cells = dict[str, dict[str, list[dict[str, str]]]]
"""Method → fold → cells of its seeds, by name of the column."""


def read(file: Path, setting: str, convention: str) -> tuple[Cells, list[Column]]:
    """Return the cells of a setting in a convention, and the metrics that the file has."""
    found: Cells = {}
    with file.open(encoding="utf-8", newline="") as opened:
        rows = csv.DictReader(opened)
        names = [name for name in rows.fieldnames or () if name not in RESERVED]
        for row in rows:
            if (row["setting"], row["convention"]) == (setting, convention):
                found.setdefault(row["method"], {}).setdefault(row["fold"], []).append(row)
    return found, [column for column in columns_of(names) if column.name in names]


def value(cell: dict[str, str], column: Column) -> float:
    """Return a metric of a cell; NaN if the cell was evaluated without it."""
    return float(cell[column.name] or "nan")


def table(cells: Cells, columns: list[Column]) -> str:
    """Return a Markdown table, methods in the order of the fold with most methods, with PSNR of each fold."""
    folds = sorted({fold for runs in cells.values() for fold in runs}, reverse=True)
    fullest = max(folds, key=lambda fold: sum(fold in runs for runs in cells.values()))
    order = [method for method, runs in cells.items() if fullest in runs]
    order += [method for method in cells if method not in order]
    heads = ["method", *(column.arrow for column in columns), *(f"PSNR fold {fold}" for fold in folds)]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for method in order:
        runs = cells[method]
        row = [method if len(runs) == len(folds) else f"{method} ({len(runs)} fold{'s' * (len(runs) > 1)})"]
        for column in columns:
            means = [mean(value(cell, column) for cell in runs[fold]) for fold in runs]
            row.append(column.text(mean(means)) + (f" ± {column.text(stdev(means))}" if len(means) > 1 else ""))
        row += [", ".join(dict.fromkeys(f"{float(cell['psnr']):.2f}" for cell in runs.get(fold, []))) for fold in folds]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def differences(cells: Cells, columns: list[Column], first: str, second: str) -> str:
    """Return a Markdown table of the first method minus the second, in every fold and seed, and the mean of these."""
    mine, theirs = (
        {(fold, cell["seed"]): cell for fold, runs in cells[name].items() for cell in runs} for name in (first, second)
    )
    heads = " | ".join(column.arrow for column in columns)
    lines = [f"| fold | seed | {heads} |", "|---:|---:|" + "---:|" * len(columns)]
    both = sorted(mine.keys() & theirs.keys())
    found = {key: [value(mine[key], column) - value(theirs[key], column) for column in columns] for key in both}
    for (fold, seed), values in found.items():
        row = [column.text(each, signed=True) for column, each in zip(columns, values, strict=True)]
        lines.append(f"| {fold} | {seed} | " + " | ".join(row) + " |")
    means = [mean(values) for values in zip(*found.values(), strict=True)]
    row = [column.text(each, signed=True) for column, each in zip(columns, means, strict=True)]
    return "\n".join([*lines, "| mean | | " + " | ".join(row) + " |"])


def recovered(cells: Cells, columns: list[Column], lower: str, upper: str) -> str:
    """Return a Markdown table: each method's mean over seeds, and the part of the same seeds' gap that it recovers."""
    parts = [f"recovered: {column.title}" for column in columns]
    heads = ["fold", "method", "seeds", *(column.arrow for column in columns), *parts]
    lines = ["| " + " | ".join(heads) + " |", "|---:|---|" + "---:|" * (len(heads) - 2)]
    for fold in sorted(cells[lower].keys() & cells[upper].keys(), reverse=True):
        known = {name: {cell["seed"]: cell for cell in runs[fold]} for name, runs in cells.items() if fold in runs}
        rows = []
        for method, by_seed in known.items():
            seeds = sorted(by_seed.keys() & known[lower].keys() & known[upper].keys())
            means = [mean(value(cell, column) for cell in by_seed.values()) for column in columns]
            texts = [column.text(each) for column, each in zip(columns, means, strict=True)]
            row = [fold, method, str(len(by_seed)), *texts]
            for column in columns if seeds else ():
                low, reached, high = (mean(value(known[n][s], column) for s in seeds) for n in (lower, method, upper))
                row.append(f"{(reached - low) / (high - low) + 0.0:.2f}")  # no −0.00
            psnr = mean(float(cell["psnr"]) for cell in by_seed.values())
            rows.append((psnr, "| " + " | ".join(row + [""] * (len(heads) - len(row))) + " |"))
        lines += [row for _, row in sorted(rows)]
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Mean and deviation over folds, from cells.csv.")
    parser.add_argument("cells", type=Path)
    parser.add_argument("--setting", default="x4")
    parser.add_argument("--convention", default="slice-max")
    parser.add_argument("--minus", nargs=2, metavar="METHOD")
    parser.add_argument("--recovered", nargs=2, metavar=("LOWER", "UPPER"))
    asked = parser.parse_args()
    cells, columns = read(asked.cells, asked.setting, asked.convention)
    fewer = [column for column in columns if column.name != "nmse"]  # PSNR says as much of two methods
    if asked.recovered:
        print(recovered(cells, fewer, *asked.recovered))
    else:
        print(differences(cells, fewer, *asked.minus) if asked.minus else table(cells, columns))


if __name__ == "__main__":
    main()
