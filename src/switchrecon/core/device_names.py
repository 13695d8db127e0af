"""Names of devices, checked without torch, so that the command line stays quick."""

import re
from typing import Literal

from switchrecon.errors import ConfigError

Precision = Literal["float32", "tf32", "bfloat16"]
"""Of the convolutions."""

ENVIRONMENT = "SWITCHRECON_DEVICE"
"""Environment variable that names the device of a command and of the processes that it starts."""


def check_name(name: str) -> str:
    """The name, if it is one of a device.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ConfigError(f"unknown device '{name}'; expected auto, cpu, cuda or cuda:NUMBER")
    return name
