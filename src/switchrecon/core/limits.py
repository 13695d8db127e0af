"""Sizes that files may claim: checked before anything is allocated for them."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from switchrecon.errors import ConfigError, DataError

VARIABLE = "SWITCHRECON_MAX_BYTES"
DEFAULT = 8 << 30  # a volume


def largest_array() -> int:
    """Bytes that one array of a file may take: 8 GiB, or what the environment variable says.

    Raises
    ------
    ConfigError
        If the variable is not a positive whole number.
    """
    text = os.environ.get(VARIABLE, "")
    if text and not (text.isdecimal() and int(text)):
        raise ConfigError(f"{VARIABLE} is {text!r}; expected a number of bytes")
    return int(text) if text else DEFAULT


def check_file(path: Path, most: int | None = None) -> None:
    """Refuse a file with more bytes than the limit, before it is read whole.

    Raises
    ------
    DataError
        Naming the file and both sizes.
    """
    size, limit = path.stat().st_size, most or largest_array()
    if size > limit:
        raise DataError(f"{path}: has {size} bytes; expected at most {limit}")


def check_size(path: Path, what: str, shape: Sequence[int], itemsize: int) -> None:
    """Refuse an array that is larger than the limit.

    Parameters
    ----------
    path, what
        The file and the array, for the message.
    shape, itemsize
        As the file's header claims them.

    Raises
    ------
    DataError
        Naming the file, the array and both sizes.
    """
    claimed, limit = math.prod(int(n) for n in shape) * itemsize, largest_array()
    if claimed > limit:
        raise DataError(
            f"{path}: {what} of shape {tuple(int(n) for n in shape)} takes {claimed / 2**30:.3g} GiB; the limit is "
            f"{limit / 2**30:.3g} GiB (set {VARIABLE} to change it)"
        )
