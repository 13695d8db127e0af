"""The drawings of the report, each returned as the bytes of a PNG file."""

import io
import math
import warnings
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_COLUMNS: Final = 7  # seven images still have 150 px each in a window of 1280 px
_LEVELS: Final = {"gray": 160, "inferno": 96}  # finer than an eye tells apart; 256 fit into one byte
_DPI: Final = 100  # one inch is 100 px, so that panels land on whole pixels
_INK, _FAINT, _GRID, _LINE, _MEDIAN = "#1f2933", "#b8c2cc", "#e4e7eb", "#1f5f8b", "#c2410c"
_PLOT_WIDTH: Final = 10.5  # inches
_MAX_PANELS: Final = 3  # side by side in a plot


def comparison_columns(methods: int) -> int:
    """Return how many images :func:`comparison_figure` puts side by side for this many reconstructions."""
    return math.ceil((methods + 1) / math.ceil((methods + 1) / _MAX_COLUMNS))


def display_windows(reference: NDArray[Any], images: NDArray[Any]) -> tuple[float, float]:
    """Return the upper ends of the windows of one example; both windows begin at 0.

    One window serves all images, one all error maps: equal brightness means equal value.

    Parameters
    ----------
    reference
        Magnitude image, float, shape (H, W).
    images
        Reconstructions, float, shape (n_methods, H, W).

    Returns
    -------
    tuple of float
        The 99.8th percentile of the reference, in its units, and that of the absolute errors of all methods
        together, as a fraction of the reference's maximum. Both are above 0 and of finite values alone.
    """
    uppers = []
    for values in (np.asarray(reference, dtype=np.float64), _error_maps(reference, images)):
        finite = values[np.isfinite(values)]
        upper = float(np.percentile(finite, 99.8)) if finite.size else 0.0
        uppers.append(upper if upper > 0 else 1.0)
    return uppers[0], uppers[1]


def comparison_figure(
    reference: NDArray[Any],
    images: NDArray[Any],
    names: Sequence[str],
    mask: NDArray[Any],
    scores: Mapping[str, str],
) -> bytes:
    """Draw reconstructions beside the reference, with error maps below and the sampling mask.

    Every image pixel becomes a square of whole pixels. The mask takes the place of the reference's error map.

    Parameters
    ----------
    reference
        Magnitude image, float, shape (H, W).
    images
        Reconstructions, float, shape (n_methods, H, W).
    names
        Their n_methods names.
    mask
        Measured k-space samples, bool, shape (H, W).
    scores
        Text below an image, by method name; what is missing is left blank.

    Returns
    -------
    bytes
        A PNG file with a palette of 256 colours.

    Raises
    ------
    ValueError
        If the shapes or the number of names do not agree, or there is no reconstruction.
    """
    if not names or images.shape != (len(names), *reference.shape) or mask.shape != reference.shape:
        shapes = ", ".join(str(array.shape) for array in (reference, images, mask))
        raise ValueError(f"shapes {shapes} and {len(names)} names do not agree")
    scale = max(1, round(256 / reference.shape[1]))
    panel_h, panel_w = reference.shape[0] * scale, reference.shape[1] * scale
    columns = comparison_columns(len(names))
    rows = math.ceil((len(names) + 1) / columns)
    font = 0.066 * max(panel_w, 160)  # px; a browser that fits the figure to its window shrinks both
    title, score, gap, foot = (math.ceil(font * part) for part in (1.8, 1.6, 0.5, 4.2))
    block = title + panel_h + score + panel_h + gap
    canvas_w = columns * panel_w + (columns + 1) * gap
    canvas_h = rows * block + foot
    figure = _figure(canvas_w / _DPI, canvas_h / _DPI)

    def axes(left: float, top: float, wide: float, high: float) -> "Axes":
        bottom = canvas_h - top - high
        return figure.add_axes((left / canvas_w, bottom / canvas_h, wide / canvas_w, high / canvas_h))

    def write(text: str, x: float, y: float, part: float = 1.0, **style: Any) -> None:
        style = {"ha": "center", "va": "center", "fontsize": font * part * 72 / _DPI} | style
        figure.text(x / canvas_w, 1 - y / canvas_h, text, parse_math=False, **style)

    image_upper, error_upper = display_windows(reference, images)
    errors = _error_maps(reference, images)
    for position, name in enumerate([*names, "reference"]):
        left, top = gap + position % columns * (panel_w + gap), position // columns * block + title
        middle, below = left + panel_w / 2, top + panel_h + score
        write(short(name, 30), middle, top - title / 2, min(1.0, 19 / min(len(name) + 1, 30)), weight="bold")
        picture = reference if position == len(names) else images[position]
        picture_axes(axes(left, top, panel_w, panel_h), picture, "gray", image_upper)
        if position == len(names):
            picture_axes(axes(left, below, panel_w, panel_h), mask, "gray", 1.0)
            write("sampling mask", middle, below + panel_h + 0.85 * font)
        else:
            shown = picture_axes(axes(left, below, panel_w, panel_h), errors[position], "inferno", error_upper)
            write(scores.get(names[position], ""), middle, top + panel_h + score / 2)
    # Under error maps only: below the mask it would read as the mask's scale.
    span = max(1, min(3, len(names) % columns or columns))
    bar = axes(gap + font, rows * block + 0.35 * font, span * (panel_w + gap) - gap - font, 0.6 * font)
    figure.colorbar(shown, cax=bar, orientation="horizontal", extend="max", extendfrac=0.02)
    bar.tick_params(labelsize=0.85 * font * 72 / _DPI, length=0.25 * font)
    bar.locator_params(nbins=5)
    write("|error| / maximum of reference", gap + font, canvas_h - 0.9 * font, 0.95, ha="left")
    return png_of(figure, picture_palette=True)


