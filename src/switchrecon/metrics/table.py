"""The table of metrics. One entry gives a metric its column in evaluations, reports, tables and plots."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from switchrecon.core.user_code import digest, is_user_code, load
from switchrecon.errors import ConfigError, DataError, SwitchreconError, nearest
from switchrecon.metrics.haarpsi import haarpsi
from switchrecon.metrics.lpips import SMALLEST_SIDE, Lpips, find_weights, load_weights
from switchrecon.metrics.metrics import WINDOW, nmse, psnr, ssim

NO_LPIPS = "LPIPS is n/a: its weights were not found; see 'switchrecon weights lpips'."
NAME = re.compile(r"[a-z][a-z0-9_]*")
MOST_DIGITS = 9
# Names that no metric may have: columns and keys beside the metrics in files of evaluations and cross-validations.
RESERVED = {
    *("convention", "setting", "method", "minus", "fold", "seed", "scan", "subject", "slice", "acceleration", "units"),
    *("first", "second", "seeds", "parameters", "steps", "training_seconds", "machines", "versions", "images"),
    *("recovered", "values", "value"),
}

BETTER = ("higher", "lower", "")
POOLED = ("slices", "volume")

Measure = Callable[[np.ndarray, np.ndarray, float], float]
"""Function of the reference, the reconstruction and the data range. Both are float magnitudes of the same shape."""


@dataclass(frozen=True)
class Column:
    """How tables and plots show a metric. Results store it, so that they can be read without the metric's code.

    Attributes
    ----------
    name
        Name in files: lower-case letters, digits and _.
    title
        Name in headers.
    better
        Which direction is better; empty if that is not known.
    unit, digits
        Unit of printed values, and their digits after the point.
    pooled
        How the ``fastmri`` convention makes one value of a volume's slices: ``slices``, their mean; ``volume``, all
        slices measured together.
    note
        Version or constants, for the text that explains a table.
    """

    name: str
    title: str
    better: Literal["higher", "lower", ""] = ""
    unit: str = ""
    digits: Annotated[int, Field(ge=0, le=MOST_DIGITS)] = 4
    pooled: Literal["slices", "volume"] = "slices"
    note: str = ""

    @property
    def header(self) -> str:
        """Title and unit."""
        return f"{self.title} / {self.unit}" if self.unit else self.title

    @property
    def arrow(self) -> str:
        """Title, unit, and an arrow that points to the better side."""
        return self.header + {"higher": " ↑", "lower": " ↓", "": ""}[self.better]

    def text(self, value: float, signed: bool = False) -> str:
        """Return a value with the metric's digits."""
        return f"{value:{'+' if signed else ''}.{self.digits}f}"

    def told(self, value: float) -> str:
        """Return a value as written in a sentence: ``31.20 dB``, ``SSIM 0.912``."""
        return f"{self.text(value)} {self.unit}" if self.unit else f"{self.title} {self.text(value)}"


@dataclass(frozen=True)
class Metric:
    """A metric: its column, and the function that computes it.

    Attributes
    ----------
    column
        Name, title, direction and digits.
    function
        Returns the value of one slice, from arrays (H, W); with ``pooled="volume"`` also the value of several slices
        together, from (slices, H, W). NaN if there is no value. The data range is the maximum of the volume in the
        ``fastmri`` convention, and of the reference slice in ``slice-max``.
    lacks
        A sentence about what is missing, such as a file with weights; every value is NaN then. Empty: nothing.
    smallest
        Pixels that a side must have; the value of smaller images is NaN.
    """

    column: Column
    function: Measure
    lacks: str = ""
    smallest: int = 1

    def __post_init__(self) -> None:
        name, digits = self.column.name, self.column.digits
        if not NAME.fullmatch(name) or name in RESERVED:
            raise ConfigError(f"a metric's name cannot be '{name}'; expected another word of a-z, 0-9 and _")
        if not 0 <= digits <= MOST_DIGITS:
            raise ConfigError(f"metric '{name}' has {digits} digits; expected 0 to {MOST_DIGITS}")
        for value, valid in ((self.column.better, BETTER), (self.column.pooled, POOLED)):
            if value not in valid:
                raise ConfigError(f"metric '{name}' has '{value}'; {nearest(value, filter(None, valid))}")

    @property
    def name(self) -> str:
        """Name in files."""
        return self.column.name

    def __call__(self, reference: np.ndarray, image: np.ndarray, maximum: float) -> float:
        """Return the value; NaN for images that are too small.

        Raises
        ------
        DataError
            If the function fails, or does not return a number.
        """
        if min(reference.shape[-2:]) < self.smallest:
            return math.nan
        try:
            return float(self.function(reference, image, maximum))
        except SwitchreconError:
            raise
        except Exception as error:
            shape = "x".join(map(str, reference.shape))
            raise DataError(
                f"metric '{self.name}' failed on {shape} pixels: {type(error).__name__}: {error}"
            ) from error

    def too_small(self, shape: Sequence[int]) -> str:
        """Return a sentence for images whose shape ends in (H, W) and that have no value; empty where they have one."""
        if min(shape[-2:]) >= self.smallest:
            return ""
        size = "x".join(map(str, shape[-2:]))
        return f"{self.column.title} is n/a for {size} pixels: it needs at least {self.smallest} a side."


