"""What pydantic says of wrong values, as a part of one sentence."""

from pydantic import ValidationError


def first_problem(error: ValidationError) -> str:
    """The first wrong value as ``where: what``, or ``what`` alone where it concerns the whole."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what
