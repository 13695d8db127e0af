"""Add a metric to an evaluation that was made without it, from the stored reconstructions."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from switchrecon.core.files import write_text
from switchrecon.core.sentences import first_problem
from switchrecon.errors import RunError
from switchrecon.evaluation.records import Description, Evaluation
from switchrecon.evaluation.volumes import csv_text
from switchrecon.metrics.conventions import CONVENTIONS, pool, slice_metrics, summarise
from switchrecon.metrics.table import METRICS, Metric, columns_of

Key = tuple[str, str, str, str]
"""Convention, method, scan, and slice; empty for all slices of a scan together."""


def lacks_lpips(folder: Path) -> bool:
    """Return whether a folder holds an evaluation that was made without LPIPS, and the images for it."""
    try:
        data = Description.read(folder / "evaluation.json").data
        return METRICS["lpips"].lacks in data and (folder / "images.npz").is_file()
    except (OSError, ValueError):
        return False  # a damaged file is refused when it is read


def add_metric(folder: Path, metric: Metric) -> None:
    """Fill in a metric of zero filling and of every run's reconstruction; other estimates were not stored.

    Parameters
    ----------
    folder
        Folder of an evaluation. ``metrics.json``, ``metrics.csv``, ``units.csv`` and ``evaluation.json`` are rewritten.
    metric
        The metric. Images are stored in half precision, so its values differ a little from those of an evaluation.

    Raises
    ------
    RunError
        If the folder holds no evaluation, or a file of it is damaged.
    """
    name = metric.name
    try:
        evaluation = Evaluation.read(folder / "metrics.json")
        description = Description.read(folder / "evaluation.json")
        units, slices = (_rows(folder / file) for file in ("units.csv", "metrics.csv"))
        with np.load(folder / "images.npz", allow_pickle=False) as stored:
            found = dict(_values({key: stored[key] for key in stored.files}, metric))
        for row in units:
            _fill(row, name, found.get((row["convention"], row["method"], row["scan"], row["slice"])))
        for row in slices:
            _fill(row, name, found.get((evaluation.convention, row["method"], row["scan"], row["slice"])))
        for convention, methods in evaluation.conventions.items():
            for method, values in methods.items():
                of = [float(r[name]) for r in units if (r["convention"], r["method"]) == (convention, method)]
                values[name] = summarise([{name: value} for value in of])[name]
        evaluation = evaluation.model_copy(
            update={
                "methods": evaluation.conventions[evaluation.convention],
                "columns": columns_of([], [*evaluation.columns, metric.column]),
            }
        )
        lacks = METRICS[name].lacks if name in METRICS else ""
        description = description.model_copy(update={"data": [line for line in description.data if line != lacks]})
    except (OSError, ValueError, LookupError) as error:
        raise RunError(f"{folder}: not an evaluation, or damaged ({first_problem(error)})") from error
    write_text(folder / "units.csv", csv_text(units))
    write_text(folder / "metrics.csv", csv_text(slices))
    description.write(folder / "evaluation.json")
    evaluation.write(folder / "metrics.json")


def _rows(file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _fill(row: dict[str, Any], name: str, value: float | None) -> None:
    """Set a value if there is one; otherwise keep the value of the row, or set NaN."""
    row[name] = row.get(name, "nan") if value is None else f"{value:.6g}"


def _values(stored: dict[str, np.ndarray], metric: Metric) -> Iterator[tuple[Key, float]]:
    # Images are stored as fractions of the maximum of their slice's reference.
    scale = stored["maximum"].astype(np.float32)[:, None, None]
    for scan in dict.fromkeys(map(str, stored["scan"])):
        chosen = np.flatnonzero(stored["scan"] == scan)
        reference = stored["reference"][chosen].astype(np.float32) * scale[chosen]
        maximum = float(stored["volume_maximum"][chosen[0]])
        for method, images in zip(map(str, stored["methods"]), stored["images"], strict=True):
            compared = reference, images[chosen].astype(np.float32) * scale[chosen]
            for convention in CONVENTIONS:
                values = slice_metrics(*compared, convention, maximum, [metric])
                for place, value in zip(chosen, values, strict=True):
                    yield (convention, method, scan, str(stored["slice"][place])), value[metric.name]
                if convention != "slice-max":
                    [whole] = pool(*compared, values, convention, maximum, [metric])
                    yield (convention, method, scan, ""), whole[metric.name]
