"""C-STORE in and out, with dcmtk and Orthanc as peers on this machine."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from switchrecon.errors import ConfigError, DataError
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.dicom_write import write_dicom
from switchrecon.scans.scan import Scan
from switchrecon.service.dicom_network import IDENTITY, Peer, parse_peer, receive, send
from switchrecon.service.watch import Watch, Watching
from tests.conftest import blob_images

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("pynetdicom")

AFFINE = np.array([[-0.9, 0.1, 0.2, 40], [0.1, -0.95, 0.3, 50], [0.18, 0.29, 2.9, -60], [0, 0, 0, 1]])
AFFINE[:3, :3] = np.linalg.qr(AFFINE[:3, :3])[0] * (0.9, 0.9, 3)  # oblique
WHOSE = {
    "PatientName": "Somebody^Some",
    "PatientID": "77",
    "PatientBirthDate": "19700101",
    "StudyInstanceUID": "1.2.3.4.5",
    "FrameOfReferenceUID": "1.2.3.4.6",
    "AccessionNumber": "A1",
    "StudyDate": "20260101",
    "StudyTime": "101010",
    "ReferringPhysicianName": "",
    "StudyID": "1",
    "PatientSex": "O",
}


def need(program: str) -> str:
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A series of somebody, as a scanner sends it."""
    images = np.abs(blob_images(3, 3))
    write_dicom(Scan(tmp_path / "a.h5", "a", images.astype(np.complex64), affine=AFFINE), images, tmp_path / "source")
    for path in (tmp_path / "source").iterdir():
        image = pydicom.dcmread(path)
        for name, value in WHOSE.items():
            setattr(image, name, value)
        image.PatientIdentityRemoved, image.ImageType = "NO", ["ORIGINAL", "PRIMARY", "M"]
        image.save_as(path)
    return tmp_path / "source"


@contextlib.contextmanager
def receiving(folder: Path, **options: Any) -> Iterator[int]:
    server = receive(folder, "127.0.0.1", 0, **options)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def test_dcmtk_stores_series_under_names_that_nobody_chooses(series: Path, tmp_path: Path) -> None:
    need("storescu")
    path = next(series.iterdir())
    evil = pydicom.dcmread(path)
    evil.PatientID, evil.SOPInstanceUID = "../../x", "1.2.3.99"
    evil.file_meta.MediaStorageSOPInstanceUID = "1.2.3.99"
    evil.save_as(tmp_path / "evil.dcm")
    with receiving(tmp_path / "in") as port:
        peer = ["127.0.0.1", str(port)]
        subprocess.run(["echoscu", *peer], check=True)
        subprocess.run(["storescu", "+sd", *peer, str(series)], check=True)
        subprocess.run(["storescu", *peer, str(tmp_path / "evil.dcm")], check=True)
        subprocess.run(["storescu", "+sd", *peer, str(series)], check=True)  # again: no new files
    (folder,) = (tmp_path / "in").iterdir()
    assert len(list(folder.iterdir())) == 4
    stored = {pydicom.dcmread(own).SOPInstanceUID: pydicom.dcmread(own) for own in folder.iterdir()}
    for own in series.iterdir():
        sent = pydicom.dcmread(own)
        assert stored[sent.SOPInstanceUID] == sent
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.dcm", "in", "source"]


def test_only_named_callers_may_send_where_some_are_named(series: Path, tmp_path: Path) -> None:
    need("storescu")
    with receiving(tmp_path / "in", callers=["PACS"]) as port:
        peer = ["127.0.0.1", str(port)]
        ours = ["-aec", "SWITCHRECON"]
        refused = subprocess.run(["storescu", "+sd", "-aet", "OTHER", *ours, *peer, str(series)], check=False)
        assert refused.returncode != 0
        assert not (tmp_path / "in").exists()
        subprocess.run(["storescu", "+sd", "-aet", "PACS", *ours, *peer, str(series)], check=True)
    assert (tmp_path / "in").exists()


def test_what_is_no_dicom_ends_the_association_alone(tmp_path: Path, series: Path) -> None:
    need("storescu")
    with receiving(tmp_path / "in") as port:
        for content in (b"\xff" * 100, b"\x01\x00\xff\xff\xff\xff" + bytes(100), b"GET / HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port), 10) as peer:
                peer.sendall(content)
        subprocess.run(["storescu", "+sd", "127.0.0.1", str(port), str(series)], check=True)


@pytest.mark.parametrize("text", ["", "A@b", "A@b:0", "A@b:99999", "@b:1", "A B@c:1", "A" * 17 + "@b:1"])
def test_a_peer_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="expected TITLE@HOST:PORT"):
        parse_peer(text)


