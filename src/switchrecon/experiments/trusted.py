"""Trust over a cross-validation: each fold's networks on the subjects that they have not seen."""

import logging
from dataclasses import replace
from pathlib import Path

from switchrecon.core.messages import PROGRESS
from switchrecon.errors import RunError
from switchrecon.evaluation.volumes import ZERO_FILLED
from switchrecon.experiments.cells import Cell, Options, is_done
from switchrecon.experiments.grid import Grid, read_plan
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.trust.calibrate import Measured, calibration_of, measure_references
from switchrecon.trust.calibration import FILE, Calibration
from switchrecon.trust.calibration_study import study_of as calibration_study
from switchrecon.trust.calibration_study import write_study as write_calibration
from switchrecon.trust.lesion_study import LesionStudy, study_of, write_study
from switchrecon.trust.lesions import Found, Seen, look_for_lesions

logger = logging.getLogger(__name__)

APART = 10_000  # numbers of one fold's scans


def crossval_lesions(
    folder: Path, out: Path, slices: int, device: str | None = None, trust_code: bool = False
) -> dict[Path, LesionStudy]:
    """Put discs into the test scans of every fold, and look what the fold's networks make of them.

    Only rows that are finished in all folds and seeds count, so that all rows have seen the same discs.

    Parameters
    ----------
    folder
        The folder of a cross-validation.
    out
        Where the studies are written: into this folder, or into a folder in it for each of several settings.
    slices
        The slices of a scan.
    device, trust_code
        See :meth:`~switchrecon.reconstruction.reconstructor.Reconstructor.load`.

    Returns
    -------
    dict
        Each study by its folder.

    Raises
    ------
    RunError
        If no row is finished in all its folds, or the folder holds no cross-validation.
    """
    grid = read_plan(folder, Options(device=device, trust_code=trust_code))
    studies: dict[Path, LesionStudy] = {}
    for setting in grid.recipe.settings:
        groups = finished_groups(grid, setting)
        if not groups:
            continue
        found: Found = {name: [] for name in (ZERO_FILLED, *(cell.row for cell in groups[0]))}
        weights: dict[str, list[str]] = {cell.row: [] for cell in groups[0]}
        for cells in groups:
            PROGRESS.info("lesions: %s", cells[0].name.replace(f" · {cells[0].row}", ""))
            runs_of = [cell.folder / "run" for cell in cells]
            rows = [cell.row for cell in cells]
            seen, runs = look_for_lesions(runs_of, cells[0].test, device, trust_code, None, slices, rows)
            for name, slices_of in seen.items():
                found[name] += [_numbered(one, cells[0].fold) for one in slices_of]
            for name, run in runs.items():
                weights[name].append(run.card.weights_sha256)
        place = out if len(grid.recipe.settings) == 1 else out / setting
        studies[place] = study_of(found, weights)
        write_study(place, studies[place], found)
    if not studies:
        raise RunError(f"{folder}: no row is finished in all its folds; run crossval again first")
    return studies


def finished_groups(grid: Grid, setting: str) -> list[list[Cell]]:
    """Return the cells of each fold and seed of a setting, for the rows that are finished in all of them."""
    cells = [cell for cell in grid.cells if cell.setting == setting]
    wanting = {cell.row for cell in cells if not is_done(cell)}
    for row in sorted(wanting):
        logger.warning("%s: left out: not all of its folds are finished", f"{setting} · {row}")
    groups: dict[tuple[int, int], list[Cell]] = {}
    for cell in cells:
        if cell.row not in wanting:
            groups.setdefault((cell.fold, cell.seed), []).append(cell)
    return list(groups.values())


def _numbered(seen: Seen, fold: int) -> Seen:
    """Return the same with numbers of subjects and scans that no other fold has; seeds see the same ones."""
    return replace(
        seen,
        lesions=tuple(
            replace(one, subject=APART * fold + one.subject, scan=APART * fold + one.scan) for one in seen.lesions
        ),
    )


def crossval_calibration(
    folder: Path, out: Path, device: str | None = None, trust_code: bool = False
) -> dict[Path, Calibration]:
    """Calibrate the networks of a cross-validation by cross-fitting: each is measured on the subjects of its fold.

    Every network of a row and seed gets the scores of all folds' subjects. What is promised for it rests on the
    subjects of its own fold, see :func:`switchrecon.trust.conformal.promised_for_fold`. ``calibration.json`` is
    written into each cell's run once all cells of the row have been measured.

    Parameters
    ----------
    folder
        The folder of a cross-validation.
    out
        Gets a folder for each setting, row and seed, with what its calibration rests on.
    device, trust_code
        See :meth:`~switchrecon.reconstruction.reconstructor.Reconstructor.load`.

    Returns
    -------
    dict
        By the folder of what it rests on, the calibration of the row's first network.

    Raises
    ------
    RunError
        If no row and seed is finished in all its folds, or the folder holds no cross-validation.
    DataError
        For fewer than 3 subjects.
    """
    grid = read_plan(folder, Options(device=device, trust_code=trust_code))
    made: dict[Path, Calibration] = {}
    rows: dict[tuple[str, str, int], list[Cell]] = {}
    for cell in grid.cells:
        rows.setdefault((cell.setting, cell.row, cell.seed), []).append(cell)
    for (setting, row, seed), cells in rows.items():
        if not all(map(is_done, cells)):
            logger.warning("%s: not calibrated: not all of its folds are finished", f"{setting} · {row} · seed {seed}")
            continue
        PROGRESS.info("calibrating %s · %s · seed %d", setting, row, seed)
        measured, loaded = Measured(), {}
        for cell in cells:
            run = cell.folder / "run"
            loaded[cell.fold] = Reconstructor.load(run, device=device, trust_code=trust_code)
            measure_references(run, loaded[cell.fold], cell.test, measured, fold=cell.fold)
        each = [calibration_of(c.folder / "run", loaded[c.fold], measured, fold=c.fold) for c in cells]
        for cell, one in zip(cells, each, strict=True):
            one.write(cell.folder / "run" / FILE)
        place = out / setting / row / f"seed-{seed}"
        write_calibration(place, calibration_study(each[0], measured))
        made[place] = each[0]
    if not made:
        raise RunError(f"{folder}: no row is finished in all its folds; run crossval again first")
    return made
