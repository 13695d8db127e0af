"""Every setting of a run, with its default and the reason for it. ``switchrecon settings`` prints these texts."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BeforeValidator, Field, model_validator

from switchrecon.core.device_names import Precision
from switchrecon.core.reading import Phase, ReadOptions, SliceAxis
from switchrecon.core.settings import Settings, assign, check_settings, read_settings, setting
from switchrecon.physics.masks import MaskConfig

Estimate = Literal["generator", "ensemble"]
DataConsistency = Literal["none", "hard", "soft"]
CalibratedPart = Literal["intensity", "noise", "phase"]
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
    """Simulated faults of X and the test scans, but not of their references: for experiments on domain gaps."""

    kind: Literal["none", "noise", "phase-errors", "ghosts"] = setting(
        "none", "Simulated fault of X and the test scans, but not of their references."
    )
    level: float = setting(
        0.0, "Strength of the fault: noise relative to the brightest pixel, the others in radians.", ge=0
    )


class DataSettings(Settings):
    """Data."""

    method: str = setting("joint", "A method of the package, or FILE.py:NAME, which is run; switchable is the paper's.")
    matrix: Matrix | None = setting(
        None,
        "Side, or [height, width]: scans are resized in k-space. null keeps the scans' matrix, which must then agree.",
    )
    representation: Literal["complex", "magnitude"] = setting(
        "complex",
        "What the networks see of images. Magnitude is the paper's, but |x| is inconsistent with the measured samples.",
    )
    phase: Phase = setting(
        "none",
        "Phase given to magnitude-only scans. None is the paper's; smooth removes the conjugate symmetry of k-space, "
        "which real scans do not have.",
    )
    mask: MaskConfig = setting(MaskConfig(), "How k-space is sampled if sampling is simulated.")
    simulated_mask: MaskConfig | None = setting(
        None, "Masks of pairs that are simulated without X, with the settings of mask; null: mask."
    )
    corruption: CorruptionConfig = setting(CorruptionConfig(), "Simulated faults, for experiments on domain gaps.")
    coils: int | None = setting(None, "Compress the coils to this number of virtual coils; null: do not.", ge=1)
    coil_compression: Literal["svd", "geometric"] = setting(
        "svd", "How coils are compressed. Geometric: one matrix for each place along complete readouts."
    )
    coil_maps: Literal["espirit", "walsh"] = setting("espirit", "How coil sensitivity maps are estimated.")
    slice_axis: SliceAxis = setting("axial", "How image volumes are cut into slices.")
    variable: str | None = setting(
        None,
        "Name of the array to read from files with several (MATLAB, .npz, HDF5), or a pattern such as kspace_*. null: "
        "the array kspace, or the only one that can be k-space.",
    )
    layout: str | None = setting(
        None,
        "One letter for each axis of that array (s slices, c coils, h readout, w phase encode, r real and imaginary "
        "part, t time), or calgary-campinas. null: the usual order of its format.",
    )
    subjects: str | None = setting(
        None, "A CSV table with the columns file and subject, for files that do not say who was scanned."
    )
    empty_below: float = setting(
        0.05, "Drop slices whose mean magnitude is below this fraction of their volume's brightest slice.", ge=0, lt=1
    )
    pairs: Literal["both", "sub"] = setting(
        "both", "The piles that paired methods learn from; sub: only the scans of X, with their references."
    )
    slices_per_scan: int | None = setting(
        None, "Use this number of a scan's usable slices, evenly spread; null: all.", ge=1
    )
    pile_slices: int | None = setting(None, "Use this number of a pile's slices, evenly spread; null: all.", ge=1)
    headroom: float = setting(
        4.0,
        "A slice is divided by this times the maximum of its low-resolution image, so that values are within [-1, 1].",
        gt=0,
    )
    augment: Literal["none", "flips", "dihedral", "auto"] = setting(
        "auto",
        "Symmetries that move slices for augmentation. Auto: dihedral for square matrices and masks of points, else "
        "flips.",
    )
    distortion: float = setting(
        0.0,
        "Highest probability of small rotations, scalings, shears and contrast changes of Y before it is sampled, "
        "reached at the end.",
        ge=0,
        le=1,
    )
    contrast: float = setting(
        0.0,
        "Probability that Y gets a random contrast (a map of its magnitudes) before it is sampled; 1 for piles that "
        "differ in contrast.",
        ge=0,
        le=1,
    )


class NetworkSettings(Settings):
    """Networks."""

    width: int = setting(32, "Channels of the first convolution of the paper's networks (c).", ge=1)
    residual_blocks: int = setting(3, "Residual blocks of the paper's G.", ge=0)
    output_deviation: float = setting(
        0.005,
        "Standard deviation of G's last weights at the start, small so that tanh begins unsaturated; ISCL: 0.05.",
        gt=0,
    )
    network: str = setting(
        "paper",
        "The network from X to Y; also FILE.py:NAME. Unrolled alternates small networks with data consistency; "
        "total-variation, wavelet and sense are classical.",
    )
    cascades: int = setting(4, "Cascades of the unrolled network: a small network, then data consistency.", ge=1)
    iterations: int = setting(60, "Iterations of total variation, wavelets and SENSE.", ge=1)
    refiner: Literal["unet", "generator"] = setting(
        "unet", "The small network in each cascade of the unrolled network; generator is the paper's G."
    )
    unet_width: int = setting(16, "Channels of the first level of a cascade's U-Net.", ge=1)
    cascade_weights: Literal["own", "shared"] = setting(
        "own", "Whether each cascade has separate weights (own), or all cascades share them."
    )
    cascade_consistency: Literal["hard", "soft"] = setting(
        "hard", "Data consistency after a cascade; soft: with one learned weight for each cascade."
    )
    extractor_depth: int = setting(20, "Convolutions of the noise extractor H.", ge=2)
    code_size: int = setting(64, "Length of the code z that switches the generator.", ge=1)


class ObjectiveSettings(Settings):
    """Objectives."""

    adversarial: Literal["lsgan", "hinge"] = setting("lsgan", "Adversarial loss: lsgan is the paper's, hinge ISCL's.")
    sampling_consistency_mask: Literal["slice", "fresh", "dataset"] = setting(
        "slice", "The mask R for y in Eq. (1): the slice's, a fresh one in each step, or one for all."
    )
    gate: Literal["auto", "open", "closed"] = setting(
        "auto", "Whether G(X) is made to look like Y; auto: only if compare-domains finds the piles alike."
    )
    code_noise: float = setting(0.1, "Standard deviation of the noise on the code z.", ge=0)
    calibrate: tuple[CalibratedPart, ...] = setting(
        (), "What simulated pairs copy from X besides its masks: a list of intensity, noise and phase."
    )
    kept_part: float = setting(
        0.6,
        "Fraction of x's measured samples outside the centre that the network sees; it is compared at the others.",
        gt=0,
        lt=1,
    )
    code_renewed: Literal["epoch", "step"] = setting(
        "epoch", "How often the noise on z is drawn anew; epoch is the paper's."
    )


class TrainingSettings(Settings):
    """Training."""

    calls: Calls = setting(
        "auto",
        "Whether the calls of a network in one update are made as one batch. Auto: on a GPU, and up to 128x128 pixels.",
    )
    warm_up: int = setting(
        100, "First steps, which learn the identity; at most a tenth of all steps. The paper has none (0).", ge=0
    )
    epochs: int | None = setting(None, "Passes over the smaller pile; null: 50, unless steps are given.", ge=1)
    steps: int | None = setting(None, "Training steps, instead of epochs.", ge=1)
    batch_size: int = setting(1, "Slices of each pile in a step.", ge=1)
    learning_rate: float = setting(1e-4, "Learning rate of the fast optimiser at the start.", gt=0)
    final_learning_rate: float = setting(1e-7, "Learning rate in the last step.", ge=0)
    schedule: Schedule = setting(
        "linear", "How the learning rate falls. Cosine first rises, in the first 2 % of the steps."
    )
    optimizer: Optimizer = setting("radam", "The fast optimiser. Adamw has a weight decay of 1e-4.")
    gradient_clip: float | None = setting(None, "Largest norm of a group's gradient; null: any.", gt=0)
    average: Average = setting(
        "swa", "The average of G's weights: swa, their mean; ema, exponential moving average; none, the last weights."
    )
    average_from: float = setting(0.6, "Fraction of the steps after which G's weights are averaged.", ge=0, le=1)
    lookahead_steps: int = setting(6, "Steps between updates of the slow weights of D and H (Lookahead).", ge=1)
    lookahead_rate: float = setting(0.5, "How far the slow weights move towards the fast ones.", gt=0, le=1)
    seed: int = setting(0, "Seed of weights, order, augmentation and z; masks have mask.seed.", ge=0)
    precision: Precision = setting(
        "float32",
        "Precision of convolutions. tf32 is for GPUs; bfloat16 for GPUs and for processors that compute in it.",
    )
    checkpoint_every: int = setting(500, "Steps between checkpoints, which an interrupted run continues from.", ge=1)
    picture_every: int = setting(500, "Steps between example pictures for TensorBoard.", ge=1)


class ResultSettings(Settings):
    """Reconstruction and evaluation."""

    estimate: Estimate = setting(
        "generator", "G(x), or ensemble: ½ G(x) + ½ (x − H(x)), usually better, for methods with an extractor."
    )
    data_consistency: DataConsistency = setting(
        "none", "Applied after the network. Hard restores measured k-space; soft gives it a weight that its noise sets."
    )
    convention: Convention = setting(
        "fastmri", "The data range of metrics: the maximum of the volume, or, with slice-max, of each slice."
    )


GROUPS = (DataSettings, NetworkSettings, ObjectiveSettings, TrainingSettings, ResultSettings)
"""All settings, group by group."""

SHARED_SETTINGS = ("phase", "mask", "corruption", "slice_axis", "empty_below", "coils", "coil_compression", "coil_maps")
"""Settings, besides the matrix, that must be equal in runs whose images are compared."""


REMOVED: Mapping[str, Any] = MappingProxyType({"sharing": "exact"})
"""Settings of earlier versions, with the only value whose effect is still possible."""


SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("lr", "rate", "learningrate", "initial_lr", "base_lr"), "learning_rate"),
        **dict.fromkeys(("final_lr", "min_lr", "lr_min", "eta_min"), "final_learning_rate"),
        **dict.fromkeys(("lr_scheduler", "scheduler", "lr_schedule", "decay"), "schedule"),
        **dict.fromkeys(("batch", "batchsize", "bs", "minibatch"), "batch_size"),
        **dict.fromkeys(("epoch", "n_epochs", "num_epochs", "max_epochs", "nepochs"), "epochs"),
        **dict.fromkeys(("step", "n_steps", "num_steps", "max_steps", "iters", "n_iter", "max_iter", "niter"), "steps"),
        **dict.fromkeys(("optim", "optimiser"), "optimizer"),
        **dict.fromkeys(("clip", "grad_clip", "clip_grad", "max_norm", "gradient_clipping"), "gradient_clip"),
        **dict.fromkeys(("ema", "swa", "averaging"), "average"),
        **dict.fromkeys(("warmup", "warmup_steps", "warm_up_steps"), "warm_up"),
        **dict.fromkeys(("amp", "dtype", "half", "fp16", "bf16", "tf32", "mixed_precision"), "precision"),
        **dict.fromkeys(("random_seed", "random_state", "rng"), "seed"),
        **dict.fromkeys(("save_every", "checkpoint", "checkpoint_interval", "ckpt_every"), "checkpoint_every"),
        **dict.fromkeys(("accel", "acc", "af", "r", "acceleration_factor", "accelerations"), "mask.acceleration"),
        **dict.fromkeys(("acs", "centre_fraction", "center_fractions", "calibration_fraction"), "mask.center_fraction"),
        **dict.fromkeys(("mask_type", "mask_kind", "sampling", "pattern", "undersampling", "trajectory"), "mask.kind"),
        **dict.fromkeys(("size", "image_size", "img_size", "shape", "resolution", "crop", "crop_size"), "matrix"),
        **dict.fromkeys(("model", "net", "arch", "architecture", "backbone"), "network"),
        **dict.fromkeys(("channels", "chans", "filters", "features", "hidden", "ngf"), "width"),
        **dict.fromkeys(("num_cascades", "n_cascades", "unrolls", "blocks", "num_unrolled"), "cascades"),
        **dict.fromkeys(("algorithm", "approach"), "method"),
        **dict.fromkeys(("augmentation", "augmentations", "aug", "flip", "flips"), "augment"),
        **dict.fromkeys(("noise", "noise_level", "sigma"), "corruption.level"),
        **dict.fromkeys(("dc", "consistency", "dataconsistency"), "data_consistency"),
        **dict.fromkeys(("virtual_coils", "n_coils", "num_coils", "coil_number"), "coils"),
        **dict.fromkeys(("maps", "sensitivity_maps", "smaps", "espirit"), "coil_maps"),
        **dict.fromkeys(("axis", "orientation", "plane"), "slice_axis"),
        **dict.fromkeys(("slices", "max_slices", "num_slices"), "slices_per_scan"),
        **{
            name: f"it is no setting but an option of the command: --{name} (in Python an argument of train)"
            for name in ("out", "full", "sub", "resume", "cache", "device", "budget")
        },
        **dict.fromkeys(("gpu", "cuda"), "it is no setting but an option of the command: --device cuda"),
        **dict.fromkeys(("time", "max_time", "hours"), "it is no setting but an option of the command: --budget 30m"),
    }
)
"""What other programs call these settings."""


# pydantic lists fields of the last base first, and files keep the order of GROUPS.
class Config(ResultSettings, TrainingSettings, ObjectiveSettings, NetworkSettings, DataSettings):
    """All settings of a training run.

    The defaults are what our measurements recommend; ``paper.yaml`` beside this file holds the paper's values.
    """

    synonyms: ClassVar[Mapping[str, str]] = SYNONYMS

    @model_validator(mode="before")
    @classmethod
    def _without_removed(cls, values: Any) -> Any:
        """Drop settings that earlier versions wrote into files, if their value is what is done anyway."""
        if not isinstance(values, dict):
            return values
        for name, value in values.items():
            if name in REMOVED and value != REMOVED[name]:
                raise ValueError(
                    f"setting '{name}' was removed, and {value!r} is no longer possible; remove it, or use the version "
                    "of switchrecon that wrote it"
                )
        return {name: value for name, value in values.items() if name not in REMOVED}

    @model_validator(mode="after")
    def _one_length(self) -> "Config":
        if self.steps is not None and self.epochs is not None:
            raise ValueError("steps and epochs are both set: give one of them")
        return self

    @property
    def reading(self) -> ReadOptions:
        """The options for readers of scans."""
        return ReadOptions(
            slice_axis=self.slice_axis,
            phase=self.phase,
            variable=self.variable,
            layout=self.layout,
            subjects=None if self.subjects is None else Path(self.subjects),
        )

    def over(self, stored: "Config") -> "Config":
        """Return stored settings, replaced by those that are set here."""
        mine = self.model_dump(exclude_unset=True)
        mine = {name: value for name, value in mine.items() if value is not None or name not in ("steps", "epochs")}
        values = stored.model_dump()
        if {"steps", "epochs"} & mine.keys():  # steps and epochs exclude each other
            values = {name: value for name, value in values.items() if name not in ("steps", "epochs")}
        for name, value in mine.items():
            inside = isinstance(value, dict) and isinstance(values.get(name), dict)
            values[name] = {**values[name], **value} if inside else value
        return parse_config(values)

    @property
    def channels(self) -> int:
        """Channels of an image: 2 (real, imaginary) or 1 (magnitude)."""
        return 2 if self.representation == "complex" else 1

    def to_yaml(self) -> str:
        """Return the settings as YAML text that :func:`load_config` reads back."""
        return yaml.safe_dump(json.loads(self.model_dump_json()), sort_keys=False)


def parse_config(values: dict[str, Any], source: str = "settings") -> Config:
    """Validate the settings of a run; see :func:`switchrecon.core.settings.check_settings`."""
    return check_settings(Config, values, source)


def _named(file: Path) -> Path:
    """Return the file, or that of the paper's settings if its name is ``paper`` and there is no such file."""
    return Path(__file__).with_name("paper.yaml") if str(file) == "paper" and not file.exists() else file


def load_config(file: Path | None = None, assignments: list[str] | None = None, **overrides: Any) -> Config:
    """Read settings from a YAML file, then apply ``NAME=VALUE`` assignments, then overrides.

    Parameters
    ----------
    file
        YAML file, or ``paper`` for the paper's values; None: start from the defaults.
    assignments
        Assignments such as ``["steps=3000", "mask.kind=random-1d"]``; values are read as YAML.
    **overrides
        Settings that win over both.

    Raises
    ------
    ConfigError
        If the file cannot be read, a key is unknown, or a value is wrong.
    """
    values = read_settings(_named(file)) if file is not None else {}
    for assignment in assignments or []:
        assign(values, assignment)
    values.update(overrides)
    return parse_config(values, str(file) if file is not None else "settings")
