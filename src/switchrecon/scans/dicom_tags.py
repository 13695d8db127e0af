"""The attributes of a DICOM source that its images keep: an allow-list of numbers and codes, none of a person."""

import hashlib
import math
from typing import Any

import numpy as np

NUMBERS = (
    "EchoNumbers",
    "EchoTime",
    "EchoTrainLength",
    "FlipAngle",
    "ImagingFrequency",
    "InversionTime",
    "MagneticFieldStrength",
    "NumberOfAverages",
    "NumberOfPhaseEncodingSteps",
    "PercentPhaseFieldOfView",
    "PercentSampling",
    "PixelBandwidth",
    "RepetitionTime",
    "SliceThickness",
)
CODES = {  # free text would be copied unread, so only DICOM's own terms pass
    "InPlanePhaseEncodingDirection": {"ROW", "COL"},
    "Laterality": {"R", "L"},
    "MRAcquisitionType": {"1D", "2D", "3D"},
    "PatientPosition": {"HFS", "HFP", "HFDL", "HFDR", "FFS", "FFP", "FFDL", "FFDR"},
    "ScanningSequence": {"SE", "IR", "GR", "EP", "RM"},
    "SequenceVariant": {"SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE"},
    "VariableFlipAngleFlag": {"Y", "N"},
}
UIDS = ("StudyInstanceUID", "FrameOfReferenceUID")  # replaced by a hash, so that series of one study stay together


def technical_tags(header: Any) -> dict[str, Any]:
    """Return the attributes of the allow-list that a header has with a valid value.

    Numbers are floats or lists of floats, codes text or lists of text, ``SeriesNumber`` an int; the UIDs of the study
    and the frame of reference are hashes of the source's.
    """
    found: dict[str, Any] = {}
    for name in (*NUMBERS, *CODES, "SeriesNumber"):
        try:
            values = [v for v in np.atleast_1d(header.get(name)).tolist() if v is not None and v != ""]
            if name in CODES:
                values = [str(v) for v in values]
                valid = set(values) <= CODES[name]
            else:
                values = [float(v) for v in values]
                valid = all(math.isfinite(v) and abs(v) < 1e9 for v in values)
        except (TypeError, ValueError):
            continue
        if values and valid:
            found[name] = values[0] if len(values) == 1 else values
    if "IR" not in found.get("ScanningSequence", ""):
        found.pop("InversionTime", None)  # allowed with inversion recovery alone
    for name in UIDS:
        if uid := str(header.get(name) or ""):
            found[name] = hashlib.sha256(f"{name} {uid}".encode()).hexdigest()
    return found
