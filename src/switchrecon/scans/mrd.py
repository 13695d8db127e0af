"""ISMRMRD (MRD version 1) files: a scanner's readouts in HDF5."""

import hashlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import torch

from switchrecon.core.limits import check_size, largest_array
from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError
from switchrecon.physics.fourier import crop_or_pad
from switchrecon.scans.formats import Format
from switchrecon.scans.geometry import Geometry
from switchrecon.scans.hdf5 import check_lengths, find_dataset, is_hdf5, open_hdf5, read_text
from switchrecon.scans.header import Encoding, Header, parse_header
from switchrecon.scans.orientation import affine_of, is_forward, slice_order
from switchrecon.scans.readouts import (
    HEAD,
    ORDER,
    Readouts,
    Sorted,
    channel_samples,
    check_partitions,
    check_readouts,
    kinds_of,
    sort_readouts,
    with_partitions,
)
from switchrecon.scans.scan import Scan, check_finite, check_not_empty

logger = logging.getLogger(__name__)

FEWEST_ROWS = 16
FIELD_TOLERANCE = 0.01  # between fields of view that are the same


def measurements(file: h5py.File) -> list[str]:
    """The paths of all groups that hold ``xml`` and ``data``, by name and number; files name them as they like."""

    def holds(group: h5py.Group) -> bool:
        return all(group.get(name, getlink=True) is not None for name in ("xml", "data"))

    groups = [name for name in sorted(file) if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    inside = [f"{name}/" for name in groups if isinstance(file[name], h5py.Group) and holds(file[name])]
    return [""] * holds(file) + sorted(inside, key=_numbers_as_such)


def _numbers_as_such(name: str) -> list[tuple[int, str]]:
    """To sort names by: dataset_9 comes before dataset_11."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _header(path: Path, file: h5py.File, group: str) -> Header:
    text = read_text(path, file, f"{group}xml")
    assert text is not None
    return parse_header(path, text)


def _blocks(path: Path, dataset: h5py.Dataset) -> Iterator[np.ndarray]:
    """Yield the samples of all readouts, in few large reads.

    Several readouts may point to the same stored bytes. Even if all do, one read stays within the limit (but for files
    of more than a sixteenth of it).
    """
    rows = max(FEWEST_ROWS, largest_array() // max(path.stat().st_size, 1))
    total = 0
    for start in range(0, len(dataset), rows):
        block = dataset.fields("data")[start : start + rows]
        total += sum(map(len, block))
        check_size(path, "readouts", (total,), 4)
        yield block


def _heads(path: Path, stored: np.ndarray) -> np.ndarray:
    """Return the fields that are needed, in types that are known: a file may declare any."""
    head = np.zeros(len(stored), HEAD)
    try:
        with np.errstate(all="ignore"):
            for name in HEAD.names or ():
                if name != "idx":
                    head[name] = stored[name]
            for name in HEAD["idx"].names or ():
                head["idx"][name] = stored["idx"][name]
    except (ValueError, TypeError, IndexError) as error:
        raise DataError(f"{path}: dataset 'data' has heads that are not ISMRMRD's ({error})") from None
    return head


def read_readouts(path: Path, file: h5py.File, group: str) -> Readouts:
    """Return all readouts of a measurement, whose path inside the file is ``group``.

    Raises
    ------
    DataError
        For another table, none at all, more data than the limit, or samples that do not fit their heads.
    """
    dataset = find_dataset(path, file, f"{group}data")
    assert dataset is not None
    names = dataset.dtype.names or ()
    samples = h5py.check_vlen_dtype(dataset.dtype["data"]) if "data" in names else None
    if dataset.ndim != 1 or "head" not in names or samples != np.dtype("<f4"):
        raise DataError(f"{path}: dataset 'data' of shape {dataset.shape} does not hold ISMRMRD readouts")
    if not len(dataset):
        raise DataError(f"{path}: no readout at all; expected those of a scan")
    if dataset.id.get_type() != h5py.h5t.py_create(dataset.dtype, logical=True):  # HDF5 may crash in translating them
        raise DataError(f"{path}: dataset 'data' has numbers of an unusual kind; the file is damaged")
    for name in names:  # HDF5 looks at all of a row, also where only the heads are asked for
        if h5py.check_vlen_dtype(dataset.dtype[name]) is not None:
            check_lengths(path, dataset, name)
    head = _heads(path, dataset.fields("head")[()])
    claimed = head["number_of_samples"].astype(np.int64) * head["active_channels"]
    check_size(path, "readouts", (int(claimed.sum()),), 8)
    readouts = Readouts(head, np.concatenate(list(_blocks(path, dataset))))
    check_readouts(path, readouts)
    return readouts


def read_mrd(path: Path, options: ReadOptions) -> Scan:
    """Read the readouts of a Cartesian scan and sort them into k-space; see :func:`scan_of_readouts`.

    Of several measurements in a file, the last by name is read.

    Raises
    ------
    DataError
        For a damaged file or header, a trajectory that is not Cartesian, and k-space that cannot be sorted.
    """
    with open_hdf5(path) as file:
        groups = measurements(file)
        if not groups:
            raise DataError(f"{path}: no group with 'xml' and 'data'; expected an ISMRMRD measurement")
        header, readouts = _header(path, file, groups[-1]), read_readouts(path, file, groups[-1])
    return scan_of_readouts(path, header, readouts, len(groups))


def _imaging(path: Path, header: Header, readouts: Readouts) -> tuple[int, np.ndarray]:
    """Return the encoding space of the image, and what each readout was measured for."""
    plain = np.flatnonzero(kinds_of(readouts.head, False) == "imaging")
    if not len(plain) and any(own.embedded for own in header.encodings):  # every line serves the calibration, too
        plain = np.flatnonzero(kinds_of(readouts.head, True) == "imaging")
    if not len(plain):
        raise DataError(f"{path}: none of {len(readouts.head)} readouts is for an image")
    space = int(readouts.head["encoding_space_ref"][plain[0]])
    if space >= len(header.encodings):
        raise DataError(f"{path}: a readout of encoding space {space}; the header has {len(header.encodings)}")
    elsewhere = readouts.head["encoding_space_ref"] != space
    kinds = kinds_of(readouts.head, False)
    if header.encodings[space].embedded:
        kinds[~elsewhere] = kinds_of(readouts.head[~elsewhere], True)
    kinds[(kinds == "imaging") & elsewhere] = "other encoding space"
    return space, kinds


def _subject(path: Path, header: Header) -> str:
    """A digest of the patient's identifier, which says only whether two files are of one patient; else the name."""
    digest = hashlib.sha256(f"switchrecon subject {header.identifier}".encode()).hexdigest()[:12]
    return f"subject-{digest}" if header.identifier else path.stem


def _noise(path: Path, readouts: Readouts, rows: np.ndarray, coils: int) -> np.ndarray | None:
    own = rows[readouts.head["active_channels"][rows] == coils]
    if not len(own):
        if len(rows):
            found = readouts.head["active_channels"][rows[0]]
            logger.warning("%s: its noise scan has %d channels, the image %d; it is not used", path, found, coils)
        return None
    noise = np.concatenate([channel_samples(readouts, own[[i]])[0] for i in range(len(own))], axis=1)
    check_finite(path, "the noise scan", noise)
    return noise


def _noise_scale(head: np.ndarray, noise: np.ndarray, imaging: np.ndarray, bandwidth: float) -> float:
    """Variance of an imaging sample's noise over that of the noise scan: dwell times' ratio over the bandwidth."""
    noise_dwell, dwell = (float(head["sample_time_us"][rows[0]]) for rows in (noise, imaging))
    known = 0 < noise_dwell < np.inf and 0 < dwell < np.inf
    return noise_dwell / dwell / bandwidth if known else 1.0


def _calibration(
    path: Path, readouts: Readouts, kinds: np.ndarray, encodings: list[Encoding], space: int, image: Sorted
) -> np.ndarray | None:
    """The image's k-space with the lines for parallel imaging in it, slices not yet in order; (slices, coils, H, W).

    Where both were measured, those lines count: their contrast may differ from the image's. Lines of another encoding
    space lie around the centre of that space. None where there are no such lines, for one coil, or where they are of
    other slices or of another field of view than the image.
    """
    rows = np.flatnonzero(kinds == "parallel calibration")
    if image.kspace.shape[1] == 1 or not len(rows):
        return None
    spaces = readouts.head["encoding_space_ref"][rows]
    chosen = space if (spaces == space).any() else int(np.bincount(spaces).argmax())
    if chosen >= len(encodings):
        raise DataError(f"{path}: a readout of encoding space {chosen}; the header has {len(encodings)}")
    lines = sort_readouts(path, readouts, rows[spaces == chosen], encodings[chosen], image.phase_cropped)
    fields = zip(_whole_field(lines), _whole_field(image), strict=True)
    same_field = all(np.isclose(a, b, rtol=FIELD_TOLERANCE) for a, b in fields)
    if same_field and min(lines.partitions, image.partitions) > 1:
        lines = with_partitions(lines, image.partitions)
    slabs = _matching_slabs(_slab_numbers(readouts, lines), _slab_numbers(readouts, image))
    same_slices = lines.partitions == image.partitions and any(slab is not None for slab in slabs)
    if not (same_field and same_slices and lines.kspace.shape[1] == image.kspace.shape[1]):
        logger.warning(
            "%s: its lines for coil calibration are of other slices, coils or another field of view than the image; "
            "they are not used",
            path,
        )
        return None
    matrix = (image.kspace.shape[-2], image.kspace.shape[-1])
    calibration = crop_or_pad(torch.from_numpy(lines.kspace), matrix).numpy() * np.float32(image.scale / lines.scale)
    measured = crop_or_pad(torch.from_numpy(lines.measured), matrix).numpy()
    both, depth = image.kspace.copy(), image.partitions
    for number, slab in enumerate(slabs):
        if slab is not None:
            ours = slice(number * depth, (number + 1) * depth)
            theirs = slice(slab * depth, (slab + 1) * depth)
            both[ours] = np.where(measured[theirs, None], calibration[theirs], both[ours])
    check_finite(path, "k-space", both)
    return both


def _whole_field(found: Sorted) -> tuple[float, ...]:
    """Field of view in mm along H and W, and of a slab along its partitions; 0 for a slice."""
    return *found.field[:2], found.field[2] * found.partitions if found.partitions > 1 else 0.0


def _matching_slabs(found: list[tuple[int, ...]], wanted: list[tuple[int, ...]]) -> list[int | None]:
    """For each wanted slab the one of the same counters, else one of the same slice: coils stay, contrasts pass."""
    by_slice = {numbers[-1]: place for place, numbers in reversed(list(enumerate(found)))}
    exact = {numbers: place for place, numbers in enumerate(found)}
    return [exact.get(numbers, by_slice.get(numbers[-1])) for numbers in wanted]


def _slab_numbers(readouts: Readouts, found: Sorted) -> list[tuple[int, ...]]:
    """Return what tells the slabs of a sorting apart, in their order."""
    return [tuple(int(head[name]) for name in ORDER) for head in readouts.head["idx"][found.first]]


def scan_of_readouts(path: Path, header: Header, readouts: Readouts, measurements: int = 1) -> Scan:
    """Sort readouts into a scan.

    Readouts for the image are read, those for noise become ``noise``, those for parallel imaging ``calibration``;
    others are skipped. One encoding space is read, that of the first imaging readout. Slices run over contrast,
    repetition, phase, set and slice, in this order, the slice fastest, and within a slice over the partitions of a
    three-dimensional scan.

    ``measurements`` is how many the file holds, for the scan's geometry.

    Raises
    ------
    DataError
        See :func:`read_mrd`.
    """
    head = readouts.head
    space, kinds = _imaging(path, header, readouts)
    encoding = header.encodings[space]
    if encoding.trajectory != "cartesian":
        raise DataError(f"{path}: found a trajectory of kind '{encoding.trajectory}'; only Cartesian k-space is read")
    imaging, noise_rows = np.flatnonzero(kinds == "imaging"), np.flatnonzero(kinds == "noise")
    found = sort_readouts(path, readouts, imaging, encoding)
    if head["idx"]["kspace_encode_step_2"][imaging].any():
        check_partitions(path, head[imaging], encoding.encoded[2])
    order = slice_order(head[found.first])
    heads = head[found.first[order]]
    spread = (order[:, None] * found.partitions + np.arange(found.partitions)).reshape(-1)
    kspace, measured = found.kspace[spread], found.measured[spread]
    check_finite(path, "k-space", kspace)
    check_not_empty(path, kspace)
    calibration = _calibration(path, readouts, kinds, header.encodings, space, found)
    noise = _noise(path, readouts, noise_rows, kspace.shape[1])
    forward = is_forward(header.vendor)
    affine = affine_of(heads, found, forward)
    names, counts = np.unique(kinds.astype(str), return_counts=True)
    geometry = Geometry(
        field_of_view=found.field[:2],
        slice_spacing=found.field[2] if affine is None else float(np.linalg.norm(affine[:3, 2])),
        sides_known=affine is not None and forward is not None,
        oversampling=encoding.encoded[0] / encoding.without_oversampling(0),
        order=ORDER,
        indices=np.repeat(np.stack([heads["idx"][name] for name in ORDER], 1), found.partitions, axis=0),
        partitions=found.partitions,
        readouts={str(name): int(count) for name, count in zip(names, counts, strict=True)},
        measurements=measurements,
    )
    scale = 1.0
    if noise is not None:
        scale = _noise_scale(head, noise_rows, imaging, header.noise_bandwidth) * found.scale**2 / found.averages
    return Scan(
        path,
        _subject(path, header),
        kspace,
        measured if found.undersampled else None,
        calibration=None if calibration is None else calibration[spread],
        noise=noise,
        noise_scale=scale,
        affine=affine,
        geometry=geometry,
    )


def mrd_subject(path: Path) -> str:
    """Return the subject of an ISMRMRD file, without reading its readouts; see :func:`read_mrd`."""
    with open_hdf5(path) as file:
        groups = measurements(file)
        return _subject(path, _header(path, file, groups[-1])) if groups else path.stem


def is_mrd(path: Path) -> bool:
    """Return whether an HDF5 file holds a measurement, and no dataset ``kspace``."""
    if not is_hdf5(path):
        return False
    try:
        with open_hdf5(path) as file:
            return "kspace" not in file and bool(measurements(file))
    except DataError:
        return False


FORMAT = Format(name="ISMRMRD", suffixes=(".mrd",), sniff=is_mrd, read=read_mrd, subject=mrd_subject)
