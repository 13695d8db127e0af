"""Training with several processes that ``torchrun`` starts: each computes a share of every step's samples.

Objectives are means over samples, and no network mixes samples. So the mean of the processes' gradients, weighted by
their shares, is the gradient of the whole batch. Each process has all networks and optimisers and updates them with
this mean, so that weights are the same everywhere. Only the first process writes.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from switchrecon.core.device import find_device
from switchrecon.core.device_names import chosen_name
from switchrecon.core.messages import LOGGER
from switchrecon.core.processes import one_of_several
from switchrecon.errors import ConfigError, EndedElsewhere, RunError

Value = TypeVar("Value")

PATIENCE = timedelta(days=1)  # longest wait for the first process's data; one that ends is noticed at once


@dataclass(frozen=True)
class Share:
    """The samples of a step that one process computes: ``start`` to ``stop`` − 1 of ``total``."""

    start: int
    stop: int
    total: int

    def __len__(self) -> int:
        """Return how many."""
        return self.stop - self.start

    @property
    def part(self) -> float:
        """Fraction of the whole batch."""
        return len(self) / self.total


class Ranks:
    """The processes of a training, seen from one of them; in this class it is the only one.

    Attributes
    ----------
    number
        Number of this process, from 0.
    size
        Number of processes.
    """

    number = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.number == 0

    def share(self, samples: int) -> Share:
        """Return this process's samples of a step.

        Raises
        ------
        ConfigError
            If there are fewer samples than processes.
        """
        if samples < self.size:
            raise ConfigError(
                f"{self.size} processes cannot share the {samples} slices that a step of this run has; "
                f"start at most {samples}"
            )
        return Share(self.number * samples // self.size, (self.number + 1) * samples // self.size, samples)

    def told(self, value: Value) -> Value:
        """Return the first process's value."""
        return value

    def mean(self, tensors: Sequence[Tensor], part: float) -> None:
        """Replace tensors by their sum over the processes, each weighted by its part of the batch; float32."""

    def check_same(self, value: object, what: str) -> None:
        """Check that all processes have the same value.

        Raises
        ------
        RunError
            If they have not; the message says what differs.
        """

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the first process run a block before the others."""
        yield

    def speaks(self) -> bool:
        """Return whether this process is the first to fail, so that its error is shown."""
        return True


ALONE = Ranks()


@contextmanager
def _connected() -> Iterator[None]:
    """Give the cause if the connection to another process breaks."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise RunError(
            "another process of this training has ended, so that all end; the last checkpoint stays, and --resume "
            "continues from it"
        ) from error


class _Several(Ranks):
    """Several processes that torchrun has started, connected by torch.distributed."""

    def __init__(self) -> None:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        with _connected():
            self.store, self.number, self.size = next(rendezvous("env://", timeout=PATIENCE))
            dist.init_process_group(backend, store=self.store, rank=self.number, world_size=self.size, timeout=PATIENCE)

    def told(self, value: Value) -> Value:
        """See :class:`Ranks`."""
        held = [value if self.first else None]
        with _connected():
            dist.broadcast_object_list(held, src=0, device=torch.device("cpu"))
        return held[0]  # type: ignore[return-value]

    def mean(self, tensors: Sequence[Tensor], part: float) -> None:
        """See :class:`Ranks`."""
        together = torch.cat([tensor.detach().flatten() for tensor in tensors]) * part
        with _connected():
            dist.all_reduce(together)
        with torch.no_grad():
            parts = together.split([tensor.numel() for tensor in tensors])
            for tensor, found in zip(tensors, parts, strict=True):
                tensor.copy_(found.view_as(tensor))

    def check_same(self, value: object, what: str) -> None:
        """See :class:`Ranks`."""
        if self.told(value) != value:
            raise RunError(f"process {self.number} of {self.size} has other {what} than the first; all end")

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """See :class:`Ranks`."""
        if not self.first:
            self.told(None)
        yield
        if self.first:
            self.told(None)

    def speaks(self) -> bool:
        """See :class:`Ranks`."""
        try:
            return self.store.add("failures", 1) == 1
        except RuntimeError:  # the process that keeps the count has ended
            return True


def _device(name: str | None) -> torch.device:
    """Return the device of one of several processes.

    Raises
    ------
    ConfigError
        As for :func:`switchrecon.core.device.find_device`, or if all processes would get the same GPU.
    """
    wanted = chosen_name(name)
    if wanted.startswith("cuda:"):
        raise ConfigError(f"device '{wanted}': each of several processes takes a GPU for itself; say cuda")
    if find_device(wanted).type == "cpu":
        return find_device("cpu")
    return find_device(f"cuda:{os.environ['LOCAL_RANK']}")


@contextmanager
def joined(name: str | None) -> Iterator[tuple[torch.device, Ranks]]:
    """Connect the processes that torchrun has started; without torchrun there is only this one.

    Processes other than the first show nothing except the error that ends all processes, if it is theirs.

    Parameters
    ----------
    name
        Name of the device, see :func:`switchrecon.core.device.find_device`; each process gets another GPU.

    Raises
    ------
    EndedElsewhere
        Instead of an error, if another process was the first to fail.
    """
    if not one_of_several():
        yield find_device(name), ALONE
        return
    ranks = _Several()
    before = LOGGER.level
    if not ranks.first:
        LOGGER.setLevel(logging.ERROR)
    try:
        yield _device(name), ranks
    except Exception as error:
        if ranks.speaks():
            raise
        raise EndedElsewhere("another process of this training has said why it ended") from error
    finally:
        LOGGER.setLevel(before)
        with suppress(RuntimeError, ValueError):
            dist.destroy_process_group()
