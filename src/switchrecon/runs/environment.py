"""Versions of the software and the machine that a run was made on."""

import os
import platform
from importlib.metadata import version

import torch

from switchrecon.core.device import describe


def machine(device: torch.device) -> str:
    """Describe the machine that results and times were made on."""
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{platform.system()} {platform.machine()}, {threads} ({describe(device)})"


def versions() -> dict[str, str]:
    """Return the versions of the software that results depend on."""
    return {
        "switchrecon": version("switchrecon"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
