"""How k-space was encoded: the parts of an ISMRMRD header that say so, and oversampling."""

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from switchrecon.errors import DataError
from switchrecon.physics.fourier import crop_or_pad, fourier, inverse_fourier
from switchrecon.scans.names import identity

LARGEST_HEADER = 1 << 20  # bytes
ENCODINGS = ("utf-8", "us-ascii", "iso-8859-1", "iso-8859-15", "latin-1", "windows-1252")
ROUNDING = 0.05  # largest rounding error of a whole number
NAMESPACE = "{*}"  # any, or none
TRAJECTORIES = ("cartesian", "epi", "radial", "goldenangle", "spiral", "other")
Sizes = tuple[int, int, int]
Lengths = tuple[float, float, float]


@dataclass(frozen=True)
class Encoding:
    """One encoding space. Every triple is (readout, phase encode, second phase encode).

    Attributes
    ----------
    encoded, recon
        Matrix of encoding, and of the image that the scanner makes.
    encoded_field, recon_field
        Their fields of view in mm; 0 where unknown.
    centre
        Number of the phase encode at the centre of k-space, in both directions; None where unknown.
    maximum
        Largest number of a phase encode; None where unknown.
    trajectory
        One of :data:`TRAJECTORIES`.
    embedded
        Whether parallel-imaging calibration lines were measured as a part of the image's k-space.
    """

    encoded: Sizes
    recon: Sizes
    encoded_field: Lengths
    recon_field: Lengths
    centre: tuple[int | None, int | None] = (None, None)
    maximum: int | None = None
    trajectory: str = "cartesian"
    embedded: bool = False

    def without_oversampling(self, axis: int) -> int:
        """Return the samples along an axis of the image's field of view; the encoded ones if a field is unknown.

        The field of view falls by the ratio of both fields, and so does the number of samples:
        ``round(encoded · recon_field / encoded_field)``; also where the image is interpolated to a larger matrix.
        """
        size, whole, wanted = self.encoded[axis], self.encoded_field[axis], self.recon_field[axis]
        if not 0 < wanted < whole:
            return size
        return max(round(size * wanted / whole), 1)


def _number(path: Path, place: ElementTree.Element | None, name: str, default: float = 0.0) -> float:
    found = None if place is None else place.find(name)
    if found is None:
        return default
    try:
        value = float(found.text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise DataError(f"{path}: the ISMRMRD header's {name.split('}')[-1]} is not a number; expected one from 0 up")
    return value


def _whole(path: Path, what: str, value: float) -> int:
    """Round a number that should be whole, such as a converter's 35.9996; refuse any other."""
    if abs(value - round(value)) > ROUNDING:
        raise DataError(f"{path}: the ISMRMRD header's {what} is {value:g}; expected a whole number")
    return round(value)


def under(place: ElementTree.Element | None, *names: str) -> ElementTree.Element | None:
    """Return the element that these names lead to, in any namespace; None where it is not there."""
    for name in names:
        place = None if place is None else place.find(NAMESPACE + name)
    return place


def _encoding(path: Path, place: ElementTree.Element) -> Encoding:
    def triple(space: str, what: str) -> Lengths:
        inside = under(place, space, what)
        x, y, z = (_number(path, inside, NAMESPACE + axis) for axis in "xyz")
        return x, y, z

    def matrix(space: str) -> Sizes:
        x, y, z = (_whole(path, f"{space}'s matrix", size) for size in triple(space, "matrixSize"))
        if not (0 < x < 1 << 16 and 0 < y < 1 << 16 and z < 1 << 16):
            raise DataError(f"{path}: the ISMRMRD header's {space} has a matrix of {x}x{y}x{z}; expected 1 to 65535")
        return x, y, max(z, 1)

    def limit(step: str, name: str) -> int | None:
        inside = under(place, "encodingLimits", step)
        if under(inside, name) is None:
            return None
        return _whole(path, f"{step}'s {name}", _number(path, inside, NAMESPACE + name))

    trajectory = (place.findtext(NAMESPACE + "trajectory") or "").strip().lower()
    mode = under(place, "parallelImaging", "calibrationMode")
    return Encoding(
        matrix("encodedSpace"),
        matrix("reconSpace"),
        triple("encodedSpace", "fieldOfView_mm"),
        triple("reconSpace", "fieldOfView_mm"),
        (limit("kspace_encoding_step_1", "center"), limit("kspace_encoding_step_2", "center")),
        limit("kspace_encoding_step_1", "maximum"),
        trajectory if trajectory in TRAJECTORIES else "other",
        mode is not None and (mode.text or "").strip().lower() == "embedded",
    )


@dataclass(frozen=True)
class Header:
    """The parts of an ISMRMRD header that are read.

    Attributes
    ----------
    encodings
        The encoding spaces, in order.
    noise_bandwidth
        The receiver's noise bandwidth over that of the imaging readouts' sampling; 1 where not given.
    identifier
        The patient's identifier, or name; empty where neither names anyone. Never written to any output.
    vendor
        The vendor of the scanner, in lower case; empty where not given.
    """

    encodings: list[Encoding]
    noise_bandwidth: float
    identifier: str
    vendor: str = ""


def _decoded(header: str | bytes) -> str:
    stored = header.encode("utf-8", "surrogateescape") if isinstance(header, str) else header
    declared = re.match(rb"[\s\x00\xef\xbb\xbf]*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)", stored)
    named = declared[1].decode("ascii").lower() if declared else "utf-8"
    try:
        text = stored.decode(named if named in ENCODINGS else "utf-8")
    except UnicodeDecodeError:  # older converters copy the scanner's bytes; only names can be meant
        text = stored.decode("latin-1")
    return text.removeprefix("\ufeff")


def xml_root(path: Path, header: str | bytes) -> ElementTree.Element:
    """Return the root of an ISMRMRD header.

    Raises
    ------
    DataError
        See :func:`parse_header`.
    """
    if len(header) > LARGEST_HEADER:
        raise DataError(f"{path}: the ISMRMRD header has {len(header)} bytes; expected at most {LARGEST_HEADER}")
    try:
        text = _decoded(header)
        if "<!DOCTYPE" in text:
            raise DataError(f"{path}: the ISMRMRD header declares a document type; expected plain XML")
        root = ElementTree.fromstring(text.strip("\x00 \r\n\t"))
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError) as error:
        where = f" (line {error.position[0]})" if isinstance(error, ElementTree.ParseError) else ""
        raise DataError(f"{path}: the ISMRMRD header is not readable XML{where}") from None
    return root


