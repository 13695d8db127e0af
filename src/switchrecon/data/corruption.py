"""Simulated faults of a scanner that the forward model does not know: noise, phase errors of lines, ghosts.

They are for experiments on domain gaps: undersampled training scans and test scans are corrupted, their references are
not. With several coils, sensitivity maps and coil compression are those of the scan without faults.
"""

from dataclasses import replace

import numpy as np

from switchrecon.config import CorruptionConfig
from switchrecon.core.seeds import numpy_random
from switchrecon.scans.scan import Scan


def corrupted(scan: Scan, corruption: CorruptionConfig) -> Scan:
    """Return the scan with corrupted k-space, the same in every call.

    ``noise``: complex Gaussian noise; its real and imaginary parts have a standard deviation of ``level`` times the
    volume's brightest pixel in any coil. ``phase-errors``: each column of k-space (phase encode) is multiplied by a
    random phase of standard deviation ``level`` radians. ``ghosts``: every second column has the phase ``level``.

    Parameters
    ----------
    scan
        The scan, already at its final matrix.
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
        brightest = max(float(np.abs(np.fft.ifft2(one, norm="ortho")).max()) for one in kspace)
        parts = random.normal(scale=level * brightest, size=(2, *kspace.shape))
        return replace(scan, kspace=(kspace + parts[0] + 1j * parts[1]).astype(np.complex64))
    angles = np.asarray(level * (np.arange(width) % 2))
    if kind == "phase-errors":
        angles = random.normal(scale=level, size=(len(kspace), 1, 1, width))
    return replace(scan, kspace=(kspace * np.exp(1j * angles)).astype(np.complex64))
