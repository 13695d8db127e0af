"""Parts of sentences: numbers of things, and validation errors of pydantic."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails


def count(number: int, what: str) -> str:
    """Return a number of things: ``1 subject``, ``2 subjects``, ``1,200 slices``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def first_problem(error: Exception) -> str:
    """Say in one line what is wrong: the first of pydantic's errors as ``where: what``, or another error's message."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {message_of(first)}" if where else message_of(first)


def message_of(problem: ErrorDetails) -> str:
    """Return what is wrong with one value, from an entry of ``ValidationError.errors()``."""
    return problem["msg"].removeprefix("Value error, ")
