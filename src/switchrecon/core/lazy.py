"""Names of a package that are imported when they are first used, so that the package itself loads quickly."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

Getters = tuple[Callable[[str], Any], Callable[[], list[str]]]


def lazy_names(package: str, homes: Mapping[str, str]) -> Getters:
    """Return a package's ``__getattr__`` and ``__dir__`` (PEP 562).

    Parameters
    ----------
    package
        Name of the package.
    homes
        The module that each name comes from; "" for a name that is itself a module or package.
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
