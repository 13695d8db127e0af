"""Peers that mean harm, while a healthy client gets its images."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import ismrmrd
import pytest

from switchrecon.service.asked import Answering
from switchrecon.service.server import is_loopback
from switchrecon.service.wire import Limits
from tests.service.client import Received, connect, exchange, packed, receive, serving
from tests.service.test_streams import CLOSE, lines, one_image, start, truth
from tests.service.test_wire import claims, waveform


@contextlib.contextmanager
def attackers(port: int, attack: Callable[[socket.socket], object], count: int) -> Iterator[list[socket.socket]]:
    """Connections, each of which has begun an attack; they are closed at the end."""
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(connect(port)) for _ in range(count)]
        for peer in peers:
            attack(peer)
        yield peers


def silent(peer: socket.socket) -> None:
    """Says nothing."""


def silent_after_header(peer: socket.socket) -> None:
    peer.sendall(packed(*start(), close=False))


def silent_in_a_readout(peer: socket.socket) -> None:
    """Holds a place, and brings no whole readout."""
    peer.sendall(packed(*start(), *lines(truth())[:1], close=False)[:-10])


def silent_in_a_measurement(peer: socket.socket) -> None:
    """Brings some readouts, and then a part of one."""
    peer.sendall(packed(*start(), *lines(truth())[:3], close=False)[:-10])


def dribble(peer: socket.socket) -> None:
    def work() -> None:
        with contextlib.suppress(OSError):
            for byte in packed(*start()):
                peer.sendall(bytes([byte]))
                if stopped.wait(0.01):
                    return

    threading.Thread(target=work, daemon=True).start()


def flood(peer: socket.socket) -> None:
    """Tiny messages without end."""

    def work() -> None:
        content = packed(*([waveform()] * 500), close=False)
        with contextlib.suppress(OSError):
            peer.sendall(packed(*start(), close=False))
            while not stopped.is_set():
                peer.sendall(content)

    threading.Thread(target=work, daemon=True).start()


stopped = threading.Event()


@pytest.mark.parametrize(
    ("attack", "count"),
    [(silent, 50), (silent_after_header, 20), (silent_in_a_readout, 6), (silent_in_a_measurement, 6), (dribble, 10)],
)
def test_a_healthy_client_is_served_beside_attackers(attack: Callable[[socket.socket], object], count: int) -> None:
    stopped.clear()
    with (
        serving(answering=Answering(pixels="float"), sessions=2) as server,
        attackers(server.port, attack, count),
    ):
        one_image(exchange(server, packed(*start(), *lines(truth()))), truth())
        stopped.set()


def test_a_healthy_client_is_served_beside_floods_of_tiny_messages() -> None:
    stopped.clear()
    with serving(answering=Answering(pixels="float"), sessions=2) as server, attackers(server.port, flood, 2):
        one_image(exchange(server, packed(*start(), *lines(truth()))), truth())
        stopped.set()


def test_claims_of_gigabytes_are_refused_and_forgotten() -> None:
    with serving(answering=Answering(pixels="float"), limits=Limits(idle=5)) as server:
        for name, content in claims():
            found = exchange(server, packed(*start(), content, close=False))
            assert found.images == []
            assert found.closed, name
            assert len(found.texts) == 1
            assert found.texts[0].startswith("ERR "), name
        one_image(exchange(server, packed(*start(), *lines(truth()))), truth())


def test_too_many_healthy_sessions_are_told_so() -> None:
    with serving(answering=Answering(pixels="float"), sessions=1) as server:
        import switchrecon.service.server as module

        with connect(server) as first, pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "BUSY_SECONDS", 0.2)
            first.sendall(packed(*start(), *lines(truth())[:4], close=False))
            exchange(server, packed())  # time for the first to have its place
            found = wait_for_refusal(server.port)
            assert found.images == []
            assert found.closed
            assert found.texts == ["ERR all 1 sessions are taken; try again"]
            first.sendall(packed(*lines(truth())[4:]))
            one_image(receive(first), truth())


def wait_for_refusal(port: int) -> Received:
    """Ask until the server has given its only place to the first."""
    for _ in range(100):
        found = exchange(port, packed(*start(), *lines(truth())))
        if found.texts:
            break
    return found


def test_more_connections_than_may_wait_push_out_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchrecon.service.server.WAITING", 3)
    with serving(answering=Answering(pixels="float")) as server, attackers(server.port, silent, 6) as peers:
        one_image(exchange(server, packed(*start(), *lines(truth()))), truth())
        peers[0].settimeout(20)
        assert receive(peers[0]).closed


def test_stopping_ends_sessions_with_a_word() -> None:
    with connect_to_stopped() as (server_texts, closed):
        assert server_texts == ["ERR the server ends the session"]
        assert closed


@contextlib.contextmanager
def connect_to_stopped() -> Iterator[tuple[list[str], bool]]:
    with serving(answering=Answering(pixels="float")) as server:
        peer = connect(server)
        peer.sendall(packed(*start(), *lines(truth(0)), *lines(truth(1), slice=1)[:1], close=False))
        from tests.service.test_streams import receive_one

        assert receive_one(peer).slice == 0  # it has begun
    with peer:
        found = receive(peer)
    yield found.texts, found.closed


# The command


@pytest.fixture
def command(tmp_path: Path, trained: Callable[..., Path]) -> Iterator[Callable[..., tuple[subprocess.Popen[str], int]]]:
    started: list[subprocess.Popen[str]] = []

    def begin(*options: str) -> tuple[subprocess.Popen[str], int]:
        arguments = [sys.executable, "-m", "switchrecon", "serve", "--runs", str(trained()), "--port", "0", *options]
        process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=os.environ
        )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on 127.0.0.1:")
        return process, int(line.split(";")[0].rsplit(":", 1)[1])

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_the_command_serves_once_writes_nothing_and_logs_no_header(
    command: Callable[..., tuple[subprocess.Popen[str], int]], tmp_path: Path
) -> None:
    process, port = command("--once", "--pixels", "float")
    names = "<patientName>CANARY^7</patientName><patientID>CANARY8</patientID>"
    subject = f"<subjectInformation>{names}</subjectInformation><encoding>"
    xml = str(start()[1]).replace("<encoding>", subject, 1)
    probe = exchange(port, packed(start()[0]))  # a probe is no session
    assert probe == Received(closed=True)
    found = exchange(port, packed(start()[0], xml, *lines(truth())))
    one_image(found, truth())
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "CANARY" not in out + err
    assert "CANARY" not in found.images[0].attribute_string
    assert list(tmp_path.iterdir()) == []


def test_the_command_ends_at_sigterm_and_listens_before_networks_are_loaded(
    command: Callable[..., tuple[subprocess.Popen[str], int]],
) -> None:
    process, port = command()
    with connect(port) as peer:
        peer.sendall(packed(start()[0], close=False) + struct.pack("<HQQQ", 6, 0, 1, 0) + CLOSE)
        assert peer.makefile("rb").read()[-2:] == CLOSE
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


def test_addresses_of_this_machine_alone_are_known() -> None:
    assert [is_loopback(own) for own in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "10.0.0.1", "a-name")] == [
        *([True] * 3),
        *([False] * 4),
    ]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--runs", "nowhere"], "nowhere: no such folder"),
        (["--runs", "."], "holds no run"),
        (["--pixels", "jpeg"], "parameter pixels: expected one of"),
        (["--outside", "guess"], "outside 'guess'"),
        (["--default", "os"], "--default 'os'"),
        (["--listen", "300.1.1.1"], "cannot listen on 300.1.1.1:0"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    run_cli: Callable[..., tuple[int, str, str]],
    trained: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run_cli("serve", "--runs", trained(), "--port", "0", *options)
    assert code == 2
    assert why in err


def test_flags_of_the_package_are_those_used_here() -> None:
    from switchrecon.service import messages

    assert ismrmrd.ACQ_LAST_IN_SLICE == messages.LAST_IN_SLICE
    assert ismrmrd.ACQ_LAST_IN_REPETITION == messages.LAST_IN_REPETITION
    assert ismrmrd.ACQ_LAST_IN_MEASUREMENT == messages.LAST_IN_MEASUREMENT
