"""What an evaluation measures: the images of held-out scans, their metrics, and tables of them."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from switchrecon.metrics.lpips import SMALLEST_SIDE, Lpips, find_weights, load_weights
from switchrecon.metrics.metrics import CONVENTIONS, pool, radial_energy, seen, slice_metrics, summarise
from switchrecon.physics.masks import measured_acceleration

ZERO_FILLED = "zero-filled"
RINGS = 16  # of the radial error spectrum
NO_LPIPS = "LPIPS is n/a: its weights were not found; see 'switchrecon weights lpips'."


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


def find_lpips(path: Path | None) -> tuple[Lpips | None, list[str]]:
    """The LPIPS metric and no sentence; or None and why it is absent, where no weights are found.

    Raises
    ------
    DataError
        If the file is there, or named, and cannot be used.
    """
    found = find_weights(path)
    if path is None and not found.exists():
        return None, [NO_LPIPS]
    return Lpips(load_weights(found)), []


def measure(volume: Volume, perceptual: Lpips | None) -> None:
    """Fill in the metrics of every convention, method and slice; LPIPS is NaN where it cannot be computed."""
    for convention in CONVENTIONS:
        references = seen(volume.reference, convention)
        whole = convention == "fastmri"
        maxima = [volume.maximum if whole else float(reference.max()) for reference in references]
        for method, images in volume.images.items():
            values = slice_metrics(volume.reference, images, convention, volume.maximum)
            for value, reference, image, maximum in zip(
                values, references, seen(images, convention), maxima, strict=True
            ):
                value["lpips"] = lpips_of(reference / maximum, image / maximum, perceptual)
            volume.slices.setdefault(convention, {})[method] = values


def lpips_of(reference: np.ndarray, image: np.ndarray, perceptual: Lpips | None) -> float:
    """LPIPS of magnitudes (H, W) in [0, 1]; NaN without weights, or for images too small for its network."""
    large = min(reference.shape) >= SMALLEST_SIDE
    return perceptual.magnitude(reference, image) if perceptual is not None and large else math.nan


def score(volumes: Sequence[Volume], convention: str) -> dict[str, Any]:
    """Mean and standard deviation of each metric by method, in one convention."""
    return {
        name: summarise([value for volume in volumes for value in pooled(volume, name, convention)])
        for name in volumes[0].images
    }


def pooled(volume: Volume, method: str, convention: str) -> list[dict[str, float]]:
    """The values that a result is the mean of."""
    return pool(volume.reference, volume.images[method], volume.slices[convention][method], convention, volume.maximum)


def units(volumes: Sequence[Volume]) -> list[dict[str, Any]]:
    """A row for each value that a result is the mean of: a slice, or a volume in the fastMRI convention."""
    rows = []
    for convention in CONVENTIONS:
        for volume in volumes:
            for method in volume.images:
                for place, value in enumerate(pooled(volume, method, convention)):
                    number = volume.numbers[place] if convention == "slice-max" else ""
                    named = {"convention": convention, "method": method, "scan": volume.scan}
                    rows.append({**named, "subject": volume.subject, "slice": number, **_printed(value)})
    return rows


def slice_rows(volumes: Sequence[Volume], convention: str) -> list[dict[str, Any]]:
    """A row for each method and slice."""
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


def error_spectra(volumes: Sequence[Volume]) -> dict[str, Any]:
    """Radial error spectrum: Σ |F (u − r)|² / Σ |F r|² in rings of spatial frequency, magnitudes, all slices.

    Returns
    -------
    dict
        ``frequency``: the middle of each ring as a fraction of Nyquist; ``methods``: the ratios by name.
    """

    def total(images: list[np.ndarray]) -> np.ndarray:
        return np.sum([radial_energy(own, RINGS) for own in images], axis=0)

    energy = total([volume.reference for volume in volumes])
    return {
        "frequency": [(ring + 0.5) / RINGS for ring in range(RINGS)],
        "methods": {
            name: (total([v.images[name] - v.reference for v in volumes]) / energy).tolist()
            for name in volumes[0].images
        },
    }
