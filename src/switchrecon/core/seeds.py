"""Stateless randomness: the seed of every draw is a hash of its purpose.

A purpose is a tuple of names and numbers such as ``("order", run_seed, epoch)``. So no state has to be stored to
resume a run, and a draw does not depend on earlier draws or on the process.
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
    """A cheap first state that is replaced at once; ``RandomState(seed)`` takes three times as long to make one."""

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        """Return ``n_words`` ones."""
        return np.ones(n_words, dtype)


def numpy_random(*purpose: str | int | float) -> RandomState:
    """Return NumPy's ``RandomState``, whose numbers are the same in all versions, seeded for this purpose."""
    random = RandomState(MT19937(_Ones()))  # type: ignore[arg-type]  # NumPy's documentation allows it
    random.seed(seed_for(*purpose) % 2**32)
    return random


def torch_random(*purpose: str | int | float) -> "torch.Generator":
    """Return a CPU torch generator seeded for this purpose."""
    import torch

    return torch.Generator().manual_seed(seed_for(*purpose))
