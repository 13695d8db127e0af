"""The command that shows images: ``view``."""

from pathlib import Path
from typing import Annotated

import typer

from switchrecon.cli.options import OverwriteOption, ThreadsOption, check_new, use_threads


def view(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH…", help="Scans, reconstructions, folders or patterns; evaluations and folders that hold them."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.html", help="Write one page that needs nothing else, and do not serve."),
    ] = None,
    slices: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="With --out: these slices, such as 3,8 or 20-30. Default: all that fit."),
    ] = None,
    limit: Annotated[float, typer.Option(metavar="MB", min=0.1, help="With --out: what images may take.")] = 24.0,
    names: Annotated[
        bool, typer.Option("--names", help="With --out: show names of files, which may tell who was scanned.")
    ] = False,
    together: Annotated[
        bool, typer.Option("--together", help="Show all files beside each other; default: those of one name.")
    ] = False,
    images: Annotated[
        list[str],
        typer.Option(
            "--images", metavar="PATH", help="Complex images, which would be taken for k-space. May be repeated."
        ),
    ] = [],  # noqa: B006
    slice_axis: Annotated[str, typer.Option(help="axial, coronal or sagittal: how image volumes are cut.")] = "axial",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Without --out: where to listen on this machine. Default: a free one.")
    ] = 0,
    overwrite: OverwriteOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Look at images with mouse and keys: side by side, flicker, wipe, error, k-space; one window for all.

    Without --out, a page is served on this machine alone until Ctrl-C; the address holds a secret token.

    Example: switchrecon view runs/first-evaluation

    Example: switchrecon view scans/new.h5 images/new.h5 --out new.html
    """
    from switchrecon.core.reading import ReadOptions
    from switchrecon.errors import ConfigError, nearest
    from switchrecon.reports.viewer.page import parse_slices, save_page
    from switchrecon.reports.viewer.sources import find_sources

    if not paths and not images:
        raise ConfigError("nothing to view; name scans, images, or the folder of an evaluation")
    if slice_axis not in (axes := ("axial", "coronal", "sagittal")):
        raise ConfigError(f"--slice-axis {slice_axis}: {nearest(slice_axis, axes)}")
    if out is None and slices is not None:
        raise ConfigError("--slices: the served page holds all slices; add --out FILE.html to write some into a file")
    if out is not None:
        check_new(out, overwrite)
    picked = parse_slices(slices) if slices is not None else None
    use_threads(threads)
    options = ReadOptions(slice_axis=slice_axis)  # type: ignore[arg-type]
    sources = find_sources(paths or [], options, names or out is None, together, images)
    if out is None:
        from switchrecon.reports.viewer.server import Viewer

        try:
            server = Viewer(sources, port)
        except OSError as error:
            raise ConfigError(f"--port {port}: cannot be used ({error.strerror}); choose another one") from error
        with server:
            typer.echo(f"open {server.address}\nThe page is for this machine alone; Ctrl-C ends it.")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                typer.echo("ended")
        return
    part = save_page(sources, out, picked, limit)
    for source in sources:
        typer.echo(f"{source.name}: {', '.join(map(str, source.files))}")
    held, total = part.shown
    some = "" if held == total else f" of {total} (--slices and --limit choose others)"
    typer.echo(f"{out}: {held} slices{some}, {out.stat().st_size / 1e6:.1f} MB; open it in a browser")
