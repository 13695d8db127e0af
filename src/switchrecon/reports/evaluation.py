"""One self-contained HTML file about an evaluation, or about a run that has not been evaluated yet."""

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import yaml

from switchrecon import __version__
from switchrecon.core.yaml_text import load_yaml
from switchrecon.errors import RunError
from switchrecon.reports import figures
from switchrecon.reports.page import data_uri, write_page
from switchrecon.runs.log import read_log

_BEST: Final[dict[str, Callable[..., Any]]] = {"psnr": max, "ssim": max, "nmse": min, "lpips": min}
_DECIMALS: Final = {"psnr": 2, "ssim": 3, "nmse": 4, "lpips": 3}  # others have four
_LABELS: Final = {"psnr": "PSNR / dB"}  # others are their name in capitals
_PICTURE_BYTES: Final = 3_900_000  # of all comparison figures; base64 and the rest bring the file near 6 MB
_DAMAGE: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
_UNREADABLE: Final = (OSError, EOFError, BadZipFile, csv.Error, yaml.YAMLError)


def write_report(folder: Path) -> Path:
    """Write ``report.html`` about an evaluation or a run into its own folder.

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
        facts = json.loads(file.read_text(encoding="utf-8"))
        content: dict[str, Any] = {
            "title": str(facts["title"]),
            "created": str(facts["created"]),
            **{key: _sentences(facts[key]) for key in ("summary", "reduced", "data")},
            "sampling": _sampling(facts["sampling"], facts["matrix"]),
            "versions": [(str(name), str(number)) for name, number in facts["versions"].items()],
            "machine": str(facts["machine"]),
            "runs": [_run_content(run) for run in facts["runs"]],
        }
        names = [str(name) for name in facts["example_methods"]]
        examples = [(str(e["scan"]), int(e["slice"]), _scores(e["methods"])) for e in facts["examples"]]
        # By name alone: a report embeds what lies in its own folder, nothing else.
        pictures = [(folder / Path(p["file"]).name, str(p["caption"])) for p in facts["pictures"]]
    content["pictures"] = [_picture(file, caption) for file, caption in pictures]
    with _reading(folder / "metrics.json") as file:
        metrics = json.loads(file.read_text(encoding="utf-8"))
        content["table"] = _table(metrics)
        order = _ordered(metrics["methods"])
    with _reading(folder / "metrics.csv") as file:
        content["distribution"] = _distribution(file, order)
    if examples:
        with _reading(folder / "examples.npz") as file:
            content["examples"] = _examples(file, names, examples)
        content["left_out"] = len(examples) - len(content["examples"])
    return content


def _run(folder: Path) -> dict[str, Any]:
    with _reading(folder / "config.yaml") as file:
        config = load_yaml(file.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("not a mapping of settings")
    with _reading(folder / "log.jsonl") as file:
        log = read_log(file.parent)
        last = log[-1] if log else {"step": 0, "seconds": None}
        objectives = dict.fromkeys(str(name) for record in log for name in record["losses"])
        losses: dict[str, Any] = {n: [record["losses"].get(n) for record in log] for n in objectives}
        run = {
            "name": str(config.get("method", folder.name)),
            "config": config,
            "parameters": {},
            "steps": last["step"],
            "seconds": last["seconds"],
            "losses": {"step": [record["step"] for record in log]} | losses,
            "learning_rate": [record["learning_rate"] for record in log],
        }
        runs = [_run_content(run)]
    return {
        "title": f"Training run {folder.resolve().name}",
        "summary": ["Nothing has been evaluated yet: this report shows the training alone."],
        "runs": runs,
        "versions": [("switchrecon", __version__), ("torch", version("torch")), ("numpy", version("numpy"))],
    }


def _run_content(run: Mapping[str, Any]) -> dict[str, Any]:
    curves = {str(name): values for name, values in run["losses"].items()}
    steps = curves.pop("step")
    described = ", ".join(curves)
    if run["learning_rate"]:
        curves["learning rate"] = run["learning_rate"]
    width = figures.smoothing_width(len(steps))
    drawn = f"Faint: recorded values; strong: their moving mean over {width} records."
    seconds = run["seconds"]
    return {
        "name": str(run["name"]),
        "uri": data_uri(figures.loss_figure(steps, curves, exact=("learning rate",))) if steps and described else "",
        "alt": f"Losses of {run['name']} against training steps: {described}.",
        "caption": f"{drawn} An axis is logarithmic where all its values are positive.",
        "config": yaml.safe_dump(run["config"], sort_keys=False, allow_unicode=True, width=100),
        "parameters": " · ".join(f"{group} {int(n):,}" for group, n in run["parameters"].items()) or "n/a",
        "steps": f"{int(run['steps']):,}",
        "time": "n/a" if seconds is None else _duration(float(seconds)),
    }


def _table(metrics: Mapping[str, Any]) -> dict[str, Any]:
    methods = metrics["methods"]
    found = dict.fromkeys(str(metric) for values in methods.values() for metric in values)
    columns = sorted(found, key=lambda metric: [*_DECIMALS, metric].index(metric))  # stable for the others
    rows: list[dict[str, Any]] = [
        {"name": name, "cells": [_cell(methods[name].get(m), m) for m in columns]} for name in _ordered(methods)
    ]
    for place, metric in enumerate(columns):
        cells = [row["cells"][place] for row in rows if row["cells"][place]["mean"] is not None]
        if cells and metric in _BEST:
            best = _BEST[metric](cells, key=lambda cell: cell["mean"])
            for cell in cells:  # what prints alike cannot be told apart, so it is marked alike
                cell["best"] = cell["printed"] == best["printed"]
    arrows = {max: " ↑", min: " ↓", None: ""}
    return {
        "columns": [_LABELS.get(m, m.upper()) + arrows[_BEST.get(m)] for m in columns],
        "rows": rows,
        "convention": str(metrics["convention"]),
        "convention_text": str(metrics["convention_text"]),
    }


def _cell(value: Mapping[str, Any] | None, metric: str) -> dict[str, Any]:
    mean, std = (None, None) if value is None else (value["mean"], value.get("std"))
    if mean is None or math.isnan(mean):
        return {"mean": None, "text": "n/a", "printed": "", "best": False}
    decimals = _DECIMALS.get(metric, 4)
    printed = f"{mean:.{decimals}f}"
    spread = "" if std is None or not math.isfinite(std) else f" ± {std:.{decimals}f}"
    return {"mean": mean, "text": printed + spread, "printed": printed, "best": False}


def _distribution(file: Path, order: Sequence[str]) -> dict[str, str] | None:
    values: dict[str, dict[str, list[float]]] = {name: {"psnr": [], "ssim": []} for name in order}
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            for metric in ("psnr", "ssim"):
                values[row["method"]][metric].append(float(row[metric]) if row[metric] else math.nan)
    everything = [value for by_metric in values.values() for each in by_metric.values() for value in each]
    if not everything:
        return None
    hidden = sum(not math.isfinite(value) for value in everything)
    caption = "Each point is one slice, each line a median and each box the quartiles."
    if hidden:
        caption += f" {hidden} values that are not finite are not shown."
    alt = f"PSNR and SSIM of every slice for {', '.join(order)}."
    return {"uri": data_uri(figures.distribution_figure(values)), "alt": alt, "caption": caption}


def _examples(
    file: Path, names: Sequence[str], examples: Sequence[tuple[str, int, dict[str, dict[str, float | None]]]]
) -> list[dict[str, Any]]:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        reference, mask, images = arrays["reference"], arrays["mask"], arrays["images"]
    shape = (len(names), len(examples), *reference.shape[1:])
    if reference.ndim != 3 or images.shape != shape or not mask.shape == reference.shape == shape[1:]:
        raise ValueError(f"images {images.shape} where evaluation.json expects {shape}")
    shown: list[dict[str, Any]] = []
    size = 0
    for place, (scan, number, scores) in enumerate(examples):
        png = figures.comparison_figure(reference[place], images[:, place], names, mask[place], scores)
        size += len(png)
        if shown and size > _PICTURE_BYTES:
            break
        alt = f"{', '.join(names)} and reference, with error maps and the sampling mask."
        columns = figures.comparison_columns(len(names))
        shown.append({"uri": data_uri(png), "alt": alt, "caption": f"{scan}, slice {number}", "columns": columns})
    return shown


def _scores(methods: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    wanted = ("psnr", "ssim")
    return {
        str(name): {m: float(score[m]) for m in wanted if score.get(m) is not None} for name, score in methods.items()
    }


def _sampling(sampling: Mapping[str, Any], matrix: Sequence[int]) -> list[tuple[str, str]]:
    height, width = matrix
    asked, measured, centre = (
        f"{float(sampling[key]):.4g}" for key in ("acceleration", "measured_acceleration", "center_fraction")
    )
    return [
        ("Mask", f"{sampling['kind']}, drawn for each {sampling['per']}"),
        ("Acceleration", f"{asked} asked for, {measured} measured"),
        ("Fully sampled centre", f"{centre} of each masked side"),
        ("Matrix", f"{int(height)} × {int(width)}"),
    ]


def _picture(file: Path, caption: str) -> dict[str, str]:
    with _reading(file):
        png = file.read_bytes()
        if not png.startswith(b"\x89PNG\r\n\x1a\n"):
            raise ValueError("not a PNG file")
    return {"uri": data_uri(png), "caption": caption}


def _ordered(methods: Mapping[str, Any]) -> list[str]:
    return sorted((str(name) for name in methods), key=lambda name: name != "zero-filled")


def _sentences(values: Sequence[Any]) -> list[str]:
    if isinstance(values, str):
        raise TypeError("a text where a list of sentences is expected")
    return [str(value) for value in values]


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
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise RunError(f"{file}: damaged or not in the expected form ({reason})") from error
