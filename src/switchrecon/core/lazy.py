"""Names of a package that are imported when they are first asked for, so that the package itself loads at once."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

Getters = tuple[Callable[[str], Any], Callable[[], list[str]]]


def lazy_names(package: str, homes: Mapping[str, str]) -> Getters:
    """Return a package's ``__getattr__`` and ``__dir__`` (PEP 562).

    Parameters
    ----------
    package
        Its name.
    homes
        The module that each name comes from; the name of a module or package that stands for itself comes from "".
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        if not homes[name]:
            return import_module(f"{package}.{name}")
        return getattr(import_module(homes[name]), name)

    def names() -> list[str]:
        return sorted([*homes, "__version__"] if package == "switchrecon" else homes)

    return get, names
