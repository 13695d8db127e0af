"""The two conventions: which part of an image is compared, what the data range is, and what a result is the mean of.

``fastmri``: images are cropped to squares of the reference's width; the data range is the maximum of the reference
volume; PSNR and NMSE are of its evaluated slices together, other metrics are their mean; a result is the mean over
volumes. ``slice-max``: the data range is each slice's maximum, every metric is of a slice, and a result is the mean
over slices.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import field_validator

from switchrecon.core.records import Record
from switchrecon.metrics.table import COLUMNS, METRICS, Column, Metric

CONVENTIONS = ("fastmri", "slice-max")


class Summary(Record):
    """Mean and standard deviation (population) of a metric's values.

    Attributes
    ----------
    mean
        None where a value is not a finite number, or there is none.
    std
        None of fewer than two values, which have no spread.
    """

    mean: float | None = None
    std: float | None = None

    @field_validator("mean", "std")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None


def explain(convention: str, columns: Sequence[Column] = COLUMNS) -> str:
    """Return what a convention means, in one sentence; after its last semicolon, what mean and deviation are over."""
    if convention == "slice-max":
        return (
            "slice-maximum convention: data range is the maximum of each reference slice; "
            f"{_listed(columns)} of each slice; mean and standard deviation over slices"
        )
    together = [column for column in columns if column.pooled == "volume"]
    apart = [column for column in columns if column.pooled == "slices"]
    return (
        "fastMRI convention: central squares of the reference's width; data range is the maximum of the reference "
        f"volume; {_listed(together)} of its evaluated slices together, {_listed(apart)} their mean; "
        "mean and standard deviation over volumes"
    )


def _listed(columns: Sequence[Column]) -> str:
    words = [f"{column.title} ({column.note})" if column.note else column.title for column in columns]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def seen(images: np.ndarray, convention: str) -> np.ndarray:
    """The part (..., H', W') of images (..., H, W) that a convention compares: the central square, or all of it."""
    if convention == "slice-max":
        return images
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]


def slice_metrics(
    reference: np.ndarray,
    images: np.ndarray,
    convention: str,
    maximum: float | None = None,
    metrics: Sequence[Metric] = tuple(METRICS.values()),
) -> list[dict[str, float]]:
    """Metrics of slices of a volume.

    Parameters
    ----------
    reference, images
        Shape (slices, H, W), real or complex; their magnitudes are compared.
    convention
        ``fastmri`` or ``slice-max``: the crop, and which maximum is the data range.
    maximum
        Of the whole reference volume, for ``fastmri``, if these are not all of its slices; None: of these.
    metrics
        Which; the table's unless given, without LPIPS weights.

    Returns
    -------
    list of dict
        The values of each slice, by name of the metric.
    """
    reference, images = (np.abs(seen(each, convention)) for each in (reference, images))
    whole = float(reference.max()) if maximum is None else maximum
    found = []
    for r, u in zip(reference, images, strict=True):
        data_range = whole if convention == "fastmri" else float(r.max())
        found.append({metric.name: metric(r, u, data_range) for metric in metrics})
    return found


def pool(
    reference: np.ndarray,
    images: np.ndarray,
    slices: Sequence[Mapping[str, float]],
    convention: str,
    maximum: float | None = None,
    metrics: Sequence[Metric] = tuple(METRICS.values()),
) -> list[dict[str, float]]:
    """Return the values that a result is the mean of, from a volume's slices and their metrics.

    ``slice-max``: the slices themselves. ``fastmri``: one value a metric, of all slices together where its column says
    so (with the maximum that :func:`slice_metrics` takes), else the mean of the slices.
    """
    if convention == "slice-max":
        return [dict(values) for values in slices]
    reference, images = (np.abs(seen(each, convention)) for each in (reference, images))
    whole = float(reference.max()) if maximum is None else maximum
    return [
        {
            metric.name: metric(reference, images, whole)
            if metric.column.pooled == "volume"
            else float(np.mean([values[metric.name] for values in slices]))
            for metric in metrics
        }
    ]


def summarise(values: Sequence[Mapping[str, float]]) -> dict[str, Summary]:
    """Return mean and standard deviation of each metric over values that have the same names."""
    summary = {}
    for name in values[0]:
        column = np.array([value[name] for value in values])
        finite = bool(np.isfinite(column).all())
        summary[name] = Summary(
            mean=float(column.mean()) if finite else None,
            std=float(column.std()) if finite and len(column) > 1 else None,
        )
    return summary
