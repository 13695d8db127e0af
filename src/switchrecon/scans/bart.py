"""BART files: dimensions as text in ``.hdr``, complex numbers in ``.cfl`` beside it."""

import math
from pathlib import Path

import numpy as np

from switchrecon.core.files import atomic_file
from switchrecon.core.limits import check_size
from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError
from switchrecon.scans.formats import Format
from switchrecon.scans.scan import Scan, kspace_scan

FIRST_LINE = "# Dimensions"
READ, PHASE, COIL, SLICE, COUNT = 0, 1, 3, 13, 16
LARGEST_HEADER = 1 << 20  # bytes


def bart_pair(path: Path) -> tuple[Path, Path]:
    """Return the header and the numbers of a file given as ``.hdr``, as ``.cfl``, or as what both names begin with."""
    stem = str(path.with_suffix("") if path.suffix.lower() in (".cfl", ".hdr") else path)
    return Path(f"{stem}.hdr"), Path(f"{stem}.cfl")


def is_bart(path: Path) -> bool:
    """Return whether the text of BART's dimensions lies at this path or beside it."""
    if path.is_dir():
        return False
    try:
        with bart_pair(path)[0].open("rb") as file:
            return file.read(len(FIRST_LINE)) == FIRST_LINE.encode()
    except OSError:
        return False


def _dimensions(header: Path) -> list[int]:
    try:
        if header.stat().st_size > LARGEST_HEADER:
            raise DataError(f"{header}: has {header.stat().st_size} bytes; expected a short text")
        lines = header.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{header}: cannot be read ({error.strerror})") from error
    texts = lines[1].split() if len(lines) > 1 else []
    if not lines or lines[0].strip() != FIRST_LINE or not all(n.isascii() and n.isdecimal() for n in texts):
        raise DataError(f"{header}: expected '{FIRST_LINE}' and a line of whole numbers")
    sizes = [int(n) for n in texts] + [1] * (COUNT - len(texts))
    if not texts or len(sizes) > COUNT or not all(0 < n < 1 << 31 for n in sizes):
        raise DataError(f"{header}: found {len(texts)} dimensions; expected 1 to {COUNT} positive numbers")
    return sizes


def read_bart(path: Path, options: ReadOptions) -> Scan:
    """Read k-space: READ is H, PHS1 is W, with COIL and SLICE; in the convention of ``bart fft -u``, which is ours.

    Undersampled k-space is recognised by the zeros between its samples. The file's name is the subject.

    Raises
    ------
    DataError
        For a header that is not BART's, a file of another size than it claims, other dimensions than these, NaN,
        infinity or only zeros.
    """
    header, numbers = bart_pair(path)
    sizes = _dimensions(header)
    others = [i for i, size in enumerate(sizes) if size > 1 and i not in (READ, PHASE, COIL, SLICE)]
    if others:
        raise DataError(
            f"{numbers}: dimension {others[0]} has {sizes[others[0]]} entries; expected k-space along dimensions "
            f"{READ} (readout), {PHASE} (phase encode), {COIL} (coils) and {SLICE} (slices) alone"
        )
    check_size(numbers, "k-space", sizes, 8)
    try:
        found = numbers.stat().st_size
        if found != 8 * math.prod(sizes):
            shape = "x".join(map(str, sizes))
            raise DataError(f"{numbers}: has {found} bytes; expected {8 * math.prod(sizes)} for dimensions {shape}")
        flat = np.fromfile(numbers, dtype="<c8")
    except OSError as error:
        raise DataError(f"{numbers}: cannot be read ({error.strerror})") from error
    kept = (sizes[SLICE], sizes[COIL], sizes[PHASE], sizes[READ])  # column-major: the last is the fastest
    kspace = np.ascontiguousarray(flat.reshape(kept).swapaxes(-1, -2))
    return kspace_scan(numbers, numbers.stem, kspace)


def write_bart(array: np.ndarray, target: Path) -> None:
    """Write images or k-space, (slices, H, W) or (slices, coils, H, W), as complex64.

    Parameters
    ----------
    array
        Real or complex.
    target
        The ``.cfl`` file; the header is written beside it.
    """
    stored = array if array.ndim == 4 else array[:, None]
    sizes = [1] * COUNT
    sizes[SLICE], sizes[COIL], sizes[READ], sizes[PHASE] = stored.shape
    header, numbers = bart_pair(target)
    with atomic_file(numbers) as temporary:
        stored.swapaxes(-1, -2).astype("<c8").tofile(temporary)
    with atomic_file(header) as temporary:
        temporary.write_text(f"{FIRST_LINE}\n{' '.join(map(str, sizes))}\n", encoding="ascii")


def _write_images(scan: Scan, images: np.ndarray, target: Path) -> None:
    write_bart(images, target)


def _write_kspace(scan: Scan, kspace: np.ndarray, target: Path) -> None:
    write_bart(kspace, target)


FORMAT = Format(
    name="BART",
    suffixes=(".cfl",),
    sniff=is_bart,
    read=read_bart,
    parts=bart_pair,
    option="bart",
    write_images=_write_images,
    write_kspace=_write_kspace,
    endings=(".cfl", ".hdr"),
)
