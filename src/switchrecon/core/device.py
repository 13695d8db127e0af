"""The device that networks and slices are on: the processor or one GPU, chosen once for each command."""

import logging
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from switchrecon.core.device_names import Precision, chosen_name
from switchrecon.core.threads import tell_threads
from switchrecon.errors import ConfigError

logger = logging.getLogger(__name__)

PROCESSOR = torch.device("cpu")


def find_device(name: str | None = None) -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    name
        ``cpu``, ``cuda``, ``cuda:N``, or ``auto``: a GPU if there is one. None: the environment variable
        ``SWITCHRECON_DEVICE``, else ``auto``.

    Raises
    ------
    ConfigError
        If the name is another one, or that GPU does not exist.
    """
    wanted = chosen_name(name)
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
    """Describe the device in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


@cache
def _capabilities() -> Mapping[str, Any]:
    return torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}


def processor_has(*capabilities: str) -> bool:
    """Return whether torch finds any of these capabilities, such as ``avx512_f``, in this processor."""
    return any(_capabilities().get(name) for name in capabilities)


def emulates_bfloat16() -> bool:
    """Return whether this is an x86 processor without instructions for bfloat16; False for other processors."""
    return _capabilities().get("architecture") == "x86_64" and not processor_has("avx512_bf16", "amx_bf16")


def set_up(device: torch.device, precision: Precision) -> None:
    """Make a GPU the current one, and set whether its convolutions and products round their inputs to TF32.

    Both are settings of the whole process, so they are set again before networks compute. For a CPU nothing is set, but
    a warning says if it would emulate bfloat16, which the networks apply: see
    :class:`switchrecon.nets.layers.ImageNetwork`.
    """
    tell_threads()
    logger.debug("computing on %s, convolutions in %s", describe(device), precision)
    if device.type == "cpu" and precision == "bfloat16" and emulates_bfloat16():
        warnings.warn(
            "precision bfloat16: this processor does not compute in it (no avx512_bf16 or amx_bf16) and emulates it, "
            "many times slower than float32",
            stacklevel=2,
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to a device, without waiting for the device's earlier computations."""
    return tensor.to(device, non_blocking=True)
