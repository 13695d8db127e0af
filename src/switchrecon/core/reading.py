"""Options for reading scans whose files leave a choice."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Phase = Literal["none", "smooth"]
SliceAxis = Literal["axial", "coronal", "sagittal"]


@dataclass(frozen=True)
class ReadOptions:
    """Options that a reader gets with a file.

    Attributes
    ----------
    slice_axis
        The direction along which image volumes are cut into slices.
    phase
        Phase that magnitude images get before k-space is computed from them.
    variable
        Name of the array to read, for files with several (MATLAB, ``.npz``, HDF5); a pattern such as ``kspace_*`` must
        match exactly one. None: the array ``kspace``, or the only one that can be k-space.
    layout
        One letter for each axis of that array: ``s`` slices, ``c`` coils, ``h`` readout, ``w`` phase encode, ``r`` real
        and imaginary part, ``t`` time or another series; or ``calgary-campinas``. None: the usual order of the format.
    subjects
        A table that says who was scanned; see :mod:`switchrecon.scans.subjects`.
    """

    slice_axis: SliceAxis = "axial"
    phase: Phase = "none"
    variable: str | None = None
    layout: str | None = None
    subjects: Path | None = None
