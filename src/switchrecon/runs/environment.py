"""What a run was made with and on: versions and the machine."""

import os
import platform
from importlib.metadata import version

import torch

from switchrecon.core.device import describe


def machine(device: torch.device) -> str:
    """Return what results and times were made on."""
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{platform.system()} {platform.machine()}, {threads} ({describe(device)})"


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {
        "switchrecon": version("switchrecon"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
