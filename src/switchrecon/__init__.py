"""Learn to reconstruct accelerated MRI from a few dozen scans that do not match."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Reconstructor", "__version__"]

if TYPE_CHECKING:
    from switchrecon.reconstruction.reconstructor import Reconstructor


def __getattr__(name: str) -> Any:
    """Import :class:`Reconstructor` on first use, so that ``switchrecon --help`` does not load torch."""
    if name == "Reconstructor":
        from switchrecon.reconstruction.reconstructor import Reconstructor

        return Reconstructor
    raise AttributeError(f"module 'switchrecon' has no attribute {name!r}")
