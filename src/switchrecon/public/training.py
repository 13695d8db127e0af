"""Training from Python, on files or on arrays in memory."""

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from switchrecon.config import Config, parse_config
from switchrecon.errors import DataError
from switchrecon.public.reconstruction import Reconstructor
from switchrecon.public.scans import Arrays, Scans, as_scans
from switchrecon.reconstruction.files import ready_scan, reconstruct_scan
from switchrecon.runs.card import Card
from switchrecon.runs.checkpoint import load_model
from switchrecon.runs.log import LogEntry, read_log
from switchrecon.scans.files import find_scans, read_scan
from switchrecon.scans.scan import Scan
from switchrecon.training.train import train as run_training


@dataclass(frozen=True)
class Run:
    """A finished training, in its run folder."""

    folder: Path

    def reconstructor(self, **options: Any) -> Reconstructor:
        """Load the run; the options are those of :meth:`Reconstructor.load`, such as ``data_consistency="hard"``."""
        return Reconstructor.load(self.folder, **options)

    def reconstruct(self, scan: str | Path | Scan | Arrays, doubt: int | bool = False, **options: Any) -> Any:
        """Reconstruct an undersampled scan; sensitivity maps of several coils are estimated as in training.

        Parameters
        ----------
        scan
            A path, a scan, or arrays.
        doubt
            Number of further reconstructions that measure how sure the image is; True: 8.
        **options
            As for :meth:`reconstructor`.

        Returns
        -------
        numpy.ndarray or Result
            Images (slices, H, W), complex64, or float32 if the run has magnitudes; with ``doubt``
            :class:`switchrecon.trust.result.Result`, see :meth:`switchrecon.public.reconstruction.Reconstructor`.

        Raises
        ------
        DataError
            If the scan is fully sampled, or its matrix is not the run's and ``resize=True`` is not given.
        """
        loaded = self.reconstructor(**options)
        [found] = find_scans(as_scans(scan, "scan"))
        ready = read_scan(found, loaded.config.reading)
        if ready.mask is None:
            raise DataError(f"{ready.path}: is fully sampled; undersample it first: switchrecon.undersample(scan)")
        if doubt is False:
            return reconstruct_scan(loaded, ready).image.numpy()
        ready = ready_scan(loaded, ready)
        return loaded(ready.kspace, ready.mask, ready.sensitivity(), doubt)

    @property
    def log(self) -> list[LogEntry]:
        """The log, one entry for each step: ``step``, ``epoch``, ``learning_rate``, ``seconds``, ``losses`` by name."""
        return read_log(self.folder)

    @cached_property
    def card(self) -> Card:
        """Facts about the model: settings, sizes, data, versions; no names of subjects."""
        return load_model(self.folder / "model.safetensors")[1]


def train(
    config: Config | None = None,
    *,
    full: Scans = (),
    sub: Scans = (),
    out: str | Path | None = None,
    resume: bool = False,
    cache: str | Path | None = None,
    device: str | None = None,
    budget: float | None = None,
    start: str | Path | None = None,
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Train a method.

    Parameters
    ----------
    config
        Settings; None: the defaults.
    full, sub
        Fully sampled scans, and undersampled scans of other subjects: paths, scans of :func:`switchrecon.read`, arrays
        of k-space, or pairs of k-space and mask; one or several. Each array counts as another subject; fully
        sampled ones in ``sub`` are undersampled by the settings.
    out
        The run folder; None: a new folder for temporary files.
    resume
        Continue the run in ``out``.
    cache
        Folder for prepared slices of files; see ``switchrecon train --help``.
    device
        ``cpu``, ``cuda``, ``cuda:N`` or ``auto``. None: the environment variable ``SWITCHRECON_DEVICE``, else auto.
    budget
        Seconds for reading, preparing and training, instead of ``steps`` and ``epochs``.
    start
        Start with the weights of this run: a folder, or a run of the package such as ``switchrecon:brain-2d-x4``.
    progress
        Show a bar on a terminal or in a notebook.
    **settings
        Settings that win over ``config``, such as ``method="joint"``, ``steps=50``, ``mask={"acceleration": 6}``.

    Raises
    ------
    SwitchreconError
        If settings or scans cannot be used; nothing has been written then.
    """
    given = config.model_dump(exclude_unset=True) if config is not None else {}
    if {"steps", "epochs"} & settings.keys():  # one length takes the place of the other
        given = {name: value for name, value in given.items() if name not in ("steps", "epochs")}
    chosen = parse_config({**given, **settings})
    folder = Path(tempfile.mkdtemp(prefix="switchrecon-")) if out is None else Path(out)
    console = Console(stderr=True) if progress else None
    piles = as_scans(full, "full"), as_scans(sub, "sub")
    kept = Path(cache) if cache else None
    return Run(run_training(chosen, *piles, folder, resume, kept, device, console, budget, start))
