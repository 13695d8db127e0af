"""BART as an independent program: arrays go in and come out through its files. Tests skip where it is absent."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor


class Bart:
    """Runs BART in a folder; arrays are by name, in the order (coils, H, W) or (H, W) of their first 2-D slice."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("bart") is None:
            pytest.skip("bart is not installed")
        self.folder = folder

    def __call__(self, *arguments: object) -> None:
        """Run a tool; the test fails with what it said if it fails."""
        done = subprocess.run(["bart", *map(str, arguments)], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def write(self, name: str, array: Tensor) -> None:
        """Write (coils, H, W), or (coils, samples) of noise, complex64."""
        values = array.to(torch.complex64).reshape(*array.shape[:2], -1).numpy()
        values = values.transpose(1, 2, 0)[:, :, None]
        (self.folder / f"{name}.hdr").write_text("# Dimensions\n" + " ".join(map(str, values.shape + (1,) * 12)))
        values.ravel("F").tofile(self.folder / f"{name}.cfl")

    def read(self, name: str) -> Tensor:
        """Read (H, W), (coils, H, W) or (maps, coils, H, W); dimensions of size 1 are left out."""
        sizes = [int(n) for n in (self.folder / f"{name}.hdr").read_text().splitlines()[1].split()]
        values = np.fromfile(self.folder / f"{name}.cfl", np.complex64).reshape(sizes, order="F").squeeze()
        others = tuple(range(values.ndim - 1, 1, -1))
        return torch.from_numpy(np.ascontiguousarray(values.transpose(*others, 0, 1)))


@pytest.fixture
def bart(tmp_path: Path) -> Bart:
    """BART, working in a folder of its own."""
    return Bart(tmp_path)


def relative_difference(found: Tensor, reference: Tensor) -> float:
    """‖u − r‖ / ‖r‖."""
    return float(torch.linalg.vector_norm(found - reference) / torch.linalg.vector_norm(reference))
