"""Does a GPU work, and how fast? Stages that each end with a line and a JSON file, in nine minutes altogether.

Usage: python benchmarks/gpu_check.py [--out runs/gpu-check] [--wheels DIR] [--data DIR] [--minutes 9]
    [--stages machine tests steps times slices table] [--stand-in]

Needs no network: a machine with Python, torch and a GPU, and packages that are missing there as wheels in DIR. Each
stage runs in processes of its own for at most its share of the time; one that fails or is cut off keeps what it has
found, and the next one begins.

machine   what it is; installs the wheels into OUT/site
tests     the package's tests that take a device
steps     every learned method, 30 steps at 256x256: replayed and plain, float32, TF32 and bfloat16, beside the weights
          that the processor comes to meanwhile
times     milliseconds a step, over the literal step and over the convolutions alone
slices    slices a second, and memory
table     the paper's Table 1 in the time that is left: T2w scans of --data (synthetic heads without it) at 256x256,
          width 32, all rows, 3,750 steps; three rows at a time

``--stand-in`` takes the processor for the GPU and makes everything tiny: it shows that the stages work.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHARES = {"machine": 0.08, "tests": 0.14, "steps": 0.38, "times": 0.14, "slices": 0.06, "table": 1.0}
"""Part of all the time that a stage may take at most; the last one has what is left."""

SIDE, STEPS, ROW_STEPS, ROWS_AT_ONCE = 256, 30, 3750, 3
STEPS_STANDING_IN = 6
SMALL = ("width=2", "residual_blocks=1", "extractor_depth=3", "cascades=2", "unet_width=2")
FIRST = ("supervised", "switchable", "iscl", "cyclegan")
TOLERANCES = {"float32": 0.02, "tf32": 0.1, "bfloat16": 0.5}
"""Of the weights' change in the first step, relative to the processor's in float32."""

KEEP_BACK = 5.0  # seconds of a stage's time for writing down what was found


@dataclass
class Asked:
    """What a stage needs to know."""

    out: Path
    stand_in: bool
    deadline: float
    wheels: Path | None = None
    data: Path | None = None

    @property
    def left(self) -> float:
        """Seconds until the stage is cut off."""
        return self.deadline - time.time()

    @property
    def side(self) -> int:
        """Of images."""
        return 64 if self.stand_in else SIDE

    @property
    def steps(self) -> int:
        """Of each training that is compared."""
        return STEPS_STANDING_IN if self.stand_in else STEPS

    def write(self, stage: str, found: dict[str, Any]) -> None:
        """Keep what a stage has found so far."""
        file = self.out / f"{stage}.json"
        file.with_suffix(".partial").write_text(json.dumps(found, indent=1))
        file.with_suffix(".partial").replace(file)


def environment(asked: Asked) -> dict[str, str]:
    """Of the stages' processes: packages from the wheels, then ours."""
    paths = [str(asked.out / "site"), str(HERE.parent / "src"), str(HERE.parent)]
    own = os.environ | {"PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
    own.setdefault("OMP_NUM_THREADS", "1")
    return own


# Stages. Each writes what it has found as it goes, and returns it with the line that is printed.


def machine(asked: Asked) -> dict[str, Any]:
    """Python, torch, the GPU, and the packages that were installed from wheels."""
    found: dict[str, Any] = {"python": sys.version.split()[0], "installed": install(asked)}
    asked.write("machine", found)
    said = subprocess.run(
        [sys.executable, "-c", ASK_TORCH], env=environment(asked), capture_output=True, text=True, check=False
    )
    if said.returncode:
        raise RuntimeError(f"torch or the package cannot be imported: {said.stderr.strip().splitlines()[-1]}")
    found |= json.loads(said.stdout.strip().splitlines()[-1])
    if not found["gpus"] and not asked.stand_in:
        raise RuntimeError(f"torch {found['torch']} sees no GPU (built for CUDA {found['cuda']})")
    return found | {"line": f"{found['gpus'] or 'no GPU'}, torch {found['torch']}, Python {found['python']}"}


ASK_TORCH = """
import json, torch, switchrecon.training.train
gpus = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
print(json.dumps({
    "torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
    "gpus": [f"{own.name}, {own.total_memory / 2**30:.0f} GiB, compute {own.major}.{own.minor}" for own in gpus],
    "bfloat16": torch.cuda.is_bf16_supported() if gpus else None, "threads": torch.get_num_threads(),
}))
"""


def install(asked: Asked) -> list[str]:
    """Install the wheels of packages that are not here."""
    missing = []
    for wheel in sorted(asked.wheels.glob("*.whl")) if asked.wheels else ():
        try:
            importlib.metadata.version(wheel.name.split("-")[0])
        except importlib.metadata.PackageNotFoundError:
            missing.append(wheel)
    if missing:
        how = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--upgrade", "--target", str(asked.out / "site")]
        subprocess.run([sys.executable, "-m", "pip", "install", *how, *map(str, missing)], check=True)
    return [wheel.name for wheel in missing]


def tests(asked: Asked) -> dict[str, Any]:
    """The package's tests that take a device, on this one."""
    device = "cpu" if asked.stand_in else "cuda"
    log, file = asked.out / "pytest.txt", HERE.parent / "tests" / "core" / "test_on_a_device.py"
    options = ["-q", "-p", "no:cacheprovider", f"--basetemp={asked.out / 'scratch' / 'pytest'}"]
    with log.open("w") as opened:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", str(file), *options],
            env=environment(asked) | {"SWITCHRECON_TEST_DEVICE": device},
            stdout=opened,
            stderr=subprocess.STDOUT,
            check=False,
        )
    last = log.read_text().strip().splitlines()[-1]
    if done.returncode:
        raise RuntimeError(f"{last} (see {log})")
    return {"pytest": last, "line": last}


