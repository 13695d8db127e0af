"""A user's code in a run: the copy in the run folder, and whether opening the run may execute it.

A run folder may come from anybody. So nothing that its card says, such as a file's path, NAME and SHA-256, is a reason
to run code.
"""

from pathlib import Path

from switchrecon.config import Config
from switchrecon.core.files import atomic_file
from switchrecon.core.user_code import UserCode, is_user_code, known, read_code, remember
from switchrecon.errors import ConfigError, RunError
from switchrecon.runs.card import Card

COPY = "network.py"
TRUST = "if you trust who made the run, add --trust-code (trust_code=True) to run"


def _masks(config: Config) -> list[str]:
    kinds = [config.mask.kind] + ([] if config.simulated_mask is None else [config.simulated_mask.kind])
    return [kind for kind in kinds if is_user_code(kind)]


def remember_code(config: Config) -> None:
    """Remember that the user trains with the code of these settings, so that runs with it can be opened here.

    Raises
    ------
    ConfigError
        If a file is missing.
    """
    for kind in _masks(config):
        remember(read_code(kind, "mask"))
    if is_user_code(config.network):
        remember(read_code(config.network, "network"))


def keep_source(folder: Path, config: Config) -> None:
    """Copy the user's file of a network into the run folder; errors as for :func:`remember_code`."""
    if is_user_code(config.network):
        with atomic_file(folder / COPY) as temporary:
            temporary.write_bytes(read_code(config.network, "network").source)


def network_code(folder: Path, card: Card, trust_code: bool = False) -> UserCode | None:
    """Return the code of a run's network, if it may be executed; None if the network is the package's.

    It may be executed in two cases. The user has trained with exactly this code on this machine: then it is read from
    the file that the settings name, never from the run folder. Or the user trusts the run: then the copy in the run
    folder is used.

    Parameters
    ----------
    folder
        The run folder.
    card
        The card of the run.
    trust_code
        Whether the user trusts the run.

    Raises
    ------
    RunError
        If the code may not be executed, is missing, or is not what the run was trained with.
    """
    name = card.config.network
    if not is_user_code(name):
        return None
    remedy = "restore it" if trust_code else f"restore it, or, {TRUST} the copy in the run folder"
    if not trust_code and not known(card.network_sha256, name.rpartition(":")[2]):
        raise RunError(
            f"{folder}: its network '{name}' is code that you have not trained with on this machine, so that it is not "
            f"run; {TRUST} the copy in the run folder"
        )
    try:
        code = read_code(name, "network", folder / COPY if trust_code else None)
    except ConfigError as error:
        raise RunError(f"{folder}: {str(error).removesuffix('; expected FILE.py:NAME')}; {remedy}") from error
    if code.sha256 != card.network_sha256:
        raise RunError(f"{folder}: {code.file} is not the file that this run was trained with; {remedy}")
    return code


def check_masks(folder: Path, card: Card, trust_code: bool = False) -> None:
    """Refuse a run whose masks are drawn by code that the user neither trusts nor has trained with on this machine.

    Parameters
    ----------
    folder, card, trust_code
        As for :func:`network_code`. The run folder holds no copy of this code: the file that the settings name is run.

    Raises
    ------
    RunError
        If there is such a file. A missing file is reported later, when masks are drawn.
    """
    for kind in [] if trust_code else _masks(card.config):
        try:
            code = read_code(kind, "mask")
        except ConfigError:
            continue
        if not known(code.sha256, code.name):
            raise RunError(
                f"{folder}: its mask '{kind}' is code that you have not trained with on this machine, so that it is "
                f"not run; {TRUST} {code.file}"
            )
