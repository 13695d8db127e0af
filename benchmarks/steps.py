"""Time of a training step: the package's over the literal one and over its convolutions alone, in one run.

Usage: python benchmarks/steps.py [--sides 128 256] [--methods NAME ...] [--repeats N] [--out runs/bench/bench.json]

One thread, float32. Each ratio is the median over repeats of times measured in turn, so that a busy machine slows both.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from literal import literal_step
from torch.profiler import ProfilerActivity, profile

from switchrecon.config import Config, load_config
from switchrecon.methods import METHODS, Method
from switchrecon.operators import Encoding
from switchrecon.passes import Batch, Pass
from switchrecon.state import State, build_state
from switchrecon.train import update

PAPER = [name for name, method in METHODS.items() if not method.settings]


def make_batch(side: int) -> Batch:
    """Random images and masks, 1 sample."""
    random = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 1, 2, side, side, generator=random) - 0.5
    masks = torch.rand(2, 1, side, side, generator=random) < 0.25
    return Batch(x, y, torch.randn(1, 64, generator=random), *map(Encoding, masks))


def our_step(state: State, method: Method, batch: Batch) -> None:
    """The package's step, as the training loop does it."""
    images = Pass(state.players, batch, [phase.group for phase in method.phases])
    for phase in method.phases:
        update(images, phase, state.optimizers[phase.group])


def seconds(step: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def convolution_part(step: Callable[[], object]) -> float:
    """The part of a step's time that is spent in convolutions, forward and backward."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        step()
    events = recorded.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    inside = (
        "aten::mkldnn_convolution",
        "aten::convolution_backward",
        "aten::thnn_conv2d",
        "aten::_slow_conv2d_forward",
    )
    return sum(event.self_cpu_time_total for event in events if event.key in inside) / total


def measure(name: str, side: int, repeats: int) -> dict[str, float]:
    """Ratios of one method at one size."""
    config: Config = load_config(None, [f"matrix={side}", f"method={name}"])
    method, batch = METHODS[name], make_batch(side)
    ours, theirs = (build_state(method, config) for _ in range(2))
    our_step(ours, method, batch)
    literal_step(theirs, batch, config)
    pairs = [
        (seconds(lambda: our_step(ours, method, batch)), seconds(lambda: literal_step(theirs, batch, config)))
        for _ in range(repeats)
    ]
    return {
        "over_literal": statistics.median(mine / literal for mine, literal in pairs),
        "over_convolutions": 1 / convolution_part(lambda: our_step(ours, method, batch)),
        "seconds": statistics.median(mine for mine, _ in pairs),
    }


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sides", type=int, nargs="*", default=[128, 256])
    parser.add_argument("--methods", nargs="*", default=PAPER)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/bench.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {"step_over_literal": {}, "step_over_convolutions": {}}
    print("| method | size | ours / literal | ours / convolutions alone | s a step here |\n|---|---|---|---|---|")
    for name in arguments.methods:
        for side in arguments.sides:
            values = measure(name, side, arguments.repeats)
            for key in ("literal", "convolutions"):
                by_size = found[f"step_over_{key}"].setdefault(name, {})
                by_size[str(side)] = {"float32": values[f"over_{key}"]}
            ratios = f"{values['over_literal']:.2f} | {values['over_convolutions']:.2f}"
            print(f"| {name} | {side} | {ratios} | {values['seconds']:.2f} |", flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1))
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
