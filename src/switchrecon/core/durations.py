"""Lengths of time as people write and read them."""

import re

from switchrecon.errors import ConfigError

UNITS = {"s": 1, "m": 60, "h": 3600}


def parse_duration(text: str) -> float:
    """Return the seconds of ``90s``, ``30m``, ``1.5h`` or ``1h30m``.

    Raises
    ------
    ConfigError
        If the text is anything else.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text)
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not seconds > 0:
        raise ConfigError(f"'{text}' is not a length of time; expected such as 30m, 2h or 1h30m")
    return seconds


def duration(seconds: float) -> str:
    """Return seconds as text: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
