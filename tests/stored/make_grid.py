"""Make the grid beside this file, with an evaluation in each cell: results of a version that knew four metrics.

Run once, by the version whose files are to be kept: ``python -m tests.stored.make_grid``.
"""

import os
import shutil
import tempfile
from pathlib import Path

import torch

from switchrecon.experiments.cells import run_cell
from switchrecon.experiments.crossval import open_grid, write_results
from switchrecon.experiments.recipe import load_recipe
from tests.stored.scans import FILES

LEFT_OUT = ("log.txt", "lock", ".lock", "report.html", "checkpoints", "tensorboard", "data", "*.png", "*.pdf")


def main() -> None:
    """Run a grid of two rows and two folds, without LPIPS, and store what its results are read from."""
    torch.set_num_threads(1)
    os.environ["SWITCHRECON_LPIPS_WEIGHTS"] = "/absent"
    shutil.rmtree(FILES / "grid", ignore_errors=True)
    with tempfile.TemporaryDirectory() as temporary:
        grid = open_grid(load_recipe(str(FILES / "grid.yaml")), None, Path(temporary) / "grid")
        for cell in grid.cells:
            run_cell(cell)
        write_results(grid)
        shutil.copytree(grid.out, FILES / "grid", ignore=shutil.ignore_patterns(*LEFT_OUT))
    plan = FILES / "grid" / "crossval.yaml"
    plan.write_text(
        "".join("data: .\n" if line.startswith("data: ") else f"{line}\n" for line in plan.read_text().splitlines())
    )


if __name__ == "__main__":
    main()
