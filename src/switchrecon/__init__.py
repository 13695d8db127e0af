"""Learn to reconstruct accelerated MRI from a few dozen scans that do not match.

Use it as ``import switchrecon as sr``; docs/how-to/python.md shows each name. What is not listed here is not public.
"""

from typing import TYPE_CHECKING

from switchrecon.core.lazy import lazy_names

if TYPE_CHECKING:
    from switchrecon import methods, metrics, physics
    from switchrecon.config import Config
    from switchrecon.core.threads import set_threads
    from switchrecon.public.evaluation import evaluate
    from switchrecon.public.reconstruction import Reconstructor
    from switchrecon.public.scans import inspect, mask, phantom, read, undersample
    from switchrecon.public.training import train

__version__ = "0.1.0"
__all__ = [
    "Config",
    "Reconstructor",
    "__version__",
    "evaluate",
    "inspect",
    "mask",
    "methods",
    "metrics",
    "phantom",
    "physics",
    "read",
    "set_threads",
    "train",
    "undersample",
]

if not TYPE_CHECKING:  # or type checkers would take any name for one of the package
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Config": "switchrecon.config",
            "Reconstructor": "switchrecon.public.reconstruction",
            "evaluate": "switchrecon.public.evaluation",
            "inspect": "switchrecon.public.scans",
            "mask": "switchrecon.public.scans",
            "methods": "",
            "metrics": "",
            "phantom": "switchrecon.public.scans",
            "physics": "",
            "read": "switchrecon.public.scans",
            "set_threads": "switchrecon.core.threads",
            "train": "switchrecon.public.training",
            "undersample": "switchrecon.public.scans",
        },
    )
