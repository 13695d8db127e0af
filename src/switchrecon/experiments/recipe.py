"""Recipes: experiments as data, read from a file, or from the package by name."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StringConstraints, model_validator

from switchrecon.config import SHARED_SETTINGS, Config, Settings, parse_config
from switchrecon.core.settings import check_settings
from switchrecon.core.yaml_text import load_yaml
from switchrecon.errors import ConfigError, nearest
from switchrecon.methods.methods import METHODS
from switchrecon.nets.builder import find_network

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)]
RECIPES = files("switchrecon") / "recipes"


class ScanSource(Settings):
    """The scans of an experiment: files, or synthetic heads."""

    files: tuple[str, ...] = ()  # patterns under the data folder, all fully sampled
    full_files: tuple[str, ...] = ()  # another domain for the fully sampled pile; paired methods learn from `files`
    heads: int | None = Field(None, ge=3)  # number of synthetic subjects, instead of files
    head_slices: int = Field(6, ge=1)
    head_coils: int = Field(1, ge=1)
    subjects: int | None = Field(None, ge=3)  # use only this number of subjects, the first by name

    @model_validator(mode="after")
    def _one_source(self) -> "ScanSource":
        if bool(self.files) == bool(self.heads):
            raise ValueError("give either files or heads")
        if self.full_files and not self.files:
            raise ValueError("full_files goes with files")
        return self


class Gap(Settings):
    """The two rows that bound a domain gap: trained in the other domain without X, and paired in the domain of X."""

    lower: Name
    upper: Name


class Recipe(Settings):
    """A grid of trainings: methods × settings × folds × seeds."""

    title: str
    paper: Literal["ixi-x4", "ixi-x6", "fastmri-x4"] | None = None  # the paper's experiment to compare with
    data: ScanSource
    folds: int = Field(ge=2)  # of subjects; methods are trained on all folds but the one that tests them
    run_folds: tuple[int, ...] | None = None  # run only these folds, counted from 0
    seeds: tuple[int, ...] = (0,)
    methods: Mapping[Name, Mapping[str, Any]]  # rows in their order, each with its settings
    settings: Mapping[Name, Mapping[str, Any]] = {"default": {}}  # such as two accelerations
    gap: Gap | None = None  # the table then says which part of the gap each row recovers
    common: Mapping[str, Any] = {}  # settings of every cell
    test_slices_per_scan: int | None = Field(None, ge=1)  # evenly spread slices of a test scan; None: all
    threads: int = Field(1, ge=1)  # threads of each cell; the last bits of results depend on them
    retries: int = Field(1, ge=0)  # how often a failed cell is run again
    metrics: tuple[str, ...] = ()  # further metrics: FILE.py:NAME, or a name that older evaluations may lack
    notes: tuple[str, ...] = ()  # printed with the table

    @model_validator(mode="after")
    def _sensible(self) -> "Recipe":
        for fold in self.run_folds or ():
            if not 0 <= fold < self.folds:
                raise ValueError(f"run_folds has {fold}; folds are counted from 0 to {self.folds - 1}")
        for name, listed in (("run_folds", self.run_folds or ()), ("seeds", self.seeds)):
            if len(set(listed)) < len(listed):
                raise ValueError(f"{name} has {list(listed)}: give each number once")
        for row in (self.gap.lower, self.gap.upper) if self.gap else ():
            if row not in self.methods:
                raise ValueError(f"gap names '{row}'; {nearest(row, self.methods)}")
        if not (self.methods and self.settings and self.seeds):
            raise ValueError("methods, settings and seeds each need at least one entry")
        return self

    @property
    def used_folds(self) -> tuple[int, ...]:
        """Numbers of the folds that are run."""
        return self.run_folds if self.run_folds is not None else tuple(range(self.folds))

    def with_subjects(self, table: Path) -> "Recipe":
        """Return the recipe with a table of who was scanned, for all cells; see ``switchrecon train --subjects``."""
        return self.model_copy(update={"common": {**self.common, "subjects": str(table.resolve())}})

    def config(self, setting: str, row: str, seed: int) -> Config:
        """Return the settings of a cell: ``common``, the setting's, the method's and the row's; later ones win.

        Raises
        ------
        ConfigError
            If a setting is unknown or has a wrong value.
        """
        name = str(self.methods[row].get("method", row))
        values: dict[str, Any] = {"method": name}
        for part in (self.common, self.settings[setting], _own_settings(name), self.methods[row]):
            if {"steps", "epochs"} & part.keys():  # steps and epochs exclude each other
                values = {key: value for key, value in values.items() if key not in ("steps", "epochs")}
            _merge(values, part)
        config = parse_config({**values, "seed": seed}, f"recipe, setting {setting}, method {row}")
        find_network(config)
        return config


def _own_settings(name: str) -> Mapping[str, Any]:
    """Return the settings that belong to a method; those of a user's method are found when its file is run."""
    return METHODS[name].settings if name in METHODS else {}


def _merge(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Put settings over others, in place; ``mask.kind: x`` and ``mask: {kind: x}`` mean the same."""
    for key, value in more.items():
        first, _, rest = key.partition(".")
        if rest or isinstance(value, Mapping):
            inner = values.setdefault(first, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"recipe: '{first}' is {inner!r} in one place and has settings inside in another")
            _merge(inner, {rest: value} if rest else value)
        else:
            values[first] = value


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in RECIPES.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name: str) -> Recipe:
    """Read a recipe from a YAML file, or one of the package by its name.

    Raises
    ------
    ConfigError
        If there is no such file or recipe, or it is not a valid recipe.
    """
    path = Path(name)
    try:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
        elif name in recipe_names():
            text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
        else:
            raise ConfigError(f"{name}: no such file and no recipe of the package; {nearest(name, recipe_names())}")
        values = load_yaml(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{name}: not a readable YAML file ({' '.join(str(error).split())})") from error
    return parse_recipe(values, name)


def parse_recipe(values: Any, source: str) -> Recipe:
    """Check a recipe and the settings of all its cells.

    Raises
    ------
    ConfigError
        If something is wrong; the message says what.
    """
    recipe = parse_recipe_alone(values, source)
    for setting in recipe.settings:
        try:
            configs = {row: recipe.config(setting, row, recipe.seeds[0]) for row in recipe.methods}
        except ConfigError as error:
            raise ConfigError(f"{source}: {str(error).removeprefix('recipe, ')}") from error
        _check_comparable(configs, setting, source)
    return recipe


def parse_recipe_alone(values: Any, source: str) -> Recipe:
    """Check a recipe, but not yet the settings of its cells.

    Raises
    ------
    ConfigError
        If something is wrong; the message says what.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: expected a recipe as 'name: value', found {type(values).__name__}")
    return check_settings(Recipe, values, source)


def _check_comparable(configs: Mapping[str, Config], setting: str, source: str) -> None:
    """Refuse rows of one setting whose images would not be comparable."""
    (first, config), *others = configs.items()
    for row, other in others:
        for name in ("matrix", *SHARED_SETTINGS, "convention"):
            mine, theirs = getattr(config, name), getattr(other, name)
            if mine != theirs:
                raise ConfigError(
                    f"{source}: setting {setting}: rows {first} and {row} differ in {name} ({mine} and {theirs}), so "
                    "they cannot be compared; make them settings instead"
                )
