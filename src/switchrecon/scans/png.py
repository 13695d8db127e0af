"""Images as pictures, to look at."""

from pathlib import Path

import numpy as np

from switchrecon.core.files import NOTE, atomic_folder
from switchrecon.scans.formats import Format
from switchrecon.scans.maps import white_of
from switchrecon.scans.scan import Scan

LONGEST = 16  # times the shorter side of a pixel, as pictures are drawn


def write_png(scan: Scan, images: np.ndarray, target: Path) -> None:
    """Write magnitudes as 8-bit grey pictures, one a slice, in a new folder.

    Black is 0 and white the volume's 99.9th percentile (its maximum where that is 0), the same for all slices; in maps
    it is that of their images. A pixel is a sample; where samples are not square, the longer side is interpolated so
    that proportions are right.

    Parameters
    ----------
    scan
        Without padding.
    images
        (slices, H, W), real or complex.
    target
        The folder.
    """
    from PIL import Image, PngImagePlugin  # comes with matplotlib

    magnitudes = np.abs(images).astype(np.float64)
    white = white_of(magnitudes) if scan.shown is None else scan.shown.white
    pictures = np.rint((magnitudes / white).clip(0, 1) * 255).astype(np.uint8)
    spacing = np.ones(2) if scan.affine is None else np.linalg.norm(scan.affine[:3, :2], axis=0)
    stretch = (spacing / spacing.min()).clip(1, LONGEST)
    height, width = (max(1, round(n * s)) for n, s in zip(pictures.shape[1:], stretch, strict=True))
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", NOTE)
    with atomic_folder(target, ".png") as folder:
        for number, picture in enumerate(pictures, 1):
            shown = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
            shown.save(folder / f"{number:04d}.png", pnginfo=note)


FORMAT = Format(name="PNG", option="png", write_images=write_png, folder=True, endings=(".png",))
