"""What is measured on a device by ``gpu_check.py``: steps beside the processor's, times, slices a second, memory.

Every function works on a processor, too, where it stands in for a GPU and a "recording" runs the step again.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from literal import literal_step, with_torchs_layers
from steps import INSIDE_CONVOLUTIONS, SETTINGS, make_batch, prepared
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from switchrecon.config import Calls, load_config
from switchrecon.core.device import PROCESSOR, set_up
from switchrecon.data.piles import read_training_data
from switchrecon.methods.methods import METHODS, with_method_settings
from switchrecon.methods.step import Batch
from switchrecon.nets.builder import build_generator
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.runs.card import Card
from switchrecon.training.batches import Batches
from switchrecon.training.cuda_graphs import Recorded, batch_of, tensors_of
from switchrecon.training.dry_run import peak_memory
from switchrecon.training.state import Measured, State, build_state
from switchrecon.training.updates import step_taker

PRECISIONS = ("float32", "tf32", "bfloat16")
MODES = ("graph", "eager")
KEPT_STEPS = (1, 5, 30)  # after which the weights' change is compared
WARM_UP = 5  # steps that are not timed: a GPU has recorded them by then
METHODS_TIMED = ("switchable", "supervised", "joint")
CALLS: tuple[Calls, ...] = ("together", "one-by-one")


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(function: Callable[[], object], device: torch.device, warm_up: int, repeats: int) -> float:
    """Mean time of a call, all calls given at once."""
    for _ in range(warm_up):
        function()
    wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        function()
    wait(device)
    return 1000 * (time.perf_counter() - started) / repeats


def on(device: torch.device, batch: Batch) -> Batch:
    """The batch there."""
    return batch_of({name: tensor.to(device) for name, tensor in tensors_of(batch).items()})


class Again:
    """Records on a processor: a replay runs the step again, into the tensors of its results."""

    def watch(self, function: Callable[[], Measured[Tensor]]) -> tuple[Measured[Tensor], str | None]:
        """Call a function."""
        return function(), None

    def record(self, function: Callable[[], Measured[Tensor]]) -> tuple[Callable[[], object], Measured[Tensor]]:
        """See :class:`switchrecon.training.cuda_graphs.Recorder`."""
        results: Measured[Tensor] = Measured()

        def replay() -> None:
            found = function()
            for kept, made in ((results.losses, found.losses), (results.gradients, found.gradients)):
                for name, value in made.items():
                    kept[name] = kept[name].copy_(value) if name in kept else value.clone()

        return replay, results

    def forget(self) -> None:
        """Nothing is kept."""


def taker(device: torch.device, calls: Calls, pixels: int, mode: str) -> Any:
    """What takes a step: recorded once and replayed, or one operation at a time."""
    if mode == "graph" and device.type == "cpu":
        return Recorded(step_taker(device, calls, pixels), Again())
    return step_taker(device, calls, pixels, alone=mode == "graph")


def change(state: State, before: Sequence[Tensor]) -> Tensor:
    """How far all weights have moved, on the processor."""
    moved = zip(state.players.parameters(), before, strict=True)
    return torch.cat([(own.detach().cpu() - first).flatten() for own, first in moved])


def train_a_little(
    name: str, heads: Sequence[Path], side: int, precision: str, mode: str, device: torch.device, steps: int
) -> Iterator[dict[str, Any]]:
    """Train a method from its first step, on real batches; yields what is known after each of :data:`KEPT_STEPS`.

    ``change`` is the weights' (tensor), ``losses`` the last step's, ``milliseconds`` a step's time after the first
    :data:`WARM_UP`, ``memory`` in bytes, ``replayed`` whether steps were replayed.
    """
    method = METHODS[name]
    settings = [f"matrix={side}", f"method={name}", f"precision={precision}", "warm_up=0", "gate=open", *SETTINGS]
    config = with_method_settings(load_config(None, [*settings, f"steps={steps}"]), method)
    set_up(device, config.precision)
    half = len(heads) // 2
    data = read_training_data(heads[:half], heads[half:], config, method.pairing)
    state = build_state(method, config, device)
    before = [own.detach().cpu().clone() for own in state.players.parameters()]
    batches = Batches(data, config, method.pairing, device)
    take = taker(device, config.calls, batches.pixels, mode)
    started, timed = 0.0, 0
    for step in range(steps):
        if step == min(WARM_UP, steps - 1):
            wait(device)
            started, timed = time.perf_counter(), steps - step
        measured = take(state, method.phases, batches.batch(step))
        if step + 1 in KEPT_STEPS or step + 1 == steps:
            wait(device)
            spent = 1000 * (time.perf_counter() - started) / timed if step + 1 == steps else None
            yield {
                "step": step + 1,
                "change": change(state, before),
                "losses": {own: float(value) for own, value in measured.losses.items()},
                "milliseconds": spent,
                "memory": memory(device),
                "replayed": isinstance(take, Recorded) and bool(take.recordings),
            }


def memory(device: torch.device) -> int | None:
    """Bytes at their peak: of the GPU, or of this process."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()


