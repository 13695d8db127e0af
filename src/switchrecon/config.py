"""Every setting of a run, with its default and its reason; read from YAML and ``--set a.b=c``."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from switchrecon.core.device_names import Precision
from switchrecon.core.reading import Phase, ReadOptions, SliceAxis
from switchrecon.core.settings import Settings
from switchrecon.core.yaml_text import load_yaml
from switchrecon.errors import ConfigError, nearest
from switchrecon.physics.masks import MaskConfig

Estimate = Literal["generator", "ensemble"]
DataConsistency = Literal["none", "hard", "soft"]
Calibration = Literal["intensity", "noise", "phase"]
Convention = Literal["fastmri", "slice-max"]
Calls = Literal["auto", "together", "one-by-one"]
Schedule = Literal["linear", "cosine"]
Optimizer = Literal["radam", "adamw"]
Average = Literal["swa", "ema", "none"]
Pairing = Literal["unpaired", "paired", "simulated", "undersampled"]


def _matrix(value: Any) -> Any:
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


Matrix = Annotated[tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]], BeforeValidator(_matrix)]


class CorruptionConfig(Settings):
    """What spoils X and the test scans, but not their references: for experiments on domain gaps."""

    kind: Literal["none", "noise", "phase-errors", "ghosts"] = "none"
    level: float = Field(0.0, ge=0)  # noise: of the brightest pixel; the others: radians


SHARED_SETTINGS = ("phase", "mask", "corruption", "slice_axis", "empty_below", "coils", "coil_compression", "coil_maps")
"""What must agree between runs, besides the matrix, for their images to be comparable."""


class Config(Settings):
    """All settings of a training run. The defaults are the paper's."""

    method: str = "switchable"  # a name of `switchrecon.methods.methods.METHODS`, or FILE.py:NAME
    # Data
    matrix: Matrix | None = None  # side or (H, W); None keeps the scans' own, which must then agree
    representation: Literal["complex", "magnitude"] = "complex"  # magnitude is the paper's, see README
    phase: Phase = "none"  # phase given to magnitude-only scans; none is the paper's
    mask: MaskConfig = MaskConfig()
    simulated_mask: MaskConfig | None = None  # of pairs that are simulated without X; None: mask
    corruption: CorruptionConfig = CorruptionConfig()
    coils: int | None = Field(None, ge=1)  # compress several coils to so many virtual ones; None: as they are
    coil_compression: Literal["svd", "geometric"] = "svd"  # geometric: a matrix for each place along whole readouts
    coil_maps: Literal["espirit", "walsh"] = "espirit"  # how coil sensitivity maps are estimated
    slice_axis: SliceAxis = "axial"  # of image volumes
    variable: str | None = None  # array to read of files with several (MATLAB, .npz, HDF5); may be a pattern: kspace_*
    empty_below: float = Field(0.05, ge=0, lt=1)  # drop slices whose mean is under this part of their brightest slice's
    pairs: Literal["both", "sub"] = "both"  # piles that paired methods learn from; sub: the scans of X, and their truth
    slices_per_scan: int | None = Field(None, ge=1)  # so many of a scan's usable slices, evenly spread; None: all
    pile_slices: int | None = Field(None, ge=1)  # so many of a pile's slices, evenly spread; None: all
    headroom: float = Field(4.0, gt=0)  # a slice's scale over the maximum of its low-resolution image
    augment: Literal["none", "flips", "dihedral", "auto"] = "auto"  # auto: quarter turns for 2-D masks
    distortion: float = Field(0.0, ge=0, le=1)  # of Y before sampling: highest probability of each kind, at the end
    contrast: float = Field(0.0, ge=0, le=1)  # of Y before sampling: probability of a random map of its magnitudes
    # Networks
    width: int = Field(32, ge=1)  # c, channels of the first convolution
    residual_blocks: int = Field(3, ge=0)  # of G
    output_deviation: float = Field(
        0.005, gt=0
    )  # of G's last weights at the start: tanh begins unsaturated; ISCL: 0.05
    network: str = "paper"  # for X to Y: a name of `switchrecon.nets.builder.NETWORKS`, or FILE.py:NAME
    cascades: int = Field(4, ge=1)  # of the unrolled network, with data consistency between
    iterations: int = Field(60, ge=1)  # of total variation, wavelets and SENSE
    refiner: Literal["unet", "generator"] = "unet"  # the network of a cascade; generator is the paper's G
    unet_width: int = Field(16, ge=1)  # channels of the U-Net's first level
    cascade_weights: Literal["own", "shared"] = "own"
    cascade_consistency: Literal["hard", "soft"] = "hard"  # soft: a weight a cascade, learned
    extractor_depth: int = Field(20, ge=2)  # convolutions of H
    code_size: int = Field(64, ge=1)  # length of z
    # Objectives
    adversarial: Literal["lsgan", "hinge"] = "lsgan"  # lsgan is the paper's, hinge the ISCL code's
    sampling_consistency_mask: Literal["slice", "fresh", "dataset"] = "slice"  # R for y in Eq. (1)
    gate: Literal["auto", "open", "closed"] = "auto"  # of joint-adversarial: open only where the piles are alike
    code_noise: float = Field(0.1, ge=0)  # standard deviation of the noise on z
    calibrate: tuple[Calibration, ...] = ()  # what simulated pairs take from X besides its masks
    kept_part: float = Field(0.6, gt=0, lt=1)  # of x's measured samples outside the centre, when they are split
    code_renewed: Literal["epoch", "step"] = "epoch"  # when that noise is drawn anew; epoch is the paper's
    # Training
    calls: Calls = "auto"  # of a network in one update; auto: as one batch on a GPU, and up to 128x128 pixels
    warm_up: int = Field(100, ge=0)  # first steps of unpaired methods, to the identity; at most a tenth; paper: 0
    epochs: int | None = Field(None, ge=1)  # passes over the smaller pile; 50 unless steps are given
    steps: int | None = Field(None, ge=1)  # instead of epochs
    batch_size: int = Field(1, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    final_learning_rate: float = Field(1e-7, ge=0)  # reached on the last step
    schedule: Schedule = "linear"  # of the learning rate; cosine: after a rise over the first 2 % of the steps
    optimizer: Optimizer = "radam"  # the fast one, in Lookahead for D and H; adamw: weight decay 1e-4
    gradient_clip: float | None = Field(None, gt=0)  # largest norm of a group's gradient; None: any
    average: Average = "swa"  # of G's weights; swa: their mean; ema: exponential; none: the last ones
    average_from: float = Field(0.6, ge=0, le=1)  # part of the steps after which G's weights are averaged
    lookahead_steps: int = Field(6, ge=1)  # of D and H
    lookahead_rate: float = Field(0.5, gt=0, le=1)
    seed: int = Field(0, ge=0)  # of weights, order, augmentation and z; not of masks
    precision: Precision = "float32"  # of convolutions; all else is float32; tf32 is a GPU's alone
    checkpoint_every: int = Field(500, ge=1)  # steps
    picture_every: int = Field(500, ge=1)  # steps between example pictures for TensorBoard
    # Reconstruction and evaluation
    estimate: Estimate = "generator"  # ensemble: ½ G(x) + ½ (x − H(x)), the estimate of the ISCL code
    data_consistency: DataConsistency = "none"  # afterwards; hard: measured k-space is put back, soft: in part
    convention: Convention = "fastmri"  # of the metrics: volume maximum, or slice-max with each slice's own

    @model_validator(mode="after")
    def _one_length(self) -> "Config":
        if self.steps is not None and self.epochs is not None:
            raise ValueError("steps and epochs are both set: give one of them")
        return self

    @property
    def reading(self) -> ReadOptions:
        """What readers of scans need to know."""
        return ReadOptions(slice_axis=self.slice_axis, phase=self.phase, variable=self.variable)

    @property
    def channels(self) -> int:
        """Channels of an image: 2 (real, imaginary) or 1 (magnitude)."""
        return 2 if self.representation == "complex" else 1

    def to_yaml(self) -> str:
        """The settings as YAML text that :func:`load_config` reads back."""
        return yaml.safe_dump(json.loads(self.model_dump_json()), sort_keys=False)


def _explain(error: ValidationError, source: str) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        inner: dict[str, type[BaseModel]] = {
            "mask": MaskConfig,
            "simulated_mask": MaskConfig,
            "corruption": CorruptionConfig,
        }
        model = inner.get(path[0], Config) if len(path) > 1 else Config
        prefix = "".join(f"{part}." for part in path[:-1])
        valid = [prefix + name for name in model.model_fields]
        return f"{source}: unknown setting '{'.'.join(path)}'; {nearest('.'.join(path), valid)}"
    names = [part for part in path if not part.startswith("function-")]
    where = f"setting '{'.'.join(names)}' " if names else ""
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "tuple_type":
        lists = {"calibrate": "a list, such as [noise]", "matrix": "a side, or [height, width]"}
        message = f"expected {lists[path[0]]}" if path[0] in lists else message
    return (
        f"{source}: {where}has a wrong value {_short(first['input'])}: {message}" if where else f"{source}: {message}"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


REMOVED: Mapping[str, Any] = MappingProxyType({"sharing": "exact"})
"""Settings of earlier versions, with the only value whose effect is left."""


def without_removed(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Drop settings that earlier versions wrote into files, where they ask for what is done anyway.

    Raises
    ------
    ConfigError
        Where they ask for something else.
    """
    for name, value in values.items():
        if name in REMOVED and value != REMOVED[name]:
            raise ConfigError(
                f"{source}: setting '{name}' was removed, and {value!r} is no longer possible; remove it, or use the "
                "version of switchrecon that wrote it"
            )
    return {name: value for name, value in values.items() if name not in REMOVED}


def parse_config(values: dict[str, Any], source: str = "settings") -> Config:
    """Validate settings.

    Parameters
    ----------
    values
        Nested settings.
    source
        Named in errors, a file name for instance.

    Raises
    ------
    ConfigError
        For an unknown key (naming the closest valid one) or a value of the wrong type or range.
    """
    values = without_removed(values, source)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, source)) from error


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = load_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such configuration file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file}: not a readable YAML file ({reason})") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected settings as 'name: value', found {type(values).__name__}")
    return values


def _assign(values: dict[str, Any], assignment: str) -> None:
    key, equals, text = assignment.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {assignment!r}: expected NAME=VALUE, such as mask.acceleration=4")
    *parents, last = key.strip().split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {assignment!r}: '{parent}' is a single setting and has no '{last}'")
        values = inner
    try:
        values[last] = load_yaml(text)
    except yaml.YAMLError:
        values[last] = text


def load_config(file: Path | None = None, assignments: list[str] | None = None, **overrides: Any) -> Config:
    """Read settings from a YAML file, then apply ``NAME=VALUE`` assignments, then overrides.

    Parameters
    ----------
    file
        YAML; None starts from the defaults.
    assignments
        Such as ``["steps=3000", "mask.kind=random-1d"]``; the value is read as YAML.
    **overrides
        Settings that win over both.

    Raises
    ------
    ConfigError
        For a file that cannot be read, an unknown key, or a wrong value.
    """
    values = _read_yaml(file) if file is not None else {}
    for assignment in assignments or []:
        _assign(values, assignment)
    values.update(overrides)
    return parse_config(values, str(file) if file is not None else "settings")
