"""The dry run of a training: data, sizes, and estimates of time and memory, without writing anything."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from switchrecon.config import Config
from switchrecon.core.device import describe
from switchrecon.core.durations import duration
from switchrecon.core.sentences import count
from switchrecon.data.piles import TrainingData
from switchrecon.scans.files import ScanInput
from switchrecon.training.budget import step_seconds
from switchrecon.training.ranks import joined
from switchrecon.training.ready import Ready, begin, make_ready


@dataclass(frozen=True)
class PlannedPile:
    """Facts about a pile."""

    name: str
    scans: int
    subjects: int
    slices: int
    acceleration: float | None

    def __str__(self) -> str:
        sampled = "" if self.acceleration is None else f", acceleration {self.acceleration:.2f}"
        scans, subjects = count(self.scans, "scan"), count(self.subjects, "subject")
        return f"{self.name}: {scans} of {subjects}, {count(self.slices, 'slice')}{sampled}"


@dataclass(frozen=True)
class TrainingPlan:
    """The result of a dry run.

    Attributes
    ----------
    config
        All settings, with those of the method.
    piles
        The data found.
    matrix, coils
        Matrix and coils of the slices.
    parameters
        Numbers of trained values, by group.
    steps
        Steps of the whole run.
    step_seconds
        Median time of a few steps that were taken.
    memory
        Peak memory of this process in bytes, or of the GPU if steps run there. None if unknown.
    device
        Device of the steps, in words.
    """

    config: Config
    piles: tuple[PlannedPile, ...]
    matrix: tuple[int, int]
    coils: int
    parameters: dict[str, int]
    steps: int
    step_seconds: float
    memory: int | None
    device: str

    @property
    def seconds(self) -> float:
        """Estimated time of the whole run."""
        return self.steps * self.step_seconds

    def lines(self) -> list[str]:
        """Return all but the settings, as lines of text."""
        height, width = self.matrix
        sizes = ", ".join(f"{name} {count:,}" for name, count in self.parameters.items())
        memory = "unknown" if self.memory is None else f"about {self.memory / 2**20:,.0f} MiB"
        return [
            *map(str, self.piles),
            f"matrix {height}x{width}, {self.coils} {'coil' if self.coils == 1 else 'coils'}",
            f"parameters: {sizes}",
            f"expected time: about {duration(self.seconds)} for {self.steps:,} steps (an estimate: "
            f"{self.step_seconds:.3g} s a step, the median of a few steps on {self.device})",
            f"expected memory: {memory} (an estimate: the peak during these steps, the slices included)",
        ]


def plan_training(
    config: Config,
    full: Sequence[ScanInput],
    sub: Sequence[ScanInput],
    folder: Path | None = None,
    resume: bool = False,
    device: str | None = None,
    start: str | Path | None = None,
) -> TrainingPlan:
    """Read the data, build the networks, take a few steps, and forget all of it.

    Parameters
    ----------
    config, full, sub, folder, resume, device, start
        As for :func:`switchrecon.training.train.train`; None: no folder is checked.

    Raises
    ------
    SwitchreconError
        If the training would raise it before its first step.
    """
    with joined(device) as (chosen, ranks):
        return _plan(make_ready(config, full, sub, folder, resume, None, chosen, ranks, start))


def _plan(ready: Ready) -> TrainingPlan:
    state, batches = begin(ready)
    method, config, data = ready.method, ready.config, ready.data
    gpu = ready.device.type == "cuda"
    seconds = step_seconds(state, method, config, batches)
    return TrainingPlan(
        config,
        _facts(data),
        data.matrix,
        data.coils,
        {name: sum(p.numel() for p in part.parameters()) for name, part in state.players.groups().items()},
        batches.steps,
        seconds,
        torch.cuda.max_memory_allocated(ready.device) if gpu else peak_memory(),
        describe(ready.device),
    )


def _facts(data: TrainingData) -> tuple[PlannedPile, ...]:
    names = {"full": "fully sampled", "sub": "undersampled"}
    return tuple(
        PlannedPile(
            names[name],
            each.scans,
            len(each.subjects),
            len(each.slices),
            each.acceleration() if name == "sub" else None,
        )
        for name, each in data.piles.items()
    )


def peak_memory() -> int | None:
    """Return the most memory that this process has used, in bytes; None if the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
