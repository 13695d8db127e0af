"""A training step on a GPU, recorded once as a CUDA graph and then replayed.

A step at batch size 1 is some thousand small kernels, and a processor takes longer to start them than a GPU to compute
them. A graph starts them all at once. What it reads lies always in the same place: the batch is copied there first.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from switchrecon.config import Sharing
from switchrecon.methods import Phase
from switchrecon.operators import Encoding
from switchrecon.optim import Lookahead
from switchrecon.passes import Batch
from switchrecon.state import State, parts

Step = Callable[[State, Sequence[Phase], Batch, Sharing], dict[str, Tensor]]
Record = Callable[[Callable[[], dict[str, Tensor]]], tuple[Callable[[], object], dict[str, Tensor]]]

EAGER_STEPS = 3  # of each kind before it is recorded: they make the optimisers' state and choose algorithms
TOLERANCE = 0.01  # of the first replayed step's change of the weights, relative to the same step's without a graph


class CudaGraphs:
    """Records functions as CUDA graphs, which share one pool of memory."""

    def __init__(self) -> None:
        self.pool: Any = None

    def __call__(self, function: Callable[[], dict[str, Tensor]]) -> tuple[Callable[[], object], dict[str, Tensor]]:
        """Record what a function does on the GPU, without doing it.

        Returns
        -------
        tuple
            What replays it, and the function's results, which hold the numbers of the last replay of any graph.
        """
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, pool=self.pool):
            results = function()
        self.pool = graph.pool()
        return graph.replay, results


def tensors_of(batch: Batch) -> dict[str, Tensor]:
    """All tensors of a batch, by name; what is drawn later is not among them."""
    found = {
        "x": batch.x,
        "y": batch.y,
        "z": batch.z,
        "mask_x": batch.encoding_x.mask,
        "mask_y": batch.encoding_y.mask,
        "maps_x": batch.encoding_x.maps,
        "maps_y": batch.encoding_y.maps,
        "measured": batch.measured,
    }
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def batch_of(tensors: dict[str, Tensor]) -> Batch:
    """The inverse of :func:`tensors_of`; it has no draws."""
    get = tensors.get
    encoding_x, encoding_y = (Encoding(tensors[f"mask_{d}"], get(f"maps_{d}")) for d in "xy")
    return Batch(tensors["x"], tensors["y"], tensors["z"], encoding_x, encoding_y, get("measured"))


@dataclass
class _Recording:
    """A recorded step: where its batch lies, what replays it, and where its results lie."""

    inputs: dict[str, Tensor]
    replay: Callable[[], object]
    results: dict[str, Tensor]


class Recorded:
    """Takes steps as the function given does, from recordings once it has seen some of their kind.

    A recording is made for each kind of step: its phases, which optimisers end it with a slow step, and the shapes of
    its batch. The first one is compared with the same step taken without it; if they differ, or if a step cannot be
    recorded (an objective draws something that only the processor knows, or waits for the GPU), all steps are taken
    one operation at a time, and a warning says so.

    Parameters
    ----------
    step
        What takes a step.
    record
        How a function is recorded; as a CUDA graph unless given.
    """

    def __init__(self, step: Step, record: Record | None = None) -> None:
        self.step = step
        self.record = record or CudaGraphs()
        self.recordings: dict[Any, _Recording] = {}
        self.seen: dict[Any, int] = {}
        self.given_up = False
        self.compared = False
        self.setbacks = 0

    def forget(self) -> None:
        """Drop all recordings."""
        self.recordings.clear()
        self.seen.clear()

    def __call__(self, state: State, phases: Sequence[Phase], batch: Batch, sharing: Sharing) -> dict[str, Tensor]:
        """Take a step; see :func:`switchrecon.train.take_step`."""
        if self.given_up:
            return self.step(state, phases, batch, sharing)
        if state.course.setbacks != self.setbacks:  # the optimisers have other tensors than those recorded
            self.forget()
            self.setbacks = state.course.setbacks
        tensors = tensors_of(batch)
        kind = (
            tuple((phase.group, tuple(phase.objectives)) for phase in phases),
            tuple((name, tuple(tensor.shape)) for name, tensor in tensors.items()),
        )
        self.seen[kind] = self.seen.get(kind, 0) + 1
        if self.seen[kind] <= EAGER_STEPS:
            return self.step(state, phases, batch, sharing)
        lookaheads = [o for p in phases if isinstance(o := state.optimizers[p.group], Lookahead)]
        key = (kind, tuple(own.due for own in lookaheads))
        if key not in self.recordings:
            try:
                self.recordings[key] = self._recorded(state, phases, tensors, sharing, lookaheads)
            except (RuntimeError, TypeError) as error:
                return self._give_up(f"{type(error).__name__}: {error}", state, phases, batch, sharing)
        recording = self.recordings[key]
        if not self.compared:
            self.compared = True
            difference = self._difference(recording, state, phases, batch, sharing, lookaheads)
            if not difference <= TOLERANCE:
                return self._give_up(f"its results differ by {difference:.2g}", state, phases, batch, sharing)
        return self._replayed(recording, tensors, lookaheads)

    def _recorded(
        self,
        state: State,
        phases: Sequence[Phase],
        tensors: dict[str, Tensor],
        sharing: Sharing,
        lookaheads: Sequence[Lookahead],
    ) -> _Recording:
        inputs = {name: tensor.clone() for name, tensor in tensors.items()}
        counts = [own.count for own in lookaheads]
        try:
            replay, results = self.record(lambda: self.step(state, phases, batch_of(inputs), sharing))
        finally:
            for own, count in zip(lookaheads, counts, strict=True):
                own.count = count
        return _Recording(inputs, replay, results)

    def _replayed(
        self, recording: _Recording, tensors: dict[str, Tensor], lookaheads: Sequence[Lookahead]
    ) -> dict[str, Tensor]:
        counts = [own.count for own in lookaheads]
        for name, tensor in tensors.items():
            recording.inputs[name].copy_(tensor)
        recording.replay()
        for own, count in zip(lookaheads, counts, strict=True):  # a replay runs no Python
            own.count = count + 1
        return {name: value.clone() for name, value in recording.results.items()}

    def _difference(
        self,
        recording: _Recording,
        state: State,
        phases: Sequence[Phase],
        batch: Batch,
        sharing: Sharing,
        lookaheads: Sequence[Lookahead],
    ) -> float:
        """‖Δ − Δ'‖ / ‖Δ‖ of the weights' changes without and with the recording; the state is as before afterwards."""
        own = parts(state)[0]
        before = {name: tensor.clone() for name, tensor in own.items()}
        counts = [one.count for one in lookaheads]

        def change(take: Callable[[], object]) -> Tensor:
            take()
            with torch.no_grad():
                moved = torch.cat([(own[n] - before[n]).flatten() for n in own if n.startswith("players.")])
                for name, tensor in own.items():
                    tensor.copy_(before[name])
            for one, count in zip(lookaheads, counts, strict=True):
                one.count = count
            return moved

        plain = change(lambda: self.step(state, phases, batch, sharing))
        replayed = change(lambda: self._replayed(recording, tensors_of(batch), lookaheads))
        return float((plain - replayed).norm() / plain.norm())

    def _give_up(
        self, reason: str, state: State, phases: Sequence[Phase], batch: Batch, sharing: Sharing
    ) -> dict[str, Tensor]:
        self.given_up = True
        self.forget()
        warnings.warn(
            f"training steps are not replayed as a CUDA graph, which is slower ({' '.join(reason.split())[:200]})",
            stacklevel=2,
        )
        return self.step(state, phases, batch, sharing)
