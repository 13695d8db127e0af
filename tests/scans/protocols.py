"""Random MRD protocols, and a sorter of readouts that shares nothing with the package.

The sorter is written from the format's documentation and from docs/formats.md, one readout and one sample at a time,
with transforms as matrices. It is slow and simple, so that it can be checked by reading it.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from switchrecon.core.reading import ReadOptions
from switchrecon.scans.convert import writers
from switchrecon.scans.files import read_scan
from switchrecon.scans.scan import Scan
from switchrecon.scans.series import one_series, series_of
from tests.scans.mrd_files import header, readout, write_mrd


def dft(size: int) -> np.ndarray:
    """The centred orthonormal transform as a matrix."""
    places = np.arange(size) - size // 2
    return np.exp(-2j * np.pi * np.outer(places, places) / size) / np.sqrt(size)


def cut(size: int, wanted: int) -> np.ndarray:
    """The matrix that crops or zero-pads about the centre sample."""
    matrix = np.zeros((wanted, size))
    for new in range(wanted):
        old = new - wanted // 2 + size // 2
        if 0 <= old < size:
            matrix[new, old] = 1
    return matrix


def shrink(size: int, wanted: int) -> np.ndarray:
    """K-space of ``size`` samples to k-space of the central ``wanted`` samples of its image."""
    return dft(wanted) @ cut(size, wanted) @ dft(size).conj().T


@dataclass
class Protocol:
    """One random scan: what was measured, and what the sorter makes of it."""

    sizes: tuple[int, int, int]  # encoded readout, phase encode, partition
    recon: tuple[int, int, int]
    fields: tuple[float, float, float]
    recon_fields: tuple[float, float, float]
    centre: tuple[int, int]
    coils: int
    lines: list[dict[str, Any]] = field(default_factory=list)

    def write(self, path: Path) -> Path:
        """An MRD file of it."""
        xml = header(self.sizes, self.recon, self.fields, self.recon_fields, self.centre)
        return write_mrd(path, xml, [readout(**line) for line in self.lines])


def draw(seed: int) -> Protocol:
    """A protocol of random sizes, repetitions, averages, directions, partial Fourier and oversampling."""
    random = np.random.RandomState(seed)
    oversampling = int(random.choice([1, 1, 2]))
    height, width = 2 * random.randint(4, 9) * oversampling, random.randint(6, 17)
    depth = int(random.choice([1, 1, 1, 2, 4]))
    fields = (200.0 * oversampling, 150.0, 5.0 * depth)
    phase_oversampling = float(random.choice([1, 1, 1.25]))
    recon_fields = (200.0, 150.0 / phase_oversampling, 5.0 * max(depth // int(random.choice([1, 2])), 1))
    base = height // oversampling
    recon = (
        base + int(random.choice([0, 0, 4, oversampling * base])),
        width + int(random.choice([0, 0, 3, -2])),
        depth,
    )
    undersampled = bool(random.randint(2))
    low = int(random.choice([0, 0, random.randint(0, width // 3)]))  # lines missing below: partial Fourier
    missing = int(random.choice([0, 1])) if depth == 4 else 0  # partitions below: partial Fourier there, too
    centre = (width // 2 - low, depth // 2 - missing)
    protocol = Protocol((height, width, depth), recon, fields, recon_fields, centre, random.randint(1, 4))
    asked = [line for line in range(low, width) if not undersampled or (line - low) % 3 == 0 or line == width - 1]
    shorter = int(random.choice([0, 0, random.randint(1, height // 3)]))  # samples missing in front: partial echo
    counts = [random.randint(1, 3), random.randint(1, 3), *random.choice([1, 1, 1, 2], 2), random.randint(1, 3)]
    for contrast, repetition, phase, number_of_set, number in np.ndindex(*counts):
        for partition in range(missing, depth):
            for line in asked:
                for average in range(int(random.choice([1, 1, 2, 3]))):
                    numbers = {"contrast": contrast, "repetition": repetition, "average": average}
                    numbers |= {"phase": phase, "set": number_of_set}
                    numbers |= {"kspace_encode_step_1": line - low, "kspace_encode_step_2": partition - missing}
                    numbers["slice"] = number if depth == 1 else 0
                    protocol.lines.append(_line(random, protocol.coils, height, shorter, numbers))
    random.shuffle(protocol.lines)
    for flag in random.choice([23, 24, 26, 27, 28], 2):  # what is not for the image
        protocol.lines.insert(0, {"samples": 1e3 * _noise(random, protocol.coils, height), "flags": [int(flag)]})
    return protocol


def _noise(random: np.random.RandomState, coils: int, samples: int) -> np.ndarray:
    return (random.normal(size=(coils, samples)) + 1j * random.normal(size=(coils, samples))).astype(np.complex64)


def _line(
    random: np.random.RandomState, coils: int, height: int, shorter: int, numbers: dict[str, int]
) -> dict[str, Any]:
    """A readout: some are short in front, some carry samples to discard, some run backwards."""
    missing = int(random.choice([0, shorter]))
    before, after = (int(random.choice([0, 0, 2])) for _ in range(2))
    samples = _noise(random, coils, before + height - missing + after)
    backwards = bool(random.choice([0, 0, 1]))
    kept = height - missing
    echo = height // 2 - missing  # among the samples that are kept, in the direction of a forward readout
    if backwards and echo != kept // 2:
        echo = kept - 1 - echo
    fields = {"discard_pre": before, "discard_post": after, "center_sample": before + echo}
    return {"samples": samples, "flags": [22] if backwards else [], **fields, **numbers}


def has_gaps(mask: np.ndarray) -> bool:
    """Whether more than one sample in a hundred is missing between measured ones of its row or of its column."""
    missing = 0
    for row, column in np.argwhere(~mask):
        along, across = mask[row], mask[:, column]
        inside_row = along[:column].any() and along[column:].any()
        missing += bool(inside_row or (across[:row].any() and across[row:].any()))
    return missing > 0.01 * mask.size and mask.sum() <= 0.99 * mask.size


def sort(protocol: Protocol) -> tuple[np.ndarray, np.ndarray | None]:
    """K-space (slices, coils, H, W) and what was measured, boolean (slices, H, W); None where fully sampled."""
    height, width, depth = protocol.sizes
    found: dict[tuple[int, ...], dict[tuple[int, int, int], list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    for line in protocol.lines:
        if set(line["flags"]) & {23, 24, 26, 27, 28}:
            continue
        before, after = line["discard_pre"], line["discard_post"]
        kept = line["samples"][:, before : line["samples"].shape[1] - after]
        echo = line["center_sample"] - before
        if 22 in line["flags"]:
            if echo != kept.shape[1] // 2:
                echo = kept.shape[1] - 1 - echo
            kept = kept[:, ::-1]
        place = line["kspace_encode_step_1"] + width // 2 - protocol.centre[0]
        partition = line["kspace_encode_step_2"] + depth // 2 - protocol.centre[1]
        for number in range(kept.shape[1]):
            sample = number + height // 2 - echo
            key = tuple(line[name] for name in ("contrast", "repetition", "phase", "set", "slice"))
            found[key][partition, sample, place].append(kept[:, number])
    volumes, masks = [], []
    for _, samples in sorted(found.items()):
        volume = np.zeros((depth, protocol.coils, height, width), complex)
        mask = np.zeros((height, width), bool)
        for (partition, row, column), values in samples.items():
            volume[partition, :, row, column] = np.mean(values, axis=0)
            mask[row, column] = True
        volumes.append(volume)
        masks.append(mask)
    return _to_image_space(protocol, volumes, masks)


def _to_image_space(
    protocol: Protocol, volumes: list[np.ndarray], masks: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Remove oversampling and bring k-space to the scanner's matrix."""
    height, width, depth = protocol.sizes
    slices = depth
    if depth > 1:
        slices = round(depth * protocol.recon_fields[2] / protocol.fields[2])
    rows = round(height * protocol.recon_fields[0] / protocol.fields[0])
    wide = round(protocol.recon[1] * protocol.fields[1] / protocol.recon_fields[1])
    matrix = (protocol.recon[0], max(wide, 1))
    undersampled = any(has_gaps(mask) for mask in masks)
    crop = not undersampled and protocol.recon[1] < matrix[1]
    done, measured = [], []
    for volume, mask in zip(volumes, masks, strict=True):
        if depth > 1:
            volume = np.einsum("ab,bchw->achw", cut(depth, slices) @ dft(depth).conj().T, volume)
        volume = np.einsum("xh,schw->scxw", cut(rows, matrix[0]) @ shrink(height, rows), volume)
        volume = volume @ cut(width, matrix[1]).T * np.sqrt(matrix[0] * matrix[1] / (rows * width))
        near = height // 2 + np.rint((np.arange(rows) - rows // 2) * height / rows).astype(int)
        where = cut(rows, matrix[0]) @ mask[np.clip(near, 0, height - 1)] @ cut(width, matrix[1]).T > 0
        if crop:
            volume = volume @ shrink(matrix[1], protocol.recon[1]).T
            near = matrix[1] // 2 + np.rint(
                (np.arange(protocol.recon[1]) - protocol.recon[1] // 2) * matrix[1] / protocol.recon[1]
            ).astype(int)
            where = where[:, np.clip(near, 0, matrix[1] - 1)]
        done.append(volume * where)
        measured += [where] * slices
    kspace = np.concatenate(done)
    return kspace, np.stack(measured) if undersampled else None


