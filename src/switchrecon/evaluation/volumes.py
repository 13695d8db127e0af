"""Measurements of an evaluation: images of test scans, their metrics, and rows for tables."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from switchrecon.evaluation.records import Scores, Spectrum
from switchrecon.metrics.conventions import CONVENTIONS, pool, slice_metrics, summarise
from switchrecon.metrics.metrics import radial_energy
from switchrecon.metrics.table import Metric
from switchrecon.physics.masks import measured_acceleration

ZERO_FILLED = "zero-filled"
RINGS = 16  # rings of the radial error spectrum


@dataclass
class Volume:
    """The evaluated slices of one scan, all (slices, H, W); ``maximum`` of all its slices in their central square.

    ``noise``: see :func:`switchrecon.physics.noise.relative_noise`.
    """

    scan: str
    subject: str
    numbers: list[int]
    reference: np.ndarray
    maximum: float
    masks: np.ndarray
    noise: float = math.nan
    images: dict[str, np.ndarray] = field(default_factory=dict)
    slices: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)  # by convention and method
    pooled: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)  # a result is their mean


def measure(volume: Volume, metrics: Sequence[Metric]) -> None:
    """Fill in the values of every convention, method and slice, and those that a result is the mean of."""
    for convention in CONVENTIONS:
        for method, images in volume.images.items():
            compared = volume.reference, images
            values = slice_metrics(*compared, convention, volume.maximum, metrics)
            pooled = pool(*compared, values, convention, volume.maximum, metrics)
            volume.slices.setdefault(convention, {})[method] = values
            volume.pooled.setdefault(convention, {})[method] = pooled


def score(volumes: Sequence[Volume], convention: str) -> Scores:
    """Return mean and standard deviation of each metric by method, in one convention."""
    return {
        name: summarise([value for volume in volumes for value in volume.pooled[convention][name]])
        for name in volumes[0].images
    }


def units(volumes: Sequence[Volume]) -> list[dict[str, Any]]:
    """Return a row for each value that a result is the mean of: a slice, or a volume in the fastMRI convention."""
    rows = []
    for convention in CONVENTIONS:
        for volume in volumes:
            for method in volume.images:
                for place, value in enumerate(volume.pooled[convention][method]):
                    number = volume.numbers[place] if convention == "slice-max" else ""
                    named = {"convention": convention, "method": method, "scan": volume.scan}
                    rows.append({**named, "subject": volume.subject, "slice": number, **_printed(value)})
    return rows


def slice_rows(volumes: Sequence[Volume], convention: str) -> list[dict[str, Any]]:
    """Return a row for each method and slice."""
    return [
        {
            "method": method,
            "scan": volume.scan,
            "subject": volume.subject,
            "slice": number,
            "acceleration": f"{measured_acceleration(mask):.4f}",
            **_printed(value),
        }
        for volume in volumes
        for method, values in volume.slices[convention].items()
        for number, mask, value in zip(volume.numbers, volume.masks, values, strict=True)
    ]


def _printed(value: dict[str, float]) -> dict[str, str]:
    return {name: f"{number:.6g}" for name, number in value.items()}


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """CSV with a header, from rows with equal keys."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def error_spectra(volumes: Sequence[Volume]) -> Spectrum:
    """Radial error spectrum: Σ |F (u − r)|² / Σ |F r|² in rings of spatial frequency, magnitudes, all slices.

    A ring without frequencies (in a small matrix) or without energy gets a value between those of its neighbours.
    """

    def total(images: list[np.ndarray]) -> np.ndarray:
        return np.sum([radial_energy(each, RINGS) for each in images], axis=0)

    energy = total([volume.reference for volume in volumes])
    (known,) = np.nonzero(energy)

    def ratios(method: str) -> list[float]:
        errors = total([volume.images[method] - volume.reference for volume in volumes])
        found: list[float] = np.interp(np.arange(RINGS), known, errors[known] / energy[known]).tolist()
        return found

    return Spectrum(
        frequency=[(ring + 0.5) / RINGS for ring in range(RINGS)],
        methods={name: ratios(name) for name in volumes[0].images},
    )