def heads(asked: Asked, count: int, slices: int) -> list[Path]:
    """Synthetic heads."""
    from switchrecon.phantoms.scans import write_heads

    return write_heads(asked.out / "scratch" / f"heads-{asked.side}-{slices}", range(count), slices, asked.side)


def reference(asked: Asked, name: str) -> None:
    """The processor's training of a method, for :func:`steps`."""
    import torch
    from gpu import train_a_little
    from steps import SETTINGS

    SETTINGS[:] = SMALL if asked.stand_in else ()
    torch.set_num_threads(1)
    files, processor = heads(asked, 4, 2), torch.device("cpu")
    for found in train_a_little(name, files, asked.side, "float32", "eager", processor, asked.steps):
        target = asked.out / "scratch" / f"reference-{name}-{found['step']}.pt"
        torch.save({"change": found["change"], "losses": found["losses"]}, target.with_suffix(".partial"))
        target.with_suffix(".partial").replace(target)


def steps(asked: Asked) -> dict[str, Any]:
    """Every learned method for some steps in each mode and precision, compared with the processor's weights."""
    import torch
    from gpu import MODES, PRECISIONS, here, train_a_little
    from steps import LEARNED, SETTINGS

    SETTINGS[:] = SMALL if asked.stand_in else ()
    device, files, count = here(asked.stand_in), heads(asked, 4, 2), asked.steps
    waiting = [name for name in LEARNED if not list((asked.out / "scratch").glob(f"reference-{name}-{count}.pt"))]
    running: list[subprocess.Popen[bytes]] = []
    most = max(1, (os.cpu_count() or 2) - 2)

    def feed() -> None:
        """Start the processor's trainings, as many as there are cores to spare."""
        running[:] = [own for own in running if own.poll() is None]
        while waiting and len(running) < most:
            running.append(subprocess.Popen(command(asked, "reference", waiting.pop(0)), env=environment(asked)))

    rows: list[dict[str, Any]] = []
    changes: dict[tuple[str, str, str, int], Any] = {}
    for precision, mode, name in [(p, m, n) for p in PRECISIONS for m in MODES for n in LEARNED]:
        feed()
        row: dict[str, Any] = {"method": name, "precision": precision, "mode": mode}
        if asked.left < 2 * KEEP_BACK:
            row["problem"] = "no time left"
        else:
            try:
                for found in train_a_little(name, files, asked.side, precision, mode, device, count):
                    changes[name, precision, mode, found["step"]] = found.pop("change")
                    row |= found
            except Exception as error:
                row["problem"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        rows.append(row)
        asked.write("steps", {"rows": rows})
    while (waiting or any(own.poll() is None for own in running)) and asked.left > 2 * KEEP_BACK:
        feed()
        time.sleep(0.2)
    for row in rows:
        key = (row["method"], row["precision"], row["mode"])
        compared = {
            step: difference(changes[(*key, step)], torch.load(file)["change"])
            for step in (1, 5, count)
            if (*key, step) in changes
            and (file := asked.out / "scratch" / f"reference-{row['method']}-{step}.pt").is_file()
        }
        row["difference from the processor's change of the weights, by step"] = compared
        plain = changes.get((row["method"], row["precision"], "eager", count))
        if row["mode"] == "graph" and plain is not None and (*key, count) in changes:
            row["difference from plain steps"] = difference(changes[(*key, count)], plain)
        row["agrees"] = compared[1] <= TOLERANCES[row["precision"]] if 1 in compared else None
    agreed = [row["agrees"] for row in rows]
    wrong = [f"{row['method']} {row['precision']} {row['mode']}" for row in rows if row["agrees"] is False]
    failed = [row for row in rows if "problem" in row]
    replayed = sum(row["mode"] == "graph" and bool(row.get("replayed")) for row in rows)
    line = (
        f"{agreed.count(True)} of {len(rows)} trainings move as the processor's, {len(wrong)} do not, "
        f"{agreed.count(None)} unknown; {replayed} of {len(rows) // 2} replayed; {len(failed)} failed"
    )
    if wrong or failed:
        line += f" ({', '.join(wrong) or failed[0]['problem']})"
    return {"rows": rows, "line": line, "sound": not wrong and not failed}


def difference(mine: Any, theirs: Any) -> float:
    """‖a − b‖ / ‖b‖."""
    return float((mine - theirs).norm() / theirs.norm())


def gathered(asked: Asked, stage: str, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a measurement yields, written down as it comes, until the time is over."""
    found: list[dict[str, Any]] = []
    for row in rows:
        found.append(row)
        asked.write(stage, {"rows": found})
        if asked.left < KEEP_BACK:
            break
    return found


def times(asked: Asked) -> dict[str, Any]:
    """Milliseconds a step."""
    from gpu import here, measure_step
    from steps import SETTINGS

    SETTINGS[:] = SMALL if asked.stand_in else ()
    repeats, warm_up = (2, 5) if asked.stand_in else (50, 20)
    rows = gathered(asked, "times", measure_step(here(asked.stand_in), asked.side, repeats, warm_up))
    said = []
    for row in rows:
        best = min((own for own in row if own.endswith(("together", "one-by-one"))), key=lambda own: float(row[own]))
        ratio, floor = row["literal, float32"] / row[best], row[f"{best.split(',')[0]}, convolutions alone"]
        said.append(f"{row['method']} {row[best]:.1f} ms ({best}; literal x{ratio:.1f}, convolutions {floor:.1f} ms)")
    return {"rows": rows, "line": "; ".join(said)}


def slices(asked: Asked) -> dict[str, Any]:
    """Slices a second."""
    from gpu import here, measure_slices
    from steps import SETTINGS

    SETTINGS[:] = SMALL if asked.stand_in else ()
    count = 2 if asked.stand_in else 512
    rows = gathered(asked, "slices", measure_slices(here(asked.stand_in), asked.side, count))
    said = [f"{row['network']} {row['precision']} {row['slices a second']:.0f}" for row in rows]
    return {"rows": rows, "line": f"slices a second: {', '.join(said)}"}


def table(asked: Asked) -> dict[str, Any]:
    """As many rows of the paper's Table 1 as there is time for."""
    waiting = rows()
    running: dict[str, subprocess.Popen[bytes]] = {}
    while (waiting or running) and asked.left > KEEP_BACK:
        running = {name: own for name, own in running.items() if own.poll() is None}
        while waiting and len(running) < (1 if asked.stand_in else ROWS_AT_ONCE):
            name = waiting.pop(0)
            with (asked.out / f"row-{name}.txt").open("w") as said:
                started = subprocess.Popen(
                    command(asked, "row", name), env=environment(asked), stdout=said, stderr=subprocess.STDOUT
                )
            running[name] = started
        time.sleep(0.1)
    for own in running.values():
        own.kill()
    found = {file.stem.removeprefix("row-"): json.loads(file.read_text()) for file in asked.out.glob("row-*.json")}
    cut = {name: progress(asked.out / "rows" / name) for name in running if name not in found}
    lines = ["| method | PSNR (dB) | SSIM | steps | minutes |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {name} | {own['psnr']:.2f} | {own['ssim']:.3f} | {own['steps']} | {own['minutes']:.1f} |"
        for name, own in found.items()
    ]
    (asked.out / "table.md").write_text("\n".join(lines) + "\n")
    line = f"{len(found)} rows done, {len(cut)} cut off, {len(waiting)} not begun: {asked.out / 'table.md'}"
    return {"rows": found, "cut off at step": cut, "not begun": waiting, "line": line, "sound": bool(found)}


def rows() -> list[str]:
    """The paper's rows, those first that say most."""
    from switchrecon.experiments.recipe import load_recipe

    return sorted(load_recipe("ixi-x4").methods, key=lambda name: name not in FIRST)


def progress(run: Path) -> int:
    """The last step that a run has logged."""
    log = run / "log.jsonl"
    lines = log.read_text().splitlines() if log.is_file() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0


def row(asked: Asked, name: str) -> None:
    """Train and evaluate a row of the table, with the recipe's settings for the paper's experiment."""
    from switchrecon.config import load_config
    from switchrecon.evaluation.evaluate import evaluate
    from switchrecon.experiments.recipe import load_recipe
    from switchrecon.training.train import train

    recipe = load_recipe("ixi-x4")
    own = {**recipe.common, **recipe.methods[name], "method": name, "matrix": asked.side, "slices_per_scan": None}
    own |= {"epochs": None, "steps": 4 if asked.stand_in else ROW_STEPS, "pile_slices": 75, "checkpoint_every": 10_000}
    small = dict(setting.split("=") for setting in SMALL) if asked.stand_in else {"precision": "tf32"}
    config = load_config(None, [], **own, **{key: int(v) if v.isdigit() else v for key, v in small.items()})
    full, sub, test = scans(asked)
    device = "cpu" if asked.stand_in else "cuda"
    started = time.time()
    run = train(config, full, sub, asked.out / "rows" / name, resume=True, device=device)
    minutes = (time.time() - started) / 60
    out = asked.out / "rows" / f"{name}-evaluation"
    found = evaluate([run], test, out, ["slice-max"], device=device, slices_per_scan=10).conventions["slice-max"]
    for method, target in ((name, f"row-{name}"), ("zero-filled", "row-zero-filled")):
        values = {metric: found[method][metric].mean for metric in ("psnr", "ssim")}
        own_steps = {"steps": config.steps, "minutes": minutes} if method == name else {"steps": 0, "minutes": 0.0}
        asked.write(target, values | own_steps)


def scans(asked: Asked) -> list[list[Path]]:
    """Fully sampled, undersampled and test scans, no subject in two of them."""
    if asked.data is None:
        files = heads(asked, 6, 2 if asked.stand_in else 15)
        return [files[:2], files[2:4], files[4:]]
    subjects: dict[str, list[Path]] = {}
    for file in sorted(asked.data.rglob("*T2w*.nii.gz")):
        subjects.setdefault(file.name.split("_")[0], []).append(file)
    if len(subjects) < 3:
        raise RuntimeError(f"{asked.data}: T2w scans (*T2w*.nii.gz) of {len(subjects)} subjects, expected at least 3")
    parts: list[list[Path]] = [[], [], []]
    for place, files in enumerate(subjects.values()):
        parts[place % 3] += files
    return parts


STAGES: dict[str, Callable[[Asked], dict[str, Any]]] = {
    "machine": machine,
    "tests": tests,
    "steps": steps,
    "times": times,
    "slices": slices,
    "table": table,
}
PARTS: dict[str, Callable[[Asked, str], None]] = {"reference": reference, "row": row}
"""What stages start in processes of its own."""


def command(asked: Asked, what: str, name: str = "") -> list[str]:
    """Of a process that runs a stage or a part of one."""
    words = [sys.executable, str(HERE / "gpu_check.py"), "--run", what, *([name] if name else [])]
    words += ["--out", str(asked.out), "--deadline", str(asked.deadline)]
    for option, value in (("--wheels", asked.wheels), ("--data", asked.data)):
        words += [option, str(value)] if value else []
    return [*words, *(["--stand-in"] if asked.stand_in else [])]


def run_here(asked: Asked, stage: str) -> None:
    """Run a stage; what it finds, or why it failed, is in its file."""
    try:
        found = STAGES[stage](asked)
    except Exception as error:
        file = asked.out / f"{stage}.json"
        known = json.loads(file.read_text()) if file.is_file() else {}
        found = known | {"line": f"failed: {error}", "sound": False}
    asked.write(stage, {"sound": True, **found, "finished": True})


def run_apart(asked: Asked, stage: str) -> None:
    """Run a stage in a process of its own, and end all that it has started when its time is over."""
    with (asked.out / f"{stage}.txt").open("w") as said:
        process = subprocess.Popen(
            command(asked, stage),
            env=environment(asked),
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(asked.left, 0.1))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def check(
    out: Path,
    minutes: float,
    stages: Iterable[str] = tuple(STAGES),
    run: Callable[[Asked, str], None] = run_apart,
    **options: Any,
) -> bool:
    """Run the stages; whether all of them are sound."""
    (out / "scratch").mkdir(parents=True, exist_ok=True)
    end, sound = time.time() + 60 * minutes, True
    for stage in stages:
        started = time.time()
        asked = Asked(out, deadline=min(end, started + 60 * minutes * SHARES[stage]), **options)
        file = out / f"{stage}.json"
        file.unlink(missing_ok=True)
        run(asked, stage)
        found = json.loads(file.read_text()) if file.is_file() else {}
        if not found.get("finished"):
            known = f"{len(found['rows'])} rows are kept" if "rows" in found else "nothing is kept"
            found |= {"line": f"cut off after {time.time() - started:.0f} s; {known} (see {out / stage}.txt)"}
            found["sound"] = False
        found["seconds"] = round(time.time() - started, 1)
        asked.write(stage, found)
        sound = sound and found["sound"]
        print(f"{stage}: {found['line']} [{found['seconds']:.0f} s]", flush=True)
    return sound


def main() -> None:
    """Run all stages, or one of their processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-check"))
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--stages", nargs="*", default=list(STAGES), choices=STAGES)
    parser.add_argument("--stand-in", action="store_true")
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--deadline", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    options = {"stand_in": given.stand_in, "wheels": given.wheels, "data": given.data}
    out = given.out.resolve()
    if given.run:
        what, *name = given.run
        asked = Asked(out, deadline=given.deadline, **options)
        PARTS[what](asked, *name) if what in PARTS else run_here(asked, what)
        return
    sys.exit(0 if check(out, given.minutes, given.stages, **options) else 1)


if __name__ == "__main__":
    main()
