"""The dry run of a cross-validation: what it would do, found out without writing anything into its folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from switchrecon.config import Config
from switchrecon.core.durations import duration
from switchrecon.core.sentences import count
from switchrecon.core.threads import set_threads
from switchrecon.experiments.cells import Cell, Options
from switchrecon.experiments.crossval import Only, look_at_grid, select
from switchrecon.experiments.engines import fitting_workers, places
from switchrecon.experiments.recipe import Recipe
from switchrecon.training.dry_run import plan_training


def preview(
    recipe: Recipe | None,
    data: Path | None,
    out: Path,
    only: Only = Only(),
    options: Options = Options(),
    workers: int | None = None,
    threads: int | None = None,
) -> Iterator[str]:
    """Yield lines of text that say what :func:`switchrecon.experiments.crossval.run_grid` would do.

    One cell of each row is trained for a few steps to estimate time and memory; synthetic heads are made in a temporary
    folder.

    Raises
    ------
    SwitchreconError
        If the cross-validation, or one of these trainings, would raise it.
    """
    with TemporaryDirectory(prefix="switchrecon-") as heads:
        grid = look_at_grid(recipe, data, out, options, Path(heads))
        cells = select(grid, only)
        yield "# recipe"
        yield yaml.safe_dump(json.loads(grid.recipe.model_dump_json()), sort_keys=False, allow_unicode=True)
        yield f"{len(cells)} of {count(len(grid.cells), 'cell')} to run, {count(grid.subjects, 'subject')}"
        rows: dict[tuple[str, str], list[Cell]] = {}
        for cell in cells:
            rows.setdefault((cell.setting, cell.row), []).append(cell)
        total, first = 0.0, None
        for (setting, row), alike in rows.items():
            set_threads(alike[0].threads)
            plan = plan_training(alike[0].config, alike[0].full, alike[0].sub, device=options.device)
            total += plan.seconds * len(alike)
            yield f"\n# {setting} · {row}: {len(alike)} cells"
            yield plan.config.to_yaml() if first is None else _changes(first, plan.config)
            yield from plan.lines()
            first = first or plan.config
        if cells:
            at_once = workers or fitting_workers(cells, places(options.device), threads)
            yield (
                f"\nexpected time of all trainings: about {duration(total / at_once)} with {at_once} at once "
                "(an estimate; evaluations are not in it)"
            )


def _changes(first: Config, other: Config) -> str:
    """Return the settings that differ from those of the first row, as YAML."""
    before, after = (json.loads(config.model_dump_json()) for config in (first, other))
    changed = {name: value for name, value in after.items() if before[name] != value}
    return "# the settings of the first row, but\n" + yaml.safe_dump(changed, sort_keys=False)
