"""Code of the user's in a run: the copy that the run folder keeps, and whether opening the run may execute it.

A run folder may come from anybody, and so may all that its card says: the file's path, NAME and SHA-256. None of them
is a reason to run anything.
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
    """Note that the user has asked to train with the code of these settings, so that runs made with it open here.

    Raises
    ------
    ConfigError
        If a file is no longer there.
    """
    for kind in _masks(config):
        remember(read_code(kind, "mask"))
    if is_user_code(config.network):
        remember(read_code(config.network, "network"))


def keep_source(folder: Path, config: Config) -> None:
    """Copy a network's file of the user's into the run folder; errors as :func:`remember_code`."""
    if is_user_code(config.network):
        with atomic_file(folder / COPY) as temporary:
            temporary.write_bytes(read_code(config.network, "network").source)


def network_code(folder: Path, card: Card, trust_code: bool = False) -> UserCode | None:
    """Return the code of a run's network that may be executed; None where the network is the package's.

    It may be where the user has trained with this very code on this machine; then it is read from the file that the
    settings name, never from the run folder. Or where the user trusts the run; then it is the copy in the run folder.

    Parameters
    ----------
    folder
        The run folder.
    card
        Its card.
    trust_code
        Whether the user trusts it.

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
    """Refuse a run whose masks are drawn by code that the user has not trained with on this machine, nor trusts.

    Parameters
    ----------
    folder, card, trust_code
        As in :func:`network_code`. The run folder holds no copy: what is run is the file that the settings name.

    Raises
    ------
    RunError
        If there is such a file. One that is missing is told where masks are drawn.
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
