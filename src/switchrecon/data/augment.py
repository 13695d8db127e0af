"""Symmetries of a whole slice that keep the centre of k-space in place.

Each is a permutation of the pixels about the centre pixel (n // 2), so that it acts in k-space as it does in the
image: the transform of a moved image is the moved transform. An undersampled slice can so be moved together with
its mask, without new samples.
"""

from torch import Tensor

FLIPS = (0, 1, 2, 3)  # none, rows, columns, both
DIHEDRAL = (0, 1, 2, 3, 4, 5, 6, 7)  # and each of them after a transposition


def _reverse(array: Tensor, dim: int) -> Tensor:
    """Element n goes to −n, counted from the centre; for an even size the first element stays."""
    flipped = array.flip(dim)
    return flipped.roll(1, dim) if array.shape[dim] % 2 == 0 else flipped


def move(array: Tensor, symmetry: int) -> Tensor:
    """Apply one of the eight symmetries of the square to the last two dimensions.

    Parameters
    ----------
    array
        Image, k-space or mask, shape (..., H, W).
    symmetry
        Bit 0 reverses rows, bit 1 columns, after bit 2 has transposed.

    Returns
    -------
    Tensor
        The same shape, or (..., W, H) after a transposition.
    """
    if symmetry & 4:
        array = array.transpose(-2, -1)
    if symmetry & 1:
        array = _reverse(array, -2)
    if symmetry & 2:
        array = _reverse(array, -1)
    return array
