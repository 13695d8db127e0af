"""What is in deploy/: files that an engine would read, and the steps that this machine can run."""

import base64
import importlib.util
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from switchrecon.service.server import Server
from tests.service.client import serving

DEPLOY = Path(__file__).parents[2] / "deploy"


def label_module() -> Any:
    spec = importlib.util.spec_from_file_location("label", DEPLOY / "openrecon" / "label.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def healthy(port: int) -> int:
    command = [sys.executable, str(DEPLOY / "healthy.py"), "127.0.0.1", str(port)]
    return subprocess.run(command, check=False).returncode


def test_the_health_check_knows_a_server_from_a_silent_port() -> None:
    with serving() as server:
        assert isinstance(server, Server)
        assert healthy(server.port) == 0
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert healthy(silent.getsockname()[1]) == 1
    assert healthy(server.port) == 1


# OpenRecon


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("brain", "knee"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "model.safetensors").write_bytes(b"")
    return tmp_path / "runs"


def test_the_label_lists_the_runs_and_keeps_the_rules(runs: Path) -> None:
    module = label_module()
    label = module.label_for(runs)
    assert module.problems(label) == []
    config = next(own for own in label["parameters"] if own["id"] == "config")
    assert [value["id"] for value in config["values"]] == ["brain", "knee", "zero-filled"]
    assert config["default"] == "brain"


WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "expected general, reconstruction": lambda label: label.pop("parameters"),
    "regulatory_information: expected": lambda label: label["general"]["regulatory_information"].pop("udi"),
    "version": lambda label: label["general"].update(version="1"),
    "keys that do not exist": lambda label: label["reconstruction"].update(more=1),
    "transfer_protocol": lambda label: label["reconstruction"]["transfer_protocol"].update(version="1.5"),
    "injector": lambda label: label["reconstruction"].update(injector="raw"),
    "min_count_required_cpu_cores": lambda label: label["reconstruction"].update(min_count_required_cpu_cores="2"),
    "for research": lambda label: label["reconstruction"].update(content_qualification_type="PRODUCT"),
    "at most 14": lambda label: label["parameters"].extend(label["parameters"] * 10),
    "letters and digits": lambda label: label["parameters"][1].update(id="a-b"),
    "a default is one value": lambda label: label["parameters"][0].update(default="no"),
    "other keys": lambda label: label["parameters"][1].update(unit="s"),
}


@pytest.mark.parametrize("why", WRONG)
def test_a_label_against_a_rule_is_refused(runs: Path, why: str) -> None:
    module = label_module()
    label = module.label_for(runs)
    WRONG[why](label)
    assert any(why in problem for problem in module.problems(label))


def test_the_package_is_a_zip_of_image_and_manual(runs: Path, tmp_path: Path) -> None:
    """With a stand-in for docker, which notes how it was called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    fake = programs / "docker"
    fake.write_text(
        f'#!/bin/sh\nfor word; do echo "$word" >> {tmp_path}/called; done\n'
        '[ "$1" = save ] && echo image > "$3"; [ "$1" = build ] && ls "$(eval echo \\${$#})/runs" >&2; exit 0\n'
    )
    fake.chmod(0o755)
    (tmp_path / "manual.pdf").write_bytes(b"%PDF")
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    command = [str(DEPLOY / "openrecon" / "build.sh"), str(runs), str(tmp_path / "out"), str(tmp_path / "manual.pdf")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.split() == ["brain", "knee"]
    (package,) = (tmp_path / "out").iterdir()
    assert re.fullmatch(r"OpenRecon_switchrecon_switchrecon_V\d+\.\d+\.\d+\.zip", package.name)
    with zipfile.ZipFile(package) as inside:
        assert [Path(name).stem for name in inside.namelist()] == [package.stem] * 2
        assert {Path(name).suffix for name in inside.namelist()} == {".tar", ".pdf"}
        assert all(own.compress_type == zipfile.ZIP_DEFLATED for own in inside.infolist())
    called = (tmp_path / "called").read_text().splitlines()
    metadata = next(word for word in called if word.startswith("METADATA=")).removeprefix("METADATA=")
    assert json.loads(base64.b64decode(metadata)) == label_module().label_for(runs)
    assert any(re.fullmatch(r"openrecon_switchrecon_switchrecon:v\d+\.\d+\.\d+", word) for word in called)


# Options and settings


def commands() -> list[list[str]]:
    """All switchrecon commands in deploy/."""
    found = []
    for unit in sorted(DEPLOY.glob("*.service")):
        (line,) = re.findall(r"^ExecStart=\S*/switchrecon (.*)$", unit.read_text(), re.MULTILINE)
        found.append(line.split())
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    found += [services[name]["command"] for name in ("watch", "serve")]
    for file in ("Containerfile", "openrecon/Containerfile"):
        (line,) = re.findall(r"^CMD (\[.*\])$", (DEPLOY / file).read_text(), re.MULTILINE)
        found.append(json.loads(line))
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_have_only_options_that_exist(
    command: list[str], run_cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    code, out, _ = run_cli(command[0], "--help")
    assert code == 0
    for word in command[1:]:
        if word.startswith("--"):
            assert re.search(rf"{word.split('=')[0]}\b", out), word


def test_containers_open_ports_on_this_machine_alone_and_have_no_rights() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        if name != "orthanc":
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
    assert compose["networks"]["department"]["internal"]
    recipe = (DEPLOY / "Containerfile").read_text()
    assert recipe.rindex("USER 10001") > recipe.rindex("RUN ")
    assert "HEALTHCHECK" in recipe
    json.loads((DEPLOY / "orthanc.json").read_text())


@pytest.mark.parametrize("unit", sorted(DEPLOY.glob("*.service")), ids=lambda path: path.name)
def test_units_are_valid(unit: Path, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    text = unit.read_text().replace("/opt/switchrecon/bin/switchrecon", "/bin/true")
    (tmp_path / unit.name).write_text(re.sub("(User|Group)=switchrecon", r"\1=root", text))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / unit.name)], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stderr.splitlines() if unit.name in line] == []


def test_scripts_can_be_run() -> None:
    for script in DEPLOY.rglob("*.sh"):
        assert script.stat().st_mode & stat.S_IXUSR
        subprocess.run(["sh", "-n", str(script)], check=True)


@pytest.mark.more
def test_the_installation_works_in_an_empty_environment(tmp_path: Path) -> None:
    """What the container's build does; it needs a package index, and some minutes."""
    if not os.environ.get("SWITCHRECON_TEST_INSTALL"):
        pytest.skip("set SWITCHRECON_TEST_INSTALL=1 to install from the package index")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    place = tmp_path / "installed"
    subprocess.run([str(DEPLOY / "install.sh"), str(place)], env=environment, check=True)
    program = place / "bin" / "switchrecon"
    run = tmp_path / "runs" / "none"
    run.mkdir(parents=True)
    (run / "model.safetensors").write_bytes(b"")
    command = [str(program), "serve", "--runs", str(run.parent), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    assert process.stdout is not None
    port = int(process.stdout.readline().split(";")[0].rsplit(":", 1)[1])
    try:
        assert healthy(port) == 0
    finally:
        threading.Timer(30, process.kill).start()
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()
