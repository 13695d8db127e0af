"""The page about the reconstruction of a scan: image, invented, doubt, and the error where there is a truth."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from switchrecon.data.piles import evenly
from switchrecon.errors import ConfigError
from switchrecon.physics.measured import brightest
from switchrecon.reconstruction.files import Made
from switchrecon.reports.figures import picture_axes, plot_figure, png_of
from switchrecon.reports.sections import Drawing, Section, write_sections
from switchrecon.reports.viewer.page import Part, embed
from switchrecon.reports.viewer.planes import MAPS, Kind
from switchrecon.reports.viewer.stacks import Layer, Plane, Stack
from switchrecon.runs.environment import versions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 3  # slices, evenly spread
VIEWER_BYTES = 4_000_000  # of the viewer's images, as base64
IMAGE, PARTS = 120.0, 30.0  # upper ends of the scales, % of the 99th percentile: the same on every page


def write_scan_page(made: Made, truth: np.ndarray | None, mask: np.ndarray, file: Path) -> Path:
    """Write a page about one reconstruction; it names no file.

    Parameters
    ----------
    made
        What was made of a scan.
    truth
        Magnitudes (slices, H, W) of a fully sampled scan; None where there is no truth.
    mask
        What was measured, boolean (slices, H, W).
    file
        Where to.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    images = np.abs(made.image)
    parts: dict[str, np.ndarray] = {each.name: np.abs(each.values) for each in made.maps}
    if truth is not None:
        parts["error"] = np.abs(images - truth)
    drawings = []
    for number in evenly(np.flatnonzero(images.any((1, 2))).tolist(), SHOWN):
        one = {name: values[number] for name, values in parts.items()}
        caption = f"Slice {number}. Every scale is in % of the 99th percentile of the slice's image."
        png = maps_figure(images[number], one)
        drawings.append(Drawing(png, caption, f"{caption} Image, {', '.join(parts)}."))
    about = [f"{each.name}: {each.about}." for each in made.maps]
    if truth is not None:
        about.append("error: the magnitude's difference from that of the fully sampled scan.")
    section = Section("Maps", about, (), drawings)
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    viewer = _viewer(images, parts, truth, mask)
    return write_sections(file, "Reconstruction of a scan", created, made.sentences, [section], versions(), viewer)


def maps_figure(image: np.ndarray, parts: Mapping[str, np.ndarray]) -> bytes:
    """Draw an image and maps of it side by side, each with its scale in % of the image's 99th percentile.

    Parameters
    ----------
    image
        Magnitudes (H, W).
    parts
        Maps by name, in the image's units, (H, W).
    """
    white = float(brightest(torch.from_numpy(np.ascontiguousarray(image)))) or float(image.max()) or 1.0
    figure = plot_figure(3.4)
    panels: list[Axes] = figure.subplots(1, 1 + len(parts), squeeze=False)[0].tolist()
    for axes, (name, values) in zip(panels, {"image": image, **parts}.items(), strict=True):
        colours, upper = ("gray", IMAGE) if name == "image" else ("inferno", PARTS)
        shown = picture_axes(axes, 100 * values / white, colours, upper)
        axes.set_title(name, fontsize=9)
        axes.set_aspect("equal")
        bar = figure.colorbar(shown, ax=axes, orientation="horizontal", extend="max", pad=0.02)
        bar.set_label("% of the 99th percentile", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    return png_of(figure)


def _viewer(
    images: np.ndarray, parts: Mapping[str, np.ndarray], truth: np.ndarray | None, mask: np.ndarray
) -> Part | None:
    """Return the viewer with the slices that fit; None where not one fits."""

    def plane(values: np.ndarray) -> Plane:
        return lambda position: values[position]

    kinds: dict[Kind, Plane] = {"image": plane(images)}
    kinds |= {kind: plane(parts[kind]) for kind in MAPS if kind in parts}
    layers = [Layer("reconstruction", kinds)]
    if truth is not None:
        layers.insert(0, Layer("reference", {"image": plane(truth)}))
    stack = Stack(
        "scan-001",
        tuple(range(len(images))),
        (images.shape[1], images.shape[2]),
        tuple(layers),
        lambda position: mask[position],
        None if truth is None else 0,
    )
    try:
        return embed([stack], VIEWER_BYTES, embedded=True)
    except ConfigError:
        return None
