"""The figures of a cross-validation, as PNG and PDF: the paper's Figs. 2 and 3, PSNR against the other
metrics, error spectra."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from switchrecon.core.files import atomic_file
from switchrecon.errors import RunError
from switchrecon.evaluation.volumes import ZERO_FILLED
from switchrecon.experiments.cells import Cell
from switchrecon.experiments.grid import Grid
from switchrecon.experiments.results import Results
from switchrecon.metrics.statistics import Unit
from switchrecon.metrics.table import Column
from switchrecon.reports.figures import display_windows
from switchrecon.reports.records import Row, Spectra, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UPPER_BOUND = "supervised"
PROPOSED = "switchable"
FIG_3_ROWS = 3
MOST_COLUMNS = 8  # side by side in Fig. 2; more methods begin another block
DPI = 150
MARKERS = {"hard": "s", "ensemble": "^", "ensemble-hard": "D", "generator": "v", "generator-hard": "P"}


@dataclass(frozen=True)
class Drawn:
    """A figure that was written (``name``.png and .pdf), or why it was not."""

    name: str
    caption: str
    file: Path | None


@dataclass(frozen=True)
class Stored:
    """Some slices of one fold and seed, as fractions of the reference's maximum: float32 (slices, H, W)."""

    places: list[tuple[str, str]]  # scan and slice
    reference: np.ndarray
    images: dict[str, np.ndarray]


def draw_figures(grid: Grid, results: Results, table: Table) -> list[Drawn]:
    """Draw every figure of every setting from the stored cells."""
    drawn: list[Drawn] = []
    for setting, part in table.settings.items():
        name = setting or next(iter(grid.recipe.settings))
        suffix = f"-{setting}" if setting else ""
        said = f" Setting {setting}." if setting else ""
        cells = _one_fold(grid, results, name)
        if cells:
            drawn.append(_fig_2(grid.out, suffix, said, cells))
            drawn.append(_fig_3(grid.out, suffix, said, cells, results))
        drawn.append(_against_psnr(grid.out, suffix, said, part.methods, table.all_columns()))
        drawn.append(_spectrum(grid.out, suffix, said, table.error_spectrum, name))
    return drawn


def _one_fold(grid: Grid, results: Results, setting: str) -> list[Cell]:
    """The finished cells of the fold and seed that have the most, the earliest of these."""
    groups: dict[tuple[int, int], list[Cell]] = {}
    for cell in grid.cells:
        if cell.setting == setting and cell not in results.missing:
            groups.setdefault((cell.fold, cell.seed), []).append(cell)
    return max(groups.values(), key=len, default=[])


