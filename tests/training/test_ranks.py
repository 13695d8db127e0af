"""Several processes train as one does with a batch as large as theirs together."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from switchrecon.config import load_config
from switchrecon.errors import ConfigError
from switchrecon.runs.checkpoint import load_checkpoint, load_model
from switchrecon.runs.log import read_log
from switchrecon.training.ranks import Ranks
from switchrecon.training.train import train
from tests.conftest import TINY, examples

MakeScan = Callable[..., Path]
STEPS = 5  # as many as RAdam does not divide by the gradient's size, which enlarges the rounding of the smallest ones
METHODS = ("switchable", "joint")
SMALL = (
    *TINY,
    "cascades=2",
    "unet_width=2",
    f"steps={STEPS}",
    "checkpoint_every=3",
    "lookahead_steps=2",
    "optimizer=radam",
)
SOURCE = Path(__file__).parents[2] / "src"


def free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return int(own.getsockname()[1])


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun gives a process."""
    said = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    paths = os.pathsep.join([str(SOURCE), str(SOURCE.parent)])
    quiet = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "SWITCHRECON_DEVICE": "cpu"}
    return os.environ | quiet | {name: str(value) for name, value in said.items()}


def start(size: int, *arguments: object) -> list[tuple[int, str, str]]:
    """Run ``python arguments`` in so many connected processes: exit code, standard output and error of each."""
    port = free_port()
    running = [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=environment(rank, size, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    said = [own.communicate(timeout=240) for own in running]
    return [(own.returncode, *texts) for own, texts in zip(running, said, strict=True)]


def command(settings: Sequence[str], out: Path, full: Path, sub: Path, *more: str) -> list[str]:
    """``train`` with these settings."""
    given = [word for setting in settings for word in ("--set", setting)]
    return ["-m", "switchrecon", "train", "--full", *map(str, (full, "--sub", sub, "--out", out)), *given, *more]


def settings_of(method: str, *more: str) -> list[str]:
    return [f"method={method}", *SMALL, *more]


def flat(run: Path, step: int = STEPS) -> torch.Tensor:
    weights = load_file(run / "checkpoints" / f"step-{step:08d}.safetensors")
    return torch.cat([w.double().flatten() for name, w in sorted(weights.items()) if name.startswith("players.")])


def interrupted(run: Path) -> Path:
    """The run without what came after its first checkpoint."""
    for file in (run / "checkpoints").glob(f"step-{STEPS:08d}.*"):
        file.unlink()
    (run / "model.safetensors").unlink()
    return run


def losses(run: Path) -> list[list[float]]:
    return [list(entry.losses.values()) for entry in read_log(run)]


@pytest.fixture
def piles(make_scan: MakeScan) -> tuple[Path, Path]:
    return make_scan("full", 1, 4), make_scan("sub", 2, 4)


@pytest.mark.parametrize("method", examples(list(METHODS), "switchable"))
def test_two_processes_reach_the_weights_of_one_with_twice_the_batch(
    tmp_path: Path, piles: tuple[Path, Path], method: str
) -> None:
    """Then each goes on with the other's run: one process with that of two, and three with that of one."""
    full, sub = piles
    alone = train(load_config(None, settings_of(method, "batch_size=4")), [full], [sub], tmp_path / "alone")
    both = tmp_path / "both"
    found = start(2, *command(settings_of(method, "batch_size=2"), both, full, sub))
    assert [code for code, *_ in found] == [0, 0], found
    assert found[1][1:] == ("", ""), "the second process says nothing"
    assert "run:" in found[0][1]
    torch.testing.assert_close(flat(both), flat(alone), rtol=0, atol=1e-6)
    assert losses(both) == [pytest.approx(values, rel=1e-4, abs=1e-6) for values in losses(alone)]
    assert load_model(both / "model.safetensors")[1].processes == 2
    end = flat(both)
    train(load_config(None, settings_of(method, "batch_size=2")), [full], [sub], interrupted(both), resume=True)
    torch.testing.assert_close(flat(both), end, rtol=0, atol=1e-6)
    assert len(read_log(both)) == STEPS
    remarks = [text for entry in read_log(both) for text in entry.remarks]
    assert any("processes 2 then, 1 now" in text for text in remarks)
    if method == "joint":
        found = start(3, *command(settings_of(method, "batch_size=4"), interrupted(alone), full, sub, "--resume"))
        assert [code for code, *_ in found] == [0, 0, 0], found
        assert found[0][2].count("processes 1 then, 3 now") == 1
        torch.testing.assert_close(flat(alone), end, rtol=0, atol=1e-6)
        loaded = load_checkpoint(alone / "checkpoints")
        assert loaded is not None
        assert loaded[1]["processes"] == 3
        assert loaded[1]["card"]["processes"] == 1


BROKEN = """
import os
from switchrecon.errors import DataError
from switchrecon.methods.methods import SIMULATED, GENERATOR
calls = 0

def breaks(step):
    global calls
    calls += 1
    if calls == 4 and os.environ.get("RANK") == "1":
        HOW
    return step.full_of_x.square().mean()

MINE = SIMULATED.adding(GENERATOR, {breaks: 1})
"""
WAYS = {
    "raises": ('raise DataError("the disk of the second process is full")', "the disk of the second process is full"),
    "dies": ("os._exit(9)", "another process of this training has ended"),
}


@pytest.mark.parametrize("way", examples(list(WAYS), "raises"))
def test_a_process_that_fails_ends_all_with_one_sentence(tmp_path: Path, piles: tuple[Path, Path], way: str) -> None:
    how, sentence = WAYS[way]
    (tmp_path / "mine.py").write_text(BROKEN.replace("HOW", how))
    settings = settings_of(f"{tmp_path / 'mine.py'}:MINE", "checkpoint_every=2", "steps=6")
    found = start(2, *command(settings, tmp_path / "run", *piles))
    assert all(code != 0 for code, *_ in found), found
    said = "".join(error for *_, error in found)
    assert said.count("error:") == said.count(sentence) == 1, said
    assert load_checkpoint(tmp_path / "run" / "checkpoints") is not None
    assert len(list((tmp_path / "run").rglob(".partial-*"))) == 0


def test_what_all_find_wrong_is_said_once_and_other_commands_are_refused(tmp_path: Path) -> None:
    found = start(2, *command(settings_of("joint"), tmp_path / "run", tmp_path / "nothing", tmp_path / "here"))
    assert [code for code, *_ in found] == [2, 2]
    assert "".join(error for *_, error in found).count("error:") == 1
    assert not (tmp_path / "run").exists()


def test_torchrun_is_for_training(
    run_cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(0, 2, 1).items():
        monkeypatch.setenv(name, value)
    code, _, error = run_cli("masks", "--out", "masks")
    assert code == 2
    assert "torchrun starts several processes for train alone, not for masks" in error


class Seen(Ranks):
    def __init__(self, number: int, size: int) -> None:
        self.number, self.size = number, size


@pytest.mark.parametrize(("samples", "size"), [(4, 2), (4, 3), (7, 4), (3, 3)])
def test_shares_are_every_sample_once(samples: int, size: int) -> None:
    shares = [Seen(number, size).share(samples) for number in range(size)]
    taken: Sequence[int] = [place for own in shares for place in range(own.start, own.stop)]
    assert list(taken) == list(range(samples))
    assert sum(own.part for own in shares) == pytest.approx(1)
    with pytest.raises(ConfigError, match=f"start at most {size - 1}"):
        Seen(0, size).share(size - 1)
