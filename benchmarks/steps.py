"""Time of a training step: the package's over the literal one, over its convolutions alone, two threads over one.

One thread but for the last. Each ratio is the median over repeats of processor times measured in turn (of two threads,
by the clock): a busy machine slows both. The step with bfloat16 convolutions is measured over the same literal step in
float32.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from literal import literal_step, with_torchs_layers
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from switchrecon.config import Config, load_config
from switchrecon.core.device import PROCESSOR, emulates_bfloat16
from switchrecon.methods.methods import METHODS, Method, with_method_settings
from switchrecon.methods.step import Batch
from switchrecon.methods.together import Plans
from switchrecon.physics.operators import Encoding
from switchrecon.training.cuda_graphs import Placed
from switchrecon.training.state import State, build_state
from switchrecon.training.updates import step_taker, take_step

LEARNED = [name for name in METHODS if name not in ("total-variation", "wavelet", "sense")]
INSIDE_CONVOLUTIONS = (
    "aten::mkldnn_convolution",
    "aten::cudnn_convolution",
    "aten::cudnn_convolution_transpose",
    "aten::convolution_backward",
    "aten::thnn_conv2d",
    "aten::_slow_conv2d_forward",
    "aten::_convolution",  # transposed ones have no name of their own on a processor
)
"""Operations whose time is a convolution's."""

SETTINGS: list[str] = []  # of all that is measured, beside its size: none, for the paper's networks; tests add some


def made_draws(x: Tensor, y: Tensor, mask: Tensor) -> Placed:
    """The draws of a batch, made already: what is measured is the step."""
    encoding = Encoding(mask)
    kept = mask.clone()
    kept[:, ::2, ::2] = False
    held_out = (mask & ~kept).float()
    places = torch.arange(mask[0].numel()).view(mask.shape).flip(-1).flatten(1)
    pair, split = (0.5 * y, encoding, y), (0.5 * x, Encoding(kept), held_out)
    return Placed({"pair": pair, "split": split, "turn": (places, encoding)})


def make_batch(side: int) -> Batch:
    """Random images and masks, 1 sample."""
    random = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 1, 2, side, side, generator=random) - 0.5
    masks = torch.rand(2, 1, side, side, generator=random) < 0.25
    z = torch.randn(1, 64, generator=random)
    encoding_x, encoding_y = map(Encoding, masks)
    return Batch(x, y, z, encoding_x, encoding_y, draws=made_draws(x, y, masks[0]))


def seconds(step: Callable[[], object]) -> float:
    """Processor time of one call."""
    started = time.process_time()
    step()
    return time.process_time() - started


def ratios(
    firsts: Sequence[Callable[[], object]], others: Sequence[Callable[[], object]], repeats: int
) -> list[list[float]]:
    """Of each first, the medians of its time over each other's; all measured in turn after a call of each."""
    steps = (*firsts, *others)
    for step in steps:
        step()
    times = [[seconds(step) for step in steps] for _ in range(repeats)]
    places = range(len(firsts), len(steps))
    return [[statistics.median(own[n] / own[place] for own in times) for place in places] for n in range(len(firsts))]


