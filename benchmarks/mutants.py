"""Change the source in small ways, one at a time, and count the changes that make a test fail ("killed mutants").

Usage: python benchmarks/mutants.py [--out runs/mutants] [--jobs N] [FILE ...]

FILE is a key of ``TESTS``, such as ``physics/operators.py``; none takes all. mutmut works on a copy of the project in
the folder, one file after the other, and runs the tests of that file alone: the tests that are meant to find a change
must find it. It leaves decorated functions (properties, too) and constants of a module as they are. Prints the
surviving changes and the killed share of each file; ``survivors.diff`` and ``killed.json`` say the same.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = {
    "methods/objectives.py": ("methods/test_objectives.py", "training/test_literal.py"),
    "methods/step.py": ("methods/test_step.py",),
    "methods/players.py": ("methods/test_players.py",),
    "physics/operators.py": ("physics/test_operators.py", "physics/test_coils.py"),
    "physics/masks.py": ("physics/test_masks.py", "physics/test_mask_file.py"),
    "physics/mask_kinds.py": ("physics/test_mask_kinds.py", "physics/test_masks.py", "physics/test_poisson_disc.py"),
    "physics/intensity.py": ("physics/test_intensity.py",),
    "training/optim.py": ("training/test_optim.py",),
    "training/guard.py": ("training/test_watch.py",),
    "metrics/metrics.py": ("metrics/test_metrics.py", "metrics/test_windows.py"),
    "metrics/conventions.py": ("metrics/test_metrics.py", "metrics/test_table.py"),
    "metrics/statistics.py": ("metrics/test_statistics.py",),
}
KILLED = ("killed", "timeout", "segfault")
COPIED = ("src", "tests", "benchmarks", "docs", "README.md", "pyproject.toml")


def copy_project(target: Path, file: str) -> None:
    """What mutmut and the tests read."""
    shutil.rmtree(target, ignore_errors=True)
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target / name)
    settings: dict[str, list[str]] = {
        "source_paths": ["src"],
        "only_mutate": [f"src/switchrecon/{file}"],
        "also_copy": [name for name in COPIED if name not in ("src", "tests", "pyproject.toml")],
        "pytest_add_cli_args": ["-p", "no:cacheprovider"],
        "pytest_add_cli_args_test_selection": [f"tests/{name}" for name in TESTS[file]],
        "timeout_constant": ["2"],  # mutmut waits fifteen times as long, and fifteen times as the tests take
    }
    lines = ["[mutmut]"]
    for name, values in settings.items():
        lines += [f"{name} ="] if len(values) > 1 else [f"{name} = {values[0]}"]
        lines += [f"    {value}" for value in values] if len(values) > 1 else []
    (target / "setup.cfg").write_text("\n".join(lines))


def mutmut(folder: Path, *arguments: str) -> str:
    """Its output; progress goes to the terminal."""
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}  # one thread, so that forks are safe
    running = arguments[0] == "run"
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments],
        cwd=folder,
        env=environment,
        stdout=None if running else subprocess.PIPE,
        text=True,
        check=not running,
    )
    return done.stdout or ""


def outcomes(work: Path, file: str, jobs: int) -> list[tuple[str, str]]:
    """What became of each mutant of a file, and of those that live, the change."""
    copy_project(work, file)
    mutmut(work, "run", "--max-children", str(jobs))
    results = [line.strip().rpartition(": ") for line in mutmut(work, "results", "--all", "true").splitlines()]
    found = {name: outcome for name, _, outcome in results if name}
    if not set(found.values()) - {"not checked"}:
        sys.exit(f"{file}: no change was tried; do {', '.join(TESTS[file])} pass in {work}?")
    return [
        (outcome, "" if outcome in KILLED else mutmut(work, "show", name).strip()) for name, outcome in found.items()
    ]


def main() -> None:
    """Run, and tell what survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/mutants"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many mutants are tried at a time")
    parser.add_argument("files", nargs="*")
    asked = parser.parse_args()
    chosen = asked.files or list(TESTS)
    if unknown := set(chosen) - set(TESTS):
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(TESTS)}")
    killed, survivors = {}, []
    for file in chosen:
        found = outcomes(asked.out.resolve() / "project", file, asked.jobs)
        dead = sum(outcome in KILLED for outcome, _ in found)
        killed[file] = {"mutants": len(found), "killed": dead}
        alive = [f"# {outcome}\n{change}\n" for outcome, change in found if outcome not in KILLED]
        survivors += alive
        print("\n".join(alive))
        print(f"{file}: {dead} of {len(found)} killed", flush=True)
        (asked.out / "survivors.diff").write_text("\n".join(survivors))
        (asked.out / "killed.json").write_text(json.dumps(killed, indent=1))
    for file, count in killed.items():
        print(f"{file:24s} {count['killed'] / max(count['mutants'], 1):6.1%} of {count['mutants']} killed")


if __name__ == "__main__":
    main()
