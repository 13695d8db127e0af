"""Drawings of curves, each returned as the bytes of a PNG file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from switchrecon.reports.figures import plain_axes, plot_figure, png_of, short

COLOURS = ("#5f6c7b", "#1f5f8b", "#c2410c", "#2f7d32", "#7b3fa0", "#b07d00", "#00838f", "#ad1457")
MARKERS = "osD^vP*X"


@dataclass(frozen=True)
class Panel:
    """Some curves in one pair of axes.

    Attributes
    ----------
    title, across, up
        Texts of the panel and of its axes.
    lines
        By name, the values across and up, of equal length.
    logarithmic
        Whether the axis across is; values of 0 then lie at its left end.
    """

    title: str
    across: str
    up: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    logarithmic: bool = False


def curves_figure(panels: Sequence[Panel]) -> bytes:
    """Draw panels side by side, with one legend under them. Colours and markers both tell the curves apart."""
    figure = plot_figure(3.6)
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    handles = {}
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, (across, up) in panel.lines.items():
            number = names.index(name)
            style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            few = len(across) <= 20
            [handles[name]] = axes.plot(across, up, lw=1.4, ms=4 if few else 0, **style)
        if panel.logarithmic:
            positive = [x for across, _ in panel.lines.values() for x in across if x > 0]
            axes.set_xscale("symlog", linthresh=min(positive, default=1.0))
        axes.set_title(short(panel.title, 60), fontsize=9, loc="left", parse_math=False)
        axes.set_xlabel(panel.across, fontsize=9, parse_math=False)
        axes.set_ylabel(panel.up, fontsize=9, parse_math=False)
        plain_axes(axes, "both")
    figure.legend(
        list(handles.values()),
        [short(name, 40) for name in handles],
        loc="outside lower center",
        ncols=4,
        fontsize=8,
        frameon=False,
    )
    return png_of(figure)


def bars_figure(title: str, across: str, values: Sequence[float], line: float | None = None) -> bytes:
    """Draw a bar for each value, from the smallest to the largest, with a line where the values should end."""
    figure = plot_figure(2.6)
    axes = figure.subplots()
    axes.bar(np.arange(1, len(values) + 1), sorted(values), color=COLOURS[1])
    if line is not None:
        axes.axhline(line, color=COLOURS[2], lw=1.5)
    axes.set_title(short(title, 90), fontsize=9, loc="left", parse_math=False)
    axes.set_xlabel(across, fontsize=9, parse_math=False)
    plain_axes(axes, "y")
    return png_of(figure)
