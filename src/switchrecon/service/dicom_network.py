"""DICOM over a network: series come by C-STORE into a folder, results go to a peer. Needs pynetdicom."""

import hashlib
import logging
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from switchrecon.core.files import atomic_file
from switchrecon.errors import ConfigError, DataError
from switchrecon.scans.dicom import CLASSIC, ENHANCED, is_dicom, pydicom_module

logger = logging.getLogger(__name__)

TITLE = "SWITCHRECON"
SECONDS = 30  # that a peer may be silent
ASSOCIATIONS = 4
LARGEST = 1 << 30  # bytes of one instance
REFUSED, FULL = 0xC000, 0xA700
PEER = re.compile(r"(?P<title>[^@\s\\]{1,16})@(?P<host>[^@\s]+):(?P<port>\d{1,5})")
IDENTITY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime"),
    *("StudyID", "AccessionNumber", "ReferringPhysicianName", "FrameOfReferenceUID", "PositionReferenceIndicator"),
)
"""What makes a series one of a study; copied from what was received, into what is sent back."""


def pynetdicom_module() -> Any:
    """The optional package pynetdicom.

    Raises
    ------
    ConfigError
        That says how to install it.
    """
    try:
        import pynetdicom
    except ImportError:
        raise ConfigError(
            "the DICOM network needs the package pynetdicom; install it with: pip install 'switchrecon[service]'"
        ) from None
    return pynetdicom


@dataclass(frozen=True)
class Peer:
    """Whom results are sent to."""

    title: str
    host: str
    port: int


def parse_peer(text: str) -> Peer:
    """Read ``TITLE@HOST:PORT``.

    Raises
    ------
    ConfigError
        For anything else.
    """
    match = PEER.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ConfigError(f"--send-to {text!r}: expected TITLE@HOST:PORT, such as ORTHANC@127.0.0.1:4242")
    return Peer(match["title"], match["host"], int(match["port"]))


def receive(folder: Path, host: str, port: int, title: str = TITLE, callers: Sequence[str] = ()) -> Any:
    """Receive MR images into a folder, a subfolder for each series, until ``shutdown`` of what is returned.

    Names of files and folders are hashes: nothing that was sent becomes a part of a path.

    Parameters
    ----------
    folder
        Where to.
    host, port, title
        What to listen on, and as whom.
    callers
        The application titles that may send; empty: all.

    Raises
    ------
    ConfigError
        Without pynetdicom, or where nobody can listen there.
    """
    net = pynetdicom_module()
    entity = net.AE(ae_title=title)
    for kind in (CLASSIC, ENHANCED):
        entity.add_supported_context(kind, net.ALL_TRANSFER_SYNTAXES)
    entity.add_supported_context("1.2.840.10008.1.1")  # C-ECHO
    entity.maximum_associations = ASSOCIATIONS
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = SECONDS
    entity.require_calling_aet = list(callers)
    entity.require_called_aet = bool(callers)

    def store(event: Any) -> int:
        content = event.request.DataSet
        if content is None or content.getbuffer().nbytes > LARGEST:
            return REFUSED
        try:
            header = event.dataset
            series, instance = str(header.SeriesInstanceUID), str(header.SOPInstanceUID)
        except Exception:  # what is sent may be anything
            return REFUSED
        place = folder / f"series-{_digest(series)}" / f"{_digest(instance)}.dcm"
        try:
            with atomic_file(place) as temporary, temporary.open("wb") as file:
                file.write(event.encoded_dataset())
        except OSError as error:
            logger.warning("a DICOM image is not stored: %s", error.strerror or error)
            return FULL
        return 0

    try:
        return entity.start_server((host, port), block=False, evt_handlers=[(net.evt.EVT_C_STORE, store)])
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port} ({error.strerror or error}); choose another port") from None


def send(peer: Peer, series: Path, source: Path | None, title: str = TITLE) -> int:
    """Send a series, and the series of maps beside it, by C-STORE; return how many images.

    Parameters
    ----------
    peer
        To whom.
    series
        The folder that was written.
    source
        What it was made of: a DICOM series whose study, patient and frame of reference the results become a part of.
        None, or of another kind: they are sent as they are, naming no one.
    title
        As whom.

    Raises
    ------
    DataError
        Where the peer cannot be reached, or refuses an image.
    """
    net, pydicom = pynetdicom_module(), pydicom_module()
    folders = [*sorted(series.parent.glob(f"{series.name}_desc-*")), series]
    files = sorted(path for folder in folders for path in folder.rglob("*.dcm"))
    whose = _identity(source)
    entity = net.AE(ae_title=title)
    entity.add_requested_context(CLASSIC, pydicom.uid.ExplicitVRLittleEndian)
    entity.add_requested_context(CLASSIC, pydicom.uid.ImplicitVRLittleEndian)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = SECONDS
    silent = DataError(f"{series}: {peer.title} at {peer.host}:{peer.port} does not answer or refuses to talk")
    try:
        socket.create_connection((peer.host, peer.port), SECONDS).close()
    except OSError:
        raise silent from None
    association = entity.associate(peer.host, peer.port, ae_title=peer.title)
    if not association.is_established:
        raise silent
    try:
        for path in files:
            image = pydicom.dcmread(path)
            for name, value in whose.items():
                setattr(image, name, value)
            if whose:
                image.PatientIdentityRemoved = "NO"
                image.pop("DeidentificationMethod", None)
            answer = association.send_c_store(image)
            if "Status" not in answer or answer.Status & 0xF000 in (0xA000, 0xC000) or 0 < answer.Status < 0x200:
                status = f"status {answer.Status:04x}" if "Status" in answer else "no answer"
                raise DataError(f"{path}: {peer.title} did not take the image ({status})")
    finally:
        association.release()
    return len(files)


def _identity(source: Path | None) -> dict[str, Any]:
    if source is None or not is_dicom(source):
        return {}
    inside = sorted(each for each in source.iterdir() if each.is_file()) if source.is_dir() else [source]
    first = next(each for each in inside if is_dicom(each))
    header = pydicom_module().dcmread(first, stop_before_pixels=True)
    return {name: header.get(name) for name in IDENTITY if name in header}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:24]
