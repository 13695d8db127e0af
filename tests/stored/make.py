"""Make the files beside this one: what an earlier version wrote, which later ones must go on reading.

Run once, by the version whose files are to be kept: ``python -m tests.stored.make``.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from switchrecon import Reconstructor
from switchrecon.config import load_config
from switchrecon.training.train import train
from tests.stored.scans import FILES, RUNS, SETTINGS, scan, sensitivities, write_scans


def main() -> None:
    """Train every run of :data:`RUNS`; store its folder and what it makes of a test scan."""
    torch.set_num_threads(1)
    outputs = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, settings in RUNS.items():
            coils = 2 if name.endswith("coils") else 1
            folder = FILES / "runs" / name
            shutil.rmtree(folder, ignore_errors=True)
            full, sub = write_scans(Path(temporary) / name, coils, masked=name != "supervised")
            train(load_config(None, [*SETTINGS, *settings]), [full], [sub], folder, device="cpu")
            kspace, mask = scan(9, slices=2, coils=coils, masked=True)
            maps = np.broadcast_to(sensitivities(2), kspace.shape) if coils > 1 else None
            loaded = Reconstructor.load(folder, device="cpu")
            outputs[name] = loaded(kspace, mask, maps)
            if name == "switchable":
                outputs["switchable-ensemble-hard"] = loaded.using("ensemble", "hard")(kspace, mask)
            (folder / ".lock").unlink(missing_ok=True)
            shutil.rmtree(folder / "tensorboard", ignore_errors=True)
            for file in (folder / "checkpoints").iterdir():  # one training has its last three steps to do again
                if name != "switchable" or "00000006" in file.name:
                    file.unlink()
    np.savez_compressed(FILES / "outputs.npz", **outputs)


if __name__ == "__main__":
    main()
