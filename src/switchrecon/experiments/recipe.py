"""Recipes: an experiment as data, from a file or by the name of one that comes with the package."""

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


class Source(Settings):
    """Where the scans of an experiment come from."""

    files: tuple[str, ...] = ()  # patterns under the data folder, all fully sampled
    full_files: tuple[str, ...] = ()  # of another domain for the fully sampled pile; paired methods learn from `files`
    heads: int | None = Field(None, ge=3)  # instead: so many synthetic subjects
    head_slices: int = Field(6, ge=1)
    head_coils: int = Field(1, ge=1)
    subjects: int | None = Field(None, ge=3)  # only the first so many, by name

    @model_validator(mode="after")
    def _one_source(self) -> "Source":
        if bool(self.files) == bool(self.heads):
            raise ValueError("give either files or heads")
        if self.full_files and not self.files:
            raise ValueError("full_files goes with files")
        return self


class Gap(Settings):
    """Rows that bound a domain gap: learnt in the other domain without X, and paired in X's own domain."""

    lower: Name
    upper: Name


class Recipe(Settings):
    """A grid of trainings: methods × settings × folds × seeds."""

    title: str
    paper: Literal["ixi-x4", "ixi-x6", "fastmri-x4"] | None = None  # whose numbers stand beside ours
    data: Source
    folds: int = Field(ge=2)  # of subjects; a fold is tested by the methods that were trained on all others
    run_folds: tuple[int, ...] | None = None  # only these, counted from 0
    seeds: tuple[int, ...] = (0,)
    methods: Mapping[Name, Mapping[str, Any]]  # rows in their order, each with settings of its own
    settings: Mapping[Name, Mapping[str, Any]] = {"default": {}}  # such as two accelerations
    gap: Gap | None = None  # the table then says which part of it each row recovers
    common: Mapping[str, Any] = {}  # settings of every cell
    test_slices_per_scan: int | None = Field(None, ge=1)  # evenly spread; None: all
    threads: int = Field(1, ge=1)  # of each cell; bits depend on it
    retries: int = Field(1, ge=0)  # of a cell that failed
    metrics: tuple[str, ...] = ()  # besides the package's: FILE.py:NAME, or a name that older evaluations may lack
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
        """The folds that are run."""
        return self.run_folds if self.run_folds is not None else tuple(range(self.folds))

    def config(self, setting: str, row: str, seed: int) -> Config:
        """The settings of a cell: common ones, the setting's, the method's own, and the row's, later ones winning.

        Raises
        ------
        ConfigError
            For an unknown setting or a wrong value.
        """
        name = str(self.methods[row].get("method", row))
        values: dict[str, Any] = {"method": name}
        for part in (self.common, self.settings[setting], _own_settings(name), self.methods[row]):
            if {"steps", "epochs"} & part.keys():  # one length takes the place of the other
                values = {key: value for key, value in values.items() if key not in ("steps", "epochs")}
            _merge(values, part)
        config = parse_config({**values, "seed": seed}, f"recipe, setting {setting}, method {row}")
        find_network(config)
        return config


def _own_settings(name: str) -> Mapping[str, Any]:
    """Return a method's own settings; those of a user's file are found when it is run."""
    return METHODS[name].settings if name in METHODS else {}


def _merge(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Lay settings over others, in place; ``mask.kind: x`` and ``mask: {kind: x}`` mean the same."""
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
    """Names of the recipes that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in RECIPES.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name: str) -> Recipe:
    """Read a recipe from a YAML file, or one of the package by its name.

    Raises
    ------
    ConfigError
        If there is none, or it is not one.
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
    """Validate a recipe and the settings of all its cells.

    Raises
    ------
    ConfigError
        Naming what is wrong.
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
    """Validate a recipe, but not yet the settings of its cells.

    Raises
    ------
    ConfigError
        Naming what is wrong.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: expected a recipe as 'name: value', found {type(values).__name__}")
    return check_settings(Recipe, values, source)


def _check_comparable(configs: Mapping[str, Config], setting: str, source: str) -> None:
    """Refuse rows of one setting that are measured on different images."""
    (first, config), *others = configs.items()
    for row, other in others:
        for name in ("matrix", *SHARED_SETTINGS, "convention"):
            mine, theirs = getattr(config, name), getattr(other, name)
            if mine != theirs:
                raise ConfigError(
                    f"{source}: setting {setting}: rows {first} and {row} differ in {name} ({mine} and {theirs}), so "
                    "they cannot be compared; make them settings instead"
                )
