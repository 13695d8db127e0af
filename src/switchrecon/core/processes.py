"""Whether this process is one of several that ``torchrun`` has started; known without torch."""

import os

STARTED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def one_of_several() -> bool:
    """Return whether torchrun has started this process beside others."""
    return all(name in os.environ for name in STARTED) and int(os.environ["WORLD_SIZE"]) > 1


def speaks_for_all() -> bool:
    """Return whether results are said here: by the first of several processes, or by the only one."""
    return not one_of_several() or os.environ["RANK"] == "0"
