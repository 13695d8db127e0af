"""What a scan keeps of its file besides k-space: lengths, the order of slices, and the source's grid for its writer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class NiftiSource:
    """The grid of a NIfTI file, so that images are written on it again.

    Attributes
    ----------
    orientation
        The orientation of nibabel, from the scan's (row, column, slice) to the file's axes.
    affine
        Float64 (4, 4): index in the file to patient coordinates in mm.
    forms
        ``sform`` and ``qform`` with their codes, those that the file has.
    zooms
        Lengths of a voxel in mm.
    time
        Distance of volumes, and the code of its unit.
    """

    orientation: np.ndarray
    affine: np.ndarray
    forms: Mapping[str, tuple[np.ndarray, int]]
    zooms: tuple[float, ...]
    time: tuple[float, int]


@dataclass(frozen=True)
class Geometry:
    """Facts about a scan that its file gives besides k-space.

    Attributes
    ----------
    field_of_view
        Lengths along H and W in mm; 0 where unknown.
    slice_spacing
        Distance of slices in mm; 0 where unknown.
    sides_known
        Whether the directions of the axes are known, and not only the axes.
    oversampling
        Factor of the readout oversampling that was removed.
    order, indices
        Names of the counters of a slice, such as ``("repetition", "slice")``, and their values (slices, counters); no
        names and None for a scan of one stack.
    partitions
        Number of partitions, which are slices of a three-dimensional scan.
    readouts
        Number of readouts by kind, for formats of raw data.
    measurements
        Number of measurements in the file, of which one is read.
    window
        First row, first column, height and width of images that were zero-padded to a square field of view.
    single
        Whether the file holds one slice without an axis for slices.
    nifti, dicom
        The grid of a NIfTI source, and the technical attributes of a DICOM source.
    more
        What the reader of another format keeps for its writer.
    """

    field_of_view: tuple[float, float] = (0.0, 0.0)
    slice_spacing: float = 0.0
    sides_known: bool = True
    oversampling: float = 1.0
    order: tuple[str, ...] = ()
    indices: np.ndarray | None = None
    partitions: int = 1
    readouts: Mapping[str, int] = field(default_factory=dict)
    measurements: int = 1
    window: tuple[int, int, int, int] | None = None
    single: bool = False
    nifti: NiftiSource | None = None
    dicom: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


NO_GEOMETRY = Geometry()
