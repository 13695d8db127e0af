"""Stacks of scans and of reconstructions, from their files."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from switchrecon.core.limits import check_size
from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError
from switchrecon.physics.coils import root_sum_of_squares
from switchrecon.physics.fourier import fourier, inverse_fourier
from switchrecon.physics.masks import measured_acceleration
from switchrecon.reports.viewer.planes import MAPS, Kind, log_magnitude
from switchrecon.reports.viewer.stacks import Layer, Letters, Plane, Stack, letters_of
from switchrecon.scans.convert import zero_filled_images
from switchrecon.scans.files import read_scan
from switchrecon.scans.hdf5 import is_hdf5, open_hdf5, read_dataset
from switchrecon.scans.images import without_padding
from switchrecon.scans.scan import Scan
from switchrecon.scans.series import slice_labels

MOST_ASPECT = 20.0  # of a pixel's sides, as it is drawn


@dataclass(frozen=True)
class Label:
    """A file, the name of its layer, and the files of maps of it, by what they show."""

    path: Path
    name: str
    maps: tuple[tuple[Kind, Path], ...] = ()


def read_stack(label: Label, name: str, options: ReadOptions, images: bool = False) -> Stack:
    """Read a scan, or images that were made of one, with the maps beside them.

    Parameters
    ----------
    label
        The file, or a folder of PNG pictures.
    name
        The name of the stack.
    options
        How scans are read.
    images
        Whether complex arrays are images; else they are k-space. What has maps is always images.

    Raises
    ------
    DataError
        For a file that cannot be used, or a map of another shape than its images.
    """
    stack = _read(label.path, label.name, name, options, images or bool(label.maps))
    for kind, path in label.maps:
        found = _read(path, label.name, name, options, images=True)
        if (found.matrix, len(found.numbers)) != (stack.matrix, len(stack.numbers)):
            raise DataError(
                f"{path}: {len(found.numbers)} slices of {found.matrix[0]}x{found.matrix[1]}; expected those of "
                f"{label.path}, {len(stack.numbers)} of {stack.matrix[0]}x{stack.matrix[1]}"
            )
        layer = replace(stack.layers[0], planes={**stack.layers[0].planes, kind: found.layers[0].planes["image"]})
        stack = replace(stack, layers=(layer,))
    return stack


def _read(path: Path, layer: str, name: str, options: ReadOptions, images: bool) -> Stack:
    if path.suffix.lower() == ".png" or (path.is_dir() and pictures_in(path)):
        return _of_images(layer, name, {"image": _pictures(path)}, ("Pictures of 8 bits: values are 0 to 255.",))
    if is_hdf5(path) and (stored := _reconstruction(path)):
        return _of_images(layer, name, stored)
    scan = read_scan(path, options)
    if images and not scan.image:
        return _of_complex_images(layer, name, scan)
    return _of_scan(layer, name, scan)


def pictures_in(folder: Path) -> list[Path]:
    """Return the PNG files of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png" and path.is_file())


