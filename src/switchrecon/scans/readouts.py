"""From a scanner's readouts, in the order of their measurement, to sorted k-space.

Readouts are described as ISMRMRD does it, whatever the file: a structured array of heads, one a readout, and samples.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from switchrecon.core.limits import check_size
from switchrecon.errors import DataError
from switchrecon.physics.fourier import crop_or_pad, fourier, inverse_fourier, resize_kspace
from switchrecon.physics.masks import infer_mask
from switchrecon.scans.header import Encoding, crop_field, nearest_samples
from switchrecon.scans.scan import inferred_masks

logger = logging.getLogger(__name__)

COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "contrast", "repetition", "phase", "set", "slice")
ORDER = COUNTERS[2:]  # what tells one slice of a scan from another
HEAD = np.dtype(
    [
        ("flags", "<u8"),
        *((name, "<u2") for name in ("number_of_samples", "active_channels", "discard_pre", "discard_post")),
        *((name, "<u2") for name in ("center_sample", "encoding_space_ref")),
        ("sample_time_us", "<f4"),
        *((name, "<f4", (3,)) for name in ("position", "read_dir", "phase_dir", "slice_dir")),
        ("idx", [(name, "<u2") for name in COUNTERS]),
    ]
)
CALIBRATION, CALIBRATION_AND_IMAGING, REVERSE = 20, 21, 22
NOT_IMAGING = {
    "noise": (19,),
    "navigator": (23,),
    "phase correction": (24,),
    "feedback": (26, 28),
    "dummy": (27,),
    "surface coil correction": (29,),
    "phase stabilisation": (30, 31),
}


@dataclass
class Readouts:
    """All readouts of a measurement.

    Attributes
    ----------
    head
        Structured, with the fields of :data:`HEAD` at least; one a readout.
    samples
        For each readout float32 (2 · channels · samples): channel by channel, real and imaginary parts in turn.
    """

    head: np.ndarray
    samples: np.ndarray


@dataclass
class Sorted:
    """K-space in the order of its lines.

    Attributes
    ----------
    kspace
        complex64 (slices, coils, H, W).
    measured
        Boolean (slices, H, W).
    undersampled
        Whether samples are missing between measured ones; those that only border them do not count.
    first
        The number of the first readout of each slice, or of each slab.
    partitions
        Slices in a slab; 1 for two-dimensional scans.
    field
        Field of view in mm along H and W, and the distance of partitions or thickness of a slice; 0 where unknown.
    scale
        Samples over those of a readout that was measured once, as k-space was brought to the image's matrix.
    averages
        How often samples were measured: the noise variance of their mean is that of one over this number.
    phase_cropped
        Whether phase oversampling was removed.
    """

    kspace: np.ndarray
    measured: np.ndarray
    undersampled: bool
    first: np.ndarray
    partitions: int
    field: tuple[float, float, float]
    scale: float
    averages: float
    phase_cropped: bool


def has_flag(flags: np.ndarray, number: int) -> np.ndarray:
    """Return whether flag ``number``, counted from 1, is set."""
    return (flags >> np.uint64(number - 1)) & np.uint64(1) == 1


def kinds_of(head: np.ndarray, embedded: bool) -> np.ndarray:
    """What each readout was measured for: ``imaging``, ``parallel calibration`` or a name of :data:`NOT_IMAGING`.

    Lines for parallel-imaging calibration alone are imaging lines where the header says that they are embedded in
    the image's k-space.
    """
    flags = head["flags"].astype(np.uint64)
    kinds = np.full(flags.shape, "imaging", dtype=object)
    if not embedded:
        kinds[has_flag(flags, CALIBRATION) & ~has_flag(flags, CALIBRATION_AND_IMAGING)] = "parallel calibration"
    for kind, numbers in NOT_IMAGING.items():
        for number in numbers:
            kinds[has_flag(flags, number)] = kind
    return kinds


def check_readouts(path: Path, readouts: Readouts) -> None:
    """Refuse readouts that do not hold as many samples as their heads say.

    Raises
    ------
    DataError
        If so; the message names the readout and both numbers.
    """
    head = readouts.head
    claimed = 2 * head["number_of_samples"].astype(int) * head["active_channels"]
    found = np.fromiter(map(len, readouts.samples), dtype=int, count=len(head))
    for number in np.flatnonzero(claimed != found)[:1]:
        raise DataError(
            f"{path}: readout {number} holds {found[number]} numbers; expected {claimed[number]}, real and imaginary "
            f"parts of {head['number_of_samples'][number]} samples of {head['active_channels'][number]} channels"
        )


def channel_samples(readouts: Readouts, rows: np.ndarray) -> np.ndarray:
    """complex64 (readouts, channels, samples) of rows that have equal numbers of both."""
    head = readouts.head[rows[0]]
    flat = np.concatenate(list(readouts.samples[rows])).astype(np.float32, copy=False)
    return flat.view(np.complex64).reshape(len(rows), head["active_channels"], head["number_of_samples"])


def _positions(path: Path, what: str, steps: np.ndarray, size: int, centre: int | None) -> np.ndarray:
    """Return where phase encodes lie in the matrix: ``step + size // 2 − centre``."""
    places = steps.astype(int) + (0 if centre is None else size // 2 - centre)
    outside = (places < 0) | (places >= size)
    if outside.any():
        raise DataError(
            f"{path}: {what} {steps[outside][0]} lies outside the encoded matrix of {size} with its centre at "
            f"{size // 2 if centre is None else centre}"
        )
    return places


def _repeats(places: np.ndarray) -> np.ndarray:
    """For each readout, how many earlier ones have its place."""
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    first = np.searchsorted(ordered, ordered)
    repeats = np.empty_like(order)
    repeats[order] = np.arange(len(order)) - first
    return repeats


def turned_centre(length: int, centre: int) -> int:
    """Return the centre sample of a readout of so many samples, once it is turned.

    ISMRMRD counts the centre sample, like the samples to discard, in the order of storage ("index of the readout
    sample corresponding to k-space center"), so that ``c`` becomes ``length − 1 − c``. A readout whose centre is said
    to be ``length // 2`` has its echo in its middle; converters write that for both directions, and it stays.
    """
    return centre if centre == length // 2 else length - 1 - centre


def _placed(path: Path, readouts: Readouts, rows: np.ndarray, encoding: Encoding) -> tuple[np.ndarray, ...]:
    """Readouts at their places, averaged where there are several of a place.

    Returns complex64 (slabs, partitions, W, coils, H), how often each sample was measured (slabs, partitions, W, H),
    and each slab's first row.
    """
    head = readouts.head[rows]
    index, (width, height) = head["idx"], (encoding.encoded[1], encoding.encoded[0])
    coils = np.unique(head["active_channels"])
    if len(coils) > 1:
        raise DataError(f"{path}: imaging readouts of {coils[0]} and of {coils[1]} channels; expected one number")
    if not coils[0]:
        raise DataError(f"{path}: imaging readouts have no channel; expected at least one")
    depth = encoding.encoded[2] if index["kspace_encode_step_2"].any() else 1
    keys, first, slab = np.unique(
        np.stack([index[name] for name in ORDER], 1), axis=0, return_index=True, return_inverse=True
    )
    shape = (len(keys), depth, width, int(coils[0]), height)
    check_size(path, "its k-space", shape, 8)
    line = _positions(path, "phase encode", index["kspace_encode_step_1"], width, encoding.centre[0])
    centre = encoding.centre[1] if depth > 1 else None
    partition = _positions(path, "second phase encode", index["kspace_encode_step_2"], depth, centre)
    places = (slab.reshape(-1) * depth + partition) * width + line

    kspace = np.zeros((len(keys) * depth * width, *shape[3:]), dtype=np.complex64)
    count = np.zeros((len(kspace), height), dtype=np.uint32)
    repeats = _repeats(places)
    averaged = bool(repeats.any())
    reverse = has_flag(head["flags"].astype(np.uint64), REVERSE)
    elsewhere = None
    layout = np.stack(
        [*(head[n] for n in ("number_of_samples", "discard_pre", "discard_post", "center_sample")), reverse, repeats], 1
    )
    for alike in np.unique(layout, axis=0):
        samples, before, after, middle, flipped = alike[:5].tolist()
        own = np.flatnonzero((layout == alike).all(1))
        block = channel_samples(readouts, rows[own])[..., before : max(samples - after, before)]
        length, centre = block.shape[-1], middle - before
        if flipped:
            block, centre = block[..., ::-1], turned_centre(length, centre)
        start = 0 if length == height else height // 2 - centre
        if length == height and centre not in (0, height // 2, height // 2 - 1):
            elsewhere = centre
        if not 0 <= start <= height - length:
            raise DataError(
                f"{path}: a readout of {length} samples with its centre at {centre} does not fit the encoded "
                f"matrix of {height}"
            )
        if averaged:  # in whatever order the layouts come: every place is in a group once
            kspace[places[own], :, start : start + length] += block
        else:
            kspace[places[own], :, start : start + length] = block
        count[places[own], start : start + length] += 1
    if elsewhere is not None:
        logger.warning(
            "%s: readouts as long as the encoded matrix of %d say that their centre is sample %d; no sample is moved, "
            "so that it is %d",
            *(path, height, elsewhere, height // 2),
        )
    if averaged:
        kspace /= np.maximum(count, 1)[:, None]
    return kspace.reshape(shape), count.reshape(*shape[:3], height), rows[first]


def with_partitions(found: Sorted, partitions: int) -> Sorted:
    """Return the same slabs cut into another number of partitions, by cropping or zero-padding their k-space."""
    if partitions == found.partitions:
        return found
    slabs = torch.from_numpy(found.kspace).unflatten(0, (-1, found.partitions)).movedim(1, -1)
    matrix = (slabs.shape[-2], partitions)
    resized = inverse_fourier(crop_or_pad(fourier(slabs, (-1,)), matrix), (-1,)).movedim(-1, 1).flatten(0, 1)
    measured = np.repeat(found.measured[:: found.partitions], partitions, axis=0)
    thickness = found.field[2] * found.partitions / partitions
    return replace(
        found,
        kspace=resized.numpy(),
        measured=measured,
        partitions=partitions,
        field=(*found.field[:2], thickness),
    )


def check_partitions(path: Path, head: np.ndarray, depth: int) -> None:
    """Refuse slabs of which most partitions were not measured: their slices would all show the same.

    Raises
    ------
    DataError
        If so; the message names both numbers.
    """
    index = head["idx"]
    keys = np.stack([index[name] for name in (*ORDER, "kspace_encode_step_2")], 1)
    _, counts = np.unique(np.unique(keys, axis=0)[:, :-1], axis=0, return_counts=True)
    if depth > 1 and 2 * counts.min() <= depth:
        raise DataError(
            f"{path}: a slab of {depth} partitions has lines of {counts.min()}; expected more than half of them; if "
            "these are slices, their number should not be a second phase encode"
        )


def _plane_measured(path: Path, measured: np.ndarray) -> np.ndarray:
    """Return what was measured of every partition (H, W), from (partitions, H, W)."""
    pattern = np.any(measured, axis=1)  # (partitions, W)
    got = np.flatnonzero(np.any(pattern, axis=1))
    regular = len(got) == got[-1] - got[0] + 1 and (pattern[got] == pattern[got[0]]).all()
    if not regular and infer_mask(pattern) is not None:  # zeros that border the rest, an elliptical shutter, are fine
        raise DataError(
            f"{path}: undersampled along the second phase encode; expected all of it, so that a Fourier transform "
            "can separate the slices"
        )
    return np.any(measured, axis=0)


def sort_readouts(
    path: Path, readouts: Readouts, rows: np.ndarray, encoding: Encoding, crop_phase: bool | None = None
) -> Sorted:
    """Sort imaging readouts into k-space, and bring it to the field of view and the matrix of the scanner's image.

    Lines lie at ``step + size // 2 − centre``, samples around their centre sample; repeated ones are averaged. The
    second phase encode is transformed, its partitions become slices. The field of view is cropped along the readout and
    between partitions (oversampling), and along the phase encode where k-space is fully sampled. Then k-space is
    cropped or zero-padded to the matrix of the scanner's image; zeros are not measured. All this only where the
    header knows both fields of view.

    Parameters
    ----------
    path
        The file, for messages.
    readouts, rows
        All readouts, and the numbers of those for the image.
    encoding
        Their encoding space.
    crop_phase
        Whether phase oversampling is removed; None: where k-space is fully sampled.

    Raises
    ------
    DataError
        For readouts outside the encoded matrix, different numbers of channels, more k-space than the limit, or
        undersampling along the second phase encode.
    """
    placed, count, first = _placed(path, readouts, rows, encoding)
    there, averages = count > 0, float(1 / np.mean(1 / count[count > 0]))
    kspace = np.ascontiguousarray(placed.transpose(0, 1, 3, 4, 2))  # (slabs, partitions, coils, H, W)
    measured = there.transpose(0, 1, 3, 2)
    depth = kspace.shape[1]
    measured = np.stack([_plane_measured(path, own) if depth > 1 else own[0] for own in measured])
    if depth > 1:
        tensor = torch.stack([inverse_fourier(own, (0,)) for own in torch.from_numpy(kspace)])
        kept = encoding.without_oversampling(2)
        start = depth // 2 - kept // 2
        kspace, depth = tensor[:, start : start + kept].numpy(), kept
        measured = np.repeat(measured, depth, axis=0)
    kspace = kspace.reshape(-1, *kspace.shape[2:])
    undersampled = inferred_masks(measured) is not None

    height, width = encoding.without_oversampling(0), encoding.encoded[1]
    kspace = crop_field(kspace, -2, height)
    measured = measured[:, nearest_samples(measured.shape[1], height)]
    field = [encoding.encoded_field[0] * height / encoding.encoded[0], encoding.encoded_field[1]]
    wanted = [height, width]
    for axis in (0, 1):
        if field[axis] > 0 and encoding.recon_field[axis] > 0:
            wanted[axis] = max(round(encoding.recon[axis] * field[axis] / encoding.recon_field[axis]), 1)
    check_size(path, "its k-space", (*kspace.shape[:2], *wanted), 8)
    matrix = (wanted[0], wanted[1])
    scale = ((wanted[0] * wanted[1]) / (height * width)) ** 0.5
    kspace = resize_kspace(torch.from_numpy(kspace), matrix).numpy()
    measured = crop_or_pad(torch.from_numpy(measured), matrix).numpy()
    phase_cropped = encoding.recon[1] < wanted[1] and encoding.recon_field[1] > 0
    phase_cropped &= not undersampled if crop_phase is None else crop_phase
    if phase_cropped:
        kspace = crop_field(kspace, -1, encoding.recon[1])
        measured = measured[..., nearest_samples(wanted[1], encoding.recon[1])]
        field[1] *= encoding.recon[1] / wanted[1]
    if placed.shape[1] > 1:
        thickness = encoding.encoded_field[2] / encoding.encoded[2]
    else:  # the encoded one may be that of the excitation, larger than the image's
        thickness = encoding.recon_field[2] or encoding.encoded_field[2]
    return Sorted(
        np.where(measured[:, None], kspace, np.complex64(0)),
        measured,
        undersampled,
        first,
        depth,
        (field[0], field[1], thickness),
        scale,
        averages,
        phase_cropped,
    )
