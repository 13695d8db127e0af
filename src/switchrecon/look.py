"""Pictures of what is drawn: masks and synthetic heads."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from switchrecon.config import MaskConfig
from switchrecon.data.coil_maps import simulate_maps
from switchrecon.data.phantom import CONTRASTS, draw_head
from switchrecon.data.write import atomic_file
from switchrecon.errors import ConfigError
from switchrecon.fourier import fourier
from switchrecon.masks import draw_mask, measured_acceleration
from switchrecon.seeds import numpy_random

HEAD_NOISE = 0.005  # of the brightest tissue; large voxels have little


def save_piles(target: Path, full: Sequence[np.ndarray], sub: Sequence[np.ndarray]) -> None:
    """Draw a row of images of each pile and write a PNG."""
    rows = {"full": full, "sub": sub}
    titles = [[f"{name} {number}" for number in range(1, len(images) + 1)] for name, images in rows.items()]
    save_grid(target, [list(images) for images in rows.values()], titles, None)


def save_grid(target: Path, rows: list[list[np.ndarray]], titles: list[list[str]], maximum: float | None = 1.0) -> None:
    """Draw images in a grid with a title each and write a PNG.

    Parameters
    ----------
    target
        The file.
    rows
        Images (H, W), not negative.
    titles
        One an image.
    maximum
        The value shown white; None takes each row's 99.8th percentile.
    """
    from matplotlib.figure import Figure

    columns = max(map(len, rows))
    figure = Figure(figsize=(2.4 * columns, 2.6 * len(rows)), dpi=120, layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, images, names in zip(axes, rows, titles, strict=True):
        white = float(np.percentile(images[0], 99.8)) if maximum is None else maximum
        for axis in line:
            axis.set_axis_off()
        for axis, image, name in zip(line, images, names, strict=False):
            axis.imshow(image, cmap="gray", vmin=0, vmax=white, interpolation="nearest")
            axis.set_title(name, fontsize=8)
    with atomic_file(target, suffix=".png") as temporary:
        figure.savefig(temporary)


def picture_of_masks(settings: MaskConfig, matrix: tuple[int, int], count: int, target: Path) -> list[str]:
    """Draw the masks of the first slices of a volume; return a line about each."""
    drawn = [draw_mask(settings, matrix, volume="example.h5", index=i) for i in range(count)]
    values = [measured_acceleration(mask) for mask in drawn]
    save_grid(target, [[m.astype(float) for m in drawn]], [[f"{v:.2f}" for v in values]])
    return [
        f"slice {i}: {settings.kind}, nominal acceleration {settings.acceleration:g}, measured {v:.3f}"
        for i, v in enumerate(values)
    ]


def picture_of_phantom(
    subject: int, matrix: int, slices: int, lesions: int, target: Path, save: Path | None, coils: int = 1
) -> list[str]:
    """Draw a synthetic head in every contrast; with ``save``, write k-space as ``.npy``, of several coils if asked."""
    rows, titles, lines = [], [], []
    for contrast in CONTRASTS:
        try:
            head = draw_head(subject, contrast=contrast, slices=slices, matrix=matrix, lesions=lesions)
        except ValueError as error:
            raise ConfigError(f"phantom: {error}") from error
        rows.append(list(np.abs(head.image)))
        titles.append([f"{contrast}, slice {i}" for i in range(slices)])
        if save is not None:
            file = save / f"{head.subject}-{contrast}.npy"
            write_kspace(
                file, head.image if coils == 1 else head.image[:, None] * simulate_maps(coils, (matrix, matrix))
            )
            lines.append(f"k-space: {file}")
    save_grid(target, rows, titles, None)
    return lines


def write_heads(folder: Path, subjects: Iterable[int], slices: int, matrix: int, coils: int = 1) -> list[Path]:
    """Write fully sampled k-space of synthetic T2w heads without phase, unless it is there; return the files.

    With several coils it is (slices, coils, H, W), each with the sensitivity and the noise of its own.
    """
    files = []
    for subject in subjects:
        files.append(folder / f"phantom-{subject:04d}.npy")
        if files[-1].exists():
            continue
        head = draw_head(subject, slices=slices, matrix=matrix, noise=HEAD_NOISE if coils == 1 else 0, phase=False)
        image = head.image
        if coils > 1:
            image = image[:, None] * simulate_maps(coils, (matrix, matrix))
            parts = numpy_random("coil noise", subject).normal(scale=HEAD_NOISE, size=(2, *image.shape))
            image = (image + parts[0] + 1j * parts[1]).astype(np.complex64)
        write_kspace(files[-1], image)
    return files


def write_kspace(target: Path, image: np.ndarray) -> None:
    """Write the centred orthonormal k-space of complex images (..., H, W) as a complex64 ``.npy`` file."""
    with atomic_file(target, suffix=".npy") as temporary:
        np.save(temporary, fourier(torch.from_numpy(image)).numpy())