def _pictures(path: Path) -> np.ndarray:
    from PIL import Image

    found = []
    for file in pictures_in(path) if path.is_dir() else [path]:
        try:
            with Image.open(file, formats=["PNG"]) as picture:
                check_size(file, "the picture", (picture.height, picture.width), 4)
                found.append(np.asarray(picture.convert("L"), dtype=np.float32))
        except (
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:
            raise DataError(f"{file}: not a readable PNG file ({error})") from error
        if found[-1].shape != found[0].shape:
            shapes = f"{found[-1].shape[0]}x{found[-1].shape[1]}, others {found[0].shape[0]}x{found[0].shape[1]}"
            raise DataError(f"{file}: the picture has {shapes}; expected one size in the folder")
    return np.stack(found)


def _reconstruction(path: Path) -> dict[Kind, np.ndarray]:
    """Return the images and maps that ``reconstruct`` writes into HDF5 files; none where the file holds k-space."""
    datasets: dict[Kind, str] = {"image": "reconstruction", **{name: name for name in MAPS}}
    with open_hdf5(path) as file:
        if "kspace" in file or "reconstruction" not in file:
            return {}
        read = {kind: read_dataset(path, file, name) for kind, name in datasets.items()}
    found = {kind: array for kind, array in read.items() if array is not None}
    for kind, array in found.items():
        real = np.issubdtype(array.dtype, np.floating)
        if array.ndim != 3 or not array.size or not real or array.shape != found["image"].shape:
            raise DataError(
                f"{path}: dataset '{datasets[kind]}' has shape {array.shape} and type {array.dtype}; expected real "
                "(slices, H, W), as many as images"
            )
    return found


def _of_images(layer: str, name: str, arrays: dict[Kind, np.ndarray], notes: tuple[str, ...] = ()) -> Stack:
    def plane(array: np.ndarray) -> Plane:
        return lambda position: array[position]

    images, planes = arrays["image"], {kind: plane(array) for kind, array in arrays.items()}
    return Stack(name, tuple(range(len(images))), _matrix(images), (Layer(layer, planes),), notes=notes)


def _of_complex_images(layer: str, name: str, scan: Scan) -> Stack:
    """Complex images, which were read as if they were k-space; of coils, the root of the sum of squares."""
    array = scan.kspace
    array = array if scan.coils > 1 else array.reshape(-1, *scan.matrix)
    planes: dict[Kind, Plane]
    if scan.coils > 1:
        planes = {"image": lambda position: root_sum_of_squares(torch.from_numpy(array[position])).numpy()}
    else:

        def kspace(position: int) -> np.ndarray:
            return fourier(torch.from_numpy(array[position])).numpy()

        planes = {
            "image": lambda position: np.abs(array[position]),
            "phase": lambda position: np.angle(array[position]),
            "kspace": lambda position: log_magnitude(kspace(position)),
            "kspace-phase": lambda position: np.angle(kspace(position)),
        }
    stack = Stack(name, tuple(range(len(array))), _matrix(array), (Layer(layer, planes),))
    return replace(stack, spacing=_spacing(scan), letters=letters_of(scan.affine), labels=_labels(scan))


def _of_scan(layer: str, name: str, scan: Scan) -> Stack:
    kspace, mask = scan.kspace, scan.mask
    shown, notes = scan, []
    if scan.image:
        shown, images = without_padding(scan, zero_filled_images(scan, range(len(kspace))))
        planes: dict[Kind, Plane] = {"image": lambda position: images[position]}
        notes.append("The file holds magnitudes: k-space is computed from them.")
    else:
        kspace = kspace if scan.coils > 1 else kspace.reshape(-1, *scan.matrix)
        planes = {
            "image": lambda position: zero_filled_images(scan, [position])[0],
            "kspace": lambda position: log_magnitude(kspace[position]),
        }
        if scan.coils == 1:
            planes["phase"] = lambda position: inverse_fourier(torch.from_numpy(kspace[position])).angle().numpy()
            planes["kspace-phase"] = lambda position: np.angle(kspace[position])
        else:
            notes.append(f"{scan.coils} coils: magnitudes are the root of their sum of squares.")
    if mask is not None:
        accelerations = [measured_acceleration(plane) for plane in mask if plane.any()]
        notes.append(f"{layer}: undersampled, measured acceleration {np.mean(accelerations):.2f}; zero-filled image.")
    height, width = (int(n) for n in (images.shape[1:] if scan.image else scan.matrix))
    return Stack(
        name,
        tuple(range(len(kspace))),
        (height, width),
        (Layer(layer, planes),),
        mask=None if mask is None else lambda position: mask[position],
        spacing=_spacing(shown),
        letters=letters_of(shown.affine),
        notes=tuple(notes),
        labels=_labels(scan),
    )


def _labels(scan: Scan) -> tuple[str, ...]:
    """Return the series of each slice in words; none where there is one."""
    found = slice_labels(scan)
    return tuple(found) if any(found) else ()


def _matrix(array: np.ndarray) -> tuple[int, int]:
    return int(array.shape[-2]), int(array.shape[-1])


def _spacing(scan: Scan) -> tuple[float, float]:
    """Height and width of a pixel in mm; equal where unknown."""
    if scan.affine is not None:
        row, column = (float(length) for length in np.linalg.norm(scan.affine[:3, :2], axis=0))
    else:
        field = zip(scan.geometry.field_of_view, scan.matrix, strict=True)
        row, column = (float(length) / size for length, size in field)
    good = row > 0 and column > 0 and 1 / MOST_ASPECT <= row / column <= MOST_ASPECT
    return (row, column) if good else (1.0, 1.0)


def beside(stacks: list[Stack], name: str) -> Stack:
    """Put stacks of one matrix and number of slices side by side; the others are named in a note.

    The mask and the geometry are those of the first that has them.
    """
    first = stacks[0]
    fit = [stack for stack in stacks if (stack.matrix, len(stack.numbers)) == (first.matrix, len(first.numbers))]
    notes = [note for stack in fit for note in stack.notes]
    for stack in stacks:
        if stack not in fit:
            notes.append(
                f"{stack.layers[0].name} is not shown beside the others: {len(stack.numbers)} slices of "
                f"{stack.matrix[0]}x{stack.matrix[1]}, where {first.layers[0].name} has {len(first.numbers)} of "
                f"{first.matrix[0]}x{first.matrix[1]}."
            )
    letters: Letters | None = next((stack.letters for stack in fit if stack.letters is not None), None)
    return replace(
        next((stack for stack in fit if stack.letters is not None), first),
        name=name,
        numbers=first.numbers,
        layers=tuple(layer for stack in fit for layer in stack.layers),
        mask=next((stack.mask for stack in fit if stack.mask is not None), None),
        letters=letters,
        notes=tuple(dict.fromkeys(notes)),
        labels=next((stack.labels for stack in fit if stack.labels), ()),
    )
