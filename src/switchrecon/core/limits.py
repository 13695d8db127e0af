"""Limits on the sizes that files claim, checked before memory is allocated for them."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from switchrecon.errors import ConfigError, DataError

VARIABLE = "SWITCHRECON_MAX_BYTES"
DEFAULT = 8 << 30  # a volume


def largest_array() -> int:
    """Return the most bytes that one array of a file may need: 8 GiB, or the environment variable's value.

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
    """Refuse a file with more bytes than the limit, before it is read into memory.

    Raises
    ------
    DataError
        If it has more; the message names the file and both sizes.
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
        Shape and bytes of an element, as the file's header claims them.

    Raises
    ------
    DataError
        If it is larger; the message names the file, the array and both sizes.
    """
    claimed, limit = math.prod(int(n) for n in shape) * itemsize, largest_array()
    if claimed > limit:
        raise DataError(
            f"{path}: {what} of shape {tuple(int(n) for n in shape)} takes {claimed / 2**30:.3g} GiB; the limit is "
            f"{limit / 2**30:.3g} GiB (set {VARIABLE} to change it)"
        )
