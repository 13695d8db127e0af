"""Plots of a cross-validation: PSNR against the other metrics, and error spectra."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from switchrecon.evaluation.volumes import ZERO_FILLED
from switchrecon.experiments.drawing import DrawnFigure, new_figure, not_drawn, save_figure
from switchrecon.metrics.table import Column
from switchrecon.reports.records import Row, Spectra

MARKERS = {"hard": "s", "ensemble": "^", "ensemble-hard": "D", "generator": "v", "generator-hard": "P"}


def against_psnr(
    out: Path, suffix: str, said: str, methods: Mapping[str, Row], columns: Sequence[Column]
) -> DrawnFigure:
    """Draw and write a figure with a panel for each metric but PSNR, the first: PSNR against it, a point for each row.

    Parameters
    ----------
    out
        Folder.
    suffix, said
        Name of the setting, in the file's name and in the caption.
    methods
        Rows by name.
    columns
        Metrics, PSNR first.
    """
    name = f"metrics{suffix}"
    first, *others = columns
    points = {
        column: {method: (row.value(first.name).mean, row.value(column.name).mean) for method, row in methods.items()}
        for column in others
    }
    known = {
        column: {method: (x, y) for method, (x, y) in of.items() if x is not None and y is not None}
        for column, of in points.items()
    }
    known = {column: of for column, of in known.items() if of}
    if not known:
        return not_drawn(out, name, f"no method has {first.title} and another metric.{said}")
    figure = new_figure(1.6 + 2.6 * len(known), 3.4)
    panels = figure.subplots(1, len(known), squeeze=False)[0]
    for axes, (column, of) in zip(panels, known.items(), strict=True):
        _scatter(axes, first, column, of, _colours(methods))
    shown = {method for of in known.values() for method in of}
    for estimate, marker in MARKERS.items():
        if any(method.endswith(f"/{estimate}") for method in shown):
            panels[-1].plot([], [], ls="none", color="#1f2933", marker=marker, ms=4, label=f"…/{estimate}")
    labelled = {text: handle for axes in panels for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(labelled.values(), labelled.keys(), fontsize=6.5, loc="outside right upper")
    caption = f"{first.title} against the other metrics: means over folds. Arrows point to the better side"
    return save_figure(figure, out, name, f"{caption}; an axis may be logarithmic.{said}")


def _scatter(
    axes: Any, first: Column, column: Column, points: Mapping[str, tuple[float, float]], colours: Mapping[str, Any]
) -> None:
    """Draw one metric against another, with the better side above."""
    for method, (x, y) in points.items():
        row, _, estimate = method.partition("/")
        style = {"color": colours[row], "marker": MARKERS.get(estimate, "o"), "ms": 4 if estimate else 7}
        axes.plot(x, y, ls="none", label=None if estimate else row, **style)
    axes.set_xlabel(f"{first.header} →", fontsize=8, parse_math=False)
    axes.set_ylabel(f"{column.header} →" if column.better else column.header, fontsize=8, parse_math=False)
    if column.better == "lower":
        if min(y for _, y in points.values()) > 0:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}")
        axes.invert_yaxis()
    axes.tick_params(which="both", labelsize=7)
    axes.grid(color="#e4e7eb", lw=0.6)


def spectrum_plot(out: Path, suffix: str, said: str, spectrum: Spectra, setting: str) -> DrawnFigure:
    """Draw and write the radial error spectra of a setting's rows, without their other estimates."""
    figure = new_figure(7.5, 4.0)
    axes = figure.subplots()
    rows = {m: r for m, r in spectrum.settings.get(setting, {}).items() if "/" not in m}
    colours = _colours(rows)
    for method, ratios in rows.items():
        style = {"color": colours[method], "ls": "--" if method == ZERO_FILLED else "-"}
        axes.semilogy(spectrum.frequency, ratios, label=method, lw=1.4, **style)
    axes.axhline(1, color="#b8c2cc", lw=0.8)
    axes.set_xlabel("spatial frequency / Nyquist", fontsize=8)
    axes.set_ylabel("error energy / reference energy", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(color="#e4e7eb", lw=0.6)
    figure.legend(fontsize=6.5, loc="outside right upper")
    caption = (
        "Radial error spectrum of magnitude images, all test slices of a fold together, mean over seeds and folds: 0 "
        "is perfect, 1 is as much error as there is signal; a method that leaves a frequency empty lies near 1 there."
        + said
    )
    return save_figure(figure, out, f"error-spectrum{suffix}", caption)


def _colours(methods: Iterable[str]) -> dict[str, Any]:
    """Return a colour for each row, the same in every figure of a setting; estimates have the colour of their row."""
    from matplotlib import colormaps

    rows = dict.fromkeys(method.partition("/")[0] for method in methods)
    palette = colormaps["tab10" if len(rows) <= 10 else "tab20"]
    return {row: palette(number % palette.N) for number, row in enumerate(rows)}
