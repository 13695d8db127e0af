"""Engines that run the cells of a grid: processes on this machine, Ray tasks, or a Slurm array."""

import collections
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from switchrecon.core.device import find_device
from switchrecon.core.device_names import chosen_name
from switchrecon.core.threads import control_groups, cores_for
from switchrecon.errors import ConfigError
from switchrecon.experiments.cells import Cell, CellBusy, Options, is_wanting, mark_failed, run_cell
from switchrecon.experiments.grid import Grid, read_cell
from switchrecon.experiments.progress import GridProgress

logger = logging.getLogger(__name__)

MEMORY = Path("/proc/meminfo")
BUSY = 75  # exit code of a cell that another process works on (EX_TEMPFAIL)
CELLS_A_GPU = 4  # most cells at once on a GPU; one alone does not fill it
STEP_MEMORY = 2 << 30  # bytes that a training step needs at 256x256 with width 32: 1,782 MiB on a CPU
CUDA_MEMORY = 1 << 30  # further bytes that CUDA takes of a GPU for each process
POLL = 0.5  # seconds
BASE_MEMORY = 1 << 30  # bytes of a process without data
GPU_MEMORY = 3 << 30  # further bytes of a process that uses CUDA
SLICES_OF_A_SCAN = 40  # assumed if the recipe does not say
BYTES_OF_A_PIXEL = 9  # image and mask
COPIES = 3  # of the data, while they are read and scaled


def memory_of(cell: Cell) -> int:
    """Estimate the bytes that a cell needs: for its slices, or for its test slices with all their reconstructions."""
    config = cell.config
    height, width = config.matrix or (256, 256)
    tested = len(cell.test) * (cell.test_slices_per_scan or SLICES_OF_A_SCAN)
    return BASE_MEMORY + max(_trained(cell), 2 * tested) * height * width * BYTES_OF_A_PIXEL * COPIES


def _trained(cell: Cell) -> int:
    """Estimate the number of slices that a cell learns from."""
    a_scan = cell.config.slices_per_scan or SLICES_OF_A_SCAN
    piles = [len(pile) * a_scan for pile in (cell.full, cell.sub)]
    if cell.config.pile_slices is not None:
        piles = [min(count, cell.config.pile_slices) for count in piles]
    return sum(piles)


def gpu_memory_of(cell: Cell) -> int:
    """Estimate the bytes of a GPU that a cell needs: for CUDA, a step, and its slices with one coil."""
    config = cell.config
    height, width = config.matrix or (256, 256)
    channels = max(config.width / 32, config.unet_width * config.cascades / 64)
    step = int(STEP_MEMORY * config.batch_size * channels * height * width / 256**2)
    return CUDA_MEMORY + step + _trained(cell) * height * width * BYTES_OF_A_PIXEL