def convolution_milliseconds(step: Callable[[], object], device: torch.device) -> float:
    """Time inside the convolutions of a step, forward and backward, on the device: what no reordering saves."""
    gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if gpu else [ProfilerActivity.CPU]
    step()
    wait(device)
    with profile(activities=activities) as recorded:
        step()
        wait(device)
    kind = "self_device_time_total" if gpu else "self_cpu_time_total"
    return sum(getattr(own, kind) for own in recorded.key_averages() if own.key in INSIDE_CONVOLUTIONS) / 1000


def measure_step(device: torch.device, side: int, repeats: int, warm_up: int = 20) -> Iterator[dict[str, Any]]:
    """Milliseconds a step: literal, and by precision and calls; over the literal step and the convolutions alone."""
    for name in METHODS_TIMED:
        batch = make_batch(side)
        batch = on(device, batch if name == "joint" else replace(batch, draws=None))  # a replay would copy them
        theirs, _, plain = prepared(name, side, device=device)
        with_torchs_layers(theirs)
        set_up(device, "float32")
        literal = milliseconds(partial(literal_step, theirs, batch, plain), device, min(warm_up, 5), repeats)
        found: dict[str, Any] = {"method": name, "side": side, "literal, float32": literal}
        for precision in PRECISIONS:
            for calls in CALLS:
                state, method, config = prepared(name, side, precision, device)
                set_up(device, config.precision)
                call = partial(taker(device, calls, side * side, "graph"), state, method.phases, batch)
                found[f"{precision}, {calls}"] = milliseconds(call, device, warm_up, repeats)
            plainly = partial(taker(device, "together", side * side, "eager"), state, method.phases, batch)
            found[f"{precision}, convolutions alone"] = convolution_milliseconds(plainly, device)
        yield found


def measure_slices(device: torch.device, side: int, slices: int) -> Iterator[dict[str, Any]]:
    """Slices a second, from k-space on the processor to images there, and memory, by network and precision."""
    random = torch.Generator().manual_seed(0)
    mask = torch.rand(side, side, generator=random) < 0.25
    kspace = torch.randn(slices, side, side, dtype=torch.complex64, generator=random) * mask
    for network in ("paper", "unrolled"):
        for precision in PRECISIONS:
            config = load_config(None, [f"matrix={side}", f"network={network}", f"precision={precision}", *SETTINGS])
            card = Card(config=config, matrix=(side, side), center_fraction=0.08)
            generator = build_generator(config, adaptive=network == "paper")
            ours = Reconstructor(generator, None, config, card, False, device)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            spent = milliseconds(partial(ours, kspace, mask), device, 1, 3)
            yield {
                "network": network,
                "precision": precision,
                "slices a second": 1000 * slices / spent,
                "memory": memory(device),
            }


def here(stand_in: bool) -> torch.device:
    """The GPU; a processor where it stands in."""
    return PROCESSOR if stand_in else torch.device("cuda", 0)
