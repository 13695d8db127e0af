"""One self-contained HTML file about an evaluation, or about a run that has not been evaluated yet."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import yaml

from switchrecon import __version__
from switchrecon.core.sentences import first_problem
from switchrecon.core.yaml_text import load_yaml
from switchrecon.errors import ConfigError, RunError
from switchrecon.evaluation.records import Description, Evaluation, Example, RunFacts, Sampling
from switchrecon.evaluation.volumes import ZERO_FILLED
from switchrecon.metrics.table import Column
from switchrecon.metrics.text import spread
from switchrecon.reports import figures
from switchrecon.reports.calibration import write_calibration_page
from switchrecon.reports.lesions import write_lesion_page
from switchrecon.reports.page import data_uri, write_page
from switchrecon.reports.viewer.evaluations import evaluated_scans, read_evaluated
from switchrecon.reports.viewer.page import Part, embed
from switchrecon.runs.log import read_log
from switchrecon.trust.calibration_study import FILE as CALIBRATION
from switchrecon.trust.lesion_study import FILE as LESIONS

_PICTURE_BYTES: Final = 3_900_000  # of all comparison figures; base64 and the rest bring the file near 6 MB
_VIEWER_BYTES: Final = 4_000_000  # of the viewer's images, as base64; longer pages were too much for browsers
_DAMAGE: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
_UNREADABLE: Final = (OSError, EOFError, BadZipFile, csv.Error, yaml.YAMLError)


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
        content = _run(folder)
    else:
        expected = "evaluation.json of an evaluation, or config.yaml and log.jsonl of a run"
        raise RunError(f"{folder}: nothing to report on; expected {expected}")
    return write_page(folder / "report.html", "report.html.j2", content)


def _evaluation(folder: Path) -> dict[str, Any]:
    with _reading(folder / "evaluation.json") as file:
        facts = Description.read(file)
    with _reading(folder / "metrics.json") as file:
        evaluation = Evaluation.read(file)
    columns = evaluation.all_columns()
    # By name alone: a report embeds what lies in its folder, nothing else.
    pictures = [_picture(folder / Path(picture.file).name, picture.caption) for picture in facts.pictures]
    content: dict[str, Any] = {
        **facts.model_dump(include={"title", "created", "summary", "reduced", "data", "machine"}),
        "sampling": _sampling(facts.sampling, facts.matrix),
        "versions": list(facts.versions.items()),
        "pictures": pictures,
        "table": _table(evaluation, columns),
    }
    with _reading(folder / "evaluation.json"):
        content["runs"] = [_run_content(run) for run in facts.runs]
    with _reading(folder / "metrics.csv") as file:
        content["distribution"] = _distribution(file, _ordered(evaluation.methods), columns)
    if facts.examples:
        with _reading(folder / "examples.npz") as file:
            content["examples"] = _examples(file, facts.example_methods, facts.examples, columns)
        content["left_out"] = len(facts.examples) - len(content["examples"])
    if (folder / "images.npz").is_file():
        content["viewer"] = _viewer(folder / "images.npz", facts.examples)
    return content


def _run(folder: Path) -> dict[str, Any]:
    with _reading(folder / "config.yaml") as file:
        config = load_yaml(file.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("not a mapping of settings")
    with _reading(folder / "log.jsonl") as file:
        log = read_log(file.parent)
        objectives = dict.fromkeys(name for entry in log for name in entry.losses)
        losses: dict[str, Any] = {n: [entry.losses.get(n) for entry in log] for n in objectives}
        run = RunFacts(
            name=str(config.get("method", folder.name)),
            config=config,
            parameters={},
            steps=log[-1].step if log else 0,
            seconds=log[-1].seconds if log else None,
            losses={"step": [entry.step for entry in log]} | losses,
            learning_rate=[entry.learning_rate for entry in log],
        )
        runs = [_run_content(run)]
    return {
        "title": f"Training run {folder.resolve().name}",
        "summary": ["Nothing has been evaluated yet: this report shows the training alone."],
        "runs": runs,
        "versions": [("switchrecon", __version__), ("torch", version("torch")), ("numpy", version("numpy"))],
    }


def _run_content(run: RunFacts) -> dict[str, Any]:
    curves = dict(run.losses)
    steps = [math.nan if step is None else step for step in curves.pop("step")]
    described = ", ".join(curves)
    if run.learning_rate:
        curves["learning rate"] = run.learning_rate
    width = figures.smoothing_width(len(steps))
    drawn = f"Faint: recorded values; strong: their moving mean over {width} records."
    return {
        "name": run.name,
        "uri": data_uri(figures.loss_figure(steps, curves, exact=("learning rate",))) if steps and described else "",
        "alt": f"Losses of {run.name} against training steps: {described}.",
        "caption": f"{drawn} An axis is logarithmic where all its values are positive.",
        "config": yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True, width=100),
        "parameters": " · ".join(f"{group} {n:,}" for group, n in run.parameters.items()) or "n/a",
        "steps": f"{run.steps:,}",
        "time": "n/a" if run.seconds is None else _duration(run.seconds),
    }


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


def _examples(
    file: Path, names: Sequence[str], examples: Sequence[Example], columns: Sequence[Column]
) -> list[dict[str, Any]]:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        reference, mask, images = arrays["reference"], arrays["mask"], arrays["images"]
    shape = (len(names), len(examples), *reference.shape[1:])
    if reference.ndim != 3 or images.shape != shape or not mask.shape == reference.shape == shape[1:]:
        raise ValueError(f"images {images.shape} where evaluation.json expects {shape}")
    shown: list[dict[str, Any]] = []
    size = 0
    for place, example in enumerate(examples):
        scores = {name: _score_text(values, columns) for name, values in example.methods.items()}
        png = figures.comparison_figure(reference[place], images[:, place], names, mask[place], scores)
        size += len(png)
        if shown and size > _PICTURE_BYTES:
            break
        alt = f"{', '.join(names)} and reference, with error maps and the sampling mask."
        wide = figures.comparison_columns(len(names))
        caption = f"{example.scan}, slice {example.slice}"
        shown.append({"uri": data_uri(png), "alt": alt, "caption": caption, "columns": wide})
    return shown


def _viewer(file: Path, examples: Sequence[Example]) -> Part | None:
    """The viewer with slices of every scan, the examples among them; None where one slice of each is too much."""
    stacks = [read_evaluated(file, scan, scan) for scan in evaluated_scans(file)]
    known = {(example.scan, example.slice) for example in examples}
    prefer = {
        place: [k for k, number in enumerate(stack.numbers) if (stack.name, number) in known]
        for place, stack in enumerate(stacks)
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


def _picture(file: Path, caption: str) -> dict[str, str]:
    with _reading(file):
        png = file.read_bytes()
        if not png.startswith(b"\x89PNG\r\n\x1a\n"):
            raise ValueError("not a PNG file")
    return {"uri": data_uri(png), "caption": caption}


def _ordered(methods: Mapping[str, Any]) -> list[str]:
    return sorted(methods, key=lambda name: name != ZERO_FILLED)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


@contextmanager
def _reading(file: Path) -> Iterator[Path]:
    try:
        yield file
    except FileNotFoundError:
        raise RunError(f"{file}: no such file; the report needs it") from None
    except (*_DAMAGE, *_UNREADABLE) as error:
        reason = f"{type(error).__name__}: {first_problem(error)}"[:200]
        raise RunError(f"{file}: damaged or not in the expected form ({reason})") from error
