"""Evaluation from Python."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from switchrecon.evaluation.evaluate import evaluate as run_evaluation
from switchrecon.evaluation.records import Evaluation
from switchrecon.public.scans import Scans, as_scans
from switchrecon.public.training import Run


def evaluate(
    runs: Run | str | Path | Sequence[Run | str | Path],
    references: Scans,
    out: str | Path | None = None,
    *,
    device: str | None = None,
    **options: Any,
) -> Evaluation:
    """Undersample references with the runs' masks, reconstruct them, and measure against the truth.

    Parameters
    ----------
    runs
        Runs from :func:`switchrecon.train`, or run folders, with equal matrix and masks; one or several.
    references
        Fully sampled scans of subjects that no run was trained on: paths, scans or arrays.
    out
        Folder for metrics and images, from which ``switchrecon report`` makes a page; None: a new temporary folder.
    device
        As for :func:`switchrecon.train`.
    **options
        Other options of :func:`switchrecon.evaluation.evaluate.evaluate`, such as ``slices_per_scan=10``.

    Returns
    -------
    Evaluation
        The content of ``metrics.json``: ``value("joint", "psnr")`` has ``mean`` and ``std``; ``methods`` all values,
        by run and estimate and for ``zero-filled``.
    """
    several = [runs] if isinstance(runs, Run | str | Path) else list(runs)
    folders = [each.folder if isinstance(each, Run) else Path(each) for each in several]
    folder = Path(tempfile.mkdtemp(prefix="switchrecon-")) if out is None else Path(out)
    return run_evaluation(folders, as_scans(references, "reference"), folder, device=device, **options)
