"""The command of a department: ``watch``."""

import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from switchrecon.cli.options import DeviceOption, OutOption
from switchrecon.errors import SwitchreconError


def watch(
    folder: Annotated[Path, typer.Argument(metavar="IN", help="Folder that scans come into, and its subfolders.")],
    run: Annotated[Path, typer.Option("--run", metavar="RUN", help="A run folder.")],
    out: OutOption,
    image_format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="As of 'switchrecon reconstruct'. Default: each scan's.")
    ] = "own",
    undersample: Annotated[
        str | None, typer.Option(metavar="HOW", help="As of 'switchrecon reconstruct': images are undersampled first.")
    ] = None,
    resize: Annotated[bool, typer.Option("--resize", help="Allow another matrix than the run's.")] = False,
    no_maps: Annotated[bool, typer.Option("--no-maps", help="Write images alone.")] = False,
    once: Annotated[bool, typer.Option("--once", help="End when all scans that are there are done.")] = False,
    settle: Annotated[float, typer.Option(metavar="SECONDS", help="A file is complete if it stays so long.")] = 5.0,
    quiet: Annotated[
        float, typer.Option("--quiet-time", metavar="SECONDS", help="A DICOM series is complete after so long.")
    ] = 30.0,
    poll: Annotated[float, typer.Option(metavar="SECONDS", min=0.01, help="Between two looks.")] = 1.0,
    dicom_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Receive DICOM series by C-STORE into IN, on this port.")
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS", help="For --dicom-port. Other machines only in a private network.")
    ] = "127.0.0.1",
    title: Annotated[str, typer.Option("--ae-title", metavar="TITLE", help="The name in the DICOM network.")] = (
        "SWITCHRECON"
    ),
    callers: Annotated[
        list[str], typer.Option("--from", metavar="TITLE", help="Who may send; default: all. May be repeated.")
    ] = [],  # noqa: B006
    send_to: Annotated[
        str | None,
        typer.Option(
            metavar="TITLE@HOST:PORT",
            help="Send results by C-STORE; needs --format dicom. They become series of the study that they come from.",
        ),
    ] = None,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="With --send-to: send them as they are written, naming no one.")
    ] = False,
    device: DeviceOption = None,
) -> None:
    """Reconstruct every scan that comes into a folder, once. What fails is set aside with its reason.

    A restart goes on where it stopped. For research, not for diagnosis.

    Example: switchrecon watch incoming --run runs/first --out images
    """
    from switchrecon.reconstruction.reconstructor import Reconstructor
    from switchrecon.runs.pretrained import run_folder
    from switchrecon.service import dicom_network
    from switchrecon.service.watch import Watch, Watching, check_sending
    from switchrecon.trust.look import look_of

    os.umask(0o077)
    check_sending(image_format, send_to)
    peer = dicom_network.parse_peer(send_to) if send_to is not None else None
    if peer is not None or dicom_port is not None:
        dicom_network.pynetdicom_module()
    run = run_folder(run)
    if not folder.is_dir():
        raise SwitchreconError(f"{folder}: no such folder; expected one that scans come into")

    def send(written: Path, scan: Path) -> None:
        assert peer is not None
        dicom_network.send(peer, written, None if anonymous else scan, title)

    loaded = Reconstructor.load(run, resize=resize, device=device)
    look = None if no_maps else look_of(run, loaded, False, False)
    settings = Watching(folder, out, undersample, image_format, not no_maps, settle, quiet, poll)
    watching = Watch(settings, loaded, look, send if peer is not None else None)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    receiver = None
    if dicom_port is not None:
        receiver = dicom_network.receive(folder, listen, dicom_port, title, callers)
        typer.echo(f"receiving DICOM as {title} on {listen}:{receiver.server_address[1]}")
    typer.echo(f"watching {folder}")
    try:
        failed = watching.work(stop, once)
    finally:
        if receiver is not None:
            receiver.shutdown()
    if failed and once:
        raise typer.Exit(3)
