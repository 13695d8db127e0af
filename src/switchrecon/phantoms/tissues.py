"""The anatomy of synthetic heads: the parameters of tissues, and where each tissue is.

The anatomy is a set of signed distances in millimetres, evaluated slice by slice and deformed by sums of random plane
waves in space. So all slices of a subject belong to one solid head, and every matrix shows the same head.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from switchrecon.core.seeds import seed_for

Array = NDArray[Any]
FIELD_OF_VIEW_MM = 240.0


@dataclass(frozen=True)
class Tissue:
    """Relaxation times and proton density of one tissue.

    Attributes
    ----------
    name
        The name, also the key in :data:`TISSUES`.
    t1_ms, t2_ms
        Longitudinal and transverse relaxation times in milliseconds, both above 0.
    proton_density
        Relative to water, in [0, 1].
    """

    name: str
    t1_ms: float
    t2_ms: float
    proton_density: float


# Rounded values at 3 T. Grey and white matter: Wansapura et al., J Magn Reson Imaging 9:531 (1999). Fat,
# muscle and marrow: near de Bazelaire et al., Radiology 230:652 (2004). The rest is plausible, not measured.
# Two values are those of a clinical scan, not of one spin echo: fat stays bright in a train of echoes (its
# apparent T2 is about twice its T2), and fast blood in vessels leaves a void (hardly any proton density).
_TISSUES = (
    Tissue("air", 1.0, 1.0, 0.0),
    Tissue("skin", 900.0, 45.0, 0.70),
    Tissue("fat", 380.0, 130.0, 0.80),
    Tissue("muscle", 900.0, 40.0, 0.80),
    Tissue("skull", 220.0, 2.0, 0.15),
    Tissue("marrow", 500.0, 60.0, 0.60),
    Tissue("dura", 900.0, 15.0, 0.50),
    Tissue("csf", 4160.0, 2000.0, 1.0),
    Tissue("grey", 1330.0, 110.0, 0.82),
    Tissue("white", 830.0, 80.0, 0.70),
    Tissue("deep_grey", 1130.0, 85.0, 0.79),
    Tissue("vessels", 1600.0, 100.0, 0.08),
    Tissue("lesion", 1350.0, 170.0, 0.90),
)
TISSUES: dict[str, Tissue] = {tissue.name: tissue for tissue in _TISSUES}
"""The tissues by name; their order gives the numbers in a label map."""
INDEX = {name: number for number, name in enumerate(TISSUES)}

# Half of the lateral ventricle as a tube: across, along and above the centre, and radius, all in millimetres.
# From the frontal horn through the body and the atrium to the occipital horn.
_VENTRICLE = np.array([
    (15.0, 34.0, 9.0, 2.0), (9.5, 27.0, 12.0, 3.2), (5.0, 15.0, 15.0, 3.6),
    (4.5, 2.0, 20.0, 3.8), (9.0, -12.0, 21.0, 4.0), (16.0, -25.0, 18.0, 4.8),
    (23.0, -36.0, 10.0, 5.5), (26.0, -47.0, 6.0, 4.2), (25.0, -54.0, 5.0, 2.6),
], np.float32)  # fmt: skip
# The Sylvian fissure and the insula, across and along: down the insula, then out to the side.
_SYLVIAN = np.array([
    (39.0, 25.0), (36.5, 17.0), (36.0, 8.0), (37.5, -4.0), (40.0, -16.0), (44.0, -24.0), (40.0, -16.0),
    (37.5, -2.0), (45.0, 3.0), (54.0, 4.0), (70.0, 12.0),
], np.float32)  # fmt: skip
# Deep nuclei as tilted ellipsoids: tissue, centre (across, along, above), radii, tilt in radians, opacity.
# The pallidum is half white matter: its iron darkens T2w, its short T1 brightens T1w.
_NUCLEI = (
    ("deep_grey", (14.5, 17.0, 9.0), (5.2, 10.0, 11.0), -0.35, 1.0),
    ("deep_grey", (17.0, 0.0, 21.0), (3.0, 16.0, 6.0), 0.15, 1.0),
    ("deep_grey", (27.0, 3.0, 4.0), (5.0, 15.0, 12.0), 0.22, 1.0),
    ("white", (20.5, 0.0, 2.0), (3.8, 9.0, 8.0), 0.40, 0.55),
    ("deep_grey", (10.0, -17.0, 6.0), (8.2, 13.5, 12.0), 0.30, 0.9),
)
# Weights of no texture, slow variation and fine texture in each tissue.
TEXTURE = np.ones((3, len(TISSUES)), np.float32)
TEXTURE[1] = [0, 0.05, 0.05, 0.05, 0.2, 0.2, 0, 0.02, 0.03, 0.04, 0.03, 0, 0.03]
TEXTURE[2] = [0, 0.06, 0.05, 0.20, 0.2, 0.3, 0, 0.03, 0.04, 0.02, 0.03, 0, 0.05]


def random_for(*purpose: str | int | float) -> np.random.Generator:
    """Return a PCG64 generator whose seed is a hash of its purpose; see :func:`switchrecon.core.seeds.seed_for`."""
    return np.random.Generator(np.random.PCG64(seed_for("phantom", *purpose)))


def _edge(distance: Array, width: float = 1.0) -> Array:
    """Return the part of a pixel inside a boundary: 1 for distance ≤ −width/2, 0 for ≥ width/2 (mm)."""
    return np.clip(0.5 - distance / width, 0.0, 1.0)


def _union(first: Array, second: Array, blend: float) -> Array:
    """Return the smaller of two distances, rounded where they meet (polynomial smooth minimum)."""
    return np.minimum(first, second) - np.maximum(blend - np.abs(first - second), 0.0) ** 2 / (4 * blend)


def cover(fraction: Array, tissue: str, opacity: Array) -> None:
    """Cover other tissues with a tissue, in place, so that the fractions still add up to 1.

    Parameters
    ----------
    fraction
        Fraction of each pixel that each tissue fills, (tissues, H, W).
    tissue
        A key of :data:`TISSUES`.
    opacity
        Fraction of each pixel to cover, (H, W), in [0, 1].
    """
    fraction *= 1.0 - opacity
    fraction[INDEX[tissue]] += opacity


def _segment(point: tuple[Array, ...], start: NDArray, stop: NDArray) -> tuple[Array, Array]:
    """Return the distance to a line from start to stop, and the share of it before the nearest point."""
    way = [float(value) for value in np.subtract(stop, start)]
    away = [part - np.float32(value) for part, value in zip(point, start, strict=True)]
    along: Array = np.sum([part * step for part, step in zip(away, way, strict=True)], axis=0)
    share = np.clip(along / sum(step * step for step in way), 0, 1)
    square: Array = np.sum([(part - share * step) ** 2 for part, step in zip(away, way, strict=True)], axis=0)
    return np.sqrt(square), share


class Waves:
    """A smooth random field over space: ``f(r) = √(2/n) Σ cos(kᵢ·r + φᵢ)``, of unit variance.

    Parameters
    ----------
    random
        Source of the directions (uniform on the sphere), the wavelengths and the phases φ.
    shortest, longest
        The band of wavelengths 2π/|k|, in millimetres.
    count
        Number of waves.
    """

    def __init__(self, random: np.random.Generator, shortest: float, longest: float, count: int = 40) -> None:
        direction = random.standard_normal((count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        wavelength = random.uniform(shortest, longest, (count, 1))
        self.vector = 2 * np.pi * direction / wavelength
        self.offset = random.uniform(0, 2 * np.pi, count)

    def __call__(self, axis: Array, level: float) -> Array:
        """Return the field on a square slice, float32 (N, N): separable, so one matrix product.

        ``axis`` holds the N positions of the columns, and of the rows turned upside down, and ``level`` the
        height of the slice, in millimetres.
        """
        kx, ky, kz = self.vector.T
        across = np.exp(1j * (np.outer(axis, kx) + kz * level + self.offset)).astype(np.complex64)
        along = np.exp(-1j * np.outer(axis, ky)).astype(np.complex64)
        return (along @ across.T).real * np.float32(np.sqrt(2 / len(kx)))


class Anatomy:
    """The shape of one head: its size, pose, folds and inner structures.

    Parameters
    ----------
    subject
        The number that seeds the shape.
    size
        Rows and columns of the slices over the field of view of 240 mm; the shape does not depend on it.

    Attributes
    ----------
    axis
        Positions of the columns in millimetres, float32 (size,); the centre is at size // 2.
    coarse, fine
        Slow variation and fine texture of the tissues; :data:`TEXTURE` says how strongly each takes them up.
    """

    def __init__(self, subject: int, size: int) -> None:
        random = random_for("anatomy", subject)

        def draw(mean: float, spread: float) -> float:
            """Draw a normal number within two standard deviations, so that every head fits the image."""
            return mean + spread * float(np.clip(random.standard_normal(), -2.0, 2.0))

        self.pixel = FIELD_OF_VIEW_MM / size
        self.axis: Array = ((np.arange(size) - size // 2) * self.pixel).astype(np.float32)
        self.length, self.width = draw(82, 3.5), draw(66, 2.8)
        self.egg, self.square = draw(0.07, 0.025), draw(2.25, 0.1)
        self.lumps = [(k, draw(0, 0.006), random.uniform(0, 6.28)) for k in (2, 3, 4, 5)]
        self.turn, self.nod, self.roll = draw(0, 0.06), draw(0, 0.07), draw(0, 0.03)
        self.shift = draw(0, 3.5), draw(0, 3.5), draw(0, 3.0)
        self.ventricle, self.lopsided = float(np.exp(draw(-0.12, 0.2))), draw(0, 0.14)
        self.cortex, self.sulcus, self.reach = draw(3.1, 0.25), draw(0.25, 0.12), draw(19.0, 1.5)
        self.bone, self.fat, self.water = draw(1.0, 0.15), draw(3.6, 0.9), draw(0.5, 0.3)
        self.coarse, self.fine = Waves(random, 25, 90, 30), Waves(random, 3.5, 9, 250)
        self.bend, self.thick = Waves(random, 60, 140, 10), Waves(random, 20, 50)
        self.shell, self.wrinkle = Waves(random, 90, 220, 12), Waves(random, 22, 32, 60)
        self.warp_along, self.warp_in = Waves(random, 22, 45), Waves(random, 22, 45)
        self.depth, self.spots = Waves(random, 25, 60), Waves(random, 5, 8, 200)
        # Waves that fold the cortex: along the rim of a hemisphere, inwards, upwards. Their wavelength is
        # twice the width of a gyrus; they are long inwards, so that sulci run into the brain.
        along = 2 * np.pi / random.uniform(21, 36, 30) * random.choice([-1, 1], 30)
        inwards, upwards = random.normal(0, 2 * np.pi / 60, (2, 30))
        start, mirror = random.uniform(0, 2 * np.pi, 30), random.normal(0, 1.2, 30)
        self.folds = (along, inwards, upwards, start, mirror)

    def _hull(self, x: Array, y: Array, z: Array) -> Array:
        """Return the distance to the surface of the brain, positive inside."""
        # The brain is widest near the lateral ventricles and closes towards the vertex.
        rise = np.where(z > 10, (z - 10) / 82, (z - 10) / 110)
        profile = np.sqrt(np.maximum(1 - rise**2, 0.05))
        u = y / (self.length * profile)
        v = x / (self.width * profile * (1 - self.egg * np.tanh(1.5 * u)))
        radius = (np.abs(u) ** self.square + np.abs(v) ** self.square) ** (1 / self.square) + 1e-3
        angle = np.arctan2(u, v)
        for k, size, start in self.lumps:
            radius *= 1 + size * np.cos(k * angle + start)
        down, across = np.gradient(radius, self.pixel)
        return (1 - radius) / np.maximum(np.hypot(down, across), 2e-3)

    def _fold(self, s: Array, depth: Array, z: Array, side: Array, rim: float, inside: NDArray) -> Array:
        """Return the distance to the middle of the sulci: where a sum of waves crosses zero."""
        s, q, z, m = s[inside], depth[inside], z[inside], side[inside]
        total = np.zeros_like(s)
        for along, inwards, upwards, start, mirror in zip(*self.folds, strict=True):
            # A whole number of waves fits round the hemisphere, so that they close.
            along = 2 * np.pi / rim * round(along * rim / (2 * np.pi))
            total += np.cos(
                float(along) * s + float(inwards) * q + float(upwards) * z + float(mirror) * m + float(start)
            )
        field = np.zeros(inside.shape, np.float32)
        field[inside] = total
        return self._zero(field, inside)

    def _zero(self, field: Array, inside: NDArray) -> Array:
        """Return the distance to where a field crosses zero, to first order: its size over its slope."""
        down, across = np.gradient(field, self.pixel)
        slope = np.hypot(down, across)
        return np.abs(field) / np.hypot(slope, 0.15 * np.sqrt(np.mean(slope[inside] ** 2)) + 1e-6)

    def slice(self, level: float) -> tuple[Array, Array]:
        """Draw one slice.

        Parameters
        ----------
        level
            Height above the anterior commissure in millimetres, before the subject's shift and tilt.

        Returns
        -------
        tuple
            The part of each pixel that each tissue fills, float32 (tissues, H, W), adding up to 1; and how
            many millimetres of white matter surround each pixel, (H, W), negative outside white matter.
        """
        grid, f32 = self.axis, np.float32
        column, row = np.broadcast_arrays(grid[None] - f32(self.shift[0]), f32(self.shift[1]) - grid[:, None])
        x = f32(np.cos(self.turn)) * column + f32(np.sin(self.turn)) * row
        y = f32(np.cos(self.turn)) * row - f32(np.sin(self.turn)) * column
        z = f32(level + self.shift[2]) + f32(self.nod) * y + f32(self.roll) * x
        thick, spots = self.thick(grid, level), self.spots(grid, level)
        warp = self.warp_along(grid, level)
        skin = self._hull(x, y, z)
        hull = skin + f32(0.4) * warp
        x = x - f32(1.2) * self.bend(grid, level) * np.clip(hull / 30, 0, 1)
        side, ax = np.sign(x), np.abs(x)
        # Coordinates of the average head, for the structures inside.
        px, py = ax * f32(66 / self.width), y * f32(82 / self.length)

        # The fissure between the hemispheres ends at the corpus callosum, an arch from front to back.
        arch = np.hypot((py + 2) / 41, np.maximum(z + 4, 0) / 35)
        fissure = np.hypot(ax, np.maximum(1 - arch, 0) * 38)
        surface = np.minimum(hull, fissure)

        # Place round the hemisphere: along a straight axis and round its two ends, at a reference radius.
        half, radius = f32(0.45 * self.length), f32(0.42 * self.width)
        straight = np.clip(y, -half, half)
        beyond = y - straight
        angle = np.arctan2(np.abs(beyond), ax - f32(0.47 * self.width))
        end = np.where(y >= 0, f32(1), f32(-1))
        medial = (beyond == 0) & (angle > 1)
        place = straight + end * radius * angle
        place = np.where(medial, end * (2 * half + radius * f32(np.pi)) - straight, place)
        rim = float(4 * half + 2 * np.pi * radius)
        place = place + 5 * warp
        inwards = surface + 3 * self.warp_in(grid, level)
        inside = (hull > -4) & (surface < 34)
        reach = f32(self.reach) + 5 * self.depth(grid, level) + np.maximum(z - 20, 0) * f32(0.3)
        # Sulci are half as deep on the midline; a gradual change, or they would end in a sharp cut.
        reach = reach * (f32(0.75) + f32(0.25) * np.clip((fissure - hull) / 8, -1, 1))
        open_ = f32(self.sulcus) + f32(0.35) * thick + f32(0.7) * np.exp(-np.maximum(surface, 0) / 3)
        major = self._fold(place, inwards, z, side, rim, inside)
        # Round the ends of the axis the sulci would run together like the ribs of a fan; they stop before.
        ends = 8 + (f32(0.75) * radius - 8) * np.clip(np.abs(beyond) / 15, 0, 1)
        fan = ends - np.hypot(beyond, ax - f32(0.47 * self.width))
        major = np.hypot(major, np.maximum(np.maximum(surface - reach, fan), 0)) - open_
        minor = self._zero(self.wrinkle(grid, level), inside)
        minor = np.hypot(minor, np.maximum(surface - f32(0.6) * reach, 0)) - f32(0.7) * open_

        # The cingulate sulcus: along the midline, broken here and there.
        cingulate = ax - 9 - 2 * self.warp_in(grid, level) - 2 * thick
        gap = np.maximum((1.2 - arch) * 38, 5 * self.depth(grid, level) + 2)
        cingulate = np.hypot(cingulate, np.maximum(gap, 0) + np.maximum(10 - hull, 0)) - open_

        # The Sylvian fissure: from the side inwards, then along the insula to the front and to the back.
        insula = np.full_like(x, 99)
        for start, stop in pairwise(_SYLVIAN):
            insula = np.minimum(insula, _segment((px + 2.5 * warp, py + 4 * thick), start, stop)[0])
        insula += np.maximum(z - 16, 0) * 1.2 - (0.5 + self.sulcus + f32(0.5) * thick)

        pial = _union(hull - 0.6 * thick, fissure - (0.5 + self.sulcus), 2.0)
        pial = _union(pial, _union(major, minor, 1.5), 2.0)
        pial = _union(pial, np.minimum(insula, cingulate), 2.0)

        ventricle = self._ventricle(px, py, z, side) + f32(0.9) * warp + f32(0.2)
        fraction = np.zeros((len(TISSUES), *x.shape), np.float32)
        fraction[INDEX["white"]] = 1
        room = np.minimum(pial - self.cortex, ventricle)
        for tissue, centre, radii, tilt, opacity in _NUCLEI:
            u, v, w = px - centre[0], py - centre[1], z - centre[2]
            cosine, sine = math.cos(tilt), math.sin(tilt)
            u, v = u * cosine - v * sine, u * sine + v * cosine
            ball = np.sqrt((u / radii[0]) ** 2 + (v / radii[1]) ** 2 + (w / radii[2]) ** 2)
            distance = (ball - 1) * min(radii) + f32(0.4) * warp
            cover(fraction, tissue, opacity * _edge(distance, 1.6))
            room = np.minimum(room, distance)
        cover(fraction, "grey", _edge(pial - f32(self.cortex) * (1 + f32(0.1) * thick), 1.4))
        cover(fraction, "csf", _edge(pial))
        cover(fraction, "csf", _edge(ventricle))
        vessel = np.clip((spots - 2.1) * 1.5, 0, 1) * _edge(pial - 0.5, 2.0)
        cover(fraction, "vessels", vessel)
        # The falx, and the sagittal sinus where it meets the skull.
        falx = np.maximum(ax - 0.35, 12 - np.abs(py) + 0.4 * np.maximum(30 - z, 0) + 0.5 * hull)
        cover(fraction, "dura", f32(0.8) * _edge(falx))
        sinus = np.hypot(ax * 1.1, np.minimum(hull - 1, 0)) + np.maximum(hull, 0) * 0.6
        sinus -= np.where(y < 0, f32(4.2), f32(2.2))
        cover(fraction, "vessels", _edge(sinus))
        self._wrap(fraction, -skin, x, y, z, self.shell(grid, level))
        return fraction, np.where(hull > 3, room, f32(-1))

    def _ventricle(self, px: Array, py: Array, z: Array, side: Array) -> Array:
        """Return the distance to the ventricles, negative inside."""
        swollen = np.float32(self.ventricle) * (1 + np.float32(self.lopsided) * side)
        distance = np.full_like(px, 99)
        for start, stop in pairwise(_VENTRICLE):
            # Half the height: the ventricles are twice as high as wide.
            flat = np.array([1, 1, 0.5], np.float32)
            away, share = _segment((px, py, 0.5 * z), start[:3] * flat, stop[:3] * flat)
            tube = away - swollen * (start[3] + share * (stop[3] - start[3]))
            distance = _union(distance, tube, 1.5)
        distance = np.maximum(distance, 0.7 - px)  # the septum
        third = np.hypot(px, np.maximum(np.abs(py + 10) - 9, 0)) + np.maximum(z - 4, 0) * 0.5
        cistern = np.hypot(px * 0.7, py + 37) + np.maximum(z - 2, 0) * 0.6
        return np.minimum(np.minimum(distance, third - 1.5 * self.ventricle), cistern - 4.5)

    def _wrap(self, fraction: Array, out: Array, x: Array, y: Array, z: Array, thick: Array) -> None:
        """Add fluid, dura, skull, muscle, fat, skin and air outside the brain."""
        lateral = np.abs(x) / (np.abs(x) + np.abs(y) + 1)
        marrow = np.maximum(self.bone * (2.6 - 2.4 * lateral + 1.0 * thick), 0.2)
        temple = np.clip(1 - ((y - 16) / 38) ** 2, 0, 1) * np.clip((24 - z) / 20, 0, 1)
        temple *= np.clip(lateral * 3 - 1.2, 0, 1)
        layers = (
            ("csf", np.maximum(self.water * (1 + 0.8 * thick), 0.0)),
            ("dura", np.float32(0.7)),
            ("skull", np.float32(1.7 * self.bone)),
            ("marrow", marrow),
            ("skull", np.float32(1.9 * self.bone)),
            ("muscle", 8.0 * temple),
            ("fat", np.maximum(self.fat * (1 + 0.2 * thick - 0.25 * lateral), 1.5)),
            ("skin", np.float32(1.6)),
        )
        inner: Any = 0.0
        for tissue, thickness in layers:
            cover(fraction, tissue, _edge(inner - out))
            inner = inner + thickness
        cover(fraction, "air", _edge(inner - out))
