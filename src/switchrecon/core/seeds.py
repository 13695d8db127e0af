"""Stateless randomness: every draw is seeded by what it is drawn for.

A seed is a hash of names and numbers such as ``("order", run_seed, epoch)``. Nothing has to be stored to
resume a run, and a draw does not depend on how many draws came before it or in which process.
"""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import MT19937, RandomState
from numpy.random.bit_generator import ISeedSequence

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
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "big") >> 1


class _Ones(ISeedSequence):
    """A state that is replaced at once. ``RandomState(seed)`` asks the system for one first: three times the time."""

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        """As many ones."""
        return np.ones(n_words, dtype)


def numpy_random(*purpose: str | int | float) -> RandomState:
    """Return NumPy's legacy generator, whose stream is frozen across versions, seeded for this purpose."""
    random = RandomState(MT19937(_Ones()))  # type: ignore[arg-type]  # NumPy's own documentation allows it
    random.seed(seed_for(*purpose) % 2**32)
    return random


def torch_random(*purpose: str | int | float) -> "torch.Generator":
    """Return a CPU torch generator seeded for this purpose."""
    import torch

    return torch.Generator().manual_seed(seed_for(*purpose))
