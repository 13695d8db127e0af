"""Compare settings of the unrolled network's training, on FLAIR scans alone: no T2w or complex subject plays a part.

Usage: python benchmarks/unrolled_settings.py --data DIR [--out runs/unrolled-settings] [--steps 600] [ROW ...]

``joint`` learns from FLAIR scans of four patients at 64x64 (two fully sampled, two undersampled, 2-D random points x4)
and is tried on a fifth. Finished rows are kept. The best of them are the network's recommended settings in
``nets/builder.py``.
"""

import argparse
from pathlib import Path

import torch

from switchrecon.config import load_config
from switchrecon.evaluation.evaluate import evaluate
from switchrecon.runs.checkpoint import load_model
from switchrecon.training.train import train

FULL = ("patient01_ses-2", "patient03_ses-2")
SUB = ("patient04_ses-1", "patient09_ses-2")
TEST = ("patient19_ses-2",)
PLAIN = ("optimizer=radam", "schedule=linear", "average=swa", "gradient_clip=null")
RADAM = "optimizer=radam"
ROWS: dict[str, tuple[str, ...]] = {
    "recommended": (),
    "1e-4, linear, swa": ("learning_rate=1e-4", *PLAIN),
    "1e-3, linear, swa": ("learning_rate=1e-3", *PLAIN),
    "3e-3, linear, swa": ("learning_rate=3e-3", *PLAIN),
    "3e-3, cosine, ema": (RADAM,),
    "6e-3, cosine, ema": (RADAM, "learning_rate=6e-3"),
    "1e-2, cosine, ema": (RADAM, "learning_rate=1e-2"),
    "3e-3, cosine, none": (RADAM, "average=none"),
    "3e-3, cosine, ema, no limit": (RADAM, "gradient_clip=null"),
    "6e-3, cosine, ema, adamw": ("learning_rate=6e-3",),
}


def files(data: Path, patients: tuple[str, ...]) -> list[Path]:
    """The FLAIR scans of patients."""
    return [data / "brain" / f"sub-openms-{patient}_FLAIR.nii.gz" for patient in patients]


def row(name: str, data: Path, out: Path, steps: int) -> str:
    """Train and evaluate a row; a line of a Markdown table."""
    folder = out / "".join(letter if letter.isalnum() else "-" for letter in name)
    settings = ["method=joint", "matrix=64", "slices_per_scan=40", f"steps={steps}", f"checkpoint_every={steps}"]
    config = load_config(None, [*settings, *ROWS[name]])
    train(config, files(data, FULL), files(data, SUB), folder / "run", resume=True, device="cpu")
    found = evaluate([folder / "run"], files(data, TEST), folder / "evaluation", ["slice-max"], device="cpu")
    values = found.conventions["slice-max"]["joint"]
    seconds = load_model(folder / "run" / "model.safetensors")[1].seconds or 0.0
    return f"| {name} | {values['psnr'].mean:.2f} | {values['ssim'].mean:.3f} | {seconds / 60:.1f} |"


def main() -> None:
    """Run the rows that are asked for, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/unrolled-settings"))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("rows", nargs="*", metavar="ROW")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("| settings | PSNR (dB) | SSIM | minutes |\n|---|---|---|---|", flush=True)
    for name in asked.rows or ROWS:
        print(row(name, asked.data, asked.out, asked.steps), flush=True)


if __name__ == "__main__":
    main()
