"""A training step on a GPU, recorded once as a CUDA graph and then replayed.

A step at batch size 1 is some thousand small kernels, and a processor takes longer to start them than a GPU to compute
them. A graph starts them all at once. What it reads lies always in the same place: the batch is copied there first.
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

EAGER_STEPS = 3  # of each kind before it is recorded: they make the optimisers' state and choose algorithms
TOLERANCE = 0.01  # of a first replay's change of the weights, relative to the same step's without a recording
WAITED = "called a synchronizing"  # torch's words for an operation that waits for the GPU
PROTOTYPE = "Synchronization debug mode is a prototype"  # and, once a process, for watching out for them
MOST_RECORDINGS = 8  # kinds of steps; others are taken one operation at a time


class Recorder(Protocol):
    """How functions are recorded."""

    def watch(self, function: Callable[[], Measured[Tensor]]) -> tuple[Measured[Tensor], str | None]:
        """Call a function; its results, and why it cannot be recorded, if it cannot."""
        ...

    def record(self, function: Callable[[], Measured[Tensor]]) -> tuple[Callable[[], object], Measured[Tensor]]:
        """Record what a function does, without doing it.

        Returns
        -------
        tuple
            What replays it, and the function's results, which hold the numbers of the last replay of any recording.
        """
        ...

    def forget(self) -> None:
        """All recordings have been dropped."""
        ...


class CudaGraphs:
    """Records functions as CUDA graphs on the current GPU, which share one pool of memory."""

    def __init__(self) -> None:
        self.pool: Any = None
        self.stream = torch.cuda.Stream()

    def watch(self, function: Callable[[], Measured[Tensor]]) -> tuple[Measured[Tensor], str | None]:
        """Call a function; whether it waited for the GPU, which a graph cannot do."""
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
        """The pool went with its last graph."""
        self.pool = None


DRAWS = ("pair", "split", "turn")
"""What can be drawn before a step: the methods of :class:`switchrecon.methods.step.Draws`."""


class _Noticed:
    """A batch's draws, and which of :data:`DRAWS` have been asked for."""

    def __init__(self, draws: Any) -> None:
        self._draws = draws
        self.used: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name in DRAWS:
            self.used.add(name)
        return getattr(self._draws, name)


class Placed:
    """Draws that have been made already, before the step."""

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
    """The batch with these of its draws made already, to be copied to where a recording reads."""
    if not names:
        return batch
    return replace(batch, draws=Placed({name: getattr(batch.draws, name)() for name in sorted(names)}))


def tensors_of(batch: Batch) -> dict[str, Tensor]:
    """All tensors of a batch, by name; what is yet to be drawn is not among them."""
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
    """The inverse of :func:`tensors_of`; it has the draws that were made already, and no others."""
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
    """A recorded step: where its batch lies, what replays it, and where its results lie."""

    inputs: dict[str, Tensor]
    replay: Callable[[], object]
    results: Measured[Tensor]


class Recorded:
    """Takes steps as the function given does, from recordings once it has seen some of their kind.

    A recording is made for each kind of step: its phases, which optimisers end it with a slow step, and the shapes
    of its batch. What the step draws is drawn before it, and lies beside the batch. The first replay is compared with
    the same step taken without it. If they differ, or a step cannot be recorded (an objective of the user's own, or
    waiting for the GPU), all steps are taken one operation at a time, and a warning says so.

    Parameters
    ----------
    step
        What takes a step.
    recorder
        How it is recorded; as a CUDA graph unless given.
    """

    def __init__(self, step: TakeStep, recorder: Recorder | None = None) -> None:
        self.step = step
        self.recorder: Recorder = recorder or CudaGraphs()
        self.recordings: dict[Any, _Recording] = {}
        self.seen: dict[Any, int] = {}
        self.draws: dict[Any, set[str]] = {}  # that each kind of step asks for
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
            self._give_up("an objective is not the package's own")  # it may look at what is not recorded
        if self.given_up:
            return self.step(state, phases, batch)
        if state.course.setbacks != self.setbacks:  # the optimisers have other tensors than those recorded
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
        tensors = tensors_of(batch)  # draws' as well
        key = (kind, _shapes(tensors), tuple(own.due for own in lookaheads))
        if key not in self.recordings:
            if len(self.recordings) == MOST_RECORDINGS:
                return self.step(state, phases, batch)
            problem = self._add(key, state, phases, batch, lookaheads)
            if problem is not None:
                self._give_up(problem)
                return self.step(state, phases, batch)
        return self._replayed(self.recordings[key], tensors, lookaheads)

    def _watched(self, state: State, phases: Sequence[Phase], batch: Batch) -> Measured[Tensor]:
        """The last step of its kind before it is recorded; finds what would make a recording fail, or wrong."""
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
        """Record a kind of step and compare it with a plain one; what is wrong, if anything is."""
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
        counts = [own.count for own in lookaheads]
        try:
            replay, results = self.recorder.record(lambda: self.step(state, phases, batch_of(inputs)))
        finally:
            for own, count in zip(lookaheads, counts, strict=True):
                own.count = count
        return _Recording(inputs, replay, results)

    def _replayed(
        self, recording: _Recording, tensors: dict[str, Tensor], lookaheads: Sequence[Lookahead]
    ) -> Measured[Tensor]:
        counts = [own.count for own in lookaheads]
        for name, tensor in tensors.items():
            recording.inputs[name].copy_(tensor)
        recording.replay()
        for own, count in zip(lookaheads, counts, strict=True):  # a replay runs no Python
            own.count = count + 1
        return recording.results.having([value.clone() for value in recording.results.values])

    def _difference(
        self,
        recording: _Recording,
        state: State,
        phases: Sequence[Phase],
        batch: Batch,
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
