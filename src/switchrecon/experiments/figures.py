"""The figures of a cross-validation: the paper's Figs. 2 and 3, with images, and plots of the metrics."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from switchrecon.errors import RunError
from switchrecon.evaluation.volumes import ZERO_FILLED
from switchrecon.experiments.cells import Cell
from switchrecon.experiments.drawing import DrawnFigure, new_figure, not_drawn, save_figure
from switchrecon.experiments.grid import Grid
from switchrecon.experiments.plots import against_psnr, spectrum_plot
from switchrecon.experiments.results import Results
from switchrecon.metrics.statistics import Unit
from switchrecon.reports.figures import display_windows
from switchrecon.reports.records import Table

UPPER_BOUND = "supervised"
PROPOSED = "switchable"
FIG_3_ROWS = 3
MOST_COLUMNS = 8  # columns of Fig. 2; further methods are drawn below


@dataclass(frozen=True)
class StoredSlices:
    """Images of some slices of one fold and seed, as fractions of the reference's maximum: float32 (slices, H, W)."""

    places: list[tuple[str, str]]  # scan and slice
    reference: np.ndarray
    images: dict[str, np.ndarray]


def draw_figures(grid: Grid, results: Results, table: Table) -> list[DrawnFigure]:
    """Draw every figure of every setting from the stored cells."""
    drawn: list[DrawnFigure] = []
    for setting, part in table.settings.items():
        name = setting or next(iter(grid.recipe.settings))
        suffix = f"-{setting}" if setting else ""
        said = f" Setting {setting}." if setting else ""
        cells = _one_fold(grid, results, name)
        if cells:
            drawn.append(_fig_2(grid.out, suffix, said, cells))
            drawn.append(_fig_3(grid.out, suffix, said, cells, results))
        drawn.append(against_psnr(grid.out, suffix, said, part.methods, table.all_columns()))
        drawn.append(spectrum_plot(grid.out, suffix, said, table.error_spectrum, name))
    return drawn


def _one_fold(grid: Grid, results: Results, setting: str) -> list[Cell]:
    """Return the finished cells of the fold and seed with most finished cells; the first of several."""
    groups: dict[tuple[int, int], list[Cell]] = {}
    for cell in grid.cells:
        if cell.setting == setting and cell not in results.missing:
            groups.setdefault((cell.fold, cell.seed), []).append(cell)
    return max(groups.values(), key=len, default=[])


def _load(cells: Sequence[Cell], wanted: Sequence[tuple[str, str]] | None = None) -> StoredSlices:
    """Load the wanted slices of every cell, or the middle slice of each volume; all slices may not fit into memory."""
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
    return StoredSlices(list(wanted or ()), reference, images)


def busiest_square(image: np.ndarray, side: int) -> tuple[int, int]:
    """Return the top left corner of the square of an image (H, W) with most edges, the best part for a comparison."""
    rows, columns = np.gradient(image)
    edges = np.hypot(rows, columns).cumsum(0).cumsum(1)
    padded = np.pad(edges, ((1, 0), (1, 0)))
    sums = padded[side:, side:] - padded[:-side, side:] - padded[side:, :-side] + padded[:-side, :-side]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top), int(left)


def _fig_2(out: Path, suffix: str, said: str, cells: Sequence[Cell]) -> DrawnFigure:
    from matplotlib.patches import Rectangle

    stored = _load(cells)
    [(scan, number)], [reference] = stored.places, stored.reference
    shown = {"reference": reference} | {name: images[0] for name, images in stored.images.items()}
    errors = {name: np.abs(image - reference) for name, image in shown.items()}
    # Stored images are fractions of the reference's maximum, and so is the scale of the errors.
    white, scale = display_windows(reference, np.stack(list(shown.values())))
    side = max(8, min(reference.shape) // 4)
    top, left = busiest_square(reference, side)
    blocks = math.ceil(len(shown) / MOST_COLUMNS)
    columns = math.ceil(len(shown) / blocks)
    figure = new_figure(1.5 * columns + 0.5, 4.75 * blocks)
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
        "every method with the estimate that the recipe asks for. Above: images; middle: the marked square, the one "
        "with the most edges; below: absolute error as a fraction of the reference's maximum, one scale for all." + said
    )
    return save_figure(figure, out, f"fig2{suffix}", caption)


def _fig_3(out: Path, suffix: str, said: str, cells: Sequence[Cell], results: Results) -> DrawnFigure:
    name = f"fig3{suffix}"
    cell = cells[0]
    rows = results.settings[cell.setting]
    if not {UPPER_BOUND, PROPOSED} <= {each.row for each in cells}:
        return not_drawn(out, name, f"it compares {PROPOSED} with {UPPER_BOUND}, and not both are there.{said}")

    def of(method: str, metric: str, unit: Unit) -> float:
        return rows[method].values["slice-max"][cell.seed][unit].get(metric, math.nan)

    found, total = [], 0
    for unit in rows[UPPER_BOUND].values["slice-max"][cell.seed]:
        if unit.fold == cell.fold:
            total += 1
            lower = of(PROPOSED, "psnr", unit) < of(UPPER_BOUND, "psnr", unit)
            gain = of(UPPER_BOUND, "lpips", unit) - of(PROPOSED, "lpips", unit)
            if not math.isfinite(gain):
                return not_drawn(out, name, f"LPIPS is n/a.{said}")
            if lower and gain > 0:
                found.append((gain, unit))
    if not found:
        words = f"of {total} slices of fold {cell.fold}, {PROPOSED} has none with lower PSNR and better"
        return not_drawn(out, name, f"{words} LPIPS than {UPPER_BOUND}.{said}")
    best = sorted(found, key=lambda pair: (-pair[0], pair[1]))[:FIG_3_ROWS]
    columns = (ZERO_FILLED, UPPER_BOUND, PROPOSED)
    stored = _load([each for each in cells if each.row in columns], [(unit.scan, unit.slice) for _, unit in best])
    figure = new_figure(1.9 * (len(columns) + 1), 2.2 * len(best))
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
    return save_figure(figure, out, name, caption)


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
