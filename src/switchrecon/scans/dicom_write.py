"""Images as a new DICOM series, one file a slice, that says what it is and names no one. Needs pydicom."""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from switchrecon.core.files import NOTE, atomic_folder
from switchrecon.errors import DataError
from switchrecon.scans.dicom import CLASSIC, LPS, pydicom_module
from switchrecon.scans.dicom_tags import CODES, NUMBERS
from switchrecon.scans.maps import Shown
from switchrecon.scans.scan import Scan, description, warn_sides
from switchrecon.scans.series import one_series, series_of

LONGEST = 64  # characters of a series' description
FIRST_NUMBER = 900  # added to the source's series number
MAP_NUMBER = 100  # added for each map
LARGEST = 65535  # the stored value of the brightest pixel
ALONE = Shown("", "", 0, "", 0)
EMPTY = (  # type 2: there, without a value
    *("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID"),
    *("AccessionNumber", "PatientPosition", "PositionReferenceIndicator", "ScanOptions", "MRAcquisitionType"),
    *("RepetitionTime", "EchoTime", "EchoTrainLength", "Laterality"),
)


def _uid(*sources: str) -> str:
    """Return a UID that is the same for the same content: 128 bits of a hash, in the root for such numbers."""
    return f"2.25.{int.from_bytes(hashlib.sha256(' '.join(sources).encode()).digest()[:16], 'big')}"


def _decimal(value: float) -> Any:
    return pydicom_module().valuerep.DSfloat(float(value), auto_format=True)


def _element(name: str, value: Any) -> Any:
    """Return a number as its attribute stores it: decimal text or whole; a code as it is."""
    if name not in NUMBERS:
        return value
    store = _decimal if pydicom_module().datadict.dictionary_VR(name) == "DS" else round
    return [store(v) for v in value] if isinstance(value, list) else store(value)


def _plane(scan: Scan) -> tuple[np.ndarray, list[float], list[float], float]:
    """The affine in LPS, the orientation's six cosines, (row, column) spacing and the distance of slices in mm."""
    affine = LPS @ (np.eye(4) if scan.affine is None else scan.affine)
    down, along, step = affine[:3, :3].T
    spacing = [float(np.linalg.norm(down)), float(np.linalg.norm(along))]
    if not min(spacing) > 0 or abs(down @ along) > 1e-4 * spacing[0] * spacing[1]:
        raise DataError(f"{scan.path}: rows and columns of a slice are not perpendicular; DICOM cannot hold that")
    cosines = [*(along / spacing[1]), *(down / spacing[0])]
    return affine, cosines, spacing, float(abs(step @ np.cross(cosines[:3], cosines[3:])))


def _common(scan: Scan, values: np.ndarray, slope: float, labels: dict[str, int], order: int, whole: str) -> Any:
    """Return what all slices of a series share.

    It is number ``order`` of those that are written together, whose digest is ``whole``; empty for a single one.
    """
    source = scan.geometry.dicom
    shown = scan.shown or ALONE
    affine, cosines, spacing, distance = _plane(scan)
    content = hashlib.sha256(values.tobytes() + affine.tobytes() + repr((values.shape, slope)).encode()).hexdigest()
    common = pydicom_module().Dataset()
    for name in EMPTY:
        setattr(common, name, None)
    common.ScanningSequence, common.SequenceVariant = "RM", "NONE"  # research mode, for want of a source's own
    for name in (*NUMBERS, *CODES):
        if name in source:
            setattr(common, name, _element(name, source[name]))
    common.SOPClassUID = CLASSIC
    common.StudyInstanceUID = _uid(source.get("StudyInstanceUID", f"study {whole or content}"))
    told = [f" {name} {n}" for name, n in labels.items()] + [f" map {shown.name}"] * bool(shown.name)
    common.SeriesInstanceUID = _uid(f"series {content}" + "".join(told))
    common.FrameOfReferenceUID = _uid(source.get("FrameOfReferenceUID", f"frame {whole or content}"))
    common.SeriesNumber = int(source.get("SeriesNumber", 0)) + FIRST_NUMBER + order + MAP_NUMBER * shown.order
    common.PatientName, common.PatientID = "ANONYMOUS^", "ANONYMOUS"
    common.PatientIdentityRemoved, common.DeidentificationMethod = "YES", "switchrecon: technical attributes alone kept"
    common.Modality, common.Manufacturer = "MR", "switchrecon"
    common.ManufacturerModelName = "research software"
    common.SoftwareVersions = version("switchrecon")
    common.ImageType = ["DERIVED", "PRIMARY", "OTHER", f"AI_{shown.name.upper() or 'RECON'}"]
    said = ", ".join([shown.name] * bool(shown.name) + [f"{name} {n}" for name, n in labels.items()])
    common.SeriesDescription = f"{NOTE}, {said}" if said and len(NOTE) + len(said) + 2 <= LONGEST else NOTE
    if "contrast" in labels:
        common.EchoNumbers = labels["contrast"]
    derived = f"Reconstructed by switchrecon {version('switchrecon')} {description(scan)}"
    common.DerivationDescription = derived
    unknown = "Position, orientation and spacing are unknown." if scan.affine is None else ""
    comments = ("Research use only, not for diagnosis.", unknown, f"{said}." if said else "", derived)
    common.ImageComments = " ".join(filter(None, comments))
    common.BurnedInAnnotation, common.LossyImageCompression = "NO", "00"
    common.PixelSpacing = [_decimal(value) for value in spacing]
    common.ImageOrientationPatient = [_decimal(value) for value in cosines]
    common.SpacingBetweenSlices = _decimal(distance)
    common.SliceThickness = _decimal(source.get("SliceThickness", distance))
    common.SamplesPerPixel, common.PhotometricInterpretation, common.PixelRepresentation = 1, "MONOCHROME2", 0
    common.Rows, common.Columns = values.shape[1:]
    common.BitsAllocated, common.BitsStored, common.HighBit = 16, 16, 15
    common.RescaleSlope, common.RescaleIntercept, common.RescaleType = _decimal(slope), "0", "US"
    if (brightest := LARGEST * slope) >= 1:  # a narrower window is not valid
        common.WindowCenter, common.WindowWidth = _decimal(brightest / 2), _decimal(brightest)
    return common