def _load(cells: Sequence[Cell], wanted: Sequence[tuple[str, str]] | None = None) -> Stored:
    """These slices of every cell, or the middle one of all: a whole test set may not fit into memory for every row."""
    images: dict[str, np.ndarray] = {}
    for cell in cells:
        file = cell.folder / "evaluation" / "images.npz"
        try:
            with np.load(file, allow_pickle=False) as stored:
                places = list(zip(map(str, stored["scan"]), map(str, stored["slice"]), strict=True))
                wanted = [places[len(places) // 2]] if wanted is None else wanted
                chosen = [places.index(place) for place in wanted]
                names = [str(name) for name in stored["methods"]]
                loaded = stored["images"]
                images[ZERO_FILLED] = loaded[names.index(ZERO_FILLED), chosen].astype(np.float32)
                images[cell.row] = loaded[names.index(cell.config.method), chosen].astype(np.float32)
                reference = stored["reference"][chosen].astype(np.float32)
        except (OSError, ValueError, LookupError) as error:
            raise RunError(f"{file}: damaged ({error})") from error
    return Stored(list(wanted or ()), reference, images)


def busiest_square(image: np.ndarray, side: int) -> tuple[int, int]:
    """Top left corner of the square of an image (H, W) with the most edges, where there is something to compare."""
    rows, columns = np.gradient(image)
    edges = np.hypot(rows, columns).cumsum(0).cumsum(1)
    padded = np.pad(edges, ((1, 0), (1, 0)))
    sums = padded[side:, side:] - padded[:-side, side:] - padded[side:, :-side] + padded[:-side, :-side]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top), int(left)


def _fig_2(out: Path, suffix: str, said: str, cells: Sequence[Cell]) -> Drawn:
    from matplotlib.patches import Rectangle

    stored = _load(cells)
    [(scan, number)], [reference] = stored.places, stored.reference
    shown = {"reference": reference} | {name: images[0] for name, images in stored.images.items()}
    errors = {name: np.abs(image - reference) for name, image in shown.items()}
    # Stored images are fractions of the reference's maximum, which the scale of the errors is in, too.
    white, scale = display_windows(reference, np.stack(list(shown.values())))
    side = max(8, min(reference.shape) // 4)
    top, left = busiest_square(reference, side)
    blocks = math.ceil(len(shown) / MOST_COLUMNS)
    columns = math.ceil(len(shown) / blocks)
    figure = _figure(1.5 * columns + 0.5, 4.75 * blocks)
    axes = figure.subplots(3 * blocks, columns, squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    for place_of, (name, image) in enumerate(shown.items()):
        block, column = divmod(place_of, columns)
        above, middle, below = axes[3 * block : 3 * block + 3, column]
        _grey(above, image, white)
        above.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, ec="#ffcf33", lw=1))
        above.set_title(name, fontsize=7)
        _grey(middle, image[top : top + side, left : left + side], white)
        drawn = _show(below, errors[name], "inferno", scale)
    bar = figure.colorbar(
        drawn, ax=axes.ravel().tolist(), fraction=0.015, pad=0.01, extend="max", extendfrac=0.01, aspect=60
    )
    bar.ax.tick_params(labelsize=6)
    caption = (
        f"The middle slice of the test set of fold {cells[0].fold} ({scan}, slice {number}), "
        "every method with the recipe's own estimate. Above: images; middle: the marked square, the one with the most "
        "edges; below: absolute error as a fraction of the reference's maximum, one scale for all." + said
    )
    return _save(figure, out, f"fig2{suffix}", caption)


def _fig_3(out: Path, suffix: str, said: str, cells: Sequence[Cell], results: Results) -> Drawn:
    name = f"fig3{suffix}"
    cell = cells[0]
    rows = results.settings[cell.setting]
    if not {UPPER_BOUND, PROPOSED} <= {own.row for own in cells}:
        return _not_drawn(out, name, f"it compares {PROPOSED} with {UPPER_BOUND}, and not both are there.{said}")

    def of(method: str, metric: str, unit: Unit) -> float:
        return rows[method].values["slice-max"][cell.seed][unit].get(metric, math.nan)

    found, total = [], 0
    for unit in rows[UPPER_BOUND].values["slice-max"][cell.seed]:
        if unit.fold == cell.fold:
            total += 1
            lower = of(PROPOSED, "psnr", unit) < of(UPPER_BOUND, "psnr", unit)
            gain = of(UPPER_BOUND, "lpips", unit) - of(PROPOSED, "lpips", unit)
            if not math.isfinite(gain):
                return _not_drawn(out, name, f"LPIPS is n/a.{said}")
            if lower and gain > 0:
                found.append((gain, unit))
    if not found:
        words = f"of {total} slices of fold {cell.fold}, {PROPOSED} has none with lower PSNR and better"
        return _not_drawn(out, name, f"{words} LPIPS than {UPPER_BOUND}.{said}")
    best = sorted(found, key=lambda pair: (-pair[0], pair[1]))[:FIG_3_ROWS]
    columns = (ZERO_FILLED, UPPER_BOUND, PROPOSED)
    stored = _load([own for own in cells if own.row in columns], [(unit.scan, unit.slice) for _, unit in best])
    figure = _figure(1.9 * (len(columns) + 1), 2.2 * len(best))
    axes = figure.subplots(len(best), len(columns) + 1, squeeze=False)
    for place, (line, (_, unit)) in enumerate(zip(axes, best, strict=True)):
        reference = stored.reference[place]
        white, _ = display_windows(reference, reference[None])
        side = max(8, min(reference.shape) // 4)
        square = (*busiest_square(reference, side), side)
        _with_inset(line[0], reference, square, white)
        line[0].set_title(f"reference\n{unit.scan}, slice {unit.slice}", fontsize=7)
        for axis, method in zip(line[1:], columns, strict=True):
            _with_inset(axis, stored.images[method][place], square, white)
            scores = f"{of(method, 'psnr', unit):.2f} dB · LPIPS {of(method, 'lpips', unit):.3f}"
            axis.set_title(f"{method}\n{scores}", fontsize=7)
    caption = (
        f"Slices where {PROPOSED} has lower PSNR but better LPIPS than {UPPER_BOUND}: {len(found)} of {total} in fold "
        f"{cell.fold}; shown are the {len(best)} with the largest gain in LPIPS. PSNR with each slice's maximum." + said
    )
    return _save(figure, out, name, caption)


def _against_psnr(out: Path, suffix: str, said: str, methods: Mapping[str, Row], columns: Sequence[Column]) -> Drawn:
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
        return _not_drawn(out, name, f"no method has {first.title} and another metric.{said}")
    figure = _figure(1.6 + 2.6 * len(known), 3.4)
    panels = figure.subplots(1, len(known), squeeze=False)[0]
    for axes, (column, of) in zip(panels, known.items(), strict=True):
        _scatter(axes, first, column, of, _colours(methods))
    shown = {method for of in known.values() for method in of}
    for estimate, marker in MARKERS.items():
        if any(method.endswith(f"/{estimate}") for method in shown):
            panels[-1].plot([], [], ls="none", color="#1f2933", marker=marker, ms=4, label=f"…/{estimate}")
    labelled = {text: handle for axes in panels for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(labelled.values(), labelled.keys(), fontsize=6.5, loc="outside right upper")
    caption = f"{first.title} against the other metrics: means over folds. Better is to the right"
    return _save(figure, out, name, f"{caption}, and up where an arrow says which side is better.{said}")


def _scatter(
    axes: Any, first: Column, column: Column, points: Mapping[str, tuple[float, float]], colours: Mapping[str, Any]
) -> None:
    """One metric against another, with its better side above."""
    for method, (x, y) in points.items():
        row, _, estimate = method.partition("/")
        style = {"color": colours[row], "marker": MARKERS.get(estimate, "o"), "ms": 4 if estimate else 7}
        axes.plot(x, y, ls="none", label=None if estimate else row, **style)
    axes.set_xlabel(f"{first.header} →", fontsize=8, parse_math=False)
    label = {"higher": f"{column.header} →", "lower": f"← {column.header}", "": column.header}[column.better]
    axes.set_ylabel(label, fontsize=8, parse_math=False)
    if column.better == "lower":
        if min(y for _, y in points.values()) > 0:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}")
        axes.invert_yaxis()
    axes.tick_params(which="both", labelsize=7)
    axes.grid(color="#e4e7eb", lw=0.6)


def _spectrum(out: Path, suffix: str, said: str, spectrum: Spectra, setting: str) -> Drawn:
    figure = _figure(7.5, 4.0)
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
    return _save(figure, out, f"error-spectrum{suffix}", caption)


def _colours(methods: Iterable[str]) -> dict[str, Any]:
    """A colour for each row, the same in every figure of a setting; estimates share their row's."""
    from matplotlib import colormaps

    rows = dict.fromkeys(method.partition("/")[0] for method in methods)
    palette = colormaps["tab10" if len(rows) <= 10 else "tab20"]
    return {row: palette(number % palette.N) for number, row in enumerate(rows)}


def _with_inset(axis: Any, image: np.ndarray, square: tuple[int, int, int], white: float) -> None:
    top, left, side = square
    _grey(axis, image, white)
    inset = axis.inset_axes((0.58, 0.0, 0.42, 0.42))
    _grey(inset, image[top : top + side, left : left + side], white)
    inset.set_axis_on()
    inset.set_xticks([])
    inset.set_yticks([])
    for spine in inset.spines.values():
        spine.set_color("#ffcf33")


def _grey(axis: Any, image: np.ndarray, white: float) -> None:
    _show(axis, image, "gray", white)


def _show(axis: Any, image: np.ndarray, colours: str, upper: float) -> Any:
    axis.set_axis_off()
    return axis.imshow(image, cmap=colours, vmin=0, vmax=upper, interpolation="nearest")


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _not_drawn(out: Path, name: str, reason: str) -> Drawn:
    for kind in ("png", "pdf"):  # of an earlier state of the grid
        (out / f"{name}.{kind}").unlink(missing_ok=True)
    return Drawn(name, f"Not drawn: {reason}", None)


def _save(figure: "Figure", out: Path, name: str, caption: str) -> Drawn:
    # Without dates and programme names, so that the same cells give the same bytes.
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }
    for kind, own in metadata.items():
        with atomic_file(out / f"{name}.{kind}", suffix=f".{kind}") as temporary:
            figure.savefig(temporary, metadata=own)
    return Drawn(name, caption, out / f"{name}.png")