def distribution_figure(values: Mapping[str, Mapping[str, Sequence[float]]], names: Sequence[str]) -> bytes:
    """Draw every slice's metrics by method: all points, with median and quartiles over them.

    Parameters
    ----------
    values
        By axis label, then by method name: a metric of each slice; only finite ones have a place on the axis.
    names
        The methods, from the top.

    Returns
    -------
    bytes
        A PNG file, with at most three metrics in a row.
    """
    rows, columns = math.ceil(len(values) / _MAX_PANELS) or 1, min(len(values), _MAX_PANELS) or 1
    figure = _figure(_PLOT_WIDTH, (0.75 + 0.42 * max(len(names), 1)) * rows, "constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, (label, by_method) in zip(panels, values.items(), strict=False):
        for place, name in enumerate(names):
            points = np.asarray(by_method.get(name, ()), dtype=np.float64)
            points = points[np.isfinite(points)]
            # The spread across the line carries no information; its fixed seed keeps reports reproducible.
            jitter = np.random.default_rng(place).uniform(-0.26, 0.26, points.size)
            alpha = float(np.clip(30 / max(points.size, 1), 0.15, 0.7))
            axes.plot(points, place + jitter, "o", ms=3.2, mew=0, color=_LINE, alpha=alpha)
            if points.size >= 5:  # quartiles of fewer points would pretend to knowledge
                low, median, high = np.percentile(points, (25, 50, 75))
                axes.broken_barh([(low, high - low)], (place - 0.34, 0.68), fc="none", ec=_INK, lw=1, zorder=3)
                axes.vlines(median, place - 0.34, place + 0.34, color=_MEDIAN, lw=2, zorder=4)
        axes.set_xlabel(short(label, 40), parse_math=False)
        plain_axes(axes, "x")
    for axes in panels[len(values) :]:
        axes.set_visible(False)
    panels[0].set_yticks(range(len(names)), [short(name, 34) for name in names], parse_math=False)
    panels[0].set_ylim(max(len(names), 1) - 0.5, -0.5)  # the table's order, from the top
    return png_of(figure)


def loss_figure(
    steps: Sequence[float], losses: Mapping[str, Sequence[float | None]], exact: Container[str] = ()
) -> bytes:
    """Draw one panel per curve: recorded values faint, their moving mean (:func:`smoothing_width`) over them.

    Parameters
    ----------
    steps
        Training steps, in increasing order, length n.
    losses
        By name of the objective, n values; None and values that are not finite leave a gap.
    exact
        Names of curves that hold no noise: they are not averaged.

    Returns
    -------
    bytes
        A PNG file. An axis is logarithmic where all values are positive.

    Raises
    ------
    ValueError
        If a curve does not have as many values as there are steps.
    """
    rows, columns = math.ceil(len(losses) / _MAX_PANELS) or 1, min(len(losses), _MAX_PANELS) or 1
    figure = _figure(_PLOT_WIDTH, 0.3 + 1.85 * rows, "constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, recorded) in zip(panels, losses.items(), strict=False):
        values = np.array([math.nan if value is None else value for value in recorded], dtype=np.float64)
        if values.size != len(steps):
            raise ValueError(f"{name} has {values.size} values for {len(steps)} steps")
        values[~np.isfinite(values)] = math.nan
        present = values[np.isfinite(values)]
        axes.plot(steps, values, color=_FAINT, lw=0.7, marker="o" if present.size < 3 else "", ms=4)
        width = 1 if name in exact else smoothing_width(values.size)
        axes.plot(steps, _moving_mean(values, width), color=_LINE, lw=1.6)
        if present.size and present.min() > 0:
            _log_axis(axes, present.max() / present.min())
        axes.set_title(short(name, 40), fontsize=9, loc="left", parse_math=False)
        plain_axes(axes, "both")
    for axes in panels[len(losses) :]:
        axes.set_visible(False)
    figure.supxlabel("step", fontsize=9)
    return png_of(figure)


def smoothing_width(records: int) -> int:
    """Return over how many neighbouring records :func:`loss_figure` averages: about a 25th of all, odd."""
    return 2 * (records // 50) + 1


def _error_maps(reference: NDArray[Any], images: NDArray[Any]) -> NDArray[np.float64]:
    target = np.asarray(reference, dtype=np.float64)
    maximum = np.max(target, where=np.isfinite(target), initial=0.0) or 1.0
    return np.abs(np.asarray(images, dtype=np.float64) - target) / maximum


def _moving_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    # Near the ends the mean is over the neighbours that exist: the curve neither bends to 0 nor ends early.
    known = np.isfinite(values)
    total, count = (np.convolve(x, np.ones(width)) for x in (np.where(known, values, 0.0), known * 1.0))
    inside = slice(width // 2, width // 2 + values.size)
    return np.where(known, total[inside] / np.maximum(count[inside], 1), math.nan)


def _log_axis(axes: "Axes", ratio: float) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

    axes.set_yscale("log")
    if ratio < 100:  # powers of ten alone would leave too few labels, or none
        axes.yaxis.set_major_locator(MaxNLocator(4) if ratio < 4 else LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.4g}"))
        axes.yaxis.set_minor_locator(NullLocator())


def plot_figure(high: float) -> "Figure":
    """Return a figure of plots, so many inches high and as wide as the page."""
    return _figure(_PLOT_WIDTH, high, "constrained")


def _figure(wide: float, high: float, layout: Literal["constrained"] | None = None) -> "Figure":
    from matplotlib.figure import Figure  # slow to import, and only reports need it

    return Figure(figsize=(wide, high), dpi=_DPI, facecolor="white", layout=layout)


def picture_axes(axes: "Axes", picture: NDArray[Any], colours: str, upper: float) -> Any:
    """Show a picture from 0 to ``upper`` in the colours ``gray`` or ``inferno``; return what its bar is made of."""
    from matplotlib import colormaps

    axes.set_axis_off()
    levels = colormaps[colours].resampled(_LEVELS[colours])
    return axes.imshow(picture, cmap=levels, vmin=0.0, vmax=upper, interpolation="nearest", aspect="auto")


def plain_axes(axes: "Axes", grid: Any) -> None:
    """Leave two spines and a grid along ``x``, ``y`` or ``both``."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(which="both", labelsize=9, colors=_INK)
    axes.grid(axis=grid, color=_GRID, lw=0.8)
    axes.set_axisbelow(True)


def short(text: str, limit: int) -> str:
    """Return the text on one line, cut at so many characters."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def png_of(figure: "Figure", picture_palette: bool = False) -> bytes:
    """Save without the drawing library's signature: equal figures have equal bytes, and hold no address."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # a name in a script the font lacks
        canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if picture_palette:
        # A byte per pixel halves the file. The images' colours are in the palette, so they stay exact.
        maps = [colormaps[name].resampled(n)(np.arange(n), bytes=True) for name, n in _LEVELS.items()]
        palette = np.concatenate(maps)[:, :3].astype(np.int64)
        colours, where = np.unique(pixels @ np.array((65536, 256, 1)), return_inverse=True)
        parts = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=-1)
        nearest = np.abs(parts[:, None] - palette).sum(-1).argmin(1).astype(np.uint8)
        image = Image.fromarray(nearest[where].reshape(pixels.shape[:2]))
        image.putpalette(palette.astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return buffer.getvalue()
