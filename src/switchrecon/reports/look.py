"""Pictures of what is drawn: masks and synthetic heads."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from switchrecon.core.pictures import save_grid
from switchrecon.errors import ConfigError
from switchrecon.phantoms.coils import simulate_maps
from switchrecon.phantoms.head import CONTRASTS, draw_head
from switchrecon.phantoms.scans import write_kspace
from switchrecon.physics.masks import MaskConfig, draw_mask, measured_acceleration


def save_piles(target: Path, full: Sequence[np.ndarray], sub: Sequence[np.ndarray]) -> None:
    """Draw a row of images of each pile and write a PNG."""
    rows = {"fully sampled (Y)": full, "undersampled (X)": sub}
    titles = [[f"{name}\nslice {number}" for number in range(1, len(images) + 1)] for name, images in rows.items()]
    caption = (
        "A few slices of each pile at the low resolution that both have measured, the fully sampled centre of k-space, "
        "each scaled to its brightest pixel: what is compared, without aliasing."
    )
    save_grid(target, [list(images) for images in rows.values()], titles, None, caption)


def picture_of_masks(settings: MaskConfig, matrix: tuple[int, int], count: int, target: Path) -> list[str]:
    """Draw the masks of the first slices of a volume; return a line about each."""
    drawn = [draw_mask(settings, matrix, volume="example.h5", index=i) for i in range(count)]
    values = [measured_acceleration(mask) for mask in drawn]
    titles = [f"slice {i}: {v:.2f}" for i, v in enumerate(values)]
    caption = (
        f"Masks of kind {settings.kind}, nominal acceleration {settings.acceleration:g}; white: measured. The measured "
        "acceleration stands above each."
    )
    save_grid(target, [[m.astype(float) for m in drawn]], [titles], caption=caption)
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
    caption = f"Synthetic head {subject}: magnitudes in each contrast, each row in one window."
    save_grid(target, rows, titles, None, caption)
    return lines
