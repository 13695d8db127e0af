"""Where slices lie in the patient: their order and the affine, from readout heads."""

import numpy as np

from switchrecon.scans.readouts import ORDER, Sorted

TOLERANCE = 0.01  # mm between positions of equally spaced slices


def _directions(head: np.ndarray) -> np.ndarray | None:
    """Unit vectors (3, 3): of the readout, the phase encode and the slices; None where they are not orthonormal."""
    found = np.stack([head["read_dir"], head["phase_dir"], head["slice_dir"]]).astype(np.float64)
    return found if np.allclose(found @ found.T, np.eye(3), atol=1e-3) else None


def slice_order(heads: np.ndarray) -> np.ndarray:
    """Numbers of slices, or slabs, in order: by contrast, repetition, phase and set, then along the slice direction.

    Interleaved scans number their slices as they were measured, so that positions come before numbers; numbers decide
    where positions are not known.

    Parameters
    ----------
    heads
        One readout head of each.
    """
    directions, index = _directions(heads[0]), heads["idx"]
    along = np.zeros(len(heads)) if directions is None else np.round(heads["position"] @ directions[2], 3)
    return np.lexsort([index["slice"], along, *(index[name] for name in reversed(ORDER[:-1]))])


def is_forward(vendor: str) -> bool | None:
    """Whether a vendor's directions assume the forward transform from k-space to image; None where it is not known.

    Siemens' do (PTB-MR/mrpro, ``KData``; the example server of python-ismrmrd-server turns its images for the same
    reason). The inverse transform, which is used here, then shows the image turned about its centre: along the readout,
    the phase encode and the second phase encode.
    """
    return True if vendor.startswith("siemens") else None


def affine_of(heads: np.ndarray, sorted_kspace: Sorted, forward: bool | None = None) -> np.ndarray | None:
    """Return the matrix from (row, column, slice) to patient coordinates.

    Positions are of the pixel (H // 2, W // 2), the centre of the Fourier transform, and of partition
    n // 2 of a slab. ISMRMRD's axes point to the patient's left, back and head; ours to the right, front and head.

    Parameters
    ----------
    heads
        One readout head of each slice or slab, in the order of the slices.
    sorted_kspace
        Its matrix and field of view.
    forward
        See :func:`is_forward`: then pixels follow each other against the directions. The image stays as it is.

    Returns
    -------
    np.ndarray or None
        Float64 (4, 4), in mm. None where directions or fields of view are not known, or slices are not parallel and
        equally spaced. It holds for the slices of the first contrast, repetition, phase and set.
    """
    index = heads["idx"]
    stack = heads[np.all([index[name] == index[name][0] for name in ORDER[:-1]], axis=0)]
    found = [_directions(head) for head in stack]
    directions = found[0]
    if directions is None or any(each is None or not np.allclose(each, directions, atol=1e-3) for each in found):
        return None
    height, width = sorted_kspace.kspace.shape[-2:]
    spacing = np.array(sorted_kspace.field) / (height, width, 1)
    if not spacing.all() or (len(stack) > 1 and sorted_kspace.partitions > 1):
        return None
    columns = directions.T * spacing
    if forward:
        columns *= (-1, -1, -1 if sorted_kspace.partitions > 1 else 1)
    position = stack["position"].astype(np.float64)
    steps = np.diff(position, axis=0)
    if len(steps):
        if np.abs(steps - steps[0]).max() > TOLERANCE or np.linalg.norm(steps[0]) < TOLERANCE:
            return None
        columns[:, 2] = steps.mean(0)
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, 3] = position[0] - columns @ (height // 2, width // 2, sorted_kspace.partitions // 2)
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine if np.isfinite(affine).all() else None
