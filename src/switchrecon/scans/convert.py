"""Convert scans: sorted k-space into another format, or its zero-filled image into an image format."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from switchrecon.core.files import atomic_file
from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError
from switchrecon.physics.coils import root_sum_of_squares
from switchrecon.physics.fourier import inverse_fourier
from switchrecon.scans.files import find_files, read_scan
from switchrecon.scans.formats import Format, formats
from switchrecon.scans.images import without_padding
from switchrecon.scans.scan import Scan
from switchrecon.scans.series import one_series
from switchrecon.scans.writing import check_absent, targets_of, tell_series


def zero_filled_images(scan: Scan, numbers: Sequence[int]) -> np.ndarray:
    """Images of the measured samples, coils combined by root sum of squares; float32 (slices, H, W)."""
    coils = (torch.from_numpy(scan.kspace[number].reshape(-1, *scan.matrix)) for number in numbers)
    return np.stack([root_sum_of_squares(inverse_fourier(each)).numpy() for each in coils])


def writers() -> dict[str, Format]:
    """Return the formats that ``convert`` writes, by the ending of a file's name; those of k-space come first."""
    kspace = {end: format for format in formats() if format.write_kspace for end in format.written}
    images = {end: format for format in formats() if format.write_images for end in format.written}
    return kspace | {end: format for end, format in images.items() if end not in kspace}


def _writer(out: Path) -> tuple[str, Format]:
    found = writers()
    name = out.name.lower()
    for ending in sorted(found, key=len, reverse=True):
        if name.endswith(ending) and name != ending:
            return ending, found[ending]
    raise DataError(f"{out}: expected a name ending in {', '.join(found)}")


def _write_one(written: Format, scan: Scan, images: np.ndarray, out: Path) -> None:
    """Write the only slice of a scan as a file, in a format that has a file for each slice."""
    assert written.write_images is not None
    with atomic_file(out) as temporary:
        folder = temporary.with_name(f"{temporary.name}-slices")
        try:
            written.write_images(scan, images, folder)
            (file,) = (path for path in folder.rglob("*") if path.is_file())
            file.replace(temporary)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def convert_file(
    source: Path, out: Path, overwrite: bool = False, options: ReadOptions | None = None
) -> tuple[Scan, Path]:
    """Read a scan of any format and write it in the format of ``out``; return the scan and the file that was written.

    K-space is written sorted, complex64 (slices, coils, H, W), if the format can hold it; otherwise its zero-filled
    image is written.

    Parameters
    ----------
    source
        The scan.
    out
        File to write, whose ending is a key of :func:`writers`. PNG and DICOM have a file for each slice: several
        slices go into a folder, ``e-png`` for ``e.png``.
    overwrite
        Replace existing files, but never the source.
    options
        How the scan is read; None: the defaults.

    Raises
    ------
    DataError
        If the scan cannot be read, the ending is another one, or the file exists.
    """
    ending, written = _writer(out)
    (source,) = find_files([source]) if not source.is_dir() else [source]
    for place in written.parts(out):
        if place.is_dir() and place == out:
            raise DataError(f"{place}: is a folder; expected the name of a file")
        if place.exists() and source.exists() and place.samefile(source):
            raise DataError(f"{place}: is the scan itself; choose another name")
    check_absent(written.parts(out), overwrite)
    scan = read_scan(source, options)
    targets = [out]
    if written.write_kspace is not None:
        if scan.image:
            raise DataError(f"{source}: holds images; k-space made of them would pass for measured; expected k-space")
        kspace = scan.kspace.astype(np.complex64, copy=False)
        places = targets_of(written, scan, out)
        targets = [place for _, place in places]
        check_absent(targets, overwrite)
        for series, place in places:
            written.write_kspace(*one_series(scan, kspace, series), place)
    else:
        assert written.write_images is not None
        plain, images = without_padding(scan, zero_filled_images(scan, range(len(scan.kspace))))
        target = out.with_name(f"{out.name[: -len(ending)]}-{ending.strip('.')}") if written.folder else out
        if written.folder and len(images) == 1:
            _write_one(written, plain, images, out)
        elif written.all_series:
            check_absent([target], overwrite)
            targets = [target]
            written.write_images(plain, images, target)
        else:
            places = targets_of(written, plain, target)
            targets = [place for _, place in places]
            check_absent(targets, overwrite)
            for series, place in places:
                written.write_images(*one_series(plain, images, series), place)
    tell_series(scan, targets)
    return scan, targets[0]
