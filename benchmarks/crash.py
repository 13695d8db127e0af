"""Kill trainings and saves at random moments, and count how many come back to the bits of an undisturbed run.

Usage: python benchmarks/crash.py [--trainings 20] [--saves 50] [--seed 0] [--out runs/crash.json]

Moments are drawn from the seed: some milliseconds after the start, between two updates of a step, or inside a save:
a part of a file is on disk, or it is just before or after it gets its name. Each training is a process of its own.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from switchrecon.config import load_config
from switchrecon.phantoms.scans import write_heads
from switchrecon.runs.checkpoint import load_checkpoint, save_checkpoint, sha256
from switchrecon.runs.log import read_log
from switchrecon.training import train as training

SETTINGS = ["matrix=64", "width=2", "residual_blocks=1", "extractor_depth=3", "lookahead_steps=2", "warm_up=0"]
STEPS, EVERY = 12, 3
CONFIG = load_config(None, [*SETTINGS, f"steps={STEPS}", f"checkpoint_every={EVERY}", "method=switchable"])
sys.modules["tensorboard"] = None  # type: ignore[assignment] # to import it takes longer than to train here
MOMENTS = ("time", "update", "half", "before", "after")


def kill_here() -> None:
    """As a power cut would: nothing of this process runs any more."""
    os.kill(os.getpid(), signal.SIGKILL)


def counted(count: int, before: Callable[..., object] | None, real: Callable[..., Any], after: bool) -> Any:
    """``real``, but at its n-th call the process dies, before it, after it, or within ``before``."""
    calls = [0]

    def call(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] != count:
            return real(*arguments, **named)
        if before is not None:
            before(*arguments)
        if after:
            real(*arguments, **named)
        return kill_here()

    return call


def set_trap(moment: str, count: int) -> None:
    """Make this process die at the count-th update, or at the count-th save's given moment."""
    if moment == "update":
        training.update = counted(count, None, training.update, after=True)
    elif moment == "half":
        Path.write_bytes = counted(  # type: ignore[method-assign]
            count, lambda path, content: path.open("wb").write(content[: len(content) // 2]), Path.write_bytes, False
        )
    elif moment in ("before", "after"):
        Path.replace = counted(count, None, Path.replace, moment == "after")  # type: ignore[method-assign]


def in_child(work: Callable[[], object], patience: float | None = None) -> int:
    """Run in a process of its own, killed after some seconds if those are given; returns its wait status."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
    if patience is not None:
        time.sleep(patience)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def train_here(folder: Path, scans: Path, trap: tuple[str, int] | None = None) -> None:
    """Begin or continue the run, quietly."""
    torch.set_num_threads(1)
    with (folder.parent / f"{folder.name}.txt").open("a") as quiet:
        os.dup2(quiet.fileno(), 1)
        os.dup2(quiet.fileno(), 2)
        if trap is not None:
            set_trap(*trap)
        training.train(CONFIG, [scans / "full"], [scans / "sub"], folder, resume=True)


def digest(folder: Path) -> tuple[str, list[int]]:
    """SHA-256 over weights, slow weights, average, moments, model and log (but for times), and the log's steps."""
    found = load_checkpoint(folder / "checkpoints")
    assert found is not None
    tensors = found[0] | {f"model.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    log = read_log(folder)
    told = [entry.model_dump(exclude={"seconds"}) for entry in log]
    content = b"".join(name.encode() + tensors[name].numpy().tobytes() for name in sorted(tensors))
    return sha256(content + json.dumps(told).encode()), [entry.step for entry in log]


def kill_trainings(base: Path, count: int, draw: random.Random) -> dict[str, Any]:
    """Train, die, resume; compare with a run that was left alone."""
    for folder, heads in (("full", (0,)), ("sub", (1,))):
        write_heads(base / folder, heads, 2, 64)
    straight = base / "straight"
    training.train(CONFIG, [base / "full"], [base / "sub"], base / "warm")  # so that children begin with warm caches
    started = time.monotonic()
    assert in_child(lambda: train_here(straight, base)) == 0, (base / "straight.txt").read_text()
    lasted = time.monotonic() - started
    expected = digest(straight)
    result: dict[str, Any] = {"trainings": count, "equal": 0, "killed": 0, "redone_at_most": 0, "left_over": 0}
    for number in range(count):
        folder, moment = base / f"run-{number}", MOMENTS[number % len(MOMENTS)]
        if moment == "time":
            status = in_child(lambda f=folder: train_here(f, base), draw.uniform(0, lasted))
        else:
            trap = (moment, draw.randint(1, 3 * STEPS if moment == "update" else 2 * STEPS // EVERY))
            status = in_child(lambda f=folder, t=trap: train_here(f, base, t))
        result["killed"] += os.WIFSIGNALED(status)
        stored = load_checkpoint(folder / "checkpoints")
        begun = [entry.step for entry in read_log(folder)]
        redone = (begun[-1] if begun else 0) - (stored[1]["step"] if stored else 0)
        result["redone_at_most"] = max(result["redone_at_most"], redone)
        assert in_child(lambda f=folder: train_here(f, base)) == 0, (base / f"{folder.name}.txt").read_text()
        result["equal"] += digest(folder) == expected
        result["left_over"] += len(list(folder.rglob(".partial-*")))
    result["interval"] = EVERY
    return result


def kill_saves(base: Path, count: int, draw: random.Random) -> dict[str, int]:
    """A process saves checkpoint after checkpoint and tells which are done; after its death none of those is lost."""
    lost = torn = 0
    for number in range(count):
        folder = base / f"saves-{number}"
        told, tell = os.pipe()

        def save(folder: Path = folder, tell: int = tell) -> None:
            for step in range(1, 10_000):
                save_checkpoint(folder, step, {"a": torch.full((50_000,), float(step))}, {"step": step})
                os.write(tell, np.int64(step).tobytes())

        in_child(save, draw.uniform(0.005, 0.08))
        os.close(tell)
        with open(told, "rb") as pipe:
            done = np.frombuffer(pipe.read(), dtype=np.int64)
        found = load_checkpoint(folder)
        step = found[1]["step"] if found else 0
        lost += step < int(done.max(initial=0))
        torn += found is not None and not torch.all(found[0]["a"] == step)
    return {"saves": count, "lost": lost, "torn": torn}


def main() -> None:
    """Kill, compare, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trainings", type=int, default=20)
    parser.add_argument("--saves", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/crash.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as base:
        found = kill_trainings(Path(base), arguments.trainings, draw) | kill_saves(Path(base), arguments.saves, draw)
    print(
        f"{found['equal']} of {found['trainings']} trainings ({found['killed']} killed) came back to the same bits, at "
        f"most {found['redone_at_most']} of {found['interval']} steps of a checkpoint's interval redone; of "
        f"{found['saves']} killed savers {found['lost']} lost a checkpoint, {found['torn']} left a torn one"
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
