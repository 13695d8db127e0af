"""LPIPS for an evaluation that was made without its weights, from the reconstructions that it stored."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from switchrecon.core.files import write_text
from switchrecon.errors import RunError
from switchrecon.evaluation.volumes import NO_LPIPS, csv_text, lpips_of
from switchrecon.metrics.lpips import Lpips
from switchrecon.metrics.metrics import CONVENTIONS, seen, summarise

Key = tuple[str, str, str, str]  # convention, method, scan, slice


def lacks_lpips(folder: Path) -> bool:
    """Whether a folder holds an evaluation that was made without LPIPS, and the images for it."""
    try:
        description = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        return NO_LPIPS in description["data"] and (folder / "images.npz").is_file()
    except (OSError, ValueError, LookupError, TypeError):
        return False  # what is damaged is refused where it is read


def add_lpips(folder: Path, perceptual: Lpips) -> None:
    """Fill in LPIPS of zero filling and of every run's own estimate; the other estimates were not stored.

    Parameters
    ----------
    folder
        Of an evaluation. ``metrics.json``, ``metrics.csv``, ``units.csv`` and ``evaluation.json`` are rewritten.
    perceptual
        The metric.

    Raises
    ------
    RunError
        If the folder holds no evaluation, or a file of it is damaged.
    """
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        units, slices = (_rows(folder / name) for name in ("units.csv", "metrics.csv"))
        with np.load(folder / "images.npz", allow_pickle=False) as stored:
            found = _distances({name: stored[name] for name in stored.files}, perceptual)
        for row in units:
            own = [found.get((row["convention"], row["method"], row["scan"], n)) for n in _numbers(row, slices)]
            if None not in own:
                row["lpips"] = f"{np.mean(own):.6g}"  # type: ignore[arg-type]
        for row in slices:
            value = found.get((metrics["convention"], row["method"], row["scan"], row["slice"]))
            row["lpips"] = row["lpips"] if value is None else f"{value:.6g}"
        for convention, methods in metrics["conventions"].items():
            for name, values in methods.items():
                own_units = [r for r in units if (r["convention"], r["method"]) == (convention, name)]
                values["lpips"] = summarise([{"lpips": float(r["lpips"])} for r in own_units])["lpips"]
        metrics["methods"] = metrics["conventions"][metrics["convention"]]
        description = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        description["data"] = [sentence for sentence in description["data"] if sentence != NO_LPIPS]
    except (OSError, ValueError, LookupError) as error:
        raise RunError(f"{folder}: not an evaluation, or damaged ({error})") from error
    write_text(folder / "units.csv", csv_text(units))
    write_text(folder / "metrics.csv", csv_text(slices))
    write_text(folder / "evaluation.json", json.dumps(description, indent=1))
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1))


def _rows(file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _numbers(unit: dict[str, Any], slices: list[dict[str, Any]]) -> list[str]:
    """The slices that a unit is the mean of: its own, or all of its volume."""
    if unit["slice"]:
        return [unit["slice"]]
    return [row["slice"] for row in slices if (row["method"], row["scan"]) == (unit["method"], unit["scan"])]


def _distances(stored: dict[str, np.ndarray], perceptual: Lpips) -> dict[Key, float]:
    found: dict[Key, float] = {}
    for method, images in zip(stored["methods"], stored["images"], strict=True):
        for place, image in enumerate(images.astype(np.float32)):
            scan, number = str(stored["scan"][place]), str(stored["slice"][place])
            for convention in CONVENTIONS:
                # Stored images are fractions of their own slice's maximum; fastMRI's range is the volume's.
                whole = convention == "fastmri"
                part = float(stored["maximum"][place] / stored["volume_maximum"][place]) if whole else 1.0
                reference, own = (
                    seen(one.astype(np.float32), convention) * part for one in (stored["reference"][place], image)
                )
                found[convention, str(method), scan, number] = lpips_of(reference, own, perceptual)
    return found
