"""What a training would do, found out without writing anything: data, sizes, and an estimate of time and memory."""

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
    """A pile in numbers."""

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
    """What a training would do.

    Attributes
    ----------
    config
        All settings, the method's among them.
    piles
        The data found.
    matrix, coils
        Of the slices.
    parameters
        Numbers of trained values, by group.
    steps
        Of the whole run.
    step_seconds
        Median time of a few steps that were taken.
    memory
        Bytes of this process at their peak; of the GPU's memory where steps are taken there. None where unknown.
    device
        Where the steps were taken, in words.
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
        """All but the settings, as lines of text."""
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
        As of :func:`switchrecon.training.train.train`; without a folder none is checked.

    Raises
    ------
    SwitchreconError
        For whatever the training would refuse before its first step.
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
            names[name], own.scans, len(own.subjects), len(own.slices), own.acceleration() if name == "sub" else None
        )
        for name, own in data.piles.items()
    )


def peak_memory() -> int | None:
    """The most memory that this process has used, in bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
