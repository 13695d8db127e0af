"""TensorBoard's event files, written at once and in this thread, so that an error is that of who writes.

Its own ``SummaryWriter`` writes in a thread of its own: a full disk shows there as a traceback, and later as an error
without a file's name.
"""

import contextlib
import itertools
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from switchrecon.errors import RunError


class EventFile:
    """A new event file of a folder.

    Parameters
    ----------
    folder
        The folder, which is made where it is absent.
    step
        Steps done: TensorBoard leaves out what older files say of later ones.

    Raises
    ------
    RunError
        If the file cannot be written; so do the methods.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event = Event
        self.path = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for number in itertools.count():
                self.path = folder / f"events.out.tfevents.{int(time.time())}.{number}"
                with contextlib.suppress(FileExistsError):
                    self._file: Any = self.path.open("xb")
                    break
        except OSError as error:
            raise self._failed(error) from error
        self._records = RecordWriter(self._file)
        self._put(file_version="brain.Event:2")
        self._put(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def _failed(self, error: OSError) -> RunError:
        return RunError(f"{self.path}: cannot be written ({error.strerror or error})")

    def _put(self, **fields: Any) -> None:
        event = self._event(wall_time=time.time(), **fields)
        try:
            self._records.write(event.SerializeToString())
            self._file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.close()  # which tries to write the rest again
            raise self._failed(error) from error

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add a number."""
        from torch.utils.tensorboard.summary import scalar

        self._put(step=step, summary=scalar(name, value))

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """Add a picture, shape (H, W) in [0, 1]."""
        from torch.utils.tensorboard.summary import image as picture

        self._put(step=step, summary=picture(name, image, dataformats="HW"))

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def event_file(folder: Path, step: int) -> EventFile | None:
    """Return an event file; None where TensorBoard is not installed."""
    return EventFile(folder, step) if find_spec("tensorboard") is not None else None
