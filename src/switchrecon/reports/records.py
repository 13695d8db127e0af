"""What a cross-validation stores of its results, and its tables are made from: ``table.json``.

Files of earlier versions fit, too: what they lack has a default.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from switchrecon.core.records import Record
from switchrecon.metrics.statistics import Interval, OverFolds
from switchrecon.metrics.table import Column, columns_of

PART = ("methods", "differences", "test_subjects", "test_units")


class Row(Record):
    """One method, or one of its estimates: facts of its trainings, and beside them a value for each metric."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, OverFolds]

    seeds: int = 0
    parameters: int | None = None
    steps: int | None = None
    training_seconds: float | None = None
    machines: list[str] = Field(default_factory=list)
    versions: list[str] = Field(default_factory=list)
    images: dict[str, int] = Field(default_factory=dict)  # by pile
    recovered: dict[str, Interval] | None = None  # of a gap, by metric

    @property
    def values(self) -> Mapping[str, OverFolds]:
        """By metric."""
        return self.__pydantic_extra__

    def value(self, metric: str) -> OverFolds:
        """Return the value of a metric; empty where it was not measured."""
        return self.values.get(metric, OverFolds())


class Pair(Record):
    """The difference of two rows, ``second`` − ``first``: an interval for each metric."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Interval]

    first: str
    second: str

    def value(self, metric: str) -> Interval:
        """Return the difference in a metric; empty where it was not measured."""
        return self.__pydantic_extra__.get(metric, Interval())


class SettingTable(Record):
    """The results of one setting."""

    methods: dict[str, Row] = Field(default_factory=dict)
    differences: list[Pair] = Field(default_factory=list)
    test_subjects: int = 0
    test_units: int = 0


class GapRows(Record):
    """The rows that bound a domain gap."""

    lower: str
    upper: str


class Spectra(Record):
    """Radial error spectra: the middle of each ring as a fraction of Nyquist, and ratios by setting and method."""

    frequency: list[float] = Field(default_factory=list)
    settings: dict[str, dict[str, list[float]]] = Field(default_factory=dict)


class Table(Record):
    """All results of a cross-validation in one convention.

    Attributes
    ----------
    recipe
        The experiment, as YAML writes it.
    settings
        Results by setting; one setting alone has the name "", and stands in the file without a name.
    paper
        The paper's numbers by method and metric.
    missing
        Names of the cells that are not done.
    columns
        The metrics of the cells. Files that do not say have those of the package's table.
    """

    title: str
    recipe: dict[str, Any] = Field(default_factory=dict)
    gap: GapRows | None = None
    convention: str
    convention_text: str
    subjects: int = 0
    folds: list[int]
    seeds: list[int]
    settings: dict[str, SettingTable]
    error_spectrum: Spectra = Spectra()
    paper: dict[str, dict[str, float]] = Field(default_factory=dict)
    footnotes: list[str] = Field(default_factory=list)
    missing: list[str] = Field(default_factory=list)
    columns: tuple[Column, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _name_one_setting(cls, values: Any) -> Any:
        if isinstance(values, dict) and "settings" not in values:
            part = {name: values[name] for name in PART if name in values}
            return {**{name: value for name, value in values.items() if name not in PART}, "settings": {"": part}}
        return values

    @model_serializer(mode="wrap")
    def _leave_out_one_name(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if self.settings.keys() == {""}:
            values |= values.pop("settings")[""]
        return values

    @property
    def only(self) -> SettingTable:
        """The results of a table with one setting."""
        [part] = self.settings.values()
        return part

    def all_columns(self) -> tuple[Column, ...]:
        """Return the package's metrics, then those that these results have besides."""
        rows = (row for part in self.settings.values() for row in part.methods.values())
        return columns_of((name for row in rows for name in row.values), self.columns)
