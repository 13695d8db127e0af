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

METRICS = {"psnr": ("PSNR / dB ↑", 2), "ssim": ("SSIM ↑", 3), "nmse": ("NMSE ↓", 4), "lpips": ("LPIPS ↓", 3)}


def read(file: Path, setting: str, convention: str) -> dict[str, dict[str, list[dict[str, str]]]]:
    """Method → fold → cells of its seeds."""
    found: dict[str, dict[str, list[dict[str, str]]]] = {}
    with file.open(encoding="utf-8", newline="") as opened:
        for row in csv.DictReader(opened):
            if (row["setting"], row["convention"]) == (setting, convention):
                found.setdefault(row["method"], {}).setdefault(row["fold"], []).append(row)
    return found


def spread(values: list[float], digits: int) -> str:
    """Mean ± deviation; the mean alone of one fold."""
    text = f"{mean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ± {stdev(values):.{digits}f}"


def table(cells: dict[str, dict[str, list[dict[str, str]]]]) -> str:
    """Markdown, methods in the order of the fold that has most, with PSNR of each fold."""
    folds = sorted({fold for own in cells.values() for fold in own}, reverse=True)
    fullest = max(folds, key=lambda fold: sum(fold in own for own in cells.values()))
    order = [method for method, own in cells.items() if fullest in own]
    order += [method for method in cells if method not in order]
    heads = ["method", *(head for head, _ in METRICS.values()), *(f"PSNR fold {fold}" for fold in folds)]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for method in order:
        own = cells[method]
        row = [method if len(own) == len(folds) else f"{method} ({len(own)} fold{'s' * (len(own) > 1)})"]
        for metric, (_, digits) in METRICS.items():
            row.append(spread([mean(float(cell[metric]) for cell in own[fold]) for fold in own], digits))
        row += [", ".join(dict.fromkeys(f"{float(cell['psnr']):.2f}" for cell in own.get(fold, []))) for fold in folds]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def differences(cells: dict[str, dict[str, list[dict[str, str]]]], first: str, second: str) -> str:
    """Markdown: the first method minus the second, in every fold and seed, and the mean of these."""
    mine, theirs = (
        {(fold, cell["seed"]): cell for fold, own in cells[name].items() for cell in own} for name in (first, second)
    )
    shown = ("psnr", "ssim", "lpips")
    lines = ["| fold | seed | " + " | ".join(METRICS[m][0] for m in shown) + " |", "|---:|---:|" + "---:|" * len(shown)]
    found: dict[str, list[float]] = {metric: [] for metric in shown}
    for fold, seed in sorted(mine.keys() & theirs.keys()):
        for metric, values in found.items():
            values.append(float(mine[fold, seed][metric]) - float(theirs[fold, seed][metric]))
        row = [f"{values[-1]:+.{METRICS[metric][1]}f}" for metric, values in found.items()]
        lines.append(f"| {fold} | {seed} | " + " | ".join(row) + " |")
    row = [f"{mean(values):+.{METRICS[metric][1]}f}" for metric, values in found.items()]
    return "\n".join([*lines, "| mean | | " + " | ".join(row) + " |"])


def recovered(cells: dict[str, dict[str, list[dict[str, str]]]], lower: str, upper: str) -> str:
    """Markdown: each method's mean over seeds in each fold, and the part that it recovers of the same seeds' gap."""
    shown = ("psnr", "ssim", "lpips")
    parts = [f"recovered: {METRICS[metric][0].split()[0]}" for metric in shown]
    heads = ["fold", "method", "seeds", *(METRICS[metric][0] for metric in shown), *parts]
    lines = ["| " + " | ".join(heads) + " |", "|---:|---|" + "---:|" * (len(heads) - 2)]
    for fold in sorted(cells[lower].keys() & cells[upper].keys(), reverse=True):
        known = {name: {cell["seed"]: cell for cell in own[fold]} for name, own in cells.items() if fold in own}
        rows = []
        for method, own in known.items():
            seeds = sorted(own.keys() & known[lower].keys() & known[upper].keys())
            means = {m: mean(float(cell[m]) for cell in own.values()) for m in shown}
            row = [fold, method, str(len(own)), *(f"{means[m]:.{METRICS[m][1]}f}" for m in shown)]
            for metric in shown if seeds else ():
                low, value, high = (mean(float(known[n][s][metric]) for s in seeds) for n in (lower, method, upper))
                row.append(f"{(value - low) / (high - low) + 0.0:.2f}")  # no −0.00
            rows.append((means["psnr"], "| " + " | ".join(row + [""] * (len(heads) - len(row))) + " |"))
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
    cells = read(asked.cells, asked.setting, asked.convention)
    if asked.recovered:
        print(recovered(cells, *asked.recovered))
    else:
        print(differences(cells, *asked.minus) if asked.minus else table(cells))


if __name__ == "__main__":
    main()
