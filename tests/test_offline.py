"""No command asks a network for anything: an attempt to connect beyond this machine would be noted; there is none."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from switchrecon.experiments import engines
from tests.conftest import TRAINED
from tests.forked import Forked

RunCli = Callable[..., tuple[int, str, str]]
MakeScan = Callable[..., Path]
ROOT = Path(__file__).parents[1]
TINY = [f"--set={s}" for s in ("method=switchable", "width=2", "residual_blocks=1", "extractor_depth=3", "steps=2")]

# Read by every Python process that has its folder in PYTHONPATH.
GUARD = """
import os, socket
_connect, _ask = socket.socket.connect, socket.getaddrinfo

def _note(what):
    with open(os.environ["ATTEMPTS"], "a") as file:
        file.write(f"{what}\\n")
    raise OSError(f"no network: {what}")

def _local(address):
    return not isinstance(address, tuple) or str(address[0]) in ("127.0.0.1", "::1", "localhost")

def connect(self, address):
    return _connect(self, address) if self.family == socket.AF_UNIX or _local(address) else _note(address)

def getaddrinfo(host, *others, **named):
    return _ask(host, *others, **named) if _local((host,)) or host is None else _note(host)

socket.socket.connect = socket.socket.connect_ex = connect
socket.getaddrinfo = getaddrinfo
"""


@pytest.fixture
def attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where attempts are noted, of this process and of those that it starts."""
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(GUARD)
    noted = tmp_path / "attempts.txt"
    noted.touch()
    monkeypatch.setenv("ATTEMPTS", str(noted))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(guard), str(ROOT / "src")]))
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, getattr(socket.socket, name))
    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)
    exec(compile(GUARD, "guard", "exec"), {})
    return noted


def test_the_guard_notes_an_attempt(attempts: Path) -> None:
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    script = "import urllib.request as r\ntry: r.urlopen('http://example.invalid')\nexcept OSError: pass"
    subprocess.run([sys.executable, "-c", script], check=True)
    assert attempts.read_text().splitlines() == ["192.0.2.1", "example.invalid"]


def test_no_command_connects_to_anything(
    tmp_path: Path, run_cli: RunCli, make_scan: MakeScan, attempts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform == "linux":  # a fork keeps the guard, too
        monkeypatch.setattr(engines, "subprocess", SimpleNamespace(Popen=Forked))
    full, sub, test = (make_scan(name, n, slices=4) for n, name in enumerate(("full", "sub", "test")))
    run, out = tmp_path / "run", tmp_path / "out"
    recipe = {
        "title": "offline",
        "data": {"heads": 3, "head_slices": 2},
        "folds": 3,
        "run_folds": [0],
        "common": {"matrix": 64, "steps": 2, "width": 2, "residual_blocks": 1},
        "methods": {"simulated": {}},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    commands: list[list[object]] = [
        ["train", "--full", full, "--sub", sub, "--out", run, *TINY],
        ["reconstruct", run, test, "--out", out / "images", "--undersample", "run"],
        ["evaluate", run, "--reference", test, "--out", out / "evaluation"],
        ["report", out / "evaluation", "--claim"],
        ["compare-domains", "--full", full, "--sub", sub, "--out", out / "domains"],
        ["masks", "--out", out / "masks.png", "--matrix", 32],
        ["phantom", "--out", out / "phantom.png", "--matrix", 32, "--slices", 1],
        ["weights", "lpips"],
        ["crossval", "--config", tmp_path / "recipe.yaml", "--out", out / "grid"],
    ]
    for command in commands:
        code, _, err = run_cli(*command)
        assert code in (TRAINED if command[0] == "train" else (0,)), (command, err)
    assert np.load(out / "images" / test.name).shape == (4, 64, 64)
    assert (out / "grid" / "report.html").is_file()
    assert attempts.read_text() == ""
