"""One self-contained HTML file about an evaluation, or about a run that has not been evaluated yet."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from switchrecon.core.pictures import row_png
from switchrecon.core.sentences import count
from switchrecon.errors import ConfigError, RunError
from switchrecon.evaluation.records import Description, Evaluation, Sampling
from switchrecon.evaluation.volumes import ZERO_FILLED
from switchrecon.methods.guide import explained
from switchrecon.metrics.table import Column
from switchrecon.metrics.text import spread
from switchrecon.reports import figures
from switchrecon.reports.calibration import write_calibration_page
from switchrecon.reports.lead import Lead, Next, command, place
from switchrecon.reports.lesions import write_lesion_page
from switchrecon.reports.page import data_uri, write_page
from switchrecon.reports.reading import picture, reading
from switchrecon.reports.run import run_content, run_report
from switchrecon.reports.viewer.evaluations import evaluated_scans, read_evaluated
from switchrecon.reports.viewer.page import Part, embed
from switchrecon.trust.calibration_study import FILE as CALIBRATION
from switchrecon.trust.lesion_study import FILE as LESIONS

_PICTURE_BYTES: Final = 3_900_000  # of all comparison figures; base64 and the rest bring the file near 6 MB
_VIEWER_BYTES: Final = 4_000_000  # of the viewer's images, as base64; longer pages were too much for browsers


def write_report(folder: Path) -> Path:
    """Write ``report.html`` about an evaluation or a run into its folder.

    The file holds its pictures and asks for nothing else. It appears complete or not at all.

    Parameters
    ----------
    folder
        An evaluation's (``evaluation.json``, ``metrics.json``, ``metrics.csv``, ``examples.npz``) or a run's
        (``config.yaml``, ``log.jsonl``).

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    RunError
        If the folder is neither, or one of its files is missing or damaged; the message names it. A report
        that was there before stays as it is.
    """
    folder = Path(folder)
    if (folder / LESIONS).is_file():
        return write_lesion_page(folder)
    if (folder / CALIBRATION).is_file():
        return write_calibration_page(folder)
    if (folder / "evaluation.json").is_file():
        content = _evaluation(folder)
    elif (folder / "config.yaml").is_file() and (folder / "log.jsonl").is_file():
        content = run_report(folder)
    else:
        expected = "evaluation.json of an evaluation, or config.yaml and log.jsonl of a run"
        raise RunError(f"{folder}: nothing to report on; expected {expected}")
    return write_page(folder / "report.html", "report.html.j2", content)


def _evaluation(folder: Path) -> dict[str, Any]:
    with reading(folder / "evaluation.json") as file:
        facts = Description.read(file)
    with reading(folder / "metrics.json") as file:
        evaluation = Evaluation.read(file)
    columns = evaluation.all_columns()
    # By name alone: a report embeds what lies in its folder, nothing else.
    pictures = [picture(folder / Path(each.file).name, each.caption) for each in facts.pictures]
    content: dict[str, Any] = {
        **facts.model_dump(include={"title", "created", "reduced", "data", "machine"}),
        "sampling": _sampling(facts.sampling, facts.matrix),
        "versions": list(facts.versions.items()),
        "pictures": pictures,
        "table": _table(evaluation, columns),
        "names": explained(_ordered(evaluation.methods)),
    }
    pair: dict[str, str] | None = None
    with reading(folder / "evaluation.json"):
        content["runs"] = [run_content(run) for run in facts.runs]
    with reading(folder / "metrics.csv") as file:
        content["distribution"] = _distribution(file, _ordered(evaluation.methods), columns)
    if facts.examples:
        with reading(folder / "examples.npz") as file:
            content["examples"] = _examples(file, facts, columns)
            pair = _pair(file, facts, evaluation)
        content["left_out"] = len(facts.examples) - len(content["examples"])
    if (folder / "images.npz").is_file():
        content["viewer"] = _viewer(folder / "images.npz", facts)
    content["lead"] = Lead(_done(facts, evaluation), facts.summary, pair, _next(folder, facts))
    return content


def _done(facts: Description, evaluation: Evaluation) -> list[str]:
    """What was done, in a sentence."""
    height, width = facts.matrix
    sampling = facts.sampling
    return [
        f"{count(evaluation.slices, 'slice')} of {count(evaluation.volumes, 'scan')} and "
        f"{count(evaluation.subjects, 'subject')} that no run has learned from were undersampled ({sampling.kind}, "
        f"measured acceleration {sampling.measured_acceleration:.3g}, {height} × {width}), reconstructed, and compared "
        "with the truth."
    ]


def _next(folder: Path, facts: Description) -> list[Next]:
    here = place(folder)
    steps = [Next(command("view", here), "look at every slice with mouse and keys: flicker, wipe, error, k-space")]
    steps.append(Next(command("report", here, "--claim"), "also write the CLAIM checklist, filled from what is known"))
    if facts.runs:
        steps.append(Next(command("calibrate", "RUN", "--reference", "OTHERS"), "give a run's doubt a promise"))
    return steps


def _pair(file: Path, facts: Description, evaluation: Evaluation) -> dict[str, str]:
    """An example: zero filling, the method with the best mean PSNR, and the reference, in one window."""
    known = {n: evaluation.value(n, "psnr").mean for n in facts.example_methods if n in evaluation.methods}
    scores = {name: value for name, value in known.items() if value is not None and name != ZERO_FILLED}
    best = max(scores, key=lambda name: scores[name]) if scores else facts.example_methods[-1]
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        middle = len(facts.examples) // 2
        reference, images = np.abs(arrays["reference"][middle]), np.abs(arrays["images"][:, middle])
    names = list(dict.fromkeys([facts.example_methods[0], best]))
    shown = [*(images[facts.example_methods.index(name)] for name in names), reference]
    example = facts.examples[middle]
    caption = f"{facts.shown(example.scan)}, slice {example.slice}: {', '.join(names)}, the reference, in one window."
    if len(scores) > 1:
        caption += f" {best} has the highest mean PSNR."
    png = row_png(shown, [*names, "reference"], white=float(np.percentile(reference, 99.8)) or None)
    return {"uri": data_uri(png), "alt": caption, "caption": caption}


def _table(evaluation: Evaluation, columns: Sequence[Column]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [{"name": name, "cells": []} for name in _ordered(evaluation.methods)]
    for column in columns:
        values = [evaluation.value(row["name"], column.name) for row in rows]
        means = [value.mean for value in values if value.mean is not None]
        best = {"higher": max, "lower": min}.get(column.better)
        marked = column.text(best(means)) if means and best else None
        for row, value in zip(rows, values, strict=True):
            # What prints alike cannot be told apart, so it is marked alike.
            alike = value.mean is not None and column.text(value.mean) == marked
            row["cells"].append({"text": spread(value.mean, value.std, column.digits), "best": alike})
    return {
        "columns": [column.arrow for column in columns],
        "rows": rows,
        "convention": evaluation.convention,
        "convention_text": evaluation.convention_text,
    }


def _distribution(file: Path, names: Sequence[str], columns: Sequence[Column]) -> dict[str, str] | None:
    values: dict[str, dict[str, list[float]]] = {column.header: {name: [] for name in names} for column in columns}
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            for column in columns:
                values[column.header][row["method"]].append(float(row.get(column.name) or math.nan))
    flat = {label: [v for found in by_method.values() for v in found] for label, by_method in values.items()}
    shown = {label: values[label] for label, found in flat.items() if any(map(math.isfinite, found))}
    if not shown:
        return None
    hidden = sum(not math.isfinite(value) for label in shown for value in flat[label])
    caption = "Each point is one slice, each line a median and each box the quartiles."
    if hidden:
        caption += f" {hidden} values that are not finite are not shown."
    alt = f"{', '.join(shown)} of every slice for {', '.join(names)}."
    return {"uri": data_uri(figures.distribution_figure(shown, names)), "alt": alt, "caption": caption}


def _examples(file: Path, facts: Description, columns: Sequence[Column]) -> list[dict[str, Any]]:
    names, examples = facts.example_methods, facts.examples
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        reference, mask, images = arrays["reference"], arrays["mask"], arrays["images"]
    shape = (len(names), len(examples), *reference.shape[1:])
    if reference.ndim != 3 or images.shape != shape or not mask.shape == reference.shape == shape[1:]:
        raise ValueError(f"images {images.shape} where evaluation.json expects {shape}")
    shown: list[dict[str, Any]] = []
    size = 0
    for number, example in enumerate(examples):
        scores = {name: _score_text(values, columns) for name, values in example.methods.items()}
        png = figures.comparison_figure(reference[number], images[:, number], names, mask[number], scores)
        size += len(png)
        if shown and size > _PICTURE_BYTES:
            break
        alt = f"{', '.join(names)} and reference, with error maps and the sampling mask."
        wide = figures.comparison_columns(len(names))
        caption = f"{facts.shown(example.scan)}, slice {example.slice}"
        shown.append({"uri": data_uri(png), "alt": alt, "caption": caption, "columns": wide})
    return shown


def _viewer(file: Path, facts: Description) -> Part | None:
    """The viewer with slices of every scan, the examples among them; None where one slice of each is too much."""
    stacks = [read_evaluated(file, scan, facts.shown(scan)) for scan in evaluated_scans(file)]
    known = {(facts.shown(example.scan), example.slice) for example in facts.examples}
    prefer = {
        position: [k for k, number in enumerate(stack.numbers) if (stack.name, number) in known]
        for position, stack in enumerate(stacks)
    }
    try:
        return embed(stacks, _VIEWER_BYTES, prefer=prefer, embedded=True)
    except ConfigError:
        return None


def _score_text(values: Mapping[str, float | None], columns: Sequence[Column]) -> str:
    known = [(column, values.get(column.name)) for column in columns]
    return "  ·  ".join(column.told(value) for column, value in known if value is not None)


def _sampling(sampling: Sampling, matrix: tuple[int, int]) -> list[tuple[str, str]]:
    height, width = matrix
    return [
        ("Mask", f"{sampling.kind}, drawn for each {sampling.per}"),
        ("Acceleration", f"{sampling.acceleration:.4g} asked for, {sampling.measured_acceleration:.4g} measured"),
        ("Fully sampled centre", f"{sampling.center_fraction:.4g} of each masked side"),
        ("Matrix", f"{height} × {width}"),
    ]


def _ordered(methods: Mapping[str, Any]) -> list[str]:
    return sorted(methods, key=lambda name: name != ZERO_FILLED)
