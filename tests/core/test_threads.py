"""How many threads are chosen: by affinity, control groups of both versions, load, and what users ask for."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import switchrecon as sr
from switchrecon.core import threads
from switchrecon.core.threads import Cores, cores_for, look_at_cores, set_threads, tell_threads
from switchrecon.errors import ConfigError
from tests.conftest import tiny_config


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Set what this machine seems to be: cores, their ticks before and after a look, load, groups and their files."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def be(
        cores: int,
        total: int | None = None,
        busy: tuple[float, ...] = (),
        load: float = 0.0,
        group: str = "0::/\n",
        files: dict[str, str] | None = None,
    ) -> None:
        def ticks(passed: int) -> str:
            lines = [f"cpu {passed} 0 0 0 0 0 0 0 0 0"]
            for core in range(total or cores):
                used = int(passed * (busy[core] if core < len(busy) else 0))
                lines.append(f"cpu{core} {used} 0 0 {passed - used} 0 0 0 0 0 0")
            return "\n".join([*lines, "intr 1 2 3", "ctxt 5"])

        statistics = tmp_path / "stat"
        statistics.write_text(ticks(1000))
        monkeypatch.setattr(threads.time, "sleep", lambda seconds: statistics.write_text(ticks(2000)))
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
        monkeypatch.setattr(os, "cpu_count", lambda: total or cores)
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 9.0, 9.0))
        monkeypatch.setattr(threads, "_most", lambda: cores)
        monkeypatch.setattr(threads, "STATISTICS", statistics)
        monkeypatch.setattr(threads, "PROCESS", tmp_path / "group")
        monkeypatch.setattr(threads, "GROUPS", tmp_path / "groups")
        (tmp_path / "group").write_text(group)
        for name, text in (files or {}).items():
            file = tmp_path / "groups" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    yield be
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ({"cores": 4}, Cores(4, None, 0)),
        ({"cores": 4, "busy": (1.0,)}, Cores(4, None, 1)),
        ({"cores": 4, "busy": (0.5, 0.0, 0.5)}, Cores(4, None, 1)),  # one process that moves between two cores
        ({"cores": 4, "busy": (0.1, 0.1)}, Cores(4, None, 0)),
        ({"cores": 4, "load": 1.9}, Cores(4, None, 2)),  # at rest just now
        ({"cores": 2, "load": 7.0}, Cores(2, None, 2)),
        ({"cores": 2, "total": 8, "busy": (0, 0, 1, 1, 1), "load": 3.0}, Cores(2, None, 0)),  # others' cores are busy
        ({"cores": 2, "total": 8, "load": 8.0}, Cores(2, None, 2)),
        ({"cores": 8, "files": {"cpu.max": "250000 100000\n"}}, Cores(8, 2.5, 0)),
        ({"cores": 8, "files": {"cpu.max": "max 100000\n"}}, Cores(8, None, 0)),
        ({"cores": 8, "files": {"cpu.max": "nonsense"}}, Cores(8, None, 0)),
        (
            {"cores": 8, "group": "0::/a/b\n", "files": {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}},
            Cores(8, 3.0, 0),
        ),
        (
            {
                "cores": 8,
                "group": "5:memory:/x\n3:cpu,cpuacct:/job\n0::/\n",
                "files": {"cpu/job/cpu.cfs_quota_us": "50000\n", "cpu/job/cpu.cfs_period_us": "100000\n"},
            },
            Cores(8, 0.5, 0),
        ),
        (
            {
                "cores": 8,
                "group": "3:cpu:/\n",
                "files": {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            },
            Cores(8, None, 0),
        ),
    ],
)
def test_what_is_free_is_found(machine: Callable[..., None], what: dict, expected: Cores) -> None:
    machine(**what)
    assert look_at_cores() == expected


def test_free_cores_are_what_all_limits_leave_and_at_least_one() -> None:
    assert Cores(8, None, 3).free == 5
    assert Cores(8, 2.9, 3).free == 2
    assert Cores(8, 0.5, 0).free == 1
    assert Cores(2, None, 2).free == 1


def test_the_choice_is_said_with_its_reason(machine: Callable[..., None], messages: list[str]) -> None:
    machine(cores=4, busy=(1.0,), files={"cpu.max": "200000 100000"})
    assert set_threads() == torch.get_num_threads() == 2
    assert not messages  # a command that is refused says nothing else
    tell_threads()
    machine(cores=4, files={"cpu.max": "max 100000"})
    assert set_threads() == 4
    tell_threads()
    tell_threads()
    assert messages == [
        "computing with 2 threads (1 of 4 cores are busy and the control group gives 2 cores' time)",
        "computing with 4 threads (4 cores, none of them busy)",
    ]


def test_what_users_ask_for_counts_within_the_affinity(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    machine(cores=4, busy=(1.0, 1.0, 1.0))
    assert sr.set_threads(3) == torch.get_num_threads() == 3
    tell_threads()
    assert set_threads(64) == 4
    tell_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    assert set_threads() == 2
    tell_threads()
    assert set_threads(1) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    assert set_threads() == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert set_threads() == 1
    assert messages[0] == "computing with 3 threads (as asked for)"
    assert messages[1] == "computing with 4 threads (64 were asked for; this process may use 4 cores)"
    assert messages[2] == "computing with 2 threads (OMP_NUM_THREADS=2)"


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "2"])
def test_no_other_number_is_a_number_of_threads(number: object) -> None:
    with pytest.raises(ConfigError, match="from 1 up"):
        set_threads(number)  # type: ignore[arg-type]


def test_processes_of_a_grid_share_what_is_free(machine: Callable[..., None], messages: list[str]) -> None:
    machine(cores=8, busy=(1.0, 1.0))
    assert [cores_for(None), cores_for(3), cores_for(99)] == [6, 3, 8]
    assert messages == ["using 6 cores (2 of 8 cores are busy)", "using 3 cores", "using 8 cores"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_the_command_line_takes_threads_and_stays_within_the_affinity(tmp_path: Path, make_scan: Callable) -> None:
    scan = make_scan("full", 1)
    core = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{core}]); from switchrecon.cli import main; main()"
    command = [sys.executable, "-c", code, "--verbose", "inspect", str(scan), "--threads", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "computing with 1 thread (2 were asked for; this process may use 1 core)" in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["train", "evaluate", "reconstruct", "crossval", "compare-domains", "convert"])
def test_no_command_takes_less_than_one_thread(run_cli: Callable, command: str) -> None:
    code, _, said = run_cli(command, "--threads", "0")
    assert code == 2
    assert "--threads" in said


def test_two_threads_train_to_nearly_the_same_weights(tmp_path: Path, make_scan: Callable) -> None:
    """What the documentation says of threads: results agree but for rounding."""
    scans = [make_scan("full", 1)], [make_scan("sub", 2)]
    outputs = []
    for number in (1, 2):
        torch.set_num_threads(number)
        run = sr.train(tiny_config("steps=2"), full=scans[0], sub=scans[1], out=tmp_path / str(number), progress=False)
        mask = torch.zeros(64, 64, dtype=torch.bool).numpy()
        mask[:, ::2] = True
        outputs.append(run.reconstruct(sr.read(scans[1][0]).kspace[:, 0] * mask))
    torch.set_num_threads(1)
    assert abs(outputs[0] - outputs[1]).max() < 1e-3 * abs(outputs[0]).max()
