"""Reconstruct files: write images of scans in the format, matrix, units and geometry of each scan."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from switchrecon.config import Config, load_config
from switchrecon.core.records import Record
from switchrecon.data.coils import with_maps
from switchrecon.errors import ConfigError, DataError, SwitchreconError
from switchrecon.physics.coils import root_sum_of_squares
from switchrecon.physics.fourier import inverse_fourier, slice_by_slice
from switchrecon.physics.masks import MaskConfig
from switchrecon.physics.noise import relative_noise
from switchrecon.reconstruction.adapt import Adaptation, adapt
from switchrecon.reconstruction.fit import unlike
from switchrecon.reconstruction.reconstructor import Reconstruction, Reconstructor
from switchrecon.scans.files import find_files, read_scan, recognise
from switchrecon.scans.formats import Format
from switchrecon.scans.maps import Map, map_target
from switchrecon.scans.names import stem
from switchrecon.scans.scan import Scan, own_mask
from switchrecon.scans.series import series_of
from switchrecon.scans.writing import OWN, image_format, image_target, write_images

logger = logging.getLogger(__name__)


INVENTED = "the part of the image that the scan has not measured: the reconstruction supplied it; it is not the error"


@dataclass(frozen=True)
class Beside:
    """Further results beside an image.

    Attributes
    ----------
    maps
        Maps to write, at the matrix of the reconstruction.
    sentences
        Sentences about the image.
    record
        Record for a JSON file beside the image; None: no file.
    """

    maps: Sequence[Map] = ()
    sentences: Sequence[str] = ()
    record: Record | None = None


Look = Callable[[Reconstructor, Scan, Reconstruction], Beside]
"""Function of a reconstructor, a scan (with maps if it has several coils) and its reconstruction."""


Page = Callable[["Made", np.ndarray | None, np.ndarray, Path], object]
"""Writes a page about a reconstruction, with the truth's magnitudes where the scan was fully sampled, and its masks."""


@dataclass(frozen=True)
class Outcome:
    """The result of one scan: the file that was written, or the error."""

    scan: Path
    written: Path | None = None
    error: SwitchreconError | None = None
    acceleration: float = float("nan")
    synthetic: bool = False
    adaptation: Adaptation | None = None
    noise: float = float("nan")  # see :func:`switchrecon.physics.noise.relative_noise`
    sentences: Sequence[str] = ()  # about the measured and the invented part, and from ``look``


def parse_undersampling(text: str, config: Config) -> MaskConfig:
    """Read ``run``, or ``KIND:ACCELERATION:CENTER_FRACTION`` such as ``random-1d:4:0.08``.

    Raises
    ------
    ConfigError
        If the text is anything else.
    """
    if text == "run":
        return config.mask
    parts = text.split(":")
    if len(parts) != 3:
        raise ConfigError(
            f"--undersample {text!r}: expected 'run' or KIND:ACCELERATION:CENTER_FRACTION, such as random-1d:4:0.08"
        )
    assignments = [f"mask.{n}={v}" for n, v in zip(("kind", "acceleration", "center_fraction"), parts, strict=True)]
    return load_config(None, assignments).mask


def undersampled(reconstructor: Reconstructor, scan: Scan, undersampling: MaskConfig | None) -> Scan:
    """Return the scan unchanged if it is undersampled, else undersample it as asked for.

    Parameters
    ----------
    reconstructor
        A trained run.
    scan
        Scan at its original matrix.
    undersampling
        How a fully sampled scan is undersampled; None refuses it.

    Raises
    ------
    DataError
        If the scan is fully sampled and ``undersampling`` is None.
    """
    if scan.mask is not None:
        if undersampling is not None:
            logger.warning(
                "%s: is undersampled already (acceleration %.2f) and stays as it was measured; --undersample does "
                "nothing to it",
                scan.path,
                scan.acceleration,
            )
        return scan
    if undersampling is None:
        what = "an image" if scan.image else "fully sampled k-space"
        raise DataError(
            f"{scan.path}: holds {what}, there is nothing to reconstruct; to undersample it first, say how with "
            "--undersample run or --undersample KIND:ACCELERATION:CENTER_FRACTION"
        )
    config = reconstructor.config.model_copy(update={"mask": undersampling})
    masks = np.stack([own_mask(scan, index, config).numpy() for index in range(len(scan.kspace))])
    return replace(scan, kspace=scan.kspace * masks[:, None], mask=masks)