def write_dicom(scan: Scan, images: np.ndarray, target: Path) -> None:
    """Write magnitudes as MR Image Storage, one file a slice, in a new folder.

    Repetitions, contrasts, phases and sets are a series each, in a folder each, with their temporal position or echo
    number.

    Value = RescaleSlope · stored value, the brightest pixel of the volume stored as 65535. Geometry is the scan's
    affine (identity where unknown, and ImageComments says so). Of a DICOM source, the attributes of
    :mod:`~switchrecon.scans.dicom_tags` are kept; nothing else of the source is written.

    Parameters
    ----------
    scan
        Without padding.
    images
        (slices, H, W), real or complex.
    target
        The folder.

    Raises
    ------
    ConfigError
        Without pydicom.
    DataError
        For slices whose rows and columns are not perpendicular, or a side above 65535.
    """
    magnitudes = np.abs(images).astype(np.float64)
    if max(magnitudes.shape[1:]) > LARGEST:
        raise DataError(f"{scan.path}: slices of {magnitudes.shape[1:]} pixels; DICOM holds at most {LARGEST} a side")
    warn_sides(scan)
    found = series_of(scan)
    times = [name for name in ("repetition", "phase") if name in found[0].labels]
    whole = hashlib.sha256(magnitudes.tobytes()).hexdigest() if len(found) > 1 else ""
    whole = scan.shown.whole if scan.shown is not None else whole
    with atomic_folder(target, ".dcm") as folder:
        for order, series in enumerate(found):
            place = folder
            if len(found) > 1:
                place = folder / "_".join(f"{name}-{n}" for name, n in series.labels.items())
                place.mkdir()
            part, one = one_series(scan, magnitudes, series)
            slope = float(str(_decimal(one.max() / LARGEST))) or 1.0  # as it will be read
            values = np.rint(one / slope).clip(0, LARGEST).astype("<u2")
            common = _common(part, values, slope, series.labels, order, whole)
            if times:
                common.TemporalPositionIdentifier = series.labels[times[0]]
                common.NumberOfTemporalPositions = max(other.labels[times[0]] for other in found)
            _write_slices(part, values, common, place)


def _write_slices(scan: Scan, values: np.ndarray, common: Any, folder: Path) -> None:
    pydicom, affine = pydicom_module(), _plane(scan)[0]
    for index, pixels in enumerate(values):
        common.InstanceNumber = index + 1
        common.ImagePositionPatient = [_decimal(value) for value in affine[:3, 3] + index * affine[:3, 2]]
        common.SOPInstanceUID = _uid(f"{common.SeriesInstanceUID} {index}")
        common.PixelData = pixels.tobytes()
        common.file_meta = pydicom.dataset.FileMetaDataset()
        common.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        common.file_meta.MediaStorageSOPClassUID = CLASSIC
        common.file_meta.MediaStorageSOPInstanceUID = common.SOPInstanceUID
        pydicom.dcmwrite(folder / f"{index + 1:04d}.dcm", common, enforce_file_format=True)
