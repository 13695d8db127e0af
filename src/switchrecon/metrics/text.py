"""Values as text: with a standard deviation, or with an interval."""

NO_VALUE = "n/a"


def spread(mean: float | None, std: float | None, digits: int) -> str:
    """Return ``mean ± std``; the mean alone if there is no standard deviation; ``n/a`` without a mean."""
    if mean is None:
        return NO_VALUE
    return f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if std else "")


def interval(mean: float | None, low: float | None, high: float | None, digits: int, signed: bool = False) -> str:
    """Return ``mean [low, high]``; the mean alone without an interval; ``n/a`` without a mean."""
    if mean is None:
        return NO_VALUE
    sign = "+" if signed else ""
    text = f"{mean:{sign}.{digits}f}"
    return text if low is None or high is None else f"{text} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"
