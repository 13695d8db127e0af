"""Record a training step on a GPU once as a CUDA graph, and replay it.

A step at batch size 1 is about a thousand small kernels, and a CPU needs more time to start them than a GPU to compute
them. A graph starts them all at once. Its input is always at the same address: the batch is copied there first.
"""

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from switchrecon.methods import objectives as own_objectives
from switchrecon.methods.methods import Phase
from switchrecon.methods.step import Batch, Drawn, Turn
from switchrecon.physics.operators import Encoding, coils_of
from switchrecon.training.optim import Lookahead
from switchrecon.training.state import Measured, State, parts

TakeStep = Callable[[State, Sequence[Phase], Batch], Measured[Tensor]]

EAGER_STEPS = 3  # steps of each kind before recording: they make the optimisers' state and choose algorithms
TOLERANCE = 0.01  # largest error of a first replay's weight change, relative to the same step without it
WAITED = "called a synchronizing"  # torch's warning about an operation that waits for the GPU
PROTOTYPE = "Synchronization debug mode is a prototype"  # torch's warning, once in a process, about that check
MOST_RECORDINGS = 8  # most kinds of steps that are recorded; others run one operation at a time


class Recorder(Protocol):
    """Interface for recording functions."""

    def watch(self, function: Callable[[], Measured[Tensor]]) -> tuple[Measured[Tensor], str | None]:
        """Call a function; return its results, and why it cannot be recorded (None if it can)."""
        ...

    def record(self, function: Callable[[], Measured[Tensor]]) -> tuple[Callable[[], object], Measured[Tensor]]:
        """Record the operations of a function without running them.

        Returns
        -------
        tuple
            A function that replays it, and the function's results; they hold the values of the last replay of any
            recording.
        """
        ...

    def forget(self) -> None:
        """Release the memory of recordings, after all of them have been dropped."""
        ...


class CudaGraphs:
    """Records functions as CUDA graphs on the current GPU, which share one pool of memory."""

    def __init__(self) -> None:
        self.pool: Any = None
        self.stream = torch.cuda.Stream()

    def watch(self, function: Callable[[], Measured[Tensor]]) -> tuple[Measured[Tensor], str | None]:
        """Call a function; return its results, and whether it waited for the GPU, which a graph cannot do."""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                results = function()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        waits = any(WAITED in str(one.message) for one in said)
        for one in said:
            if WAITED not in str(one.message) and PROTOTYPE not in str(one.message):
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        return results, "it waits for a number" if waits else None

    def record(self, function: Callable[[], Measured[Tensor]]) -> tuple[Callable[[], object], Measured[Tensor]]:
        """See :class:`Recorder`."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        # A capture that fails does not restore the stream by itself.
        with torch.cuda.stream(self.stream), torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            results = function()
        self.pool = graph.pool()
        return graph.replay, results

    def forget(self) -> None:
        """Make a new memory pool: the old one is released with its last graph."""
        self.pool = None


DRAWS = ("pair", "split", "turn")
"""The draws that can be made before a step: the methods of :class:`switchrecon.methods.step.Draws`."""


class _Noticed:
    """The draws of a batch, with a note of which :data:`DRAWS` were asked for."""

    def __init__(self, draws: Any) -> None:
        self._draws = draws
        self.used: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name in DRAWS:
            self.used.add(name)
        return getattr(self._draws, name)


class Placed:
    """Draws that were made before the step."""

    def __init__(self, made: dict[str, Any]) -> None:
        self.made = made

    def pair(self) -> Drawn:
        """See :class:`switchrecon.methods.step.Draws`."""
        made: Drawn = self.made["pair"]
        return made

    def split(self) -> Drawn:
        """See :class:`switchrecon.methods.step.Draws`."""
        made: Drawn = self.made["split"]
        return made

    def turn(self) -> Turn:
        """See :class:`switchrecon.methods.step.Draws`."""
        made: Turn = self.made["turn"]
        return made


def with_draws(batch: Batch, names: Collection[str]) -> Batch:
    """Return the batch with these draws made already, so that they can be copied to a recording's input."""
    if not names:
        return batch
    return replace(batch, draws=Placed({name: getattr(batch.draws, name)() for name in sorted(names)}))


