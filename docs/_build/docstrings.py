"""Docstrings as this builder can read them: a line for each parameter, and no roles."""

import re
from typing import Any

import griffe

SEVERAL = re.compile(r"^( *)(\w+(?:, \w+)+)\n((?:\1    .*\n?)+)", re.MULTILINE)
ROLE = re.compile(r":(?:func|class|meth|data|attr|mod):(?=`)")


def readable(text: str) -> str:
    """Give parameters that share a description, ``a, b``, one each: a builder would take the type of a for b's."""

    def apart(found: re.Match[str]) -> str:
        description = found[3].rstrip("\n")
        return "".join(f"{found[1]}{name}\n{description}\n" for name in found[2].split(", "))

    return ROLE.sub("", SEVERAL.sub(apart, text))


class Docstrings(griffe.Extension):
    """Changes docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value)