def test_a_peer_that_does_not_answer_or_refuses(series: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not answer"):
        send(Peer("X", "127.0.0.1", free_port()), series, None)
    folder = tmp_path / "in"
    with receiving(folder) as port:
        folder.write_text("a file where the folder should be")
        with pytest.raises(DataError, match="did not take the image"):
            send(Peer("X", "127.0.0.1", port), series, None)


def test_a_port_that_is_taken_and_a_format_that_is_not_dicom(
    tmp_path: Path, run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="choose another port"):
        receive(tmp_path, "127.0.0.1", taken.getsockname()[1])
    code, _, err = run_cli("watch", tmp_path, "--run", tmp_path, "--out", tmp_path / "o", "--send-to", "A@b:1")
    assert code == 2
    assert "--send-to needs --format dicom" in err


@contextlib.contextmanager
def orthanc(folder: Path, ours: int) -> Iterator[tuple[int, Callable[..., Any]]]:
    """Orthanc on this machine, which knows us as ``us``: its DICOM port, and its REST interface."""
    program, http, dicom = need("Orthanc"), free_port(), free_port()
    folder.mkdir()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": http,
        "DicomPort": dicom,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [],
        "DicomModalities": {"us": ["SWITCHRECON", "127.0.0.1", ours]},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))

    def ask(path: str, content: bytes | None = None) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{http}{path}", content)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as reply:
            found = reply.read()
        return found if path.endswith("/file") else json.loads(found)

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([program, str(folder / "orthanc.json")], **quiet)  # type: ignore[call-overload]
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                ask("/system")
                break
            assert process.poll() is None
            time.sleep(0.1)
        yield dicom, ask
    finally:
        process.terminate()
        process.wait(30)


def test_a_series_goes_from_orthanc_through_a_run_and_back(
    series: Path, tmp_path: Path, trained: Callable[..., Path]
) -> None:
    """C-STORE in, reconstruction, C-STORE out: a new series of the same study, in the same place."""
    need("storescu")
    incoming, out = tmp_path / "in", tmp_path / "out"
    incoming.mkdir()
    with receiving(incoming) as ours, orthanc(tmp_path / "orthanc", ours) as (port, ask):
        subprocess.run(["storescu", "+sd", "127.0.0.1", str(port), str(series)], check=True)
        (first,) = ask("/series")
        ask("/modalities/us/store", first.encode())
        peer = Peer("ORTHANC", "127.0.0.1", port)
        watch = Watch(
            Watching(incoming, out, "random-1d:4:0.1", "dicom", quiet=0.1, poll=0.05),
            Reconstructor.load(trained(), device="cpu"),
            send=lambda written, scan: send(peer, written, scan) and None,
        )
        assert watch.work(threading.Event(), once=True) == 0
        everything = [pydicom.dcmread(_file(ask(f"/instances/{own}/file"))) for own in ask("/instances")]
        assert len(ask("/studies")) == 1
        assert len(ask("/patients")) == 1
    sources = {int(own.InstanceNumber): own for own in map(pydicom.dcmread, series.iterdir())}
    by_series: dict[str, list[Any]] = {}
    for own in everything:
        if own.SOPInstanceUID not in {source.SOPInstanceUID for source in sources.values()}:
            by_series.setdefault(own.SeriesInstanceUID, []).append(own)
    assert sorted(len(own) for own in by_series.values()) == [3, 3]  # images, and what was invented
    assert sources[1].SeriesInstanceUID not in by_series
    for own in (image for images in by_series.values() for image in images):
        source = min(sources.values(), key=lambda other: _distance(own, other))
        for name in IDENTITY:
            assert own.get(name) == source.get(name), name
        assert _distance(own, source) < 0.01
        np.testing.assert_allclose(own.ImageOrientationPatient, source.ImageOrientationPatient, atol=1e-5)
        np.testing.assert_allclose(own.PixelSpacing, source.PixelSpacing, atol=1e-5)
        assert "research use only" in own.SeriesDescription
        _check_valid(own, tmp_path / "check.dcm")
    for path in out.rglob("*.dcm"):  # what is on the disk names no one
        assert pydicom.dcmread(path).PatientID == "ANONYMOUS"


def _distance(image: Any, other: Any) -> float:
    """Between their first pixels, in mm."""
    places = (np.array(own.ImagePositionPatient, float) for own in (image, other))
    return float(np.linalg.norm(np.subtract(*places)))


def _file(content: bytes) -> Any:
    import io

    return io.BytesIO(content)


def _check_valid(image: Any, path: Path) -> None:
    if not shutil.which("dciodvfy"):
        return
    image.save_as(path)
    found = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
    assert not [line for line in found.splitlines() if line.startswith("Error")], found


def test_what_cannot_be_sent_is_sent_later(
    series: Path, tmp_path: Path, trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    incoming, out = tmp_path / "in", tmp_path / "out"
    incoming.mkdir()
    series.rename(incoming / "series")
    calls: list[Path] = []

    def refuse(written: Path, scan: Path) -> None:
        calls.append(scan)
        if len(calls) == 1:
            raise DataError("nobody is there")

    settings = Watching(incoming, out, "random-1d:4:0.1", "dicom", quiet=0.01, poll=0.01)
    loaded = Reconstructor.load(trained(), device="cpu")
    assert Watch(settings, loaded, send=refuse).work(threading.Event(), once=True) == 0
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")}
    for _ in range(2):  # another process: it sends, and does not reconstruct; a third has nothing to do
        Watch(settings, loaded, send=refuse).work(threading.Event(), once=True)
    assert calls == [incoming / "series"] * 2
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")} == written
    assert os.path.isdir(incoming / "series")
