"""Facts about a file, and a picture of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from switchrecon.core.pictures import save_grid
from switchrecon.core.reading import ReadOptions
from switchrecon.core.records import IndexedRecord
from switchrecon.physics.masks import full_centre_fraction, measured_acceleration
from switchrecon.physics.noise import relative_noise
from switchrecon.scans.convert import zero_filled_images
from switchrecon.scans.files import read_scan
from switchrecon.scans.scan import Scan

LOG_RANGE = 1e4  # strongest sample over the weakest that is visible


def _voxel(scan: Scan) -> tuple[float, float, float] | None:
    """Return the lengths of a voxel along H, W and the slices in mm, 0 where one is unknown; None if all are."""
    if scan.affine is not None:
        row, column, step = (float(length) for length in np.linalg.norm(scan.affine[:3, :3], axis=0))
        return row, column, step
    height, width = scan.geometry.field_of_view
    voxel = height / scan.matrix[0], width / scan.matrix[1]
    return (*voxel, float(scan.geometry.slice_spacing)) if all(voxel) else None


def _centre_lines(mask: np.ndarray) -> int:
    """Return how many adjacent samples are measured around the centre, along the phase encode."""
    row, middle = mask[mask.shape[0] // 2], mask.shape[1] // 2
    gaps = np.flatnonzero(~row)
    left, right = gaps[gaps <= middle], gaps[gaps >= middle]
    return int((right[0] if len(right) else len(row)) - (left[-1] + 1 if len(left) else 0)) if row[middle] else 0


class ScanFacts(IndexedRecord):
    """Facts about a scan; nothing of them is about the patient.

    Attributes
    ----------
    file, format, holds
        Path as the user gave it, name of the format, and ``images`` or ``k-space``.
    synthetic
        Whether k-space was computed from magnitude images.
    slices, coils, matrix
        Their numbers, and (H, W).
    trajectory, fully_sampled
        How k-space was sampled.
    noise_samples, calibration
        Samples of the noise scan in each coil; whether there are lines for parallel-imaging calibration.
    voxel_mm, field_of_view_mm
        Lengths along H, W and the slices, and along H and W; 0 where one is unknown, None if all are.
    orientation_known, sides_known
        Whether the axes are known, and also their directions.
    oversampling_removed
        Factor of the readout oversampling that was removed.
    readouts, measurements, partitions
        See :class:`switchrecon.scans.geometry.Geometry`.
    series
        Numbers of contrasts, repetitions, phases and sets, of those that there are several of.
    noise
        Noise of the middle slice, relative to its brightest pixel; None if it cannot be estimated.
    acceleration
        Least and largest measured acceleration of a slice; None if fully sampled.
    centre_lines, centre_fraction
        The fully measured centre of the middle slice, in lines and as a fraction of each side; None if fully sampled.
    """

    file: str
    format: str
    holds: str
    synthetic: bool
    slices: int
    coils: int
    matrix: tuple[int, int]
    trajectory: str = "cartesian"
    fully_sampled: bool
    noise_samples: int
    calibration: bool
    voxel_mm: tuple[float, float, float] | None
    field_of_view_mm: tuple[float, float] | None
    orientation_known: bool
    sides_known: bool
    oversampling_removed: float
    readouts: Mapping[str, int]
    measurements: int
    partitions: int
    series: Mapping[str, int]
    noise: float | None
    acceleration: tuple[float, float] | None = None
    centre_lines: int | None = None
    centre_fraction: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the facts as plain values; without those about the mask if the scan is fully sampled."""
        of_mask = {"acceleration", "centre_lines", "centre_fraction"}
        return self.model_dump(exclude=of_mask if self.fully_sampled else None)


def facts_of(path: Path, scan: Scan) -> ScanFacts:
    """Return the facts about a scan.

    Parameters
    ----------
    path
        Path as the user gave it.
    scan
        The scan that was read from it.
    """
    middle, voxel, geometry = len(scan.kspace) // 2, _voxel(scan), scan.geometry
    counters = {} if geometry.indices is None else dict(zip(geometry.order, geometry.indices.T, strict=True))
    counts = {name: len(np.unique(numbers)) for name, numbers in counters.items()}
    sampling: dict[str, Any] = {}
    if scan.mask is not None:
        values = [measured_acceleration(mask) for mask in scan.mask if mask.any()]
        sampling["acceleration"] = (float(min(values)), float(max(values)))
        sampling["centre_lines"] = _centre_lines(scan.mask[middle])
        sampling["centre_fraction"] = full_centre_fraction(scan.mask[middle], 1.0)
    return ScanFacts(
        file=str(path),
        format=scan.format.name if scan.format else "unknown",
        holds="images" if scan.image else "k-space",
        synthetic=scan.synthetic,
        slices=len(scan.kspace),
        coils=scan.coils,
        matrix=scan.matrix,
        fully_sampled=scan.mask is None,
        noise_samples=0 if scan.noise is None else scan.noise.shape[1],
        calibration=scan.calibration is not None,
        voxel_mm=voxel,
        field_of_view_mm=None if voxel is None else (voxel[0] * scan.matrix[0], voxel[1] * scan.matrix[1]),
        orientation_known=scan.affine is not None,
        sides_known=scan.affine is not None and geometry.sides_known,
        oversampling_removed=geometry.oversampling,
        readouts=geometry.readouts,
        measurements=geometry.measurements,
        partitions=geometry.partitions,
        series={name: count for name, count in counts.items() if count > 1},
        noise=_noise(scan, middle),
        **sampling,
    )


