"""The demo: a first look at a real slice, then the main job on synthetic heads, in minutes, on a CPU."""

import gzip
import logging
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from switchrecon.config import Config, load_config
from switchrecon.core.device import find_device
from switchrecon.core.files import atomic_file
from switchrecon.core.pictures import save_grid
from switchrecon.core.threads import set_threads
from switchrecon.errors import RunError
from switchrecon.evaluation.evaluate import evaluate
from switchrecon.evaluation.records import Evaluation
from switchrecon.phantoms.scans import write_heads
from switchrecon.reports.evaluation import write_report
from switchrecon.runs.pretrained import run_folder
from switchrecon.training.train import train

logger = logging.getLogger(__name__)

MATRIX = 128
SLICES = 12
SUBJECTS = {"full": range(5), "sub": range(5, 10), "test": range(10, 13)}
METHODS: dict[str, dict[str, Any]] = {
    "joint": {"steps": 400, "unet_width": 12, "headroom": 3},
    "wavelet": {"steps": 20, "headroom": 3},
}
PRETRAINED = "switchrecon:brain-2d-x4"
FIRST_PICTURE = "first.png"
FIRST_HEAD = 13  # a subject of no pile


FIRST = (
    "The real MR slice of matplotlib's sample data, 256x256, from a quarter of its k-space, as the run that comes with "
    "the package shows it. That run has learned from axial T2-weighted and FLAIR scans; a sagittal T1-weighted head is "
    "far from them: an honest look at a domain gap, not a benchmark. first/report.html shows more."
)


def make_heads(folder: Path) -> None:
    """Write fully sampled k-space of synthetic heads, disjoint subjects in ``full``, ``sub`` and ``test``."""
    for domain, subjects in SUBJECTS.items():
        write_heads(folder / domain, subjects, SLICES, MATRIX)


def demo_config(method: str, steps: int | None) -> Config:
    """Return the demo's settings for a method; ``steps`` are the most."""
    settings = METHODS[method]
    wanted = settings["steps"] if steps is None else min(steps, settings["steps"]) if method == "wavelet" else steps
    return load_config(None, [f"matrix={MATRIX}"], method=method, **{**settings, "steps": wanted})


def reduced(config: Config) -> list[str]:
    """Sentences that say what is small here, and what is not the paper's."""
    return [
        f"Matrix {MATRIX}x{MATRIX} instead of a scanner's 256x256 or more, and cascades of U-Nets of width "
        f"{config.unet_width} instead of 16.",
        f"{SLICES * len(SUBJECTS['full'])} slices of {len(SUBJECTS['full'])} synthetic subjects a pile, and "
        f"{config.steps} steps: a real run takes thousands.",
        "Images without phase, as in the paper: their k-space is conjugate symmetric, which no scanner offers.",
        "joint, the method that we recommend, is not the paper's: it learns from the same two piles, with data "
        "consistency between four cascades. The paper's method needs far more steps than fit here; its results, and "
        "those of every other method, are in docs/results.md, and --method switchable --config paper trains it.",
        "wavelet is compressed sensing with one learned weight: what needs no network.",
    ]


def real_slice() -> np.ndarray:
    """Return the MR image among matplotlib's sample data: magnitudes, float32 (256, 256)."""
    from matplotlib import cbook

    file = cbook.get_sample_data("s1045.ima.gz", asfileobj=False)
    return (
        np.frombuffer(gzip.decompress(Path(str(file)).read_bytes()), dtype=np.uint16)
        .astype(np.float32)
        .reshape(256, 256)
    )


