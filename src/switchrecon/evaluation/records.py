"""Records that an evaluation stores and reports read: ``metrics.json`` and ``evaluation.json``.

Files of earlier versions can be read, too: fields that they lack have defaults.
"""

from typing import Any

from pydantic import Field

from switchrecon.core.records import Record
from switchrecon.metrics.conventions import Summary
from switchrecon.metrics.table import COLUMNS, Column, columns_of

Scores = dict[str, dict[str, Summary]]
"""Values by method, then by metric."""


class Spectrum(Record):
    """Radial error spectrum: the middle of each ring as a fraction of Nyquist, and the ratios by method."""

    frequency: list[float]
    methods: dict[str, list[float]]


class Evaluation(Record):
    """The content of ``metrics.json``.

    Attributes
    ----------
    convention, convention_text
        The convention that reports show, and what it means.
    volumes, subjects, slices
        How many of them were measured.
    methods
        Values in that convention.
    conventions
        Values in every convention.
    error_spectrum
        Error spectrum of all slices together.
    columns
        The metrics that were measured; in older files those of the package's table.
    """

    convention: str
    convention_text: str
    volumes: int
    subjects: int
    slices: int
    methods: Scores
    conventions: dict[str, Scores]
    error_spectrum: Spectrum
    columns: tuple[Column, ...] = COLUMNS

    def all_columns(self) -> tuple[Column, ...]:
        """Return the columns of a table: the package's metrics and what this evaluation has besides."""
        return columns_of((name for values in self.methods.values() for name in values), self.columns)

    def value(self, method: str, metric: str, convention: str | None = None) -> Summary:
        """Return a method's value; empty where it was not measured."""
        scores = self.methods if convention is None else self.conventions[convention]
        return scores[method].get(metric, Summary())


class RunFacts(Record):
    """A run: settings, parameters by group, steps, seconds, and loss curves with their ``step``."""

    name: str
    config: dict[str, Any]
    parameters: dict[str, int]
    steps: int
    seconds: float | None
    losses: dict[str, list[float | None]]
    learning_rate: list[float | None]


class Sampling(Record):
    """How references were undersampled."""

    kind: str
    per: str
    acceleration: float
    center_fraction: float
    measured_acceleration: float
    seed: int = 0


class Example(Record):
    """An example slice, with its values by method and metric."""

    scan: str
    slice: int
    methods: dict[str, dict[str, float | None]]


class Picture(Record):
    """A picture in the evaluation's folder."""

    file: str
    caption: str


class Description(Record):
    """The content of ``evaluation.json``: what was evaluated, and how.

    ``cards`` are the runs' cards without subjects. ``names`` are the files of the scans by their names here, if
    the user asked for them: a file's name may tell who was scanned.
    """

    title: str
    created: str
    summary: list[str]
    reduced: list[str]
    data: list[str]
    sampling: Sampling
    matrix: tuple[int, int]
    versions: dict[str, str]
    machine: str
    runs: list[RunFacts]
    cards: list[dict[str, Any]] = Field(default_factory=list)
    examples: list[Example]
    example_methods: list[str]
    pictures: list[Picture]
    names: dict[str, str] = Field(default_factory=dict)

    def shown(self, scan: str) -> str:
        """A scan's name here, with its file's where that is kept."""
        return f"{scan} ({self.names[scan]})" if scan in self.names else scan
