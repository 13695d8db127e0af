"""Coil sensitivity maps of an array of loops around the object, from the Biot–Savart law."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

SEGMENTS = 90  # straight wires that make a loop
OVERLAP = 1.25  # loop radius, relative to loops that just touch: neighbours overlap, which decouples them
DISTANCE = 0.75  # radius of the array, relative to the longer field of view: outside the image's corners


def simulate_maps(
    n_coils: int,
    matrix: tuple[int, int],
    field_of_view_mm: tuple[float, float] = (240.0, 240.0),
    *,
    array_radius_mm: float | None = None,
    offset_mm: float = 0.0,
) -> NDArray[np.complex64]:
    """Simulate the sensitivity of circular receive loops on a cylinder around an axial slice; all face its axis.

    By reciprocity a loop receives in proportion to the field ``B₁⁻ = (B_x − i B_y) / 2`` that a unit current in it
    makes, with the main field along z: ``B(r) = Σ dl × (r − l) / |r − l|³`` over the loop's wires, in free space.

    Parameters
    ----------
    n_coils
        Number of loops, evenly spaced; the first is at the middle of the image's right side.
    matrix
        (H, W).
    field_of_view_mm
        Height and width.
    array_radius_mm
        Radius of the cylinder; by default three quarters of the longer field of view.
    offset_mm
        Distance of the slice from the loops' centres along z.

    Returns
    -------
    np.ndarray
        complex64 (n_coils, H, W), ``Σ_c |s_c|² = 1`` everywhere.

    Raises
    ------
    ValueError
        If there is no coil, or the cylinder cuts through the image.
    """
    radius = DISTANCE * max(field_of_view_mm) if array_radius_mm is None else array_radius_mm
    if n_coils < 1:
        raise ValueError(f"{n_coils} coils; expected at least 1")
    if radius <= math.hypot(*field_of_view_mm) / 2:
        raise ValueError(f"an array of radius {radius:g} mm cuts through the image; expected more")
    loop = min(OVERLAP * radius * math.sin(math.pi / max(n_coils, 4)), radius)
    y, x = ((np.arange(n) - n // 2) * (size / n) for n, size in zip(matrix, field_of_view_mm, strict=True))
    angles = 2 * math.pi * np.arange(n_coils) / n_coils
    maps = np.stack([_field(x, y[:, None], offset_mm, angle, radius, loop) for angle in angles])
    maps /= np.sqrt((np.abs(maps) ** 2).sum(0))
    return maps.astype(np.complex64)


def _field(x: Array, y: Array, z: float, angle: float, radius: float, loop: float) -> NDArray[np.complex128]:
    """Return B_x − i B_y at (x, y, z) of a loop whose centre is at an angle on the cylinder; outward at its centre."""
    outward, sideways = np.exp(1j * angle), 1j * np.exp(1j * angle)  # x + i y
    field = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.complex128)
    for turn in 2 * math.pi * (np.arange(SEGMENTS) + 0.5) / SEGMENTS:
        wire = radius * outward + loop * math.cos(turn) * sideways
        current = -loop * math.sin(turn) * sideways  # dl over the angle that a segment turns by
        along = loop * math.cos(turn)
        away_x, away_y, away_z = x - wire.real, y - wire.imag, z - loop * math.sin(turn)
        across = (current.imag * away_z - along * away_y) - 1j * (along * away_x - current.real * away_z)
        field += across / (away_x**2 + away_y**2 + away_z**2) ** 1.5
    return field * (2 * math.pi / SEGMENTS)
