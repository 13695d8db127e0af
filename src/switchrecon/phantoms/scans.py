"""Scans of synthetic heads, as files."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from switchrecon.core.files import atomic_file
from switchrecon.core.seeds import numpy_random
from switchrecon.phantoms.coils import simulate_maps
from switchrecon.phantoms.head import draw_head
from switchrecon.physics.fourier import fourier

HEAD_NOISE = 0.005  # relative to the brightest tissue; little, because voxels are large


def write_heads(folder: Path, subjects: Iterable[int], slices: int, matrix: int, coils: int = 1) -> list[Path]:
    """Write fully sampled k-space of synthetic T2w heads without phase, if the files are missing; return the files.

    With several coils k-space is (slices, coils, H, W); each coil has another sensitivity and other noise.
    """
    files = []
    for subject in subjects:
        files.append(folder / f"phantom-{subject:04d}.npy")
        if files[-1].exists():
            continue
        write_kspace(files[-1], head_images(subject, slices, matrix, coils))
    return files


def head_images(subject: int, slices: int, matrix: int, coils: int = 1) -> np.ndarray:
    """Draw complex64 images (slices, H, W) of a T2w head without phase; (slices, coils, H, W) with several coils."""
    head = draw_head(subject, slices=slices, matrix=matrix, noise=HEAD_NOISE if coils == 1 else 0, phase=False)
    if coils == 1:
        return head.image
    image = head.image[:, None] * simulate_maps(coils, (matrix, matrix))
    parts = numpy_random("coil noise", subject).normal(scale=HEAD_NOISE, size=(2, *image.shape))
    return (image + parts[0] + 1j * parts[1]).astype(np.complex64)


def write_kspace(target: Path, image: np.ndarray) -> None:
    """Write the centred orthonormal k-space of complex images (..., H, W) as a complex64 ``.npy`` file."""
    with atomic_file(target, suffix=".npy") as temporary:
        np.save(temporary, fourier(torch.from_numpy(image)).numpy())
