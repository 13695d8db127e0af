"""Train every method on small sets of real MR data and print PSNR and SSIM on a held-out subject.

Usage: python benchmarks/real_data.py brain|complex --data DIR [--out DIR] [--methods NAME ...] [--set NAME=VALUE ...]

DIR holds ``brain/`` (T2w NIfTI volumes) and ``complex/`` (complex images in fastMRI layout). Runs that exist are
continued, so that methods can be added one by one; the table is of all that are finished.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from switchrecon.config import load_config
from switchrecon.evaluate import evaluate
from switchrecon.methods import METHODS
from switchrecon.report import write_report
from switchrecon.train import train


@dataclass(frozen=True)
class Experiment:
    """Disjoint subjects and the settings that all methods share."""

    full: tuple[str, ...]
    sub: tuple[str, ...]
    test: tuple[str, ...]
    settings: tuple[str, ...]


SMALL = ("matrix=64", "width=16", "steps=3000", "learning_rate=3e-4")
EXPERIMENTS = {
    "brain": Experiment(
        ("brain/sub-openms-patient01_*_T2w.nii.gz",),
        ("brain/sub-openms-patient03_*_T2w.nii.gz",),
        ("brain/sub-openms-patient04_*_T2w.nii.gz",),
        (*SMALL, "mask.kind=random-2d", "representation=magnitude"),
    ),
    "complex": Experiment(
        ("complex/siat_s0[123]_ax.h5",),
        ("complex/siat_s0[45]_ax.h5",),
        ("complex/siat_s06_ax.h5",),
        (*SMALL, "mask.kind=random-1d", "representation=complex"),
    ),
}


def main() -> None:
    """Train what is asked for, evaluate all that is finished, print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--set", nargs="*", default=[], dest="settings")
    parser.add_argument("--convention", default="slice-max")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    experiment = EXPERIMENTS[arguments.experiment]
    full, sub, test = (
        [str(arguments.data / name) for name in names] for names in (experiment.full, experiment.sub, experiment.test)
    )
    out = arguments.out / arguments.experiment
    for method in arguments.methods:
        config = load_config(None, [*experiment.settings, *arguments.settings], method=method)
        train(config, full, sub, out / method, resume=True)
    finished = [out / method for method in METHODS if (out / method / "model.safetensors").is_file()]
    metrics = evaluate(
        finished, test, out / "evaluation", [arguments.convention], title=f"{arguments.experiment}: real data"
    )
    print(f"\n{metrics['slices']} slices of {metrics['volumes']} held-out scan; {metrics['convention_text']}\n")
    print("| method | PSNR (dB) | SSIM | NMSE |\n|---|---|---|---|")
    for name, values in metrics["methods"].items():
        cells = [(values[n], digits) for n, digits in (("psnr", 2), ("ssim", 3), ("nmse", 3))]
        print(f"| {name} | " + " | ".join(f"{v['mean']:.{d}f} ± {v['std']:.{d}f}" for v, d in cells) + " |")
    print(f"\nreport: {write_report(out / 'evaluation')}")


if __name__ == "__main__":
    main()
