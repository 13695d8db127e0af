"""Siemens raw data (VB and VD/VE ``.dat``), through the optional package twixtools.

The readouts are described as ISMRMRD does it and sorted by the same code. Tested on files that twixtools itself wrote
and on simulated ones, **not on files of a scanner**: compare the first images with the scanner's. The orientation of
the slices is not read (``affine`` is None), nor is ramp sampling (EPI) regridded.
"""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from switchrecon.core.limits import check_size
from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError
from switchrecon.scans.formats import Format
from switchrecon.scans.header import Encoding, Header
from switchrecon.scans.mrd import scan_of_readouts
from switchrecon.scans.readouts import HEAD, Readouts
from switchrecon.scans.scan import Scan

BUFFERS = re.compile(rb"(Config|Dicom|Meas|MeasYaps|Phoenix|Spice)\x00")  # a measurement's header begins with one
FLAGS = {  # Siemens' names, ISMRMRD's numbers
    "NOISEADJSCAN": 19,
    "PATREFSCAN": 20,
    "PATREFANDIMASCAN": 21,
    "REFLECT": 22,
    "noname60": 23,
    "PHASCOR": 24,
    "HPFEEDBACK": 26,
    "RTFEEDBACK": 28,
    "REFPHASESTABSCAN": 30,
    "PHASESTABSCAN": 31,
}
COUNTERS = {
    "kspace_encode_step_1": "Lin",
    "kspace_encode_step_2": "Par",
    "contrast": "Eco",
    "repetition": "Rep",
    "phase": "Phs",
    "set": "Set",
    "slice": "Sli",
}
INPLACE = 2  # of ucRefScanMode: calibration lines belong to the image's k-space
OVERSAMPLING = 2  # of the readout, always


def _entries(start: bytes, size: int) -> list[tuple[int, int]]:
    """Offset and length of each measurement of a VD file; of a VB file, the whole."""
    first, count = np.frombuffer(start, "<u4", 2).tolist()
    if first >= 10000 or not 0 < count <= 64:
        return [(0, size)]
    entries = [start[8 + 152 * i :][8:24] for i in range(count)]
    found = [tuple(np.frombuffer(one, "<u8").tolist()) for one in entries if len(one) == 16]
    return [(offset, length) for offset, length in found]


def is_twix(path: Path) -> bool:
    """Return whether a file begins as Siemens raw data do: with measurements, each with a header of named texts."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(8 + 152 * 64)
        if len(start) < 64:
            return False
        offset = _entries(start, path.stat().st_size)[0][0]
        file.seek(min(offset, path.stat().st_size))
        return BUFFERS.match(file.read(32)[8:]) is not None


def _measurements(path: Path) -> list[dict[str, Any]]:
    try:
        import twixtools
    except ImportError:
        raise DataError(
            f"{path}: Siemens raw data need the package twixtools: pip install 'switchrecon[twix]'; or convert the "
            "file to ISMRMRD with siemens_to_ismrmrd"
        ) from None
    size = path.stat().st_size
    check_size(path, "raw data", (size,), 1)
    with path.open("rb") as file:
        last = max(offset + length for offset, length in _entries(file.read(8 + 152 * 64), size))
    if last > size:
        raise DataError(f"{path}: has {size} bytes; expected {last}: the file is cut off")
    try:
        with redirect_stdout(io.StringIO()):
            found: list[dict[str, Any]] = twixtools.read_twix(
                str(path), parse_pmu=False, parse_geometry=False, verbose=False
            )
        return found
    except Exception as error:  # twixtools raises many kinds for damaged files
        raise DataError(f"{path}: not readable Siemens raw data ({type(error).__name__})") from error


def _encoding(path: Path, protocol: dict[str, Any], blocks: list[Any]) -> Encoding:
    try:
        kspace, area = protocol["sKSpace"], protocol["sSliceArray"]["asSlice"][0]
        base, lines = int(kspace["lBaseResolution"]), int(kspace["lPhaseEncodingLines"])
        partitions = int(kspace.get("lPartitions", 1)) if kspace.get("ucDimension") == 4 else 1
        along, across = float(area["dReadoutFOV"]), float(area["dPhaseFOV"])
        thickness = float(area.get("dThickness", 0))
        across *= 1 + float(kspace.get("dPhaseOversamplingForDialog", 0))
        embedded = protocol.get("sPat", {}).get("ucRefScanMode") == INPLACE
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"{path}: the protocol does not say the matrix and the field of view ({error})") from error
    if kspace.get("ucTrajectory", 1) != 1:
        raise DataError(f"{path}: the trajectory is not Cartesian; only Cartesian k-space is read")
    middle = blocks[0].mdh
    return Encoding(
        (OVERSAMPLING * base, lines, max(partitions, 1)),
        (base, lines, max(partitions, 1)),
        (OVERSAMPLING * along, across, thickness),
        (along, across, thickness),
        (int(middle.CenterLin), int(middle.CenterPar)),
        embedded=embedded,
    )


def readouts_of(path: Path, measurements: list[dict[str, Any]]) -> tuple[Header, Readouts]:
    """Describe twixtools' measurements as ISMRMRD does: the last one, with the noise readouts of those before it.

    Parameters
    ----------
    path
        The file, for messages.
    measurements
        What ``twixtools.read_twix`` gives.

    Raises
    ------
    DataError
        Without a readout for an image, or a protocol that says its matrix.
    """
    chosen = []
    for number, measurement in enumerate(measurements):
        dwell = measurement["hdr"].get("MeasYaps", {}).get("sRXSPEC", {}).get("alDwellTime", [0])[0]
        for block in measurement["mdb"]:
            if block.is_flag_set("SYNCDATA") or block.is_flag_set("ACQEND"):
                continue
            if number == len(measurements) - 1 or block.is_flag_set("NOISEADJSCAN"):
                chosen.append((block, float(dwell) / 1000))
    images = [block for block, _ in chosen if block.is_image_scan()]
    if not images:
        raise DataError(f"{path}: none of {len(chosen)} readouts is for an image")
    head = np.zeros(len(chosen), HEAD)
    samples = np.empty(len(chosen), dtype=object)
    for i, (block, dwell) in enumerate(chosen):
        data = np.ascontiguousarray(block.data, dtype=np.complex64)
        samples[i] = data.view(np.float32).reshape(-1)
        one = head[i]
        one["active_channels"], one["number_of_samples"] = data.shape
        one["flags"] = sum(1 << (bit - 1) for name, bit in FLAGS.items() if block.is_flag_set(name))
        one["center_sample"] = block.mdh.CenterCol
        one["discard_pre"], one["discard_post"] = block.mdh.CutOff.Pre, block.mdh.CutOff.Post
        one["sample_time_us"] = dwell
        for name, counter in COUNTERS.items():
            one["idx"][name] = getattr(block.mdh.Counter, counter)
    return Header([_encoding(path, measurements[-1]["hdr"].get("MeasYaps", {}), images)], 1.0, ""), Readouts(
        head, samples
    )


def read_twix(path: Path, options: ReadOptions) -> Scan:
    """Read the last measurement of a file; see :func:`switchrecon.scans.mrd.scan_of_readouts`.

    Raises
    ------
    DataError
        Where twixtools is not installed, for a damaged file, or k-space that is not Cartesian or cannot be sorted.
    """
    return scan_of_readouts(path, *readouts_of(path, _measurements(path)))


FORMAT = Format(name="Siemens raw data", suffixes=(".dat",), sniff=is_twix, read=read_twix)
