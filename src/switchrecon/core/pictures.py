"""Draw images in a grid."""

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from switchrecon.core.files import NOTE, atomic_file

LETTER = 6  # pixels of a letter of a caption
SIDE = 256  # pixels that the longer side of a panel has at least


def save_grid(
    target: Path, rows: list[list[np.ndarray]], titles: list[list[str]], maximum: float | None = 1.0, caption: str = ""
) -> None:
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
    caption
        What the picture shows, below it.
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
    if caption:
        lines = textwrap.wrap(caption, 30 * columns)
        figure.set_size_inches(2.4 * columns, 2.6 * len(rows) + 0.16 * len(lines))
        figure.supxlabel("\n".join(lines), fontsize=7, x=0.01, ha="left")
    with atomic_file(target, suffix=".png") as temporary:
        figure.savefig(temporary)


def row_png(images: Sequence[np.ndarray], captions: Sequence[str], white: float | None = None) -> bytes:
    """Draw images of one size side by side, in one window, each with its caption; takes milliseconds.

    Black is 0. A sample is a square of whole pixels.

    Parameters
    ----------
    images
        (H, W), not negative; what is not finite is black.
    captions
        One an image.
    white
        The value shown white; None: the first image's 99.8th percentile, or its maximum where that is 0.

    Returns
    -------
    bytes
        A PNG file.
    """
    from PIL import Image, ImageDraw, PngImagePlugin  # comes with matplotlib

    white = white or float(np.nanpercentile(images[0], 99.8)) or float(np.nanmax(images[0])) or 1.0
    times, gap, line = max(1, math.ceil(SIDE / max(images[0].shape))), 4, 16
    height, width = (times * side for side in images[0].shape)
    row = Image.new("L", (len(images) * (width + gap) - gap, height + 2 * line), 255)
    pen = ImageDraw.Draw(row)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        grey = np.rint(np.nan_to_num(image / white, posinf=0.0).clip(0, 1) * 255).astype(np.uint8)
        left = place * (width + gap)
        row.paste(Image.fromarray(grey.repeat(times, 0).repeat(times, 1)), (left, line))
        pen.text((left + 2, 2), caption[: width // LETTER], fill=0)
    pen.text((2, height + line + 2), NOTE, fill=96)
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", NOTE)
    file = io.BytesIO()
    row.save(file, "PNG", pnginfo=note)
    return file.getvalue()


def save_row(target: Path, images: Sequence[np.ndarray], captions: Sequence[str]) -> None:
    """Write what :func:`row_png` draws to a file."""
    with atomic_file(target, suffix=".png") as temporary:
        temporary.write_bytes(row_png(images, captions))
