"""What goes wrong in a scanner and is not in the forward model: noise, phase errors of lines, ghosts.

For experiments on domain gaps: the undersampled pile and the test are corrupted, their references are not. With several
coils their sensitivity maps and compression are those of the sound scan.
"""

from dataclasses import replace

import numpy as np

from switchrecon.config import CorruptionConfig
from switchrecon.core.seeds import numpy_random
from switchrecon.scans.scan import Scan


def corrupted(scan: Scan, corruption: CorruptionConfig) -> Scan:
    """Return the scan with its k-space corrupted, the same in every call.

    ``noise``: complex Gaussian, with a standard deviation of ``level`` times the brightest pixel of the volume, of any
    coil, in each of real and imaginary part. ``phase-errors``: each column of k-space, a phase encode, is turned by a
    random angle of standard deviation ``level``, in radians. ``ghosts``: every second column is turned by ``level``.

    Parameters
    ----------
    scan
        At the matrix that it is used at.
    corruption
        Kind and level.
    """
    kind, level = corruption.kind, corruption.level
    if kind == "none":
        return scan
    kspace = scan.kspace
    random = numpy_random("corruption", kind, scan.name)
    width = scan.matrix[1]
    if kind == "noise":
        brightest = max(float(np.abs(np.fft.ifft2(own, norm="ortho")).max()) for own in kspace)
        parts = random.normal(scale=level * brightest, size=(2, *kspace.shape))
        return replace(scan, kspace=(kspace + parts[0] + 1j * parts[1]).astype(np.complex64))
    angles = np.asarray(level * (np.arange(width) % 2))
    if kind == "phase-errors":
        angles = random.normal(scale=level, size=(len(kspace), 1, 1, width))
    return replace(scan, kspace=(kspace * np.exp(1j * angles)).astype(np.complex64))
