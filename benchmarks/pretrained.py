"""Train the run that comes with the package, and try it on a patient that it has not seen.

``python benchmarks/pretrained.py --data DATA --out runs/brain-2d-x4``

DATA holds T2w and FLAIR scans of the open_ms_data collection as ``brain/sub-SUBJECT_ses-N_CONTRAST.nii.gz``. Takes half
an hour on one core. What the test patient gives is printed, and stands beside the run. With ``--install`` weights and
card are put into the package.
"""

import argparse
from pathlib import Path

from switchrecon.config import load_config
from switchrecon.core.threads import set_threads
from switchrecon.evaluation.evaluate import evaluate
from switchrecon.runs.checkpoint import load_model, save_model
from switchrecon.runs.pretrained import FOLDER
from switchrecon.training.train import train

NAME = "brain-2d-x4"
SETTINGS = Path(__file__).parent / f"{NAME}.yaml"
FULL = ("patient01_ses-1_T2w", "patient01_ses-2_FLAIR", "patient09_ses-2_FLAIR")
SUB = ("patient03_ses-1_T2w", "patient19_ses-2_FLAIR")
TEST = ("patient04_ses-1_T2w", "patient04_ses-1_FLAIR")
NOTE = (
    "Learned from scans of the open_ms_data collection (Lesjak et al., Neuroinformatics 2016; longitudinal data, "
    "patients 01, 03, 09 and 19, T2w and FLAIR), which is licensed CC BY: name that source where these weights are "
    "used. The weights may be used as the package is (Apache-2.0). Research only, not a medical device."
)


def _scans(data: Path, names: tuple[str, ...]) -> list[Path]:
    return [data / "brain" / f"sub-openms-{name}.nii.gz" for name in names]


def _install(run: Path) -> None:
    """Put the weights and the card into the package."""
    tensors, card = load_model(run / "model.safetensors")
    target = FOLDER / NAME
    target.mkdir(parents=True, exist_ok=True)
    save_model(target / "model.safetensors", tensors, card.model_copy(update={"note": NOTE}))


def main() -> None:
    """Train, evaluate and install."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs") / NAME)
    parser.add_argument("--install", action="store_true", help="put the run into the package")
    arguments = parser.parse_args()
    set_threads(1)
    data, out = arguments.data, arguments.out
    train(load_config(SETTINGS, []), _scans(data, FULL), _scans(data, SUB), out, resume=True, device="cpu")
    for scan in TEST:
        found = evaluate([out], _scans(data, (scan,)), out.parent / f"{out.name}-{scan}", device="cpu")
        for name in found.methods:
            psnr, ssim = (found.value(name, metric).mean for metric in ("psnr", "ssim"))
            print(f"{scan}: {name} {psnr:.2f} dB, SSIM {ssim:.3f}")
    if arguments.install:
        _install(out)


if __name__ == "__main__":
    main()
