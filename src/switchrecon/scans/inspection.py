"""What a file holds, in facts and in a picture."""

from pathlib import Path
from typing import Any

import numpy as np

from switchrecon.core.pictures import save_grid
from switchrecon.core.reading import ReadOptions
from switchrecon.physics.masks import full_centre_fraction, measured_acceleration
from switchrecon.physics.noise import relative_noise
from switchrecon.scans.convert import zero_filled_images
from switchrecon.scans.files import read_scan
from switchrecon.scans.scan import Scan

LOG_RANGE = 1e4  # of the strongest sample over those that are just seen


def _voxel(scan: Scan) -> list[float] | None:
    """Lengths of a voxel along H, W and the slices in mm, 0 where one is unknown; None where all are."""
    if scan.affine is not None:
        return [float(length) for length in np.linalg.norm(scan.affine[:3, :3], axis=0)]
    field = scan.geometry.get("field_of_view", (0.0, 0.0))
    voxel = [*(length / size for length, size in zip(field, scan.matrix, strict=True))]
    return [*voxel, float(scan.geometry.get("slice_spacing", 0))] if all(voxel) else None


def _centre_lines(mask: np.ndarray) -> int:
    """How many samples in a row are measured around the centre, along the phase encode."""
    row, middle = mask[mask.shape[0] // 2], mask.shape[1] // 2
    gaps = np.flatnonzero(~row)
    left, right = gaps[gaps <= middle], gaps[gaps >= middle]
    return int((right[0] if len(right) else len(row)) - (left[-1] + 1 if len(left) else 0)) if row[middle] else 0


def facts_of(path: Path, scan: Scan) -> dict[str, Any]:
    """What a scan is, as numbers and words that JSON can hold; nothing of it is of the patient.

    Parameters
    ----------
    path
        As the user gave it.
    scan
        As it was read.
    """
    middle, voxel, indices = len(scan.kspace) // 2, _voxel(scan), scan.geometry.get("indices")
    facts: dict[str, Any] = {
        "file": str(path),
        "format": scan.format.name if scan.format else "unknown",
        "holds": "images" if scan.image else "k-space",
        "synthetic": scan.synthetic,
        "slices": len(scan.kspace),
        "coils": scan.coils,
        "matrix": list(scan.matrix),
        "trajectory": "cartesian",
        "fully_sampled": scan.mask is None,
        "noise_samples": 0 if scan.noise is None else scan.noise.shape[1],
        "calibration": scan.calibration is not None,
        "voxel_mm": voxel,
        "field_of_view_mm": None
        if voxel is None
        else [size * n for size, n in zip(voxel[:2], scan.matrix, strict=True)],
        "orientation_known": scan.affine is not None,
        "sides_known": scan.affine is not None and bool(scan.geometry.get("sides_known", True)),
        "oversampling_removed": scan.geometry.get("oversampling", 1.0),
        "readouts": scan.geometry.get("readouts", {}),
        "measurements": scan.geometry.get("measurements", 1),
        "partitions": scan.geometry.get("partitions", 1),
        "series": {},
        "noise": _noise(scan, middle),
    }
    if indices is not None:
        counts = {name: len(np.unique(indices[:, i])) for i, name in enumerate(scan.geometry["order"])}
        facts["series"] = {name: count for name, count in counts.items() if count > 1}
    if scan.mask is not None:
        values = [measured_acceleration(own) for own in scan.mask if own.any()]
        facts["acceleration"] = [float(min(values)), float(max(values))]
        facts["centre_lines"] = _centre_lines(scan.mask[middle])
        facts["centre_fraction"] = full_centre_fraction(scan.mask[middle], 1.0)
    return facts


def _noise(scan: Scan, middle: int) -> float | None:
    """Of the middle slice, over its brightest pixel; None where it cannot be told."""
    mask = np.ones(scan.matrix, dtype=bool) if scan.mask is None else scan.mask[middle]
    found = relative_noise(scan.kspace[middle][None], mask[None], zero_filled_images(scan, [middle]))
    return found if np.isfinite(found) else None


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _sampling(facts: dict[str, Any]) -> str:
    if facts["fully_sampled"]:
        return "fully sampled"
    low, high = facts["acceleration"]
    much = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    centre = f"fully measured centre of {_count(facts['centre_lines'], 'line')}"
    return f"undersampled: measured acceleration {much}, {centre} (fraction {facts['centre_fraction']:.3f})"


def _readouts(facts: dict[str, Any]) -> list[str]:
    counts = dict(facts["readouts"])
    if not counts:
        return []
    read = [_count(counts.pop("imaging"), "imaging readout")]
    if facts["noise_samples"]:
        read.append(_count(counts.pop("noise"), "noise readout"))
    if facts["calibration"]:
        read.append(_count(counts.pop("parallel calibration"), "parallel calibration readout"))
    lines = [f"read: {', '.join(read)}"]
    if counts:
        lines.append(f"skipped: {', '.join(f'{number} of {kind}' for kind, number in sorted(counts.items()))}")
    if facts["measurements"] > 1:
        lines.append(f"the file holds {facts['measurements']} measurements; the last by name and number is read")
    return lines


def describe(facts: dict[str, Any]) -> list[str]:
    """The facts in sentences, one a line; the file comes first."""
    height, width = facts["matrix"]
    lines = [
        f"{facts['file']}: {facts['format']}, {facts['holds']}",
        f"{_count(facts['slices'], 'slice')}, {_count(facts['coils'], 'coil')}, {height}x{width} "
        "(readout x phase encode), Cartesian",
        _sampling(facts),
    ]
    if facts["synthetic"]:
        lines[1] = f"{_count(facts['slices'], 'slice')} of {height}x{width}"
        lines[2] = "warning: k-space is synthetic, computed from magnitude images, which flatters every reconstruction"
    if facts["series"]:
        lines.append("slices run over " + ", ".join(_count(n, name) for name, n in facts["series"].items()))
    if facts["partitions"] > 1:
        lines.append(f"three-dimensional: {facts['partitions']} partitions are its slices")
    if facts["oversampling_removed"] > 1:
        lines.append(f"readout oversampling of {facts['oversampling_removed']:g} removed")
    if facts["noise_samples"]:
        lines.append(f"noise scan: {_count(facts['noise_samples'], 'sample')} of each coil")
    if facts["noise"] is not None:
        lines.append(f"noise of the middle slice at most {facts['noise']:.2%} of its brightest pixel")
    if facts["voxel_mm"] is None:
        lines.append("field of view unknown")
    else:
        field = " x ".join(f"{length:.4g}" for length in facts["field_of_view_mm"])
        voxel = " x ".join(f"{length:.4g}" if length else "unknown" for length in facts["voxel_mm"])
        known = "" if facts["sides_known"] else ", orientation known but for mirrored sides"
        known = known if facts["orientation_known"] else ", orientation unknown"
        lines.append(f"field of view {field} mm, voxel {voxel} mm{known}")
    return [lines[0], *(f"  {line}" for line in [*lines[1:], *_readouts(facts)])]


def inspect_file(path: Path, picture: Path | None = None, options: ReadOptions | None = None) -> dict[str, Any]:
    """Read a file and return its facts; see :func:`facts_of`.

    Parameters
    ----------
    path
        A scan of any kind.
    picture
        A PNG of the middle slice, if wanted: what was measured, and the zero-filled image.
    options
        How the file is read; None: the defaults.

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
    if not measured.all():  # a mask that is all white shows nothing
        panels.append(measured.astype(float))
        zeros = "white: not zero (fully sampled, zeros at the border)"
        told = zeros if scan.mask is None else f"white: measured\nacceleration {measured_acceleration(measured):.2f}"
        titles.append(told)
    kind = "zero-filled image" if scan.mask is not None else "image"
    save_grid(target, [[*panels, image / white]], [[*titles, kind]])