def tensors_of(batch: Batch) -> dict[str, Tensor]:
    """Return all tensors of a batch, by name, without draws that have not been made."""
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
    for name, (first, encoding, *rest) in batch.draws.made.items() if isinstance(batch.draws, Placed) else ():
        found |= {f"{name} first": first, f"{name} mask": encoding.mask, f"{name} maps": encoding.maps}
        found[f"{name} last"] = rest[0] if rest else None
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def batch_of(tensors: dict[str, Tensor]) -> Batch:
    """Return the inverse of :func:`tensors_of`; it has the draws that were made already, and no others."""
    get = tensors.get
    encoding_x, encoding_y = (Encoding(tensors[f"mask_{d}"], coils_of(get(f"maps_{d}"))) for d in "xy")
    made = {
        name: (
            tensors[f"{name} first"],
            Encoding(tensors[f"{name} mask"], coils_of(get(f"{name} maps"))),
            *([tensors[f"{name} last"]] if f"{name} last" in tensors else []),
        )
        for name in DRAWS
        if f"{name} first" in tensors
    }
    draws = Placed(made) if made else None
    return Batch(tensors["x"], tensors["y"], tensors["z"], encoding_x, encoding_y, get("measured"), draws)


def _shapes(tensors: dict[str, Tensor]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, tuple(tensor.shape)) for name, tensor in tensors.items())


@dataclass
class _Recording:
    """A recorded step: its input, the function that replays it, and its results."""

    inputs: dict[str, Tensor]
    replay: Callable[[], object]
    results: Measured[Tensor]


