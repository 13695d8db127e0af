"""The two conventions: the part of an image that is compared, the data range, and what a result is the mean of.

``fastmri``: images are cropped to squares with the width of the reference. The data range is the maximum of the
reference volume. PSNR and NMSE are computed from all evaluated slices of a volume together; other metrics are the mean
over its slices. A result is the mean over volumes. ``slice-max``: the data range is the maximum of each slice, every
metric is computed for one slice, and a result is the mean over slices.
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
        None if a value is not a finite number, or there are no values.
    std
        None also for one value, which has no spread.
    """

    mean: float | None = None
    std: float | None = None

    @field_validator("mean", "std")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None


def explain(convention: str, columns: Sequence[Column] = COLUMNS) -> str:
    """Explain a convention in one sentence; the part after the last semicolon says what the mean is over."""
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
    """Return the part (..., H', W') of images (..., H, W) that a convention compares: a central square, or all."""
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
    """Compute the metrics of slices of a volume.

    Parameters
    ----------
    reference, images
        Shape (slices, H, W), real or complex; their magnitudes are compared.
    convention
        ``fastmri`` or ``slice-max``: the crop, and which maximum is the data range.
    maximum
        For ``fastmri``: the maximum of the whole reference volume, if these are not all of its slices. None: the
        maximum of these slices.
    metrics
        The metrics to compute; by default those of the table, LPIPS without weights.

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
    """Return the values whose mean is a result, from a volume's slices and their metrics.

    ``slice-max``: the values of the slices. ``fastmri``: one value for each metric, computed from all slices together
    if its column says so (``maximum`` as for :func:`slice_metrics`), else the mean over the slices.
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
    """Return the mean and standard deviation of each metric over the values of that name."""
    summary = {}
    for name in values[0]:
        column = np.array([value[name] for value in values])
        finite = bool(np.isfinite(column).all())
        summary[name] = Summary(
            mean=float(column.mean()) if finite else None,
            std=float(column.std()) if finite and len(column) > 1 else None,
        )
    return summary
