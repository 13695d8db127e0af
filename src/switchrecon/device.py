"""Where networks and slices live: the processor or one GPU, chosen once for a command."""

import os

import torch
from torch import Tensor

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


def set_up(device: torch.device, precision: Precision) -> None:
    """Make a GPU the current one, and let its convolutions and products round their inputs to TF32 or not.

    Both belong to the whole process, so they are set whenever networks are about to compute. On a processor, nothing.
    ``bfloat16`` is the networks' own business; see :class:`switchrecon.nets.layers.ImageNetwork`.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the processor on a device, without waiting for what that is still computing."""
    return tensor.to(device, non_blocking=True)
