"""A watched folder: every scan that is complete is reconstructed once, also across restarts."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from switchrecon.core.files import write_text
from switchrecon.errors import ConfigError, DataError, SwitchreconError
from switchrecon.reconstruction.files import Look, Outcome, reconstruct_files
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.scans.dicom import is_dicom, pydicom_module
from switchrecon.scans.files import find_files, recognise
from switchrecon.scans.names import stem

logger = logging.getLogger(__name__)

LEDGER, LOCK, SERIES, ASIDE = ".watched.jsonl", ".watched.lock", ".series", "set-aside"
LATER = 60.0  # seconds until what could not be sent is tried again

Fingerprint = list[list[int | str]]
"""Name, size and time of change (ns) of every file of a scan."""


@dataclass(frozen=True)
class Watching:
    """How a folder is watched.

    Attributes
    ----------
    folder, out
        Scans in, images out; neither is inside the other.
    undersample, format, maps
        See :func:`switchrecon.reconstruction.files.reconstruct_files`.
    settle
        Seconds that a file's size and time of change must stay as they are.
    quiet
        Seconds without a new file, for a DICOM series.
    poll
        Seconds between two looks.
    """

    folder: Path
    out: Path
    undersample: str | None = None
    format: str = "own"
    maps: bool = True
    settle: float = 5.0
    quiet: float = 30.0
    poll: float = 1.0


@dataclass
class _Found:
    """A scan that has been seen: its files, as they were when they last changed."""

    fingerprint: Fingerprint
    since: float


@dataclass
class Watch:
    """Watches a folder; see :meth:`work`.

    Attributes
    ----------
    settings
        How.
    reconstructor, look
        The run.
    send
        Called with what was written and the scan's folder or file; sends it to somebody. None: nothing is sent.
    clock
        Seconds; a test may turn it.
    """

    settings: Watching
    reconstructor: Reconstructor
    look: Look | None = None
    send: Callable[[Path, Path], None] | None = None
    clock: Callable[[], float] = time.monotonic
    _seen: dict[Path, _Found] = field(default_factory=dict)
    _done: dict[str, dict[str, object]] = field(default_factory=dict)
    _retry: float = 0.0

    def work(self, stop: threading.Event, once: bool = False) -> int:
        """Look until it is stopped, or once: until no scan is left that may still become complete.

        Returns
        -------
        int
            How many scans have failed.

        Raises
        ------
        DataError
            For folders that are absent or inside each other, and a folder ``out`` that another process watches into.
        """
        ours = self.settings
        if not ours.folder.is_dir():
            raise DataError(f"{ours.folder}: no such folder; expected one that scans come into")
        inside, outside = ours.folder.resolve(), ours.out.resolve()
        if inside == outside or inside in outside.parents or outside in inside.parents:
            raise DataError(f"{ours.out}: is inside {ours.folder}, or it inside; choose separate folders")
        ours.out.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(ours.out / LOCK, timeout=0):
                return self._work(stop, once)
        except Timeout:
            raise DataError(f"{ours.out}: another process watches into this folder; choose another --out") from None

    def _work(self, stop: threading.Event, once: bool) -> int:
        self._done = dict(_read_ledger(self.settings.out / LEDGER))
        failed = 0
        while not stop.is_set():
            pending = 0
            for scan, parts in self._scans():
                if stop.is_set():
                    break
                name = self._name(scan)
                fingerprint = _fingerprint(parts)
                before = self._done.get(name)
                if before is not None and before["files"] == fingerprint:
                    self._send_again(name, scan, before)
                    continue
                if not self._complete(scan, fingerprint):
                    pending += 1
                    continue
                failed += not self._one(name, scan, fingerprint)
            if once and not pending:
                break
            stop.wait(self.settings.poll)
        return failed

    def _scans(self) -> Iterator[tuple[Path, list[Path]]]:
        """Each scan in the folder and its files. DICOM files that lie beside each other are put together by series."""
        folder = self.settings.folder
        loose = [path for path in sorted(folder.iterdir()) if path.is_file() and _visible(path) and is_dicom(path)]
        yield from self._loose_series(loose)
        try:
            found = find_files([folder], recursive=True)
        except DataError:  # nothing there yet
            return
        for scan in found:
            if scan == folder or scan in loose or not _visible(scan):
                continue
            if scan.is_file() and scan.parent != folder and is_dicom(scan):
                continue  # of the series that its folder is
            try:
                parts = sorted(each for each in scan.iterdir() if each.is_file()) if scan.is_dir() else None
                yield scan, list(recognise(scan).parts(scan)) if parts is None else parts
            except (OSError, SwitchreconError):
                yield scan, [scan]  # not readable yet, or never: then the reconstruction says why

    def _loose_series(self, files: Sequence[Path]) -> Iterator[tuple[Path, list[Path]]]:
        if not files:
            return
        pydicom, by_series = pydicom_module(), dict[str, list[Path]]()
        for path in files:
            try:
                header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
                by_series.setdefault(str(header.SeriesInstanceUID), []).append(path)
            except Exception:  # still being written, or damaged: by itself, so that it is set aside with its reason
                by_series.setdefault(path.name, []).append(path)
        for each in by_series.values():
            links = self.settings.out / SERIES / stem(each[0])
            links.mkdir(parents=True, exist_ok=True)
            for path in each:
                if not (links / path.name).exists():
                    (links / path.name).symlink_to(path.resolve())
            yield links, each

    def _name(self, scan: Path) -> str:
        base = self.settings.out / SERIES if scan.is_relative_to(self.settings.out) else self.settings.folder
        return str(scan.relative_to(base))

    def _complete(self, scan: Path, fingerprint: Fingerprint) -> bool:
        now, known = self.clock(), self._seen.get(scan)
        if known is None or known.fingerprint != fingerprint:
            self._seen[scan] = _Found(fingerprint, now)
            return False
        return now - known.since >= (self.settings.quiet if scan.is_dir() else self.settings.settle)

    def _one(self, name: str, scan: Path, fingerprint: Fingerprint) -> bool:
        """Reconstruct a scan and note it; return whether it went well. A crash in between does it once more."""
        ours = self.settings
        target = ours.out / Path(name).parent
        try:
            (outcome,) = reconstruct_files(
                self.reconstructor,
                [scan],
                target,
                ours.undersample,
                overwrite=True,
                format=ours.format,
                maps=ours.maps,
                look=self.look,
            )
        except (SwitchreconError, OSError) as error:
            outcome = Outcome(scan, error=error if isinstance(error, SwitchreconError) else DataError(str(error)))
        aside = ours.out / ASIDE / f"{name}.txt"
        if outcome.error is not None:
            write_text(aside, f"{outcome.error}\n")
            self._note(name, {"files": fingerprint, "failed": str(outcome.error)})
            logger.warning("%s is set aside: %s", name, outcome.error)
            return False
        aside.unlink(missing_ok=True)
        assert outcome.written is not None
        entry: dict[str, object] = {"files": fingerprint, "written": str(outcome.written.relative_to(ours.out))}
        if self.send is not None:
            entry["unsent"] = True
        self._note(name, entry)
        logger.info("%s: %s", name, "; ".join([str(outcome.written), *outcome.sentences]))
        self._send_again(name, scan, entry, now=True)
        return True

    def _send_again(self, name: str, scan: Path, entry: dict[str, object], now: bool = False) -> None:
        if self.send is None or not entry.get("unsent") or (not now and self.clock() < self._retry):
            return
        try:
            self.send(self.settings.out / str(entry["written"]), scan)
        except SwitchreconError as error:
            self._retry = self.clock() + LATER
            logger.warning("%s is not sent: %s; it is tried again in %.0f s", name, error, LATER)
            return
        self._note(name, {key: value for key, value in entry.items() if key != "unsent"})

    def _note(self, name: str, entry: dict[str, object]) -> None:
        """Add a line; one that a crash cuts off is left out when the file is read."""
        self._done[name] = entry
        with (self.settings.out / LEDGER).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"scan": name, **entry}) + "\n")
            file.flush()


def _visible(path: Path) -> bool:
    return not path.name.startswith(".")


def _fingerprint(parts: Sequence[Path]) -> Fingerprint:
    found: Fingerprint = []
    for path in parts:
        try:
            state = path.stat()
        except OSError:
            continue
        found.append([path.name, state.st_size, state.st_mtime_ns])
    return found


def _read_ledger(file: Path) -> Iterator[tuple[str, dict[str, object]]]:
    if not file.exists():
        return
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            yield entry.pop("scan"), entry
        except (ValueError, KeyError, AttributeError):
            continue


def check_sending(format: str, peer: str | None) -> None:
    """Refuse to send what is not DICOM.

    Raises
    ------
    ConfigError
        That says what to choose.
    """
    if peer is not None and format != "dicom":
        raise ConfigError(f"--send-to needs --format dicom; found '{format}'")
