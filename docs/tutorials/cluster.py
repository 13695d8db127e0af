# %% [markdown]
# # A grid of trainings, here or on a cluster
#
# One training says little: another fold of subjects or another seed gives another number. A *grid* trains and
# evaluates methods × settings × folds × seeds, each a *cell*, and makes one table. It goes on where it stopped,
# and a cluster works on it as well as a laptop.

# %%
import csv
import subprocess
import sys
from pathlib import Path

HERE = Path("tutorial-cluster")
HERE.mkdir(exist_ok=True)


def switchrecon(*words: object) -> str:
    """Run a command as you would in a terminal, and return what it prints."""
    command = [sys.executable, "-m", "switchrecon", *map(str, words)]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


# %% [markdown]
# ## The recipe
#
# YAML: where scans are, how many folds, which rows, and settings that all of them share. `heads` draws synthetic
# heads; with scans of yours it is `files: ["**/*.h5"]`, and the folder is named with `--data`. Folds are of
# subjects, always.

# %%
RECIPE = """
title: "Tutorial: synthetic heads, 2-D random points x4"
data: {heads: 3, head_slices: 2}
folds: 3
run_folds: [0]
methods:
  wavelet: {steps: 5, iterations: 10}
  joint: {}
common:
  matrix: 64
  cascades: 2
  unet_width: 8
  steps: 20
seeds: [0]
"""
(HERE / "recipe.yaml").write_text(RECIPE)

# %% [markdown]
# ## What would be done
#
# `--dry-run` lists cells, time and memory, and writes nothing:
#
# ```
# switchrecon crossval --config tutorial-cluster/recipe.yaml --out tutorial-cluster/grid --dry-run
# ```
#
# ## On a cluster
#
# Slurm: `--slurm FILE` writes an array script for the cells that are not done, and runs nothing. `sbatch` it;
# each task takes a cell. The folder must be seen by all nodes under the same path.

# %%
print(
    switchrecon("crossval", "--config", HERE / "recipe.yaml", "--out", HERE / "grid", "--slurm", HERE / "grid.sbatch")
)
print((HERE / "grid.sbatch").read_text())

# %% [markdown]
# Ray: `pip install '.[ray]'`, then `--engine ray`, with `--address` for a cluster that runs and `--gpus 0.5` for
# two cells a GPU.
#
# ## Here
#
# Without either, cells are processes of this machine, as many as fit. Interrupt it when you like: the same
# command goes on. So does another machine that sees the folder.

# %%
switchrecon("crossval", "--config", HERE / "recipe.yaml", "--out", HERE / "grid", "--workers", 1, "--quiet")

# %% [markdown]
# ## The table
#
# `report.html` has tables, figures and what each cell was trained with; `table.csv`, `.md` and `.tex` are for
# papers, `cells.csv` for analyses of yours.

# %%
with (HERE / "grid" / "cells.csv").open() as file:
    cells = list(csv.DictReader(file))
print(f"{len(cells)} rows with the columns {', '.join(cells[0])}")
print((HERE / "grid" / "table.md").read_text())

# %% [markdown]
# Twenty steps on three heads: believe nothing of this table. The recipes of our [results](../results.md) are in
# `benchmarks/recipes`; those of [the paper](../explanation/paper.md) are built in.
