"""Start and write the figures of a cross-validation: PNG and PDF, with the same bytes for the same content."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from switchrecon.core.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150


@dataclass(frozen=True)
class DrawnFigure:
    """A figure that was written (``name``.png and .pdf), or the reason why it was not drawn."""

    name: str
    caption: str
    file: Path | None


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure; sides in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def not_drawn(out: Path, name: str, reason: str) -> DrawnFigure:
    """Return the reason why a figure is not drawn, and remove its files of an earlier state of the grid."""
    for kind in ("png", "pdf"):
        (out / f"{name}.{kind}").unlink(missing_ok=True)
    return DrawnFigure(name, f"Not drawn: {reason}", None)


def save_figure(figure: "Figure", out: Path, name: str, caption: str) -> DrawnFigure:
    """Write ``name``.png and ``name``.pdf into a folder."""
    # Without dates and program names, so that the same cells give the same bytes.
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }
    for kind, entries in metadata.items():
        with atomic_file(out / f"{name}.{kind}", suffix=f".{kind}") as temporary:
            figure.savefig(temporary, metadata=entries)
    return DrawnFigure(name, caption, out / f"{name}.png")
