"""What paths offer to the viewer: scans, reconstructions, and evaluations in folders."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError, RunError
from switchrecon.reports.viewer.files import Label, beside, evaluated_scans, pictures_in, read_evaluated, read_stack
from switchrecon.reports.viewer.stacks import Stack
from switchrecon.scans.files import find_files
from switchrecon.scans.names import stem

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A stack that has not been read yet.

    Attributes
    ----------
    name
        As the page shows it.
    files
        What it is read from.
    open
        Reads it.
    """

    name: str
    files: tuple[Path, ...]
    open: Callable[[], Stack]


def find_sources(
    paths: Sequence[str | Path],
    options: ReadOptions | None = None,
    names: bool = False,
    together: bool = False,
    images: bool = False,
) -> list[Source]:
    """Return what there is to see under the paths, without reading scans.

    Files of one name in several folders, such as a scan and its reconstructions, are shown beside each other.

    Parameters
    ----------
    paths
        Scans, images, folders or patterns; evaluations, and folders with evaluations in them.
    options
        How scans are read; None: the defaults.
    names
        Whether files' names are shown; else scans are numbered.
    together
        Show all files beside each other, whatever their names.
    images
        Whether complex arrays are images; else they are k-space.

    Raises
    ------
    SwitchreconError
        For a path that does not exist or holds nothing to see.
    """
    options = options or ReadOptions()
    evaluations: list[Path] = []
    files: list[Path] = []
    for path in map(Path, paths):
        found = _evaluations(path)
        evaluations += found
        if not found:
            files += _files(path)
    sources = [source for number, file in enumerate(evaluations) for source in _evaluated(file, number, evaluations)]
    groups: dict[str, list[Path]] = {}
    for file in dict.fromkeys(files):
        groups.setdefault("" if together else stem(file), []).append(file)
    for number, (name, group) in enumerate(groups.items(), 1):
        shown = (name or "all files") if names else f"scan-{number:03d}"
        sources.append(Source(shown, tuple(group), _opener(_labels(group, names), shown, options, images)))
    return sources


def _evaluations(path: Path) -> list[Path]:
    """The files ``images.npz`` of an evaluation, or of all in a folder; none for any other path.

    Raises
    ------
    RunError
        For an evaluation without images, or a run without an evaluation.
    """
    if not path.is_dir():
        return []
    if (path / "evaluation.json").is_file():
        if not (path / "images.npz").is_file():
            raise RunError(f"{path}: an evaluation without images.npz; evaluate again to store the images")
        return [path / "images.npz"]
    within = sorted(file.parent for file in path.rglob("evaluation.json"))
    found = [folder / "images.npz" for folder in within if (folder / "images.npz").is_file()]
    if not found and (path / "config.yaml").is_file() and (path / "log.jsonl").is_file():
        raise RunError(
            f"{path}: a run holds no images; view an evaluation of it (switchrecon evaluate {path} …) or what "
            f"'switchrecon reconstruct {path} …' has written"
        )
    return found


def _files(path: Path) -> list[Path]:
    if path.suffix.lower() == ".png" and path.is_file():
        return [path]
    try:
        return find_files([path])
    except DataError:
        if not path.is_dir():
            raise
        folders = [path, *sorted(entry for entry in path.iterdir() if entry.is_dir())]
        found = [folder for folder in folders if pictures_in(folder)]
        if not found:
            raise
        return found


def _evaluated(file: Path, number: int, files: Sequence[Path]) -> list[Source]:
    prefix = f"{number + 1}: " if len(files) > 1 else ""

    def opener(scan: str, name: str) -> Callable[[], Stack]:
        return lambda: read_evaluated(file, scan, name)

    return [Source(prefix + scan, (file,), opener(scan, prefix + scan)) for scan in evaluated_scans(file)]


def _labels(files: Sequence[Path], names: bool) -> list[Label]:
    """A name for each file of a group: that of its folder, or of the file where folders are the same."""
    if not names:
        return [Label(file, "image" if len(files) == 1 else f"image {n}") for n, file in enumerate(files, 1)]
    folders = [file.resolve().parent.name for file in files]
    apart = len(set(folders)) == len(files)
    return [Label(file, folder if apart else file.name) for file, folder in zip(files, folders, strict=True)]


def _opener(labels: Sequence[Label], name: str, options: ReadOptions, images: bool) -> Callable[[], Stack]:
    def read() -> Stack:
        stacks = [read_stack(label, name, options, images) for label in labels]
        return stacks[0] if len(stacks) == 1 else beside(stacks, name)

    return read