def _noise(scan: Scan, middle: int) -> float | None:
    """Return the noise of the middle slice, relative to its brightest pixel; None if it cannot be estimated."""
    mask = np.ones(scan.matrix, dtype=bool) if scan.mask is None else scan.mask[middle]
    found = relative_noise(scan.kspace[middle][None], mask[None], zero_filled_images(scan, [middle]))
    return found if np.isfinite(found) else None


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _sampling(facts: ScanFacts) -> str:
    if facts.acceleration is None:
        return "fully sampled"
    low, high = facts.acceleration
    much = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    centre = f"fully measured centre of {_count(facts.centre_lines or 0, 'line')}"
    return f"undersampled: measured acceleration {much}, {centre} (fraction {facts.centre_fraction or 0:.3f})"


def _readouts(facts: ScanFacts) -> list[str]:
    counts = dict(facts.readouts)
    if not counts:
        return []
    read = [_count(counts.pop("imaging"), "imaging readout")]
    if facts.noise_samples:
        read.append(_count(counts.pop("noise"), "noise readout"))
    if facts.calibration:
        read.append(_count(counts.pop("parallel calibration"), "parallel calibration readout"))
    lines = [f"read: {', '.join(read)}"]
    if counts:
        lines.append(f"skipped: {', '.join(f'{number} of {kind}' for kind, number in sorted(counts.items()))}")
    if facts.measurements > 1:
        lines.append(f"the file holds {facts.measurements} measurements; the last by name and number is read")
    return lines


def describe(facts: ScanFacts) -> list[str]:
    """Return the facts as sentences, one for each line; the file comes first."""
    height, width = facts.matrix
    lines = [
        f"{facts.file}: {facts.format}, {facts.holds}",
        f"{_count(facts.slices, 'slice')}, {_count(facts.coils, 'coil')}, {height}x{width} "
        "(readout x phase encode), Cartesian",
        _sampling(facts),
    ]
    if facts.synthetic:
        lines[1] = f"{_count(facts.slices, 'slice')} of {height}x{width}"
        lines[2] = "warning: k-space is synthetic, computed from magnitude images, which flatters every reconstruction"
    if facts.series:
        lines.append("slices run over " + ", ".join(_count(n, name) for name, n in facts.series.items()))
    if facts.partitions > 1:
        lines.append(f"three-dimensional: {facts.partitions} partitions are its slices")
    if facts.oversampling_removed > 1:
        lines.append(f"readout oversampling of {facts.oversampling_removed:g} removed")
    if facts.noise_samples:
        lines.append(f"noise scan: {_count(facts.noise_samples, 'sample')} of each coil")
    if facts.noise is not None:
        lines.append(f"noise of the middle slice at most {facts.noise:.2%} of its brightest pixel")
    if facts.voxel_mm is None or facts.field_of_view_mm is None:
        lines.append("field of view unknown")
    else:
        field = " x ".join(f"{length:.4g}" for length in facts.field_of_view_mm)
        voxel = " x ".join(f"{length:.4g}" if length else "unknown" for length in facts.voxel_mm)
        known = "" if facts.sides_known else ", orientation known but for mirrored sides"
        known = known if facts.orientation_known else ", orientation unknown"
        lines.append(f"field of view {field} mm, voxel {voxel} mm{known}")
    return [lines[0], *(f"  {line}" for line in [*lines[1:], *_readouts(facts)])]


def inspect_file(path: Path, picture: Path | None = None, options: ReadOptions | None = None) -> ScanFacts:
    """Read a file and return its facts; see :func:`facts_of`.

    Parameters
    ----------
    path
        A scan of any kind.
    picture
        A PNG of the middle slice, if wanted: what was measured, and the zero-filled image.
    options
        Options for reading; None: the defaults.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    scan = read_scan(path, options)
    if picture is not None:
        draw(scan, picture)
    return facts_of(path, scan)


def draw(scan: Scan, target: Path) -> None:
    """Draw the middle slice: its k-space, where of it was measured, and the root sum of squares of its images."""
    middle = len(scan.kspace) // 2
    kspace = scan.kspace[middle].reshape(-1, *scan.matrix)
    measured = (kspace != 0).any(0) if scan.mask is None else scan.mask[middle]
    image = zero_filled_images(scan, [middle])[0]
    white = np.percentile(image, 99.8) or 1.0
    energy = np.log1p(LOG_RANGE * np.abs(kspace).max(0) / np.abs(kspace).max())
    panels, titles = [energy / energy.max()], [f"k-space, log magnitude\nslice {middle} of {len(scan.kspace)}"]
    if not measured.all():  # an all-white mask would show nothing
        panels.append(measured.astype(float))
        zeros = "white: not zero (fully sampled, zeros at the border)"
        told = zeros if scan.mask is None else f"white: measured\nacceleration {measured_acceleration(measured):.2f}"
        titles.append(told)
    kind = "zero-filled image" if scan.mask is not None else "image"
    save_grid(target, [[*panels, image / white]], [[*titles, kind]])