def _no_value(reference: np.ndarray, image: np.ndarray, maximum: float) -> float:
    return math.nan


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(Column("psnr", "PSNR", "higher", "dB", 2, "volume"), psnr),
        Metric(
            Column("ssim", "SSIM", "higher", digits=3, note="uniform 7x7 window, sample covariance"),
            ssim,
            smallest=WINDOW,
        ),
        Metric(Column("nmse", "NMSE", "lower", digits=4, pooled="volume"), lambda r, u, maximum: nmse(r, u)),
        Metric(Column("lpips", "LPIPS", "lower", digits=3, note="AlexNet, v0.1"), _no_value, NO_LPIPS, SMALLEST_SIDE),
        Metric(Column("haarpsi", "HaarPSI", "higher", digits=3, note="C = 30, α = 4.2"), haarpsi),
    )
}
COLUMNS: tuple[Column, ...] = tuple(metric.column for metric in METRICS.values())


def with_lpips(weights: Path | None) -> Metric:
    """Return the table's LPIPS with its weights, or without if no path is given and the default file is not there.

    Raises
    ------
    DataError
        If the file is named but missing, or is there but cannot be used.
    """
    entry, found = METRICS["lpips"], find_weights(weights)
    if weights is None and not found.exists():
        return entry
    network = Lpips(load_weights(found))

    def distance(reference: np.ndarray, image: np.ndarray, maximum: float) -> float:
        return network.magnitude(reference / maximum, image / maximum)

    return replace(entry, function=distance, lacks="")


def find_metrics(asked: Sequence[str | Metric] = (), lpips_weights: Path | None = None) -> tuple[Metric, ...]:
    """Return the table's metrics, then the other metrics that are asked for.

    Parameters
    ----------
    asked
        Metrics; ``FILE.py:NAME`` of a :class:`Metric` in a user's file, which is run; or names of the table.
    lpips_weights
        See :func:`with_lpips`.

    Raises
    ------
    ConfigError
        If there is no such metric, or two have the same name.
    DataError
        See :func:`with_lpips`.
    """
    return (*{**METRICS, "lpips": with_lpips(lpips_weights)}.values(), *extra_metrics(asked))


def extra_metrics(asked: Sequence[str | Metric]) -> tuple[Metric, ...]:
    """Return the metrics that are asked for and not in the table; see :func:`find_metrics`."""
    found: dict[str, Metric] = {}
    for each in asked:
        if isinstance(each, str) and not is_user_code(each):
            if each not in METRICS:
                raise ConfigError(f"unknown metric '{each}'; {nearest(each, METRICS)}, or give FILE.py:NAME")
            continue
        metric = load(each, "metric") if isinstance(each, str) else each
        if not isinstance(metric, Metric):
            raise ConfigError(f"metric '{each}': is a {type(metric).__name__}; expected a switchrecon.metrics.Metric")
        if metric.name in METRICS or metric.name in found:
            where = each if isinstance(each, str) else each.name
            raise ConfigError(f"metric '{where}': there is a metric '{metric.name}' already; choose another name")
        found[metric.name] = metric
    return tuple(found.values())


def fingerprint(asked: str) -> str | None:
    """Return the SHA-256 of the file in ``FILE.py:NAME``, None if it is missing; empty for a name of the table."""
    try:
        return digest(asked, "metric") if is_user_code(asked) else ""
    except (ConfigError, OSError):
        return None


def columns_of(names: Iterable[str], known: Sequence[Column] = ()) -> tuple[Column, ...]:
    """Return the columns of a table: the package's metrics first, then the others in their order.

    Parameters
    ----------
    names
        Names of the metrics that have values.
    known
        Columns that a file describes. A name without a column is shown in capitals, with four digits.
    """
    found = {column.name: column for column in (*COLUMNS, *known)}
    return tuple({**found, **{name: Column(name, name.upper()) for name in names if name not in found}}.values())
