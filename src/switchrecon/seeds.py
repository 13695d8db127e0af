"""Stateless randomness: every draw is seeded by what it is drawn for.

A seed is a hash of names and numbers such as ``("order", run_seed, epoch)``. Nothing has to be stored to
resume a run, and a draw does not depend on how many draws came before it or in which process.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def seed_for(*purpose: str | int | float) -> int:
    """Return a 63-bit seed, the SHA-256 of the purpose.

    Parameters
    ----------
    *purpose
        Names and numbers that say what the draw is for.

    Returns
    -------
    int
        A number in [0, 2⁶³).
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in purpose)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_random(*purpose: str | int | float) -> np.random.RandomState:
    """Return NumPy's legacy generator, whose stream is frozen across versions, seeded for this purpose."""
    return np.random.RandomState(seed_for(*purpose) % 2**32)


def torch_random(*purpose: str | int | float) -> "torch.Generator":
    """Return a CPU torch generator seeded for this purpose."""
    import torch

    return torch.Generator().manual_seed(seed_for(*purpose))