def convolution_part(step: Callable[[], object]) -> float:
    """The part of a step's time that is spent in convolutions, forward and backward."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        step()
    events = recorded.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    return sum(event.self_cpu_time_total for event in events if event.key in INSIDE_CONVOLUTIONS) / total


def precisions() -> list[str]:
    """float32, and bfloat16 where the processor computes with it."""
    return ["float32"] if emulates_bfloat16() else ["float32", "bfloat16"]


def prepared(
    name: str, side: int, precision: str = "float32", device: torch.device = PROCESSOR
) -> tuple[State, Method, Config]:
    """A method at the start of its training."""
    config = load_config(None, [f"matrix={side}", f"method={name}", f"precision={precision}", *SETTINGS])
    config = with_method_settings(config, METHODS[name])
    return build_state(METHODS[name], config, device), METHODS[name], config


def measure_steps(sides: Sequence[int], methods: Sequence[str], repeats: int) -> dict[str, Any]:
    """Method → size → precision → ratio.

    ``step_over_literal``: to the step as it is written down, in torch's layers; ``step_over_same_layers``: to that step
    in the package's; ``step_over_convolutions``: to the convolutions' part of the package's.
    """
    found: dict[str, Any] = {"step_over_literal": {}, "step_over_same_layers": {}, "step_over_convolutions": {}}
    for name in methods:
        for side in sides:
            batch, steps = make_batch(side), {}
            for precision in precisions():
                ours, method, own = prepared(name, side, precision)
                take = step_taker(PROCESSOR, own.calls, side * side)
                steps[precision] = partial(take, ours, method.phases, batch)
            same, _, config = prepared(name, side)
            theirs = with_torchs_layers(prepared(name, side)[0])
            literals = [partial(literal_step, state, batch, config) for state in (theirs, same)]
            over = ratios(list(steps.values()), literals, repeats)
            for (precision, step), (over_literal, over_same) in zip(steps.items(), over, strict=True):
                values = {
                    "step_over_literal": over_literal,
                    "step_over_same_layers": over_same,
                    "step_over_convolutions": 1 / convolution_part(step),
                }
                for key, value in values.items():
                    found[key].setdefault(name, {}).setdefault(str(side), {})[precision] = value
                print(f"{name} {side} {precision}: " + ", ".join(f"{k} {v:.2f}" for k, v in values.items()), flush=True)
    return found


def measure_arithmetic(sides: Sequence[int]) -> dict[str, Any]:
    """``switchable_step_gflop``: size → how the step is taken → 10⁹ operations, in torch's own layers, backward too."""
    found: dict[str, dict[str, float]] = {}
    for side in sides:
        batch = make_batch(side)
        state, method, config = prepared("switchable", side)
        with_torchs_layers(state)
        ways: dict[str, Callable[[], object]] = {
            "literal": partial(literal_step, state, batch, config),
            "as taken": partial(take_step, state, method.phases, batch),
        }
        for name, step in ways.items():
            with FlopCounterMode(display=False) as counter:
                step()
            found.setdefault(str(side), {})[name] = counter.get_total_flops() / 1e9
        print(f"switchable, 10^9 operations a step, {side}: {found[str(side)]}", flush=True)
    return {"switchable_step_gflop": found}


def measure_simulated(sides: Sequence[int], repeats: int) -> dict[str, Any]:
    """``simulated_over_literal_switchable``: size → ratio of the step on simulated pairs to the literal proposal's."""
    found = {}
    for side in sides:
        batch = make_batch(side)
        ours, method, _ = prepared("simulated", side)
        theirs, _, config = prepared("switchable", side)
        literal = partial(literal_step, with_torchs_layers(theirs), batch, config)
        step = partial(take_step, ours, method.phases, batch)
        [[found[str(side)]]] = ratios([step], [literal], repeats)
        print(f"simulated over the literal switchable step, {side}: {found[str(side)]:.3f}", flush=True)
    return {"simulated_over_literal_switchable": found}


def measure_together(sides: Sequence[int], repeats: int) -> dict[str, Any]:
    """``together_over_one_by_one``: method → size → precision → ratio of a step that makes calls together."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in ("switchable", "joint"):
        for side in sides:
            batch = make_batch(side)
            for precision in precisions():
                (first, method, _), (second, *_) = prepared(name, side, precision), prepared(name, side, precision)
                together = partial(take_step, first, method.phases, batch, Plans())
                one_by_one = partial(take_step, second, method.phases, batch)
                [[ratio]] = ratios([together], [one_by_one], repeats)
                found.setdefault(name, {}).setdefault(str(side), {})[precision] = ratio
                print(f"{name}, calls together over one by one, {side} {precision}: {ratio:.2f}", flush=True)
    return {"together_over_one_by_one": found}


def measure_threads(sides: Sequence[int], repeats: int) -> dict[str, Any]:
    """``two_threads_over_one``: size → precision → ratio of a switchable step's times by the clock, in turn."""
    found: dict[str, dict[str, float]] = {}
    for side in sides:
        batch = make_batch(side)
        for precision in precisions():
            ours, method, _ = prepared("switchable", side, precision)

            def by_the_clock(threads: int, ours: State = ours, method: Method = method, batch: Batch = batch) -> float:
                torch.set_num_threads(threads)
                started = time.perf_counter()
                take_step(ours, method.phases, batch)
                return time.perf_counter() - started

            by_the_clock(1), by_the_clock(2)
            ratio = statistics.median(by_the_clock(2) / by_the_clock(1) for _ in range(repeats))
            found.setdefault(str(side), {})[precision] = ratio
            print(f"two threads over one, {side} {precision}: {ratio:.2f}", flush=True)
    torch.set_num_threads(1)
    return {"two_threads_over_one": found}
