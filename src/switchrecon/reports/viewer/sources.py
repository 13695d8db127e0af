"""What paths offer to the viewer: scans, reconstructions, and evaluations in folders."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from switchrecon.core.reading import ReadOptions
from switchrecon.errors import DataError, RunError
from switchrecon.reports.viewer.evaluations import evaluated_scans, read_evaluated
from switchrecon.reports.viewer.files import Label, beside, pictures_in, read_stack
from switchrecon.reports.viewer.planes import MAPS, Kind
from switchrecon.reports.viewer.stacks import Stack
from switchrecon.scans.files import find_files
from switchrecon.scans.names import stem

PROGRESS = "progress"  # the folder of a run's pictures over time
_DESCRIBED = re.compile(r"_desc-([a-z]+)(?=[_.]|$)")


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
    images: Sequence[str | Path] = (),
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
        Paths whose complex arrays are images; in others they are k-space.

    Raises
    ------
    SwitchreconError
        For a path that does not exist or holds nothing to see.
    """
    options = options or ReadOptions()
    sources: list[Source] = []
    files: dict[Path, bool] = {}
    evaluations = {file: str(path) for path in map(Path, paths) for file in _evaluations(path)}
    for number, (file, given) in enumerate(evaluations.items(), 1):
        folder = file.parent.relative_to(given).as_posix() if names else str(number)
        prefix = f"{Path(given).name if folder == '.' else folder}: " if len(evaluations) > 1 else ""
        sources += [_evaluated(file, scan, prefix + scan) for scan in evaluated_scans(file)]
    for path, images_alone in [*((p, False) for p in paths), *((p, True) for p in images)]:
        if images_alone or not _evaluations(Path(path)):
            files |= dict.fromkeys(_files(Path(path)), images_alone)
    groups: dict[str, list[Path]] = {}
    for file in files:
        groups.setdefault("" if together else _key(file), []).append(file)
    for number, (name, group) in enumerate(groups.items(), 1):
        shown = (name or "all files") if names else f"scan-{number:03d}"
        labels = [(label, files[label.path]) for label in _labels(group, names)]
        sources.append(Source(shown, tuple(group), _opener(labels, shown, options)))
    return sources


def _key(file: Path) -> str:
    """Return the name that a scan, its images and their maps share."""
    return _DESCRIBED.sub("", stem(file))


def _map_of(file: Path) -> Kind | None:
    """Return what a file is a map of, by its name."""
    found = _DESCRIBED.search(stem(file))
    return next((kind for kind in MAPS if found is not None and kind == found[1]), None)


def _evaluations(path: Path) -> list[Path]:
    """Return the files ``images.npz`` of an evaluation, or of all in a folder; none for any other path.

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
    if not found and (path / "config.yaml").is_file() and (path / "log.jsonl").is_file() and not _progress(path):
        raise RunError(
            f"{path}: a run holds no images; view an evaluation of it (switchrecon evaluate {path} …) or what "
            f"'switchrecon reconstruct {path} …' has written"
        )
    return found


def _progress(path: Path) -> list[Path]:
    """The folder of pictures that a run kept while it trained, if this is a run and there is one."""
    folder = path / PROGRESS
    return [folder] if (path / "config.yaml").is_file() and folder.is_dir() and pictures_in(folder) else []


def _files(path: Path) -> list[Path]:
    if path.is_dir() and (kept := _progress(path)):
        return kept
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


def _evaluated(file: Path, scan: str, name: str) -> Source:
    return Source(name, (file,), lambda: read_evaluated(file, scan, name))


def _labels(files: Sequence[Path], names: bool) -> list[Label]:
    """Return a name for each file of a group: that of its folder, or of the file where folders are the same.

    Maps belong to the images in their folder; a map without images is shown as one.
    """
    alone = [
        file
        for file in files
        if _map_of(file) is None or not any(_is_map_of(file, other) for other in files if _map_of(other) is None)
    ]
    folders = [file.resolve().parent.name for file in alone]
    apart = len(set(folders)) == len(alone)
    labels = []
    for number, (file, folder) in enumerate(zip(alone, folders, strict=True), 1):
        plain = "image" if len(alone) == 1 else f"image {number}"
        maps = [(kind, other) for other in files if _is_map_of(other, file) and (kind := _map_of(other)) is not None]
        labels.append(Label(file, (folder if apart else file.name) if names else plain, tuple(maps)))
    return labels


def _is_map_of(file: Path, image: Path) -> bool:
    return file != image and (file.parent, _key(file)) == (image.parent, _key(image)) and _map_of(file) is not None


def _opener(labels: Sequence[tuple[Label, bool]], name: str, options: ReadOptions) -> Callable[[], Stack]:
    def read() -> Stack:
        stacks = [read_stack(label, name, options, images) for label, images in labels]
        return stacks[0] if len(stacks) == 1 else beside(stacks, name)

    return read
