"""Planes as the viewer's page reads them: quantised, packed, and small."""

import struct
import zlib
from typing import Final, Literal

import numpy as np

Map = Literal["invented", "doubt"]
Kind = Literal["image", "phase", "kspace", "kspace-phase", "mask"] | Map
MAPS: Final[tuple[Map, ...]] = ("invented", "doubt")
"""Maps beside an image, in its units; their files are called ``…_desc-NAME``."""
BITS: Final[dict[Kind, int]] = {
    "image": 16, "phase": 8, "kspace": 16, "kspace-phase": 8, "mask": 1, "invented": 16, "doubt": 16,
}  # fmt: skip
"""Bits of a value: an image is exact to 1/65534 of its range, a phase to 0.7 degrees."""
FLOOR: Final = -6.0
"""Least logarithm of k-space that is told apart from 0."""


def encode(values: np.ndarray, bits: int) -> bytes:
    """Quantise a plane and compress it.

    ``value = offset + scale · code``, exact for whole numbers that fit; the largest code of 8 or 16 bits stands for
    what is not finite. The codes follow ``scale`` and ``offset``, two float64. Of 16 bits, all lower bytes come before
    all upper ones, which pack better.

    Parameters
    ----------
    values
        (H, W), real or boolean.
    bits
        16, 8, or 1 for a mask.

    Returns
    -------
    bytes
        Little-endian, in zlib's format.
    """
    if bits == 1:
        return zlib.compress(struct.pack("<dd", 1.0, 0.0) + np.packbits(values != 0).tobytes(), 6)
    values = np.asarray(values, dtype=np.float64)
    known = np.isfinite(values)
    low, high = (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 0.0)
    most = (1 << bits) - 2
    above = values[known] - low
    whole = high - low <= most and bool((above == np.rint(above)).all())
    scale = 1.0 if whole else (high - low) / most
    codes = np.full(values.shape, most + 1, dtype=np.uint16)
    codes[known] = np.rint(above / scale).clip(0, most)
    planes = [codes & 255, codes >> 8] if bits == 16 else [codes]
    packed = b"".join(plane.astype(np.uint8).tobytes() for plane in planes)
    return zlib.compress(struct.pack("<dd", scale, low) + packed, 6)


def log_magnitude(kspace: np.ndarray) -> np.ndarray:
    """``log10(|k| / max |k|)`` of one slice, at least :data:`FLOOR`; coils by the root of their sum of squares.

    Parameters
    ----------
    kspace
        Complex (H, W) or (coils, H, W).

    Returns
    -------
    np.ndarray
        Float64 (H, W), from :data:`FLOOR` to 0.
    """
    magnitude = np.abs(kspace).astype(np.float64)
    if magnitude.ndim == 3:
        magnitude = np.sqrt((magnitude**2).sum(0))
    return np.log10(np.maximum(magnitude / (magnitude.max() or 1.0), 10.0**FLOOR))
