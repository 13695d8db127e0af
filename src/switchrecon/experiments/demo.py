"""The demo: training and reconstruction with synthetic heads and one real slice, in minutes, on a CPU."""

import gzip
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from switchrecon.config import Config, load_config
from switchrecon.core.device import find_device
from switchrecon.core.files import atomic_file
from switchrecon.core.pictures import save_grid
from switchrecon.core.threads import set_threads
from switchrecon.errors import RunError
from switchrecon.evaluation.baselines import zero_filled
from switchrecon.evaluation.evaluate import evaluate
from switchrecon.metrics.metrics import psnr, ssim
from switchrecon.phantoms.scans import write_heads
from switchrecon.reconstruction.files import reconstruct_files
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.reports.evaluation import write_report
from switchrecon.scans.files import read_scan
from switchrecon.scans.scan import own_mask
from switchrecon.training.train import train

logger = logging.getLogger(__name__)

MATRIX = 64
SLICES = 12
SUBJECTS = {"full": range(5), "sub": range(5, 10), "test": range(10, 13)}
SETTINGS = [
    f"matrix={MATRIX}",
    "width=12",
    "extractor_depth=8",
    "headroom=3",
]
METHODS: dict[str, dict[str, Any]] = {
    "switchable": {
        "steps": 1800,
        "learning_rate": 5e-4,
        "representation": "magnitude",
        "estimate": "ensemble",  # what the demo recommends for it
    },
    "simulated": {"steps": 900, "learning_rate": 5e-4, "representation": "magnitude"},
    "joint": {"steps": 400, "unet_width": 12},
}
REAL_SLICE = {
    "switchable": ("switchable", "ensemble", "none"),
    "switchable with data consistency": ("switchable", "ensemble", "hard"),
    "joint": ("joint", "generator", "none"),
}


def make_heads(folder: Path) -> None:
    """Write fully sampled k-space of synthetic heads, disjoint subjects in ``full``, ``sub`` and ``test``."""
    for domain, subjects in SUBJECTS.items():
        write_heads(folder / domain, subjects, SLICES, MATRIX)


def demo_config(method: str, steps: int | None) -> Config:
    """Return the demo's settings for a method."""
    chosen = METHODS[method]
    return load_config(None, SETTINGS, method=method, **{**chosen, "steps": steps or chosen["steps"]})


def reduced(config: Config) -> list[str]:
    """Return sentences that say in what the demo's settings are smaller than the paper's."""
    return [
        f"Matrix {MATRIX}x{MATRIX} instead of 256x256, width {config.width} instead of 32, and "
        f"{config.extractor_depth} instead of 20 convolutions in the extractor.",
        f"{SLICES * len(SUBJECTS['full'])} slices of {len(SUBJECTS['full'])} synthetic subjects a pile instead of 75 "
        "images of real ones.",
        f"{config.steps} steps with learning rate {config.learning_rate:g} instead of 3,750 with 1e-4, the first "
        f"{min(config.warm_up, (config.steps or 0) // 10)} of switchable towards the identity.",
        "Images without phase, as in the paper: their k-space is conjugate symmetric, which no scanner offers and "
        "which helps data consistency. switchable and simulated work on magnitudes, joint on complex images.",
        "joint, the method that we recommend, is not the paper's: it learns from the same two piles, with four "
        f"cascades and data consistency between them, in {METHODS['joint']['steps']} steps.",
        "switchable is shown with the ensemble estimate, which the demo recommends, and with the generator alone, "
        "which is the paper's.",
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


def reconstruct_real_slice(out: Path, device: str | None = None) -> tuple[str, str]:
    """Undersample the real slice, reconstruct it, and draw it; return the picture's file and caption."""
    scan = out / "real" / "mr-slice.npy"
    scan.parent.mkdir(parents=True, exist_ok=True)
    image = real_slice()
    with atomic_file(scan, suffix=".npy") as temporary:
        np.save(temporary, image)
    config = Reconstructor.load(out / "joint", device="cpu").config
    whole = read_scan(scan, config.reading)
    aliased = zero_filled(torch.from_numpy(whole.kspace), own_mask(whole, 0, config))
    pictures = {"zero-filled": aliased.abs()[0].numpy()}
    for name, (run, estimate, consistency) in REAL_SLICE.items():
        loaded = Reconstructor.load(out / run, estimate, consistency, resize=True, device=device)
        target = out / "real" / name.replace(" ", "-")
        outcome = reconstruct_files(loaded, [scan], target, undersample="run", overwrite=True)[0]
        if outcome.error is not None or outcome.written is None:
            raise outcome.error or RunError(f"{scan}: nothing was written")
        pictures[name] = np.abs(np.load(outcome.written))
    scores = [f"{name}\n{psnr(image, u):.1f} dB, SSIM {ssim(image, u):.2f}" for name, u in pictures.items()]
    save_grid(out / "real.png", [[image, *pictures.values()]], [["real MR slice, 256x256\n", *scores]], None)
    return "real.png", (
        "The real MR slice of matplotlib's sample data, undersampled and reconstructed at its own 256x256 by networks "
        f"that were trained on synthetic heads of {MATRIX}x{MATRIX} alone. A sagittal T1-weighted head is far from "
        "axial T2-weighted phantoms: an honest look at a domain gap, not a benchmark."
    )


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
        Folder for the data, the runs, ``metrics.json`` and ``report.html``. An interrupted demo is continued.
    steps
        Training steps of both methods; None: the demo's numbers of steps.
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
    if out.exists() and any(out.iterdir()) and not (out / "data").is_dir():
        raise RunError(f"{out}: is not empty and holds no demo; choose another --out")
    find_device(device)  # a wrong name is refused before anything is written
    started = time.monotonic()
    # A second thread gives such small networks hardly any speed, and costs much on a busy machine.
    set_threads(threads)
    make_heads(out / "data")
    runs = []
    for method in METHODS:
        logger.info(f"{method}: training")
        run = out / method
        train(demo_config(method, steps), [out / "data/full"], [out / "data/sub"], run, True, None, device, console)
        runs.append(run)
    picture = reconstruct_real_slice(out, device)
    minutes = (time.monotonic() - started) / 60
    evaluation = evaluate(
        runs,
        [out / "data/test"],
        out,
        lpips_weights=lpips_weights,
        title="switchrecon demo: synthetic heads",
        reduced=reduced(demo_config("switchable", steps)),
        pictures=[picture],
        summary=[f"Training and reconstruction took {minutes:.1f} minutes."],
        device=device,
    )
    for name in evaluation.methods:
        psnr_mean, ssim_mean = (evaluation.value(name, metric).mean for metric in ("psnr", "ssim"))
        logger.info(f"{name:28s} PSNR {psnr_mean:.2f} dB  SSIM {ssim_mean:.3f}")
    return write_report(out)
