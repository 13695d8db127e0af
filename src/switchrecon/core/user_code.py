"""Objects from a user's Python file, named ``FILE.py:NAME``."""

import hashlib
import runpy
from pathlib import Path

from switchrecon.errors import ConfigError, nearest


def is_user_code(name: str) -> bool:
    """Whether a setting names an object in a user's file, ``FILE.py:NAME``."""
    return ":" in name


def user_file(name: str, what: str) -> Path:
    """The file of ``FILE.py:NAME``; a relative path starts from the working folder.

    Parameters
    ----------
    name
        The setting.
    what
        What it names, such as ``"method"``, for errors.

    Raises
    ------
    ConfigError
        If there is no such file.
    """
    path = Path(name.rpartition(":")[0])
    if not path.is_file():
        raise ConfigError(f"{what} '{name}': no such file {path}; expected FILE.py:NAME")
    return path


def digest(name: str, what: str) -> str:
    """SHA-256 of that file, so that a change is noticed; arguments and errors as :func:`user_file`."""
    return hashlib.sha256(user_file(name, what).read_bytes()).hexdigest()


def load(name: str, what: str) -> object:
    """Run the file and return what it defines as NAME; arguments as :func:`user_file`.

    Raises
    ------
    ConfigError
        If there is no such file, it raises an error, or it does not define NAME.
    """
    path, attribute = user_file(name, what), name.rpartition(":")[2]
    try:
        names = runpy.run_path(str(path))
    except Exception as error:
        raise ConfigError(f"{what} '{name}': {path} raised {type(error).__name__}: {error}") from error
    if attribute not in names:
        public = [key for key in names if not key.startswith("_")]
        raise ConfigError(f"{what} '{name}': {path} defines no '{attribute}'; {nearest(attribute, public)}")
    return names[attribute]
