"""How scans are read, where their files leave a choice."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Phase = Literal["none", "smooth"]
SliceAxis = Literal["axial", "coronal", "sagittal"]


@dataclass(frozen=True)
class ReadOptions:
    """What a reader is told besides the file.

    Attributes
    ----------
    slice_axis
        The direction that image volumes are cut along.
    phase
        Phase given to magnitude images before k-space is computed from them.
    variable
        Name of the array to read, for files that hold several (MATLAB, ``.npz``, HDF5); a pattern such as ``kspace_*``
        must fit one of them. None: the array ``kspace``, or the only one that can be k-space.
    layout
        What the axes of that array are, a letter each: ``s`` slices, ``c`` coils, ``h`` readout, ``w`` phase encode,
        ``r`` real and imaginary part, ``t`` time or another series; or ``calgary-campinas``. None: as the format says.
    subjects
        A table that says who was scanned; see :mod:`switchrecon.scans.subjects`.
    """

    slice_axis: SliceAxis = "axial"
    phase: Phase = "none"
    variable: str | None = None
    layout: str | None = None
    subjects: Path | None = None
