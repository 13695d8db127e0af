"""Draw images in a grid."""

from pathlib import Path

import numpy as np

from switchrecon.core.files import atomic_file


def save_grid(target: Path, rows: list[list[np.ndarray]], titles: list[list[str]], maximum: float | None = 1.0) -> None:
    """Draw images with titles in a grid and write a PNG file.

    Parameters
    ----------
    target
        The file.
    rows
        Rows of images (H, W) without negative values.
    titles
        The title of each image.
    maximum
        The value that is shown white; None: each row's 99.8th percentile.
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
