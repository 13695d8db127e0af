"""Names of devices, checked without importing torch, so that the command line starts quickly."""

import os
import re
from typing import Literal

from switchrecon.errors import ConfigError

Precision = Literal["float32", "tf32", "bfloat16"]
"""Precision of the networks' convolutions."""

ENVIRONMENT = "SWITCHRECON_DEVICE"
"""Environment variable that names the device if no argument does."""


def check_name(name: str) -> str:
    """Return the name if it is the name of a device.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ConfigError(f"unknown device '{name}'; expected auto, cpu, cuda or cuda:NUMBER")
    return name


def chosen_name(name: str | None = None) -> str:
    """Return the given name, else the environment variable's, else ``auto``.

    Raises
    ------
    ConfigError
        If it is not the name of a device.
    """
    return check_name(name or os.environ.get(ENVIRONMENT) or "auto")