def in_every_format(path: Path, folder: Path) -> Iterator[tuple[str, Scan, Scan]]:
    """Write a scan in each format that holds k-space, a file each series: name, what it is, and what it is read as."""
    scan = read_scan(path)
    for number, series in enumerate(series_of(scan)):
        part, kspace = one_series(scan, scan.kspace, series)
        for format in {
            writer.name: writer for writer in writers().values() if writer.write_kspace is not None
        }.values():
            for ending in format.suffixes:
                target = folder / f"{number}{ending}"
                format.write_kspace(part, kspace, target)  # type: ignore[misc]
                yield target.name, part, read_scan(target)
        columns = kspace.transpose(2, 3, 1, 0)
        scipy.io.savemat(folder / f"{number}.mat", {"kspace": columns})
        with h5py.File(folder / f"{number}-7.mat", "w", userblock_size=512) as file:
            records = np.zeros(columns.T.shape, [("real", "f4"), ("imag", "f4")])
            records["real"], records["imag"] = columns.T.real, columns.T.imag
            file["kspace"] = records
        with (folder / f"{number}-7.mat").open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
        for name in (f"{number}.mat", f"{number}-7.mat"):
            yield name, part, read_scan(folder / name, ReadOptions(layout="hwcs"))


def differences(part: Scan, again: Scan) -> list[str]:
    """What a scan lost on its way through a file: k-space, what was measured, and where the file holds it, geometry."""
    found = []
    if not np.array_equal(part.kspace, again.kspace):
        found.append("k-space")
    holds_mask = again.path.suffix in (".h5", ".hdf5", ".npz")  # others leave it to the zeros
    mask = None if part.mask is None or part.mask.all() else part.mask  # a repetition that has measured everything
    if holds_mask and mask is not None and (again.mask is None or not np.array_equal(mask, again.mask)):
        found.append("mask")
    if again.path.suffix in (".h5", ".hdf5") and not np.allclose(
        again.geometry.field_of_view, part.geometry.field_of_view, rtol=1e-4
    ):
        found.append("field of view")
    return found
