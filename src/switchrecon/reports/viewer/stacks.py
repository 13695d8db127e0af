"""What the viewer shows: the slices of one scan, and of all that was made of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from switchrecon.reports.viewer.planes import BITS, Kind, encode

UPPER: Final = 99.8  # percentile of the reference that the first window ends at, as in the report's pictures
LOOKED_AT: Final = 7  # slices that the window is chosen by
DIAGONAL: Final = 0.34  # cosine from which an oblique direction gets a second letter
AXES: Final = ("RL", "AP", "SI")  # the letters of patient coordinates, positive direction first

Plane = Callable[[int], np.ndarray]
"""Returns (H, W) of a position among the stack's slices."""


@dataclass(frozen=True)
class Layer:
    """One image of every slice: a scan's, a method's, or the reference; ``planes["image"]`` is its magnitude."""

    name: str
    planes: Mapping[Kind, Plane]


@dataclass(frozen=True)
class Letters:
    """Where the patient's sides are on the screen, such as R on the left of an axial slice."""

    left: str
    right: str
    top: str
    bottom: str


@dataclass(frozen=True)
class Stack:
    """Layers of equal matrix and slices.

    Attributes
    ----------
    name
        As the page shows it.
    numbers
        The numbers of the slices in their scan, from 0.
    matrix
        (H, W).
    layers
        At least one.
    mask
        Which samples of k-space were measured; None where nothing is known of it.
    truth
        The layer that the others are compared with first, if one is the reference.
    spacing
        Height and width of a pixel, in mm or in proportion.
    letters
        None where the geometry is unknown.
    maximum
        Errors are shown as fractions of it; None: of the slices that the window is chosen by.
    notes
        Sentences to be shown beside the images.
    labels
        The contrast, repetition, phase or set of each slice, in words; none where the scan has only one.
    """

    name: str
    numbers: tuple[int, ...]
    matrix: tuple[int, int]
    layers: tuple[Layer, ...]
    mask: Plane | None = None
    truth: int | None = None
    spacing: tuple[float, float] = (1.0, 1.0)
    letters: Letters | None = None
    maximum: float | None = None
    notes: tuple[str, ...] = field(default=())
    labels: tuple[str, ...] = ()

    def kinds(self, layer: int) -> list[Kind]:
        """Return the planes that a layer has."""
        return list(self.layers[layer].planes)

    def encoded(self, layer: int, kind: Kind, position: int) -> bytes:
        """Return a plane as the page reads it; ``mask`` is the stack's, whatever the layer."""
        plane = self.mask if kind == "mask" and self.mask is not None else self.layers[layer].planes[kind]
        return encode(plane(position), BITS[kind])

    def only(self, positions: Sequence[int]) -> "Stack":
        """Return the stack with some of its slices."""

        def picked(plane: Plane) -> Plane:
            return lambda position: plane(positions[position])

        layers = tuple(Layer(x.name, {kind: picked(plane) for kind, plane in x.planes.items()}) for x in self.layers)
        numbers = tuple(self.numbers[position] for position in positions)
        labels = tuple(self.labels[position] for position in positions) if self.labels else ()
        mask = picked(self.mask) if self.mask else None
        return replace(self, numbers=numbers, layers=layers, mask=mask, labels=labels)

    def header(self) -> dict[str, Any]:
        """Return what the page has to know before any plane, for JSON."""
        window, maximum = self._range()
        return {
            "name": self.name,
            "numbers": list(self.numbers),
            "matrix": list(self.matrix),
            "spacing": list(self.spacing),
            "letters": None if self.letters is None else vars(self.letters),
            "notes": list(self.notes),
            "labels": list(self.labels),
            "truth": self.truth,
            "mask": self.mask is not None,
            "window": window,
            "maximum": self.maximum or maximum,
            "layers": [{"name": layer.name, "kinds": self.kinds(k)} for k, layer in enumerate(self.layers)],
        }

    def _range(self) -> tuple[float, float]:
        """Return the first window's upper end, and the maximum, of the reference's middle and outer slices; above 0."""
        plane = self.layers[self.truth or 0].planes["image"]
        places = np.unique(np.linspace(0, len(self.numbers) - 1, LOOKED_AT).round().astype(int))
        values = np.concatenate([plane(int(place)).ravel() for place in places]).astype(np.float64)
        values = values[np.isfinite(values)]
        if not values.size or values.max() <= 0:
            return 1.0, 1.0
        return float(np.percentile(values, UPPER)) or float(values.max()), float(values.max())


def letters_of(affine: np.ndarray | None) -> Letters | None:
    """Return the letters at the sides of a slice.

    Parameters
    ----------
    affine
        (4, 4), (row, column, slice) to patient coordinates, RAS+; None where unknown.
    """
    if affine is None:
        return None
    columns = affine[:3, :2] / np.linalg.norm(affine[:3, :2], axis=0)
    (bottom, top), (right, left) = (_ends(columns[:, axis]) for axis in (0, 1))
    return Letters(left=left, right=right, top=top, bottom=bottom)


def _ends(direction: np.ndarray) -> tuple[str, str]:
    """Return the letters at the end of a unit vector, and at its beginning."""
    order = [axis for axis in np.argsort(-np.abs(direction)) if abs(direction[axis]) >= DIAGONAL][:2]
    end = "".join(AXES[axis][0 if direction[axis] > 0 else 1] for axis in order)
    begin = "".join(AXES[axis][1 if direction[axis] > 0 else 0] for axis in order)
    return end, begin
