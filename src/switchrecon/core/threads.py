"""How many threads to compute with: as many as cores are free, unless a number is asked for.

Threads of one operation wait for each other, so that one that has to share its core holds up all: two threads beside
one busy core are many times slower than one.
"""

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from switchrecon.core.messages import PROGRESS
from switchrecon.errors import ConfigError

logger = logging.getLogger(__name__)

VARIABLE = "OMP_NUM_THREADS"
GROUPS = Path("/sys/fs/cgroup")
PROCESS = Path("/proc/self/cgroup")
STATISTICS = Path("/proc/stat")
LOOK = 0.1  # seconds to watch the cores
_untold: list[str] = []  # what was chosen, until networks compute: a command that is refused says one sentence


@dataclass(frozen=True)
class Cores:
    """Processor cores of this machine.

    Attributes
    ----------
    allowed
        How many this process may run on: its affinity.
    quota
        How many cores' time its control groups give it; None without a limit.
    busy
        How many of the allowed ones are taken by others.
    """

    allowed: int
    quota: float | None
    busy: int

    @property
    def free(self) -> int:
        """How many can be used without waiting for others; at least 1."""
        left = self.allowed - self.busy
        return max(1, left if self.quota is None else min(left, int(self.quota)))

    @property
    def reason(self) -> str:
        """Why not all of them are free; empty where they are."""
        limits = [f"{self.busy} of {self.allowed} cores are busy"] if self.busy else []
        if self.quota is not None and self.quota < self.allowed:
            limits.append(f"the control group gives {self.quota:g} cores' time")
        return " and ".join(limits)


def _affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def control_groups(controller: str = "") -> Iterator[Path]:
    """Yield the folders of this process's control group and of those above it; they may not exist.

    A container sees its group at the top, whatever path the process is said to have.

    Parameters
    ----------
    controller
        A controller of version 1, such as ``cpu``; empty: version 2.
    """
    for line in _text(PROCESS).splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names == controller or (controller and controller in names.split(",")):
            top = GROUPS / controller if controller else GROUPS
            place = top / path.strip("/")
            yield from (place, *(above for above in place.parents if above.is_relative_to(top)))
            return
    yield GROUPS / controller if controller else GROUPS


def _quota() -> float | None:
    """Cores' time that control groups of either version give; None without a limit."""
    found = []
    for group in control_groups():
        limit, _, period = _text(group / "cpu.max").strip().partition(" ")
        found.append((limit, period))
    for group in control_groups("cpu"):
        found.append((_text(group / "cpu.cfs_quota_us").strip(), _text(group / "cpu.cfs_period_us").strip()))
    known = [int(limit) / int(period) for limit, period in found if limit.isdecimal() and period.strip("0").isdecimal()]
    return min(known, default=None)


def _idle_and_all(cores: set[int]) -> tuple[int, int, int]:
    """How many of these cores are there, and their ticks since the machine's start: idle or waiting for disks; all."""
    seen = idle = every = 0
    for line in _text(STATISTICS).splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in cores and len(ticks) >= 8:
            numbers = [int(tick) for tick in ticks[:8]]  # what follows is counted in these already
            seen, idle, every = seen + 1, idle + numbers[3] + numbers[4], every + sum(numbers)
    return seen, idle, every


def _busy(cores: set[int]) -> int:
    """How many of these cores are taken: as they are now, or as the load of the last minute says, if that is more.

    The load is the whole machine's, of which cores that this process may not use can carry a part.
    """
    seen, idle, every = _idle_and_all(cores)
    if seen:
        time.sleep(LOOK)
    _, idle_then, every_then = _idle_and_all(cores)
    now = seen * (1 - (idle_then - idle) / (every_then - every)) if every_then > every else 0.0
    try:
        load = os.getloadavg()[0] - max((os.cpu_count() or 1) - len(cores), 0)
    except (OSError, AttributeError):  # Windows does not say
        load = 0.0
    return min(max(round(now), round(load), 0), len(cores))


def look_at_cores() -> Cores:
    """Look which cores are free; takes a tenth of a second."""
    cores = _affinity()
    return Cores(len(cores), _quota(), _busy(cores))


def cores_for(number: int | None) -> int:
    """Say and return how many cores several processes share: so many, if they are allowed; None: the free ones.

    Raises
    ------
    ConfigError
        For a number below 1.
    """
    check_threads(number)
    cores = look_at_cores() if number is None else None
    chosen = min(number or 0, len(_affinity())) if cores is None else cores.free
    PROGRESS.info("using %s%s", _cores(chosen), f" ({cores.reason})" if cores is not None and cores.reason else "")
    return chosen


@cache
def _most() -> int:
    """How many threads torch takes by itself: one a core, and not one a hardware thread, or as the variable says."""
    return torch.get_num_threads()


def _asked_by_variable() -> int | None:
    text = os.environ.get(VARIABLE, "").partition(",")[0].strip()
    return int(text) if text.isdecimal() and int(text) else None


def check_threads(number: int | None) -> None:
    """Refuse a number of threads below 1.

    Raises
    ------
    ConfigError
        If so; the message names it.
    """
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
        raise ConfigError(f"threads is {number!r}; expected a whole number from 1 up")


def set_threads(number: int | None = None) -> int:
    """Choose how many threads this process computes with; :func:`tell_threads` says why.

    Results depend on it in their last bits, as sums are added in another order.

    Parameters
    ----------
    number
        So many, but no more than cores are allowed. None: as ``OMP_NUM_THREADS`` says, else as many as cores are
        free: of those of the process's affinity, without those that others keep busy, and within the time that its
        control groups give.

    Returns
    -------
    int
        The number that was set.

    Raises
    ------
    ConfigError
        For a number below 1.
    """
    check_threads(number)
    most, allowed = _most(), len(_affinity())
    asked = _asked_by_variable() if number is None else number
    if asked is None:
        cores = look_at_cores()
        chosen, reason = min(cores.free, most), cores.reason or f"{_cores(allowed)}, none of them busy"
    else:
        chosen = min(asked, allowed)
        reason = "as asked for" if number is not None else f"{VARIABLE}={asked}"
        if chosen < asked:
            reason = f"{asked} were asked for; this process may use {_cores(allowed)}"
    torch.set_num_threads(chosen)
    _untold[:] = [f"computing with {chosen} thread{'' if chosen == 1 else 's'} ({reason})"]
    logger.debug(_untold[0])
    return chosen


def tell_threads() -> None:
    """Say in one line how many threads were chosen and why, unless it has been said."""
    while _untold:
        PROGRESS.info(_untold.pop())


def _cores(number: int) -> str:
    return f"{number} core{'' if number == 1 else 's'}"
