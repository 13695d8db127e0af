"""Memory and time from few slices to many, with and without the cache; and what imports cost."""

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch

from switchrecon.config import Config, load_config
from switchrecon.data.piles import read_training_data
from switchrecon.phantoms.coils import simulate_maps
from switchrecon.physics.fourier import inverse_fourier
from switchrecon.physics.masks import centre_slice
from switchrecon.scans.files import find_files, read_scan
from switchrecon.training.batches import Batches

OF_A_SCAN = 10  # slices
REPEATS = 3  # the least of each number counts
BATCHES = 100
SETTINGS: list[str] = []  # tests measure scans that are too small for the default ones


def plain(paths: Sequence[Path], config: Config) -> list[tuple[np.ndarray, np.ndarray]]:
    """The slices as a script of a few lines would make them: checksum, images, masks, scales from their low band."""
    slices = []
    for path in paths:
        hashlib.sha256(path.read_bytes()).hexdigest()
        volume = np.load(path)
        centre = tuple(centre_slice(size, config.mask.center_fraction) for size in volume.shape[1:])
        window = np.outer(*(np.hanning(part.stop - part.start + 2)[1:-1] for part in centre))
        for number, kspace in enumerate(volume):
            if not np.isfinite(kspace).all():
                raise ValueError(path)
            mask = np.random.RandomState(number).uniform(size=kspace.shape) < 1 / config.mask.acceleration
            mask[centre] = True
            low = np.zeros_like(kspace)
            low[centre] = kspace[centre] * window
            slices.append((image_of(kspace) / (config.headroom * np.abs(image_of(low)).max()), mask))
    return slices


def image_of(kspace: np.ndarray) -> np.ndarray:
    """K-space → image, in numpy."""
    shifted = np.fft.ifft2(np.fft.ifftshift(kspace, (-2, -1)), norm="ortho")
    return np.fft.fftshift(shifted, (-2, -1)).astype(np.complex64)


def prepare(folder: Path, cache: Path, how: str) -> dict[str, float]:
    """Time and memory of this process to prepare the scans of a folder, and to make a batch of them.

    ``read`` does nothing but read each scan and transform it once; ``plain`` is a script of a few lines; ``memory``
    is the package without a cache; ``made`` and ``found`` with one that is not there yet, or is.
    """
    torch.set_num_threads(1)
    config = load_config(None, ["method=supervised", "steps=1000000", *SETTINGS])
    batch = 0.0
    started = time.process_time()
    if how == "read":
        for path in find_files([folder]):
            inverse_fourier(torch.from_numpy(read_scan(path, config.reading).kspace))
        prepared = time.process_time() - started
    elif how == "plain":
        kept = plain(find_files([folder]), config)
        prepared = time.process_time() - started
        del kept
    else:
        data = read_training_data([folder], [], config, "paired", None if how == "memory" else cache)
        batches = Batches(data, config, "paired")
        prepared = time.process_time() - started
        data.fingerprint()
        started = time.process_time()
        for step in range(BATCHES):
            batches.batch(step)
        batch = (time.process_time() - started) / BATCHES
    status = Path("/proc/self/status").read_text()  # getrusage would say the parent's peak where that is larger
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return {"prepare_seconds": prepared, "peak_mib": peak, "batch_seconds": batch}


def child(folder: Path, cache: Path, how: str) -> dict[str, float]:
    """What :func:`prepare` finds in a process that does nothing else."""
    command = [sys.executable, __file__, str(folder), str(cache), how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_scans(folder: Path, slices: int, side: int, compressed: bool = False, coils: int = 1) -> None:
    """Noise in a disc, ten slices a file: its k-space as ``.npy``, of one coil or several, or itself as ``.nii.gz``."""
    folder.mkdir()
    random = np.random.RandomState(0)
    rows, columns = np.mgrid[:side, :side] - side // 2
    for number in range(slices // OF_A_SCAN):
        images = random.uniform(size=(OF_A_SCAN, side, side)) * (np.hypot(rows, columns) < side / 3)
        if compressed:
            counts = (1000 * images).astype(np.int16).transpose(1, 2, 0)
            nibabel.save(nibabel.Nifti1Image(counts, np.eye(4)), folder / f"sub-{number}_T2w.nii.gz")
            continue
        if coils > 1:
            images = images[:, None] * simulate_maps(coils, (side, side))
        kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(images, (-2, -1))), (-2, -1)) / side
        np.save(folder / f"subject{number}.npy", kspace.astype(np.complex64))