def places(name: str | None = None) -> list[str]:
    """Return the devices that cells are distributed over: every GPU, unless one device is asked for."""
    device = find_device(name)
    if device.type == "cpu" or ":" in chosen_name(name):
        return [str(device)]
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def available_memory() -> int | None:
    """Return the bytes that new processes may use: the system's, at most what this process's groups have left.

    Groups are Linux control groups, version 2; files that the group keeps in memory do not count as used. macOS says
    only how much memory the machine has, half of which counts as free. None if the system says nothing (Windows).
    """
    found = _free_memory()
    if found is None:
        return None
    for group in control_groups():
        try:
            limit, used = (int((group / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
            counts = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
            found = max(0, min(found, limit - used + int(counts["inactive_file"])))
        except (OSError, ValueError, LookupError):  # no such group, or one without a limit
            continue
    return found


def _free_memory() -> int | None:
    try:
        lines = MEMORY.read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass  # not Linux
    for pages, parts in (("SC_AVPHYS_PAGES", 1), ("SC_PHYS_PAGES", 2)):
        try:
            return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE") // parts
        except (AttributeError, ValueError, OSError):  # Windows has no sysconf, and macOS not every name
            continue
    return None


def fitting_workers(cells: Sequence[Cell], devices: Sequence[str], threads: int | None = None) -> int:
    """Return how many cells can run at once with the cores, free memory and GPUs; at least one.

    ``threads`` is the number of cores that the cells share; None: the free ones.
    """
    free = available_memory()
    cores = cores_for(threads) // max(cell.threads for cell in cells)
    need = max(map(memory_of, cells))
    shared = cores
    if devices[0] != "cpu":
        need += GPU_MEMORY
        largest = max(map(gpu_memory_of, cells))
        shared = sum(min(CELLS_A_GPU, max(1, torch.cuda.mem_get_info(gpu)[0] // largest)) for gpu in devices)
    if free is None:
        logger.warning("this system does not say how much memory is free; if it does not suffice, give --workers")
        return max(1, min(cores, shared))
    return max(1, min(cores, shared, free // need))


def run_local(grid: Grid, cells: Sequence[Cell], workers: int, progress: GridProgress) -> None:
    """Run each cell in a separate process, so that one that dies does not stop the others.

    A failed cell goes to the end of the queue ``retries`` times; then it is marked as failed, and the others go on.
    """
    waiting = collections.deque(cells)
    running: dict[subprocess.Popen[bytes], tuple[Cell, str]] = {}
    devices = places(grid.options.device)
    failures: collections.Counter[int] = collections.Counter()
    environment = {**os.environ, "OMP_NUM_THREADS": str(grid.recipe.threads)}
    # A grid that is told to stop also stops its cells, as Ctrl-C does.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                cell = waiting.popleft()
                cell.folder.mkdir(parents=True, exist_ok=True)
                with (cell.folder / "log.txt").open("a", encoding="utf-8") as log:
                    taken = collections.Counter(place for _, place in running.values())
                    place = min(devices, key=lambda device: taken[device])
                    command = [sys.executable, "-m", "switchrecon", *cell_arguments(grid, cell.key, place)]
                    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
                logger.debug("process %d: %s", process.pid, shlex.join(command))
                running[process] = cell, place
                progress.set(cell, "running")
            for process in [p for p in running if p.poll() is not None]:
                cell, _ = running.pop(process)
                _settle(grid, cell, _outcome(process.returncode, cell), waiting, failures, progress)
            progress.show(len(running))
            time.sleep(POLL)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
        signal.signal(signal.SIGTERM, before)


def cell_arguments(grid: Grid, key: str, device: str) -> list[str]:
    """Return the arguments of the process that runs one cell on a device."""
    return ["crossval", "--out", str(grid.out), "--cell", key, *grid.options.on(device).arguments()]


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _outcome(code: int, cell: Cell) -> str | None:
    """Return None for success, else what went wrong: the last line of the cell's log."""
    if code == 0:
        return None
    if code == BUSY:
        return "busy"
    if code < 0:
        return f"killed by signal {-code}"
    lines = (cell.folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else f"exit code {code}"


def _settle(
    grid: Grid,
    cell: Cell,
    problem: str | None,
    waiting: "collections.deque[Cell]",
    failures: "collections.Counter[int]",
    progress: GridProgress,
) -> None:
    if problem is None:
        progress.set(cell, "done")
    elif problem == "busy":
        progress.set(cell, "elsewhere")
    elif failures[cell.index] < grid.recipe.retries:
        failures[cell.index] += 1
        progress.set(cell, "waiting", f"failed, to be tried again: {problem}")
        waiting.append(cell)
    else:
        mark_failed(cell, problem)
        progress.set(cell, "failed", problem)


def work(out: str, key: str, options: Options) -> str | None:
    """Run one cell of the grid in a folder that all nodes see, as a Ray task; return what went wrong."""
    try:
        run_cell(read_cell(Path(out), key, options))
    except CellBusy:
        return "busy"
    except Exception as error:
        return f"{type(error).__name__}: {error}" if not str(error) else str(error)
    return None


def run_ray(
    grid: Grid,
    cells: Sequence[Cell],
    workers: int,
    progress: GridProgress,
    address: str | None = None,
    gpus: float = 0,
) -> None:
    """Run cells as Ray tasks; if a worker dies, Ray starts its task again, and the cell continues where it stopped.

    Parameters
    ----------
    grid, cells, workers, progress
        As for :func:`run_local`; ``workers`` has a meaning only for a local instance.
    address
        Address of a running cluster whose nodes have the folder at the same path; None starts a local instance.
    gpus
        GPUs of each task. 0: a part of one on a local instance with GPUs, none on a cluster.

    Raises
    ------
    ConfigError
        If Ray is not installed.
    """
    # Ray reports no usage to anyone, and a local instance listens to this machine alone.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise ConfigError("--engine ray needs Ray: pip install 'switchrecon[ray]'") from None
    threads, out = grid.recipe.threads, str(grid.out.resolve())
    local: dict[str, Any] = {"num_cpus": workers * threads, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    options: dict[str, Any] = {"address": address} if address else local
    ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    try:
        if places(grid.options.device)[0] != "cpu" and not gpus and not address:
            gpus = 1 / CELLS_A_GPU
        # Ray says which GPU a task may use; a task without a GPU must use none.
        options_there = grid.options.on("auto" if gpus else "cpu")
        environment = {"env_vars": {"OMP_NUM_THREADS": str(threads)}}
        task: Any = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=3, runtime_env=environment)(work)
        _follow(ray, grid, cells, lambda cell: task.remote(out, cell.key, options_there), progress)
    finally:
        ray.shutdown()


def _follow(ray: Any, grid: Grid, cells: Sequence[Cell], submit: Callable[[Cell], Any], progress: GridProgress) -> None:
    waiting: collections.deque[Cell] = collections.deque()
    failures: collections.Counter[int] = collections.Counter()
    started = time.time()
    pending = {submit(cell): cell for cell in cells}
    while pending:
        ready, _ = ray.wait(list(pending), timeout=POLL)
        for cell in pending.values():  # Ray does not say when a task starts; its log does
            log = cell.folder / "log.txt"
            if progress.states[cell.index] == "waiting" and log.exists() and log.stat().st_mtime > started:
                progress.set(cell, "running")
        for reference in ready:
            cell = pending.pop(reference)
            try:
                problem = ray.get(reference)
            except ray.exceptions.RayError as error:
                problem = " ".join(str(error).split())[:300]
            _settle(grid, cell, problem, waiting, failures, progress)
            while waiting:
                again = waiting.popleft()
                pending[submit(again)] = again
        progress.show(sum(progress.states[cell.index] == "running" for cell in pending.values()))


def slurm_script(grid: Grid, cells: Sequence[Cell]) -> str:
    """Return a batch script for Slurm in which task i of the array runs one unfinished cell."""
    keys = " ".join(cell.key for cell in cells)
    options = shlex.join(["--out", str(grid.out.resolve()), *grid.options.on(grid.options.device).arguments()])
    out = shlex.quote(str(grid.out.resolve()))
    python = shlex.quote(sys.executable)
    return f"""#!/bin/bash
#SBATCH --job-name=switchrecon
#SBATCH --array=0-{len(cells) - 1}
#SBATCH --cpus-per-task={grid.recipe.threads}
#SBATCH --output={out.replace("%", "%%")}/slurm-%a.txt
# Each task runs one cell, which continues where it stopped; its output is log.txt in the cell's folder, and what comes
# before it, or ends it from outside, is in slurm-%a.txt.
# Add what your cluster asks for (partition, time, memory, GPUs). At any time this makes the table of what is done:
#   switchrecon report {out}
cells=({keys})
export OMP_NUM_THREADS={grid.recipe.threads}
for attempt in {{0..{grid.recipe.retries}}}; do
  {python} -m switchrecon crossval {options} --cell "${{cells[$SLURM_ARRAY_TASK_ID]}}"
  code=$?
  [[ $code == 0 || $code == {BUSY} ]] && break
done
exit $code
"""


def unfinished(grid: Grid) -> list[Cell]:
    """Return the cells that have something to do, in order."""
    return [cell for cell in grid.cells if is_wanting(cell)]
