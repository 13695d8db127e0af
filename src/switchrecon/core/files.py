"""Atomic output: a file is complete or absent."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from switchrecon.errors import DataError

FULL = 1 << 20  # bytes: a disk with less is full, after a failure
NOTE = "switchrecon: research use only, not for diagnosis"  # in every image that is written


def named_error(error: OSError, target: Path) -> OSError:
    """Return an error of writing that names the target and says what is wrong.

    Some writers raise only "16384 requested and 0 written", or no name, where the disk is full.
    """
    number = error.errno
    if number is None:
        full = shutil.disk_usage(target.parent).free < FULL
        number = errno.ENOSPC if full else errno.EIO
    return OSError(number, os.strerror(number), str(target))


@contextmanager
def atomic_file(target: Path, suffix: str = ".partial") -> Iterator[Path]:
    """Give a temporary path in the target's folder; move it onto the target when the block ends well.

    Parameters
    ----------
    target
        The file to write. Its folder is made where it is absent.
    suffix
        Of the temporary file, for writers that look at it.

    Yields
    ------
    Path
        Where to write. It is removed if the block raises.
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
    """Give a temporary folder beside the target; rename it to the target when the block ends well.

    Parameters
    ----------
    target
        The folder to write.
    suffix
        Of the files that will be in it or in folders in it. A folder that is there already is replaced only if it
        holds such files and nothing else, so that nothing of anyone else's is lost.

    Yields
    ------
    Path
        Where to write. It is removed if the block raises.

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
    """Write UTF-8 text atomically; bytes of file names that are no UTF-8 are written as ``\\udcfc``."""
    with atomic_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
