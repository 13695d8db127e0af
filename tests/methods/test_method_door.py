"""Objectives and methods from a user's file: what the page shows, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from switchrecon.errors import ConfigError
from switchrecon.methods.methods import METHODS, find_method
from switchrecon.methods.objectives import cycle
from tests.conftest import TRAINED, tiny_config
from tests.pages import code_of, commands_of

SMALL = ["width=2", "unet_width=2", "cascades=1", "steps=3", "checkpoint_every=3"]
Cli = Callable[..., tuple[int, str, str]]


def test_the_page_works(
    tmp_path: Path, make_scan: Callable[..., Path], run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = code_of("how-to/method.md")
    for folder, subject in (("full", 1), ("sub", 2), ("test", 3)):
        make_scan(f"scans/{folder}", subject)
    monkeypatch.chdir(tmp_path)
    for name in ("dark.py", "pairs.py"):
        Path(name).write_text(code[name], encoding="utf-8")
    train, reconstruct = commands_of(code["use"])
    assert run_cli(*train, *(f"--set={value}" for value in SMALL))[0] in TRAINED
    assert run_cli(*reconstruct, "--undersample", "run")[0] == 0
    assert np.load("images/subject3.npy").shape == (3, 64, 64)
    logged = [json.loads(line) for line in Path("runs/dark/log.jsonl").read_text().splitlines()]
    expected = {"simulated_pairs", "held_out_samples", "background(level=0.02)", "neighbours", "brightness"}
    assert {name for entry in logged for name in entry["losses"]} == expected
    mine = find_method(tiny_config("method=dark.py:MINE"))
    assert mine.phases[1].names == (*METHODS["iscl"].phases[1].names, "background")
    arguments = ["--method", "pairs.py:PAIRS", "--full", "scans/full", "--sub", "scans/sub", "--out", "runs/pairs"]
    assert run_cli("train", *arguments, *(f"--set={value}" for value in SMALL if "cascades" not in value))[0] in TRAINED
    assert "cascades: 2" in Path("runs/pairs/config.yaml").read_text()


def test_two_objectives_of_one_name_are_refused_when_the_method_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "twice.py"
    file.write_text(
        "from switchrecon.methods import GENERATOR, ISCL\n"
        "def make(level):\n"
        "    def dark(step):\n"
        "        return (step.full_of_x * level).mean()\n"
        "    return dark\n"
        "MINE = ISCL.adding(GENERATOR, {make(1): 1, make(2): 1})\n"
    )
    with pytest.raises(ConfigError, match=r"twice\.py:MINE': two objectives of the method are called 'dark'; give one"):
        find_method(tiny_config(f"method={file}:MINE"))
    file.write_text(
        "from switchrecon.methods import EXTRACTOR, ISCL\n"
        "def cycle(step):\n"
        "    return step.full_of_x.mean()\n"
        "MINE = ISCL.adding(EXTRACTOR, {cycle: 1})\n"
    )
    with pytest.raises(ConfigError, match="two objectives of the method are called 'cycle'"):
        find_method(tiny_config(f"method={file}:MINE"))


def test_one_objective_may_serve_two_updates() -> None:
    found = METHODS["iscl"].adding("extractor", {cycle: 1})
    assert [cycle in phase.objectives for phase in found.phases] == [False, True, True]
