"""A user's Python code, named as ``FILE.py:NAME``. Only this module runs code from a file.

This module does not decide whether code may run. The caller must know that the user asked for it: a command, settings
or a recipe name the file, or the code is :func:`known`, or the user gave ``--trust-code``.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from switchrecon.core.files import write_text
from switchrecon.errors import ConfigError, SwitchreconError, nearest

MOST_BYTES = 1 << 20  # largest file of code

_run_here: set[str] = set()  # code that this process was asked to run, where no home folder can be written


@dataclass(frozen=True)
class UserCode:
    """A name in a file of code, and the content of that file, read once so that the hash is that of the code that runs.

    Attributes
    ----------
    what
        ``method``, ``network``, ``mask`` or ``metric``, for messages.
    reference
        ``FILE.py:NAME``, as the user wrote it.
    file
        The file that was read.
    source
        Its content.
    """

    what: str
    reference: str
    file: Path
    source: bytes

    @property
    def name(self) -> str:
        """NAME of ``FILE.py:NAME``."""
        return self.reference.rpartition(":")[2]

    @property
    def sha256(self) -> str:
        """SHA-256 of the content, hexadecimal."""
        return hashlib.sha256(self.source).hexdigest()

    def load(
        self, kind: str = "", is_kind: Callable[[Any], bool] = lambda value: True, defined_here: bool = False
    ) -> Any:
        """Run the file as a module and return the object called NAME.

        Parameters
        ----------
        kind
            What the object must be, in words.
        is_kind
            Function that says whether an object is of that kind.
        defined_here
            Leave out objects that the file imports from elsewhere.

        Raises
        ------
        ConfigError
            If the file raises an error, or has no such object; the message names the one with the closest name.
        """
        module = ModuleType(f"switchrecon_user_code_{self.sha256[:16]}")
        module.__file__ = str(self.file)
        sys.modules[module.__name__] = module  # dataclasses and pickle look there
        try:
            exec(compile(self.source, str(self.file), "exec"), vars(module))
        except SwitchreconError as error:
            raise self.error(str(error)) from error
        except Exception as error:
            raise self.error(f"{self.file} raised {type(error).__name__}: {error}") from error
        found = {
            name: value
            for name, value in vars(module).items()
            if not name.startswith("__")
            and is_kind(value)
            and not (defined_here and value.__module__ != module.__name__)
        }
        if self.name not in found:
            hint = nearest(self.name, found) if found else "it has none"
            raise self.error(f"{self.file} defines no {kind}{' named ' if kind else ''}'{self.name}'; {hint}")
        return found[self.name]

    def error(self, sentence: str) -> ConfigError:
        """Return an error whose message names this code."""
        return ConfigError(f"{self.what} '{self.reference}': {sentence}")


def is_user_code(name: str) -> bool:
    """Return whether a setting names an object in a user's file, ``FILE.py:NAME``."""
    return ":" in name


def user_file(name: str, what: str) -> Path:
    """Return the file of ``FILE.py:NAME``; a relative path starts at the working folder.

    Parameters
    ----------
    name
        ``FILE.py:NAME``, the value of a setting.
    what
        What it names, such as ``"method"``, for error messages.

    Raises
    ------
    ConfigError
        If there is no such file.
    """
    path = Path(name.rpartition(":")[0])
    if not path.is_file():
        raise ConfigError(f"{what} '{name}': no such file {path}; expected FILE.py:NAME")
    return path


def read_code(name: str, what: str, copy: Path | None = None) -> UserCode:
    """Read the file of ``FILE.py:NAME``, or a copy of it, without running it; arguments as for :func:`user_file`.

    Raises
    ------
    ConfigError
        If there is no such file, NAME cannot be a name in Python, or the file is too large for code.
    """
    attribute = name.rpartition(":")[2]
    if not attribute.isidentifier():
        raise ConfigError(f"{what} '{name}': '{attribute}' cannot be a name in a Python file; expected FILE.py:NAME")
    path = user_file(name, what) if copy is None else copy
    if not path.is_file():
        raise ConfigError(f"{what} '{name}': no such file {path}")
    if path.stat().st_size > MOST_BYTES:
        raise ConfigError(f"{what} '{name}': {path} has more than {MOST_BYTES} bytes; expected a file of code")
    return UserCode(what, name, path, path.read_bytes())


def digest(name: str, what: str) -> str:
    """Return the SHA-256 of that file, so that a change is noticed; arguments and errors as for :func:`read_code`."""
    return read_code(name, what).sha256


def load(name: str, what: str) -> object:
    """Run the file and return the object called NAME; arguments as for :func:`user_file`.

    Raises
    ------
    ConfigError
        If there is no such file, it raises an error, or it does not define NAME.
    """
    found: object = read_code(name, what).load()
    return found


def remember(code: UserCode) -> None:
    """Remember that this user asked to run this code, so that it may run again when a run folder refers to it."""
    _run_here.add(_key(code.sha256, code.name))
    try:
        _records().mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text(_records() / _key(code.sha256, code.name), f"{code.reference}\n")
    except OSError:
        pass  # then only this process knows it


def known(sha256: str, name: str) -> bool:
    """Return whether this user has asked before, on this machine, to run code with this content and NAME."""
    if len(sha256) != 64 or not sha256.isalnum() or not name.isidentifier():
        return False
    return _key(sha256, name) in _run_here or (_records() / _key(sha256, name)).is_file()


def _key(sha256: str, name: str) -> str:
    return f"{sha256}-{name}"


def _records() -> Path:
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "switchrecon" / "code"
