"""Where networks and slices live: the processor or one GPU, chosen once for a command."""

import os

import torch

from switchrecon.config import Precision
from switchrecon.device_names import ENVIRONMENT, check_name
from switchrecon.errors import ConfigError

PROCESSOR = torch.device("cpu")


def find_device(name: str | None = None) -> torch.device:
    """The device to compute on.

    Parameters
    ----------
    name
        ``cpu``, ``cuda``, ``cuda:N``, or ``auto``: a GPU where there is one. None: what the environment variable
        ``SWITCHRECON_DEVICE`` says, else ``auto``.

    Raises
    ------
    ConfigError
        For another name, or a GPU that is not there.
    """
    wanted = check_name(name or os.environ.get(ENVIRONMENT) or "auto")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        wanted = "cuda" if found else "cpu"
    if wanted == "cpu":
        return PROCESSOR
    number = int(wanted.partition(":")[2] or 0)
    if number >= found:
        built = f"torch {torch.__version__} sees {found or 'no'} GPU{'s' if found > 1 else ''}"
        raise ConfigError(f"device '{wanted}' is not there: {built}; choose cpu or auto")
    return torch.device("cuda", number)


def describe(device: torch.device) -> str:
    """The device's kind in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def set_precision(precision: Precision, device: torch.device) -> None:
    """Let a GPU's convolutions and products round their inputs to TF32 or not. Nothing to set on a processor.

    ``bfloat16`` is the networks' own business; see :class:`switchrecon.nets.layers.ImageNetwork`.
    """
    if device.type == "cuda":
        kind = "ieee" if precision == "float32" else "tf32"
        torch.backends.cudnn.conv.fp32_precision = kind  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = kind
