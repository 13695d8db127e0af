"""Whether a scan is like those that a run was trained for."""

import numpy as np

from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.scan import Scan

LEAST, MOST = 0.25, 2.0
"""Times the acceleration of training. A scan that measured more asks less of the network, so that this side is wide."""


def misfit(reconstructor: Reconstructor, scan: Scan) -> str:
    """Why a scan is outside what the run was trained for; empty where it is not.

    Parameters
    ----------
    reconstructor
        The run.
    scan
        The scan at its original matrix.
    """
    if scan.mask is None:
        return "its k-space is fully sampled; the run is for undersampled scans"
    trained = reconstructor.card.matrix
    if scan.matrix != trained and not reconstructor.resize:
        (a, b), (c, d) = scan.matrix, trained
        return f"its matrix is {a}x{b}, the run was trained at {c}x{d}"
    facts = reconstructor.card.data.get("sub")
    known = facts.acceleration if facts is not None and np.isfinite(facts.acceleration) else 0.0
    if known > 1 and not known * LEAST <= scan.acceleration <= known * MOST:
        return f"its acceleration is {scan.acceleration:.1f}, the run was trained at {known:.1f}"
    return ""
