"""A watched folder: what is complete is reconstructed once, whatever happens in between."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from switchrecon.errors import DataError
from switchrecon.physics.fourier import fourier
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.dicom_write import write_dicom
from switchrecon.scans.scan import Scan
from switchrecon.service.watch import ASIDE, LEDGER, Watch, Watching
from tests.conftest import blob_images


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def reconstructor(trained: Callable[..., Path]) -> Reconstructor:
    return Reconstructor.load(trained(), device="cpu")


def undersampled(path: Path, subject: int = 5) -> Path:
    kspace = fourier(torch.from_numpy(blob_images(subject, 1))).numpy()
    path.parent.mkdir(exist_ok=True, parents=True)
    np.save(path, kspace * ((np.arange(64) % 4 == 0) | (abs(np.arange(64) - 32) < 5)))
    return path


class Clock:
    """Seconds that pass as they are told, one more with each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def watching(incoming: Path, reconstructor: Reconstructor, **settings: object) -> Watch:
    chosen = {"settle": 3, "quiet": 6, "poll": 0, **settings}
    return Watch(Watching(incoming, incoming.parent / "out", **chosen), reconstructor, clock=Clock())  # type: ignore[arg-type]


def look(watch: Watch) -> int:
    return watch.work(threading.Event(), once=True)


def done(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*.npy") if "desc" not in path.name)


def test_complete_scans_are_reconstructed_once_also_across_restarts(
    incoming: Path, reconstructor: Reconstructor
) -> None:
    undersampled(incoming / "a.npy")
    undersampled(incoming / "monday" / "b.npy", 6)
    assert look(watching(incoming, reconstructor)) == 0
    out = incoming.parent / "out"
    assert done(out) == ["a.npy", "monday/b.npy"]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    undersampled(incoming / "c.npy", 7)
    look(watching(incoming, reconstructor))
    assert done(out) == ["a.npy", "c.npy", "monday/b.npy"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [path.name for path in incoming.rglob("*.npy")]  # what came stays


def test_a_scan_that_is_replaced_is_reconstructed_again(incoming: Path, reconstructor: Reconstructor) -> None:
    undersampled(incoming / "a.npy")
    look(watching(incoming, reconstructor))
    out = incoming.parent / "out" / "a.npy"
    first = np.load(out)
    undersampled(incoming / "a.npy", 6)
    look(watching(incoming, reconstructor))
    assert not np.array_equal(np.load(out), first)


def test_a_file_that_grows_is_left_until_it_stays(incoming: Path, reconstructor: Reconstructor, tmp_path: Path) -> None:
    whole = undersampled(tmp_path / "whole.npy").read_bytes()
    part = incoming / "a.npy"
    watch, stop = watching(incoming, reconstructor, settle=4), threading.Event()
    sizes = iter([*range(1000, 20_000, 1000), len(whole)])
    clock = watch.clock

    def growing() -> float:
        if size := next(sizes, None):
            part.write_bytes(whole[:size])
        return clock()

    part.write_bytes(whole[:500])
    watch.clock = growing
    assert watch.work(stop, once=True) == 0
    assert done(tmp_path / "out") == ["a.npy"]
    assert not (tmp_path / "out" / ASIDE).exists()


def test_a_scan_that_fails_is_set_aside_with_its_reason_and_the_others_go_on(
    incoming: Path, reconstructor: Reconstructor
) -> None:
    (incoming / "a.npy").write_bytes(b"rubbish")
    undersampled(incoming / "b.npy")
    out = incoming.parent / "out"
    assert look(watching(incoming, reconstructor)) == 1
    assert done(out) == ["b.npy"]
    reason = (out / ASIDE / "a.npy.txt").read_text()
    assert "a.npy" in reason
    assert look(watching(incoming, reconstructor)) == 0  # not tried again
    undersampled(incoming / "a.npy")
    look(watching(incoming, reconstructor))
    assert done(out) == ["a.npy", "b.npy"]
    assert not (out / ASIDE / "a.npy.txt").exists()


def test_a_record_that_a_crash_cut_off_does_the_last_scan_once_more(
    incoming: Path, reconstructor: Reconstructor
) -> None:
    undersampled(incoming / "a.npy")
    undersampled(incoming / "b.npy", 6)
    look(watching(incoming, reconstructor))
    out = incoming.parent / "out"
    expected = {name: np.load(out / name) for name in done(out)}
    ledger = out / LEDGER
    ledger.write_bytes(ledger.read_bytes()[:-20])
    (out / "b.npy").unlink()
    look(watching(incoming, reconstructor))
    for name, image in expected.items():
        np.testing.assert_array_equal(np.load(out / name), image)


@pytest.mark.parametrize("loose", [True, False])
def test_a_dicom_series_is_one_scan_once_it_is_quiet(
    incoming: Path, reconstructor: Reconstructor, tmp_path: Path, loose: bool
) -> None:
    images = np.abs(blob_images(3, 3))
    scan = Scan(tmp_path / "a.h5", "a", images.astype(np.complex64), affine=np.diag([-1.0, -1, 3, 1]))
    place = incoming / "series"
    write_dicom(scan, images, place)
    if loose:
        for file in sorted(place.iterdir()):
            file.rename(incoming / file.name)
        place.rmdir()
    watch = watching(incoming, reconstructor, undersample="random-1d:4:0.1", format="numpy")
    assert look(watch) == 0
    (written,) = done(tmp_path / "out")
    assert np.load(tmp_path / "out" / written).shape == (3, 64, 64)


def test_folders_inside_each_other_and_two_watchers_are_refused(
    incoming: Path, reconstructor: Reconstructor, tmp_path: Path
) -> None:
    for out in (incoming, incoming / "out", tmp_path):
        watch = Watch(Watching(incoming, out), reconstructor)
        with pytest.raises(DataError, match="choose separate folders"):
            look(watch)
    stop, running = threading.Event(), threading.Event()
    first = watching(incoming, reconstructor, poll=0.01)
    first.send = None
    thread = threading.Thread(target=lambda: (running.set(), first.work(stop)))
    thread.start()
    running.wait()
    try:
        for _ in range(500):
            if (tmp_path / "out" / ".watched.lock").exists():
                break
            time.sleep(0.01)
        time.sleep(0.05)
        with pytest.raises(DataError, match="another process watches"):
            look(watching(incoming, reconstructor))
    finally:
        stop.set()
        thread.join()


@pytest.mark.more
def test_the_command_ends_at_sigterm_and_goes_on_after_kill(
    incoming: Path, tmp_path: Path, trained: Callable[..., Path]
) -> None:
    undersampled(incoming / "a.npy")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "switchrecon", "watch", str(incoming), "--run", str(trained())]
    command += ["--out", str(out), "--settle", "0.01", "--poll", "0.05"]
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
        wanted = "a.npy" if number == signal.SIGKILL else "b.npy"
        while not any(wanted == json.loads(line)["scan"] for line in _lines(out / LEDGER)):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == (-9 if number == signal.SIGKILL else 0), err
        undersampled(incoming / "b.npy", 6)
    assert [json.loads(line)["scan"] for line in _lines(out / LEDGER)] == ["a.npy", "b.npy"]


def _lines(file: Path) -> list[str]:
    if not file.exists():
        return []
    return [line for line in file.read_text().split("\n")[:-1] if line]