def ready_scan(reconstructor: Reconstructor, scan: Scan) -> Scan:
    """Prepare an undersampled scan for a reconstructor: scans of several coils get maps.

    Each repetition, contrast, phase and set is prepared independently, so that a stream, which does not know what will
    follow, gives the same images.
    """
    if scan.coils == 1:
        return scan
    found = series_of(scan)
    if len(found) == 1 or scan.maps is not None:
        return with_maps(scan, reconstructor.config)
    parts = [with_maps(_some_slices(scan, series.numbers), reconstructor.config) for series in found]
    order = np.argsort(np.concatenate([series.numbers for series in found]), kind="stable")
    kspace, maps = (np.concatenate(each)[order] for each in zip(*((p.kspace, p.maps) for p in parts), strict=True))
    return replace(scan, kspace=kspace, maps=maps, noise=None, calibration=None)


def _some_slices(scan: Scan, numbers: np.ndarray) -> Scan:
    def part(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else array[numbers]

    return replace(scan, kspace=scan.kspace[numbers], mask=part(scan.mask), calibration=part(scan.calibration))


def reconstruct_scan(reconstructor: Reconstructor, scan: Scan) -> Reconstruction:
    """Reconstruct all slices of an undersampled scan.

    Returns
    -------
    Reconstruction
        Images (slices, H, W) at the scan's matrix.

    Raises
    ------
    DataError
        For another matrix than the run's where that is not allowed.
    """
    assert scan.mask is not None
    scan = ready_scan(reconstructor, scan)
    try:
        return reconstructor.explain(torch.from_numpy(scan.kspace), scan.mask, scan.sensitivity())
    except DataError as error:
        raise DataError(f"{scan.path}: {error}") from error


def reconstruct_files(
    reconstructor: Reconstructor,
    paths: str | Path | Sequence[str | Path],
    out: str | Path,
    undersample: str | None = None,
    overwrite: bool = False,
    report: Callable[[Outcome], None] = lambda outcome: None,
    format: str = OWN,
    adapt_steps: int = 0,
    maps: bool = True,
    look: Look | None = None,
    page: Page | None = None,
) -> list[Outcome]:
    """Reconstruct every scan and write its image; a scan that fails does not stop the others.

    Parameters
    ----------
    reconstructor
        A trained run.
    paths
        Scans: files, folders or patterns.
    out
        Folder for the images, which have the names of the scans.
    undersample
        See :func:`parse_undersampling`; None refuses fully sampled scans.
    overwrite
        Replace files that exist.
    report
        Function that is called after each scan.
    format
        Format of the images; see :func:`~switchrecon.scans.writing.image_format`.
    adapt_steps
        Adapt the network to each scan first, in at most this number of steps; see
        :mod:`switchrecon.reconstruction.adapt`.
    maps
        Write the map of the invented part, and the maps from ``look``, beside each image.
    look
        Function that is called with each reconstruction.
    page
        Function that is called last, with the path of ``NAME.report.html`` beside the images.

    Returns
    -------
    list of Outcome
        One outcome for each scan, in the order of their names.

    Raises
    ------
    SwitchreconError
        Before anything is written, if a path does not exist, two scans have the same name, or an output exists.
    """
    files, out = find_files(paths), Path(out)
    undersampling = parse_undersampling(undersample, reconstructor.config) if undersample is not None else None
    names = ["invented", *(["doubt", "spread"] if look is not None else [])] if maps else []
    known = _check_targets(files, out, overwrite, format, names)
    outcomes = []
    for number, path in enumerate(files, 1):
        try:
            target = (out, format, number, overwrite)
            outcome = _one(reconstructor, path, known.get(path), undersampling, adapt_steps, target, maps, look, page)
        except SwitchreconError as error:
            outcome = Outcome(path, error=error)
        except OSError as error:  # such as a full disk
            outcome = Outcome(path, error=DataError(f"{error.filename or path}: {error.strerror or error}"))
        except Exception as error:
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug("%s", path, exc_info=error)
            reason = " ".join(str(error).split())
            outcome = Outcome(path, error=DataError(f"{path}: unexpected {type(error).__name__}: {reason}"))
        outcomes.append(outcome)
        report(outcome)
    return outcomes


def _one(
    reconstructor: Reconstructor,
    path: Path,
    known: Format | None,
    undersampling: MaskConfig | None,
    adapt_steps: int,
    target: tuple[Path, str, int, bool],
    maps: bool,
    look: Look | None,
    page: Page | None,
) -> Outcome:
    options = replace(reconstructor.config.reading, subjects=None)  # the image does not depend on the subject
    scan = read_scan(path, options, known)
    measured = undersampled(reconstructor, scan, undersampling)
    assert measured.mask is not None
    adaptation, ready = None, ready_scan(reconstructor, measured)
    if adapt_steps:
        reconstructor, adaptation = adapt(reconstructor, ready, adapt_steps)
    made = images_of(reconstructor, ready, maps, look)
    described = replace(scan, mask=measured.mask)  # so that the files say how much was measured
    written = write_images(described, made.image, *target, maps=made.maps)
    if made.record is not None:
        made.record.write(sidecar(written))
    noise = relative_noise(measured.kspace, measured.mask, made.found.image.numpy())
    sentences = [made.sentences[0], *unlike(reconstructor.card, measured), *made.sentences[1:]]
    if page is not None:
        truth = None if scan.mask is not None else _truth(scan)
        told = replace(made, sentences=sentences)
        page(told, truth, measured.mask, written.with_name(f"{stem(written)}.report.html"))
    return Outcome(path, written, None, measured.acceleration, scan.synthetic, adaptation, noise, sentences)


@dataclass(frozen=True)
class Made:
    """The results of one scan before they are written.

    Attributes
    ----------
    image, maps
        Complex64 or float32 (slices, H, W), and maps at the same matrix.
    sentences, record
        See :class:`Beside`.
    found
        The reconstruction.
    """

    image: np.ndarray
    maps: Sequence[Map]
    sentences: Sequence[str]
    record: Record | None
    found: Reconstruction


def images_of(reconstructor: Reconstructor, ready: Scan, maps: bool = True, look: Look | None = None) -> Made:
    """Reconstruct a prepared scan; return its image and the further results beside it.

    Parameters
    ----------
    reconstructor, ready
        The reconstructor and the prepared scan; see :func:`ready_scan`.
    maps
        Also return the map of the invented part, and the maps from ``look``.
    look
        Function that is called with the reconstruction.
    """
    found = reconstruct_scan(reconstructor, ready)
    beside = Beside() if look is None else look(reconstructor, ready, found)
    made = [Map("invented", found.invented.numpy(), INVENTED), *beside.maps] if maps else []
    return Made(found.image.numpy(), made, [_measured_sentence(found), *beside.sentences], beside.record, found)


def _truth(scan: Scan) -> np.ndarray:
    """Magnitudes of a fully sampled scan, (slices, H, W); of coils, the root of the sum of squares."""
    coil_images = slice_by_slice(inverse_fourier, torch.from_numpy(scan.kspace))
    return root_sum_of_squares(coil_images).numpy()


def sidecar(written: Path) -> Path:
    """Return the path of the JSON file beside an image."""
    return written.with_name(f"{stem(written)}.trust.json")


def _measured_sentence(found: Reconstruction) -> str:
    """Say how much was invented, and how far the image is from the measured samples, as the median of the slices."""

    def middle(values: torch.Tensor) -> float:
        known = values[torch.isfinite(values)]
        return float(known.median()) if len(known) else math.nan

    relative, chi_square = middle(found.residual.relative), middle(found.residual.chi_square)
    told = "chi square unknown without noise" if math.isnan(chi_square) else f"chi square {chi_square:.3g}"
    return f"invented {found.share:.1%} of the image; residual {relative:.1e} of the samples, {told}"


def _check_targets(
    files: Sequence[Path], out: Path, overwrite: bool, option: str, maps: Sequence[str] = ()
) -> dict[Path, Format]:
    """Refuse outputs that exist or have the same name; return the format of each file whose format is known."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file, expected a folder for the images")
    seen: dict[Path, Path] = {}
    known: dict[Path, Format] = {}
    for number, path in enumerate(files, 1):
        try:
            known[path] = recognise(path)
        except DataError:
            continue  # it will be reported as failed when it is read
        written = image_format(option, known[path])
        target = image_target(written, path, out, number)
        for place in dict.fromkeys(map_target(written, target, name) for name in ("", *maps)):
            if place in seen:
                raise DataError(
                    f"{path} and {seen[place]} would have one name; reconstruct them into different folders"
                )
            seen[place] = path
            source = place.exists() and (place.samefile(path) or path.resolve().is_relative_to(place.resolve()))
            if place.exists() and (not overwrite or source):
                hint = "choose another --out" if source else "add --overwrite or choose another --out"
                raise DataError(f"{place}: exists already; {hint}")
    return known
