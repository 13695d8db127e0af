"""On a GPU: a training step against the literal one, a fold of training, and reconstruction; nothing without one."""

import tempfile
import time
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from literal import literal_step, with_torchs_layers
from steps import SETTINGS, make_batch, prepared

from switchrecon.config import Calls, load_config
from switchrecon.core.device import describe, find_device, set_up
from switchrecon.methods.step import Batch
from switchrecon.nets.builder import build_generator
from switchrecon.phantoms.scans import write_heads
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.runs.card import Card
from switchrecon.training.cuda_graphs import batch_of, tensors_of
from switchrecon.training.train import train
from switchrecon.training.updates import step_taker

PRECISIONS = ("float32", "tf32", "bfloat16")
METHODS_TIMED = ("switchable", "joint")
CALLS: tuple[Calls, ...] = ("together", "one-by-one")
FOLD_SLICES, FOLD_STEPS = 75, 3750  # of the paper's IXI experiment: slices a pile, and steps of 50 epochs


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(function: Any, device: torch.device, warm_up: int, repeats: int) -> float:
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


def measure_step(device: torch.device, side: int, repeats: int, warm_up: int = 20) -> dict[str, Any]:
    """``gpu_step_milliseconds``, ``gpu_literal_over_step``: method → precision and calls of networks → value.

    A step is warm after ``warm_up`` calls: a GPU has recorded it by then.
    """
    found: dict[str, dict[str, dict[str, float]]] = {"gpu_step_milliseconds": {}, "gpu_literal_over_step": {}}
    for name in METHODS_TIMED:
        batch = make_batch(side)
        batch = on(device, batch if name == "joint" else replace(batch, draws=None))  # a replay would copy them
        theirs, _, plain = prepared(name, side, device=device)
        with_torchs_layers(theirs)
        set_up(device, "float32")
        literal = milliseconds(partial(literal_step, theirs, batch, plain), device, min(warm_up, 5), repeats)
        times = {}
        for precision, calls in product(PRECISIONS, CALLS):
            state, method, config = prepared(name, side, precision, device)
            set_up(device, config.precision)
            call = partial(step_taker(device, calls, side * side), state, method.phases, batch)
            times[f"{precision} {calls}"] = milliseconds(call, device, warm_up, repeats)
        found["gpu_step_milliseconds"][name] = {"literal float32": literal, **times}
        found["gpu_literal_over_step"][name] = {own: literal / value for own, value in times.items()}
    return found


def measure_fold(device: torch.device, side: int, steps: int, precision: str = "bfloat16") -> dict[str, Any]:
    """``gpu_fold_seconds``: training ``switchable`` as long as on a fold of IXI, on heads; reading and saving count."""
    with tempfile.TemporaryDirectory() as folder:
        heads = write_heads(Path(folder) / "heads", range(10), FOLD_SLICES // 5, side)
        settings = [f"matrix={side}", f"steps={steps}", f"precision={precision}", "checkpoint_every=5000", *SETTINGS]
        config = load_config(None, settings)
        started = time.perf_counter()
        train(config, heads[:5], heads[5:], Path(folder) / "run", device=str(device))
        return {"gpu_fold_seconds": time.perf_counter() - started}


def measure_slices(device: torch.device, side: int, slices: int) -> dict[str, Any]:
    """``gpu_slices_a_second`` of the paper's G, from k-space on the processor to images there, by precision."""
    random = torch.Generator().manual_seed(0)
    mask = torch.rand(side, side, generator=random) < 0.25
    kspace = torch.randn(slices, side, side, dtype=torch.complex64, generator=random)
    found = {}
    for precision in PRECISIONS:
        config = load_config(None, [f"matrix={side}", f"precision={precision}", *SETTINGS])
        card = Card(config=config, matrix=(side, side), center_fraction=0.08)
        ours = Reconstructor(build_generator(config, adaptive=True), None, config, card, False, device)
        found[precision] = 1000 * slices / milliseconds(partial(ours, kspace, mask), device, 1, 3)
    return {"gpu_slices_a_second": found}


def measure_gpu(side: int = 256, repeats: int = 100, steps: int = FOLD_STEPS, slices: int = 512) -> dict[str, Any]:
    """All of it, where there is a GPU."""
    device = find_device()
    if device.type == "cpu":
        print("no GPU: nothing to measure there")
        return {}
    found = {"gpu": describe(device), **measure_step(device, side, repeats), **measure_slices(device, side, slices)}
    found |= measure_fold(device, side, steps)
    print("\n".join(f"{name}: {value}" for name, value in found.items()), flush=True)
    return found
