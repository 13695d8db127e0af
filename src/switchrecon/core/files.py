"""Atomic output: a file is written completely or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from switchrecon.errors import DataError

FULL = 1 << 20  # bytes: after a failure, a disk with less free space counts as full
NOTE = "switchrecon: research use only, not for diagnosis"  # in every image that is written


def named_error(error: OSError, target: Path) -> OSError:
    """Return an error of writing that names the target and says what is wrong.

    If the disk is full, some writers raise only "16384 requested and 0 written", or name no file.
    """
    number = error.errno
    if number is None:
        full = shutil.disk_usage(target.parent).free < FULL
        number = errno.ENOSPC if full else errno.EIO
    return OSError(number, os.strerror(number), str(target))


@contextmanager
def atomic_file(target: Path, suffix: str = ".partial") -> Iterator[Path]:
    """Yield a temporary path in the target's folder; rename it to the target if the block succeeds.

    Parameters
    ----------
    target
        The file to write. Its folder is made if it is missing.
    suffix
        Suffix of the temporary file, for writers that depend on it.

    Yields
    ------
    Path
        Where to write. The file is removed if the block raises.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".partial-", suffix=suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        raise named_error(error, target) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path, suffix: str) -> Iterator[Path]:
    """Yield a temporary folder beside the target; rename it to the target if the block succeeds.

    Parameters
    ----------
    target
        The folder to write.
    suffix
        Suffix of the files that will be in it or its subfolders. A folder that exists already is replaced only if it
        holds nothing but such files, so that nobody's files are lost.

    Yields
    ------
    Path
        Where to write. The folder is removed if the block raises.

    Raises
    ------
    DataError
        If the target is a file or a link, or holds other files.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    exists = target.is_symlink() or target.exists()
    if exists:
        _check_replaceable(target, suffix)
    temporary = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
    fresh, replaced = temporary / "new", temporary / "old"
    try:
        fresh.mkdir()
        yield fresh
        for file in (path for path in fresh.rglob("*") if path.is_file()):
            with file.open("rb") as written:
                os.fsync(written.fileno())
        if exists:
            target.replace(replaced)
        fresh.replace(target)
    except BaseException as error:
        if replaced.exists():
            replaced.replace(target)
        if isinstance(error, OSError):
            raise named_error(error, target) from error
        raise
    finally:
        shutil.rmtree(temporary)


def _check_replaceable(target: Path, suffix: str) -> None:
    if target.is_symlink() or not target.is_dir():
        raise DataError(f"{target}: is a {'link' if target.is_symlink() else 'file'}, expected a folder or nothing")
    for file in sorted(path for path in target.rglob("*") if path.is_symlink() or not path.is_dir()):
        if file.suffix != suffix or file.is_symlink() or not file.is_file():
            raise DataError(
                f"{target}: the folder holds {file.name}; expected only {suffix} files where it is replaced"
            )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 text atomically; bytes of file names that are not UTF-8 are written as ``\\udcfc``."""
    with atomic_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
