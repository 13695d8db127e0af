"""Trainings and saves that are killed, disks that are full, checkpoints that are damaged, folders that are taken."""

import json
import os
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from switchrecon.core.files import atomic_file
from switchrecon.errors import RunError
from switchrecon.runs.checkpoint import load_checkpoint, load_model, save_checkpoint
from switchrecon.runs.folder import LOCK
from switchrecon.training.train import train
from tests.conftest import TRAINED, tiny_config

MakeScan = Callable[..., Path]
ROOT = Path(__file__).parents[1]
TINY = ["width=2", "residual_blocks=1", "extractor_depth=3", "method=simulated", "steps=8", "checkpoint_every=2"]
DAMAGES = 500


@pytest.fixture
def piles(make_scan: MakeScan) -> tuple[list[Path], list[Path]]:
    return [make_scan("full", 1)], [make_scan("sub", 2)]


def test_killed_trainings_come_back_to_the_same_bits_and_killed_saves_lose_nothing(tmp_path: Path) -> None:
    """All moments of a kill, one each; ``make crash`` does twenty."""
    figures = tmp_path / "crash.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "crash.py"), "--trainings", "5", "--saves", "5"]
    done = subprocess.run([*command, "--out", str(figures)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert (found["equal"], found["left_over"]) == (5, 0)
    assert found["killed"] >= 3  # a training may end before its random moment comes
    assert found["redone_at_most"] <= found["interval"]
    assert (found["lost"], found["torn"]) == (0, 0)


def test_every_damage_of_a_checkpoint_is_refused_and_the_one_before_is_taken(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"a": torch.arange(200.0) + step}, {"note": "x" * 50})
    files = sorted(tmp_path.glob("step-00000002.*"))
    contents = {file: file.read_bytes() for file in files}
    random = np.random.RandomState(0)
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each damage is announced; the next test looks at that
        for number in range(DAMAGES):
            file = files[number % len(files)]
            damaged = bytearray(contents[file])
            place = random.randint(len(damaged))
            if number % 4 < 2:
                damaged[place] ^= 1 << random.randint(8)
            else:
                del damaged[place:]
            file.write_bytes(damaged)
            found = load_checkpoint(tmp_path)
            assert found is not None
            same = json.loads(contents[files[0]]) if file.suffix == ".json" else None
            harmless = same is not None and _reads_alike(bytes(damaged), same)
            refused += found[1]["step"] == 1 or harmless
            file.write_bytes(contents[file])
    assert refused == DAMAGES


def _reads_alike(damaged: bytes, same: object) -> bool:
    """Whether a flipped bit changed white space alone, so that the description is still what was sealed."""
    try:
        return bool(json.loads(damaged) == same)
    except ValueError:
        return False


def test_checkpoints_of_another_version_are_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("switchrecon.runs.checkpoint.FORMAT", 1)
    save_checkpoint(tmp_path, 1, {"a": torch.ones(2)}, {})
    monkeypatch.undo()
    with pytest.raises(RunError, match="of format 1, which another version of switchrecon made; expected 2"):
        load_checkpoint(tmp_path)


@contextmanager
def small_disk(room: int) -> Iterator[None]:
    """No file may become larger than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_the_last_good_checkpoint_and_is_one_sentence(
    tmp_path: Path, piles: tuple[list[Path], list[Path]], run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    run = tmp_path / "run"
    command = ["train", "--full", piles[0][0], "--out", run, *(f"--set={s}" for s in (*TINY, "steps=4"))]
    assert run_cli(*command)[0] in TRAINED
    kept, model = run / "checkpoints" / "step-00000002.safetensors", run / "model.safetensors"
    content = kept.read_bytes()
    size = model.stat().st_size
    assert size < 0.7 * len(content)
    for file in (*(run / "checkpoints").glob("step-00000004.*"), model):  # as if it were not finished
        file.unlink()
    for room in (100, 1000, size - 10, len(content) - 10):
        with small_disk(room):
            code, _, err = run_cli(*command, "--resume")
        last = err.splitlines()[-1]
        assert code == 2
        assert last.startswith(f"error: {run}"), err
        assert "File too large" in last
        assert "Traceback" not in err
        assert kept.read_bytes() == content
        found = load_checkpoint(run / "checkpoints")
        assert found is not None
        assert found[1]["step"] == 2
        assert not model.exists() or load_model(model)[1].step == 2
        assert not list(run.rglob(".partial-*"))
    assert run_cli(*command, "--resume")[0] in TRAINED


def test_two_trainings_do_not_share_a_folder(
    tmp_path: Path, piles: tuple[list[Path], list[Path]], run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    run = tmp_path / "run"
    settings = [f"--set={setting}" for setting in TINY]
    run.mkdir()
    with FileLock(run / LOCK):
        code, _, err = run_cli("train", "--full", piles[0][0], "--out", run, *settings)
    assert (code, "error: " in err.splitlines()[-1]) == (2, True)
    assert "another training works in this folder" in err
    assert [entry.name for entry in run.iterdir()] == [LOCK]
    code, _, err = run_cli("train", "--full", piles[0][0], "--out", run, *settings)
    assert code in TRAINED, err


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path, piles: tuple[list[Path], list[Path]]) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for folder in (run, run / "checkpoints"):
        (folder / ".partial-abc.partial").write_bytes(b"half")
    with pytest.raises(RunError, match="holds no run"):
        train(tiny_config("method=simulated"), *piles, run)
    (run / "checkpoints" / ".partial-abc.partial").unlink()
    (run / "checkpoints").rmdir()
    train(tiny_config("method=simulated"), *piles, run)
    assert not list(run.rglob(".partial-*"))


def test_a_finished_run_is_not_resumed_with_other_scans(
    tmp_path: Path, make_scan: MakeScan, piles: tuple[list[Path], list[Path]]
) -> None:
    config = tiny_config("method=simulated")
    run = train(config, *piles, tmp_path / "run")
    with pytest.raises(RunError, match="the scans, as this version prepares them, differ from those of the run"):
        train(config, [make_scan("other", 7)], [], run, resume=True)


@pytest.mark.parametrize("moment", ["write", "replace"])
def test_a_file_is_complete_or_absent_whenever_the_process_dies(tmp_path: Path, moment: str) -> None:
    target = tmp_path / "images" / "out.npy"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pytest's own threads do not matter to the child
        child = os.fork()
    if child == 0:
        with atomic_file(target) as temporary:
            temporary.write_bytes(b"x" * 1000)
            if moment == "replace":
                os.replace(temporary, target)
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert target.exists() == (moment == "replace")
    assert not target.exists() or target.read_bytes() == b"x" * 1000