class Recorded:
    """Runs training steps like the given function, but replays recordings after a few steps of each kind.

    The kind of a step is given by its phases, the optimisers that end it with a slow step, and the shapes of its batch.
    The step's random draws are made before it and copied beside the batch. The first replay is compared with the same
    step without a recording. If they differ, or a step cannot be recorded (a user's objective, or an operation that
    waits for the GPU), all steps run one operation at a time, and a warning says so.

    Parameters
    ----------
    step
        Function that runs one training step.
    recorder
        Records functions; by default as CUDA graphs.
    """

    def __init__(self, step: TakeStep, recorder: Recorder | None = None) -> None:
        self.step = step
        self.recorder: Recorder = recorder or CudaGraphs()
        self.recordings: dict[Any, _Recording] = {}
        self.seen: dict[Any, int] = {}
        self.draws: dict[Any, set[str]] = {}  # draws that each kind of step asks for
        self.given_up = False
        self.setbacks = 0

    def forget(self) -> None:
        """Drop all recordings."""
        self.recordings.clear()
        self.seen.clear()
        self.recorder.forget()

    def __call__(self, state: State, phases: Sequence[Phase], batch: Batch) -> Measured[Tensor]:
        """Take a step; see :func:`switchrecon.training.updates.take_step`."""
        if not self.given_up and any(
            getattr(objective, "__module__", None) != own_objectives.__name__
            for phase in phases
            for objective in phase.objectives
        ):
            self._give_up("an objective is not the package's")  # it may depend on values that are not recorded
        if self.given_up:
            return self.step(state, phases, batch)
        if state.course.setbacks != self.setbacks:  # the optimisers' tensors are not the recorded ones any more
            self.forget()
            self.setbacks = state.course.setbacks
        kind = (tuple(phase.kind for phase in phases), _shapes(tensors_of(batch)))
        self.seen[kind] = self.seen.get(kind, 0) + 1
        if self.seen[kind] < EAGER_STEPS:
            noticed = _Noticed(batch.draws)
            seen = batch if batch.draws is None else replace(batch, draws=noticed)
            values = self.step(state, phases, seen)
            self.draws[kind] = noticed.used
            return values
        batch = with_draws(batch, self.draws[kind])
        if self.seen[kind] == EAGER_STEPS:
            return self._watched(state, phases, batch)
        lookaheads = [o for p in phases if isinstance(o := state.optimizers[p.group], Lookahead)]
        tensors = tensors_of(batch)  # those of draws as well
        key = (kind, _shapes(tensors), tuple(each.due for each in lookaheads))
        if key not in self.recordings:
            if len(self.recordings) == MOST_RECORDINGS:
                return self.step(state, phases, batch)
            problem = self._add(key, state, phases, batch, lookaheads)
            if problem is not None:
                self._give_up(problem)
                return self.step(state, phases, batch)
        return self._replayed(self.recordings[key], tensors, lookaheads)

    def _watched(self, state: State, phases: Sequence[Phase], batch: Batch) -> Measured[Tensor]:
        """Run the last step before recording its kind; find reasons why a recording would fail or be wrong."""
        values, problem = self.recorder.watch(lambda: self.step(state, phases, batch))
        if problem is not None:
            self._give_up(problem)
        return values

    def _add(
        self,
        key: Any,
        state: State,
        phases: Sequence[Phase],
        batch: Batch,
        lookaheads: Sequence[Lookahead],
    ) -> str | None:
        """Record a kind of step and compare it with a plain step; return what is wrong, or None."""
        try:
            recording = self._recorded(state, phases, tensors_of(batch), lookaheads)
        except RuntimeError as error:
            return f"recording failed: {error}"
        difference = self._difference(recording, state, phases, batch, lookaheads)
        if not difference <= TOLERANCE:
            return f"a replay changed the weights by {difference:.2g} of the change otherwise"
        self.recordings[key] = recording
        return None

    def _recorded(
        self,
        state: State,
        phases: Sequence[Phase],
        tensors: dict[str, Tensor],
        lookaheads: Sequence[Lookahead],
    ) -> _Recording:
        inputs = {name: tensor.clone() for name, tensor in tensors.items()}
        counts = [each.count for each in lookaheads]
        try:
            replay, results = self.recorder.record(lambda: self.step(state, phases, batch_of(inputs)))
        finally:
            for each, count in zip(lookaheads, counts, strict=True):
                each.count = count
        return _Recording(inputs, replay, results)

    def _replayed(
        self, recording: _Recording, tensors: dict[str, Tensor], lookaheads: Sequence[Lookahead]
    ) -> Measured[Tensor]:
        counts = [each.count for each in lookaheads]
        for name, tensor in tensors.items():
            recording.inputs[name].copy_(tensor)
        recording.replay()
        for each, count in zip(lookaheads, counts, strict=True):  # a replay runs no Python
            each.count = count + 1
        return recording.results.having([value.clone() for value in recording.results.values])

    def _difference(
        self,
        recording: _Recording,
        state: State,
        phases: Sequence[Phase],
        batch: Batch,
        lookaheads: Sequence[Lookahead],
    ) -> float:
        """Return ‖Δ − Δ'‖ / ‖Δ‖ of weight changes without and with the recording; the state is restored."""
        tensors = parts(state)[0]
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        counts = [one.count for one in lookaheads]

        def change(take: Callable[[], object]) -> Tensor:
            take()
            with torch.no_grad():
                moved = torch.cat([(tensors[n] - before[n]).flatten() for n in tensors if n.startswith("players.")])
                for name, tensor in tensors.items():
                    tensor.copy_(before[name])
            for one, count in zip(lookaheads, counts, strict=True):
                one.count = count
            return moved

        plain = change(lambda: self.step(state, phases, batch))
        replayed = change(lambda: self._replayed(recording, tensors_of(batch), lookaheads))
        return float((plain - replayed).norm() / plain.norm())

    def _give_up(self, reason: str) -> None:
        self.given_up = True
        self.forget()
        reason = " ".join(reason.split())[:200]
        warnings.warn(
            f"training steps are not replayed as CUDA graphs, so that they take longer ({reason})", stacklevel=3
        )