def quick_look(out: Path, lpips_weights: Path | None = None, device: str | None = None) -> Path:
    """Reconstruct two scans at 256x256 with the run that comes with the package, and write a page.

    One is the real slice, the other a synthetic head; both are undersampled with the run's masks.

    Parameters
    ----------
    out
        Gets the scans, the evaluation, ``report.html`` and ``first.png``.
    lpips_weights, device
        As of :func:`run_demo`.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    RunError
        If the folder holds something else.
    """
    _check_place(out, "evaluation.json")
    scan = out / "scans" / "mr-slice.npy"
    scan.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(scan, suffix=".npy") as temporary:
        np.save(temporary, real_slice())
    side = len(real_slice())
    head = write_heads(scan.parent, [FIRST_HEAD], 1, side)
    evaluation = evaluate(
        [run_folder(PRETRAINED)],
        [scan, *head],
        out,
        lpips_weights=lpips_weights,
        title="A first look",
        summary=[
            f"{PRETRAINED}, a small run that comes with the package, reconstructs two scans that it has never seen, "
            "from a quarter of their k-space: a real sagittal T1-weighted head (matplotlib's sample data) and a "
            "synthetic axial one. It has learned from axial T2-weighted and FLAIR scans of four patients.",
            "Next: 'switchrecon demo' trains one in minutes; 'switchrecon reconstruct "
            f"{PRETRAINED} SCAN… --out DIR' reconstructs your scans at this acceleration.",
        ],
        device=device,
        overwrite=True,
    )
    _say(evaluation)
    _draw_first(out, evaluation.methods)
    return write_report(out)


def _draw_first(out: Path, names: Iterable[str]) -> None:
    """``first.png``: the real slice, fully sampled and as each method shows it."""
    with np.load(out / "examples.npz", allow_pickle=False) as arrays:
        reference, images = arrays["reference"][0], arrays["images"][:, 0]
    save_grid(out / FIRST_PICTURE, [[reference, *images]], [["fully sampled", *names]], None)


def _check_place(out: Path, *marks: str) -> None:
    if out.exists() and any(out.iterdir()) and not any((out / mark).exists() for mark in marks):
        raise RunError(f"{out}: is not empty and holds no demo; choose another --out")


def _say(evaluation: Evaluation) -> None:
    for name in evaluation.methods:
        psnr, ssim = (evaluation.value(name, metric).mean for metric in ("psnr", "ssim"))
        logger.info(f"{name:28s} PSNR {psnr:.2f} dB  SSIM {ssim:.3f}")


def run_demo(
    out: Path,
    steps: int | None = None,
    lpips_weights: Path | None = None,
    device: str | None = None,
    console: Console | None = None,
    threads: int = 1,
) -> Path:
    """Run the demo and return the report.

    Parameters
    ----------
    out
        Gets the data, the runs, ``metrics.json`` and ``report.html``. A demo that was interrupted continues.
    steps
        Training steps of the network; None takes the demo's.
    lpips_weights
        See :func:`switchrecon.metrics.lpips.find_weights`.
    device
        See :func:`switchrecon.core.device.find_device`.
    console
        Console for progress bars; None: lines are logged.
    threads
        See :func:`switchrecon.core.threads.set_threads`.

    Raises
    ------
    RunError
        If the folder holds something else.
    """
    _check_place(out, "data", "first")
    find_device(device)  # is refused before anything is written
    started = time.monotonic()
    # Networks this small gain next to nothing from a second thread and lose much to it on a busy machine.
    set_threads(threads)
    make_heads(out / "data")
    logger.info("a first look, with the run that comes with the package")
    logger.info(f"first picture: {quick_look(out / 'first', lpips_weights, device)}")
    with atomic_file(out / FIRST_PICTURE, suffix=".png") as temporary:
        shutil.copyfile(out / "first" / FIRST_PICTURE, temporary)
    runs = []
    for method in METHODS:
        logger.info(f"{method}: training")
        run = out / method
        train(demo_config(method, steps), [out / "data/full"], [out / "data/sub"], run, True, None, device, console)
        runs.append(run)
    minutes = (time.monotonic() - started) / 60
    evaluation = evaluate(
        runs,
        [out / "data/test"],
        out,
        lpips_weights=lpips_weights,
        title="switchrecon demo: synthetic heads",
        reduced=reduced(demo_config("joint", steps)),
        pictures=[(FIRST_PICTURE, FIRST)],
        summary=[f"Training and reconstruction took {minutes:.1f} minutes."],
        device=device,
        overwrite=True,
    )
    _say(evaluation)
    return write_report(out)