def measure_growth(few: int, many: int, side: int) -> dict[str, Any]:
    """``growth``: without cache, cache made, and cache found → memory and time at both numbers of slices."""
    found: dict[str, Any] = {"side": side, "few": few, "many": many}
    with tempfile.TemporaryDirectory() as place:
        for slices in (few, many):
            folder = Path(place) / str(slices)
            write_scans(folder, slices, side)
            runs: dict[str, list[dict[str, float]]] = {}
            for repeat in range(REPEATS):
                cache = Path(place) / f"cache{slices}-{repeat}"
                for name in ("read", "plain", "memory", "made", "found"):
                    runs.setdefault(name, []).append(child(folder, cache, name))
            known = {name: {key: min(run[key] for run in own) for key in own[0]} for name, own in runs.items()}
            for name, values in known.items():
                for other in ("read", "plain"):
                    values[f"prepare_over_{other}"] = values["prepare_seconds"] / known[other]["prepare_seconds"]
                found.setdefault(name, {})[str(slices)] = values
        folder = Path(place) / "compressed"
        write_scans(folder, few * OF_A_SCAN, 2 * side, compressed=True)
        read, memory = (
            min(child(folder, folder, name)["prepare_seconds"] for _ in range(REPEATS)) for name in ("read", "memory")
        )
        found["compressed"] = {"prepare_over_read": memory / read}
        size = f"{2 * side}x{2 * side}"
        print(f"growth, .nii.gz of {size}: preparing takes {memory / read:.2f} of reading and transforming")
    for name in ("memory", "made", "found"):
        first, last = found[name][str(few)], found[name][str(many)]
        found[name]["peak_growth_mib"] = last["peak_mib"] - first["peak_mib"]
        print(
            f"growth, {name}: {few} to {many} slices of {side}x{side}: {found[name]['peak_growth_mib']:+.0f} MiB; "
            f"preparing {many} takes {last['prepare_over_read']:.2f} of reading and transforming, "
            f"{last['prepare_over_plain']:.2f} of a plain script; a batch "
            f"{1e3 * first['batch_seconds']:.1f} and {1e3 * last['batch_seconds']:.1f} ms",
            flush=True,
        )
    return {"growth": found}


def measure_coils(counts: Sequence[int], side: int, coils: int) -> dict[str, Any]:
    """``growth_coils``: number of slices → how → memory and time, with a cache, which is where many belong."""
    found: dict[str, Any] = {"side": side, "coils": coils}
    with tempfile.TemporaryDirectory() as place:
        for slices in counts:
            folder = Path(place) / str(slices)
            write_scans(folder, slices, side, coils=coils)
            values = {how: child(folder, Path(place) / f"cache{slices}", how) for how in ("made", "found")}
            found[str(slices)] = values
            said = (f"{how} {own['peak_mib']:.0f} MiB, {own['prepare_seconds']:.1f} s" for how, own in values.items())
            batch = 1e3 * values["found"]["batch_seconds"]
            print(f"growth, {slices} slices of {side}x{side}, {coils} coils: {'; '.join(said)}; a batch {batch:.0f} ms")
    return {"growth_coils": found}


def measure_imports(repeats: int) -> dict[str, Any]:
    """``import_seconds``: processor time of a bare Python, of importing the package, and of ``--help``."""
    script = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], capture_output=True, check=True);"
    script += "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime)"
    commands = {
        "python": ["-c", ""],
        "package": ["-c", "import switchrecon"],
        "help": ["-m", "switchrecon", "--help"],
        "torch": ["-c", "import torch"],
    }
    found = {}
    for name, command in commands.items():
        run = [sys.executable, "-c", script, sys.executable, *command]
        times = [float(subprocess.run(run, capture_output=True, text=True, check=True).stdout) for _ in range(repeats)]
        found[name] = min(times)
    print("import: " + ", ".join(f"{name} {value:.2f} s" for name, value in found.items()), flush=True)
    return {"import_seconds": found}


if __name__ == "__main__":
    print(json.dumps(prepare(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])))
