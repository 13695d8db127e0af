"""Speed and memory, as ratios of things measured in turn: prints a table and writes JSON.

Usage: python benchmarks/bench.py
    [--parts imports layers growth coils inference arithmetic simulated threads together steps]
    [--sides 128 256] [--methods NAME ...] [--repeats N] [--slices 10 1000] [--out runs/bench/bench.json]

Parts that are not run keep what the JSON says of them.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch
from growth import measure_coils, measure_growth, measure_imports
from inference import measure_inference
from layers import measure_layers
from steps import (
    LEARNED,
    measure_arithmetic,
    measure_simulated,
    measure_steps,
    measure_threads,
    measure_together,
)

from switchrecon.core.files import write_text

PARTS = (
    "imports",
    "layers",
    "growth",
    "coils",
    "inference",
    "arithmetic",
    "simulated",
    "threads",
    "together",
    "steps",
)


def processor() -> str:
    """Its name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def table(found: dict[str, Any]) -> str:
    """Step ratios as Markdown."""
    heads = ("method", "size", "type", "over literal", "over literal in the same layers", "over convolutions alone")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for method, sizes in found.get("step_over_literal", {}).items():
        for size, kinds in sizes.items():
            for kind, value in kinds.items():
                others = [found.get(f"step_over_{name}", {}) for name in ("same_layers", "convolutions")]
                values = [value, *(own.get(method, {}).get(size, {}).get(kind) for own in others)]
                cells = ["" if v is None else f"{v:.2f}" for v in values]
                lines.append(f"| {method} | {size} | {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def merge(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """New values over known ones, at every depth."""
    both = {name: merge(known[name], value) for name, value in new.items() if _nested(known.get(name), value)}
    return known | new | both


def _nested(mine: Any, theirs: Any) -> bool:
    return isinstance(mine, dict) and isinstance(theirs, dict)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Speed and memory.")
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--sides", type=int, nargs="*", default=[128, 256])
    parser.add_argument("--methods", nargs="*", default=LEARNED)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slices", type=int, nargs=2, default=[10, 1000])
    parser.add_argument("--out", type=Path, default=Path("runs/bench/bench.json"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(asked.out.read_text()) if asked.out.is_file() else {}
    parts = {
        "imports": lambda: measure_imports(asked.repeats),
        "layers": lambda: measure_layers(asked.repeats),
        "growth": lambda: measure_growth(*asked.slices, side=128),
        "coils": lambda: measure_coils((10, 40), side=320, coils=8),
        "inference": lambda: measure_inference(320, asked.repeats),
        "arithmetic": lambda: measure_arithmetic(asked.sides),
        "simulated": lambda: measure_simulated(asked.sides, asked.repeats),
        "threads": lambda: measure_threads(asked.sides, asked.repeats),
        "together": lambda: measure_together(asked.sides, asked.repeats),
        "steps": lambda: measure_steps(asked.sides, asked.methods, asked.repeats),
    }
    for name in asked.parts:
        started = time.monotonic()
        machine = {"processor": processor(), "cores": os.cpu_count(), "load": os.getloadavg()[0], "threads": 1}
        found = merge(found, {**parts[name](), "machine": {name: machine | {"torch": torch.__version__}}})
        found["machine"][name]["minutes"] = (time.monotonic() - started) / 60
        write_text(asked.out, json.dumps(found, indent=1))
    print(table(found))
    print(f"written: {asked.out}")


if __name__ == "__main__":
    main()
