"""Whether a scan was measured like those that a run has learned from."""

import numpy as np
import torch

from switchrecon.physics.mask_kinds import find_kind
from switchrecon.physics.masks import line_direction
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.runs.card import Card
from switchrecon.scans.scan import Scan

MOST_UNLIKE = 1.4  # accelerations further apart than this ratio are another problem
LEAST, MOST = 0.25, 2.0
"""Times the acceleration of training, outside of which a stream is refused. A scan that measured more asks less of the
network, so that this side is wide."""


def unlike(card: Card, scan: Scan) -> list[str]:
    """Return a sentence for each way in which a scan was measured unlike those that a run has learned from."""
    assert scan.mask is not None
    found: list[str] = []
    if scan.matrix != card.matrix:
        matrices = ["x".join(map(str, matrix)) for matrix in (scan.matrix, card.matrix)]
        found.append(
            f"the network worked at the scan's own matrix {matrices[0]}, where nothing of it was measured: it was "
            f"trained at {matrices[1]}"
        )
    pile = card.data.get("sub")
    measured = None if pile is None or pile.retrospective == pile.scans else pile.lines
    settings = (
        card.config.mask if pile is not None or card.config.simulated_mask is None else card.config.simulated_mask
    )
    lines = measured if measured is not None else find_kind(settings.kind).dimensions == 1
    acceleration = pile.acceleration if pile is not None else settings.acceleration
    here = any(line_direction(torch.from_numpy(mask)) is not None for mask in scan.mask if mask.any())
    if here != lines or not 1 / MOST_UNLIKE < scan.acceleration / acceleration < MOST_UNLIKE:
        kinds = {True: "lines", False: "points"}
        found.append(
            f"warning: the scan has measured {kinds[here]} at acceleration {scan.acceleration:.2f}, but the run has "
            f"learned from {kinds[lines]} at {acceleration:.2f}: its figures do not hold here; train on such scans"
        )
    return found


def misfit(reconstructor: Reconstructor, scan: Scan) -> str:
    """Why a scan is outside what the run was trained for; empty where it is not.

    Parameters
    ----------
    reconstructor
        The run.
    scan
        At its own matrix.
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
