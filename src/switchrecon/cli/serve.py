"""The command of a scanner: ``serve``."""

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from switchrecon.cli.options import DeviceOption
from switchrecon.errors import SwitchreconError


def serve(
    runs: Annotated[
        Path,
        typer.Option("--runs", metavar="DIR", help="Folder of run folders, or one; clients ask for a run by its name."),
    ],
    default: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The run of clients that ask for 'default' or 'openrecon', or for nothing."),
    ] = None,
    listen: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Where to listen. The protocol has no passwords and no encryption: choose anything but this machine "
            "only in a private network, or behind an SSH tunnel.",
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 9002,
    once: Annotated[bool, typer.Option("--once", help="End after one session.")] = False,
    pixels: Annotated[str, typer.Option(help="integer (with RescaleSlope), float or complex.")] = "integer",
    bits: Annotated[int, typer.Option(help="Of integers: 12 or 16.")] = 12,
    no_maps: Annotated[bool, typer.Option("--no-maps", help="Send images alone.")] = False,
    outside: Annotated[
        str,
        typer.Option(
            help="A scan outside what the run was trained for: refuse, or zero-filled, which sends images without the "
            "network and a warning."
        ),
    ] = "refuse",
    resize: Annotated[
        bool,
        typer.Option(
            "--resize", help="Allow another matrix than the run's: the network then works at the scan's own matrix."
        ),
    ] = False,
    sessions: Annotated[int, typer.Option(min=1, max=64, help="Scans at once, each in its own process.")] = 4,
    session_limit: Annotated[float, typer.Option(metavar="GIB", min=0.001, help="Data of one session.")] = 4.0,
    idle: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="End a session that is silent so long.")] = 30,
    total: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="End a session that takes longer.")] = 14400,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the processor, for each session. Default: as torch chooses.")
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Reconstruct what a scanner streams (MRD version 1: FIRE, OpenRecon, Gadgetron's clients), and send images back.

    Nothing is written to disk. For research, not for diagnosis.

    Example: switchrecon serve --runs runs --default first
    """
    from switchrecon.runs.pretrained import run_folder
    from switchrecon.service.asked import ZERO_FILLED, listed_runs, serving
    from switchrecon.service.server import Server, Settings, is_loopback
    from switchrecon.service.wire import Limits

    os.umask(0o077)
    found = listed_runs(run_folder(runs))
    if default is not None and default not in (*found, ZERO_FILLED):
        raise SwitchreconError(f"--default '{default}': expected one of {', '.join([*found, ZERO_FILLED])}")
    answering = serving(pixels, bits, "image" if no_maps else "all", outside)
    limits = Limits(session=int(session_limit * 2**30), idle=idle, total=total)
    default = next(iter(found)) if default is None and len(found) == 1 else default
    server = Server(Settings(found, default, answering, limits, sessions, listen, port, once, device, resize, threads))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    if not is_loopback(listen):
        typer.echo("warning: other machines can connect, without a password: keep to a private network", err=True)
    typer.echo(f"listening on {server.address}; runs: {', '.join([*found, ZERO_FILLED])}")
    server.serve()
    if once and not server.good:
        raise typer.Exit(3)