def parse_header(path: Path, header: str | bytes) -> Header:
    """Read an ISMRMRD header.

    Parameters
    ----------
    path
        The file, for messages.
    header
        XML in UTF-8, or in one of :data:`ENCODINGS` if it says so; other bytes are read as Latin-1.

    Raises
    ------
    DataError
        For more than 1 MiB, a document type (which could expand without end), damaged XML, wrong numbers.
    """
    root = xml_root(path, header)
    subject = under(root, "subjectInformation")
    system = under(root, "acquisitionSystemInformation")
    names = ("patientID", "patientName")
    known = [(subject.findtext(NAMESPACE + name) or "").strip() for name in names] if subject is not None else []
    return Header(
        [_encoding(path, place) for place in root.findall(NAMESPACE + "encoding")],
        _number(path, system, NAMESPACE + "relativeReceiverNoiseBandwidth", 1.0) or 1.0,
        identity(*known),
        "" if system is None else (system.findtext(NAMESPACE + "systemVendor") or "").strip().casefold(),
    )


def crop_field(kspace: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Crop the field of view along the readout or the phase encode; the samples' noise keeps its variance.

    ``F_m C F_n⁻¹ k``, with C the central m of n samples of the image and F orthonormal.

    Parameters
    ----------
    kspace
        Complex (..., H, W), fully sampled along the axis.
    axis
        -2 or -1.
    size
        m, at most n.

    Returns
    -------
    np.ndarray
        Complex, with ``size`` samples along the axis.
    """
    height, width = kspace.shape[-2:]
    matrix = (size, width) if axis == -2 else (height, size)
    if matrix == (height, width):
        return kspace
    if kspace.ndim > 3:  # slice by slice: the last bits of a slice must not depend on how many there are
        return np.stack([crop_field(own, axis, size) for own in kspace])
    image = inverse_fourier(torch.from_numpy(kspace), (axis,))
    return fourier(crop_or_pad(image, matrix), (axis,)).numpy()


def nearest_samples(old: int, new: int) -> np.ndarray:
    """Return, for each of ``new`` k-space samples of a cropped field of view, the nearest ``old`` sample."""
    places = old // 2 + np.rint((np.arange(new) - new // 2) * old / new).astype(int)
    return np.clip(places, 0, old - 1)
