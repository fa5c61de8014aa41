"""Write a file that is complete or does not exist, and that replaces another one only if the caller says so.

The files of a ``PrivateFolder`` can be read and written only by their user.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from restate_lab.errors import ArgumentError, WriteFailed

_FULL = frozenset({errno.EDQUOT, errno.EFBIG, errno.ENOSPC})


@contextlib.contextmanager
def write_atomically(target: Path, *, overwrite: bool, option: str = "overwrite") -> Iterator[Path]:
    """Yield a temporary path; if the block succeeds, the file is renamed to ``target``, else it is removed.

    ``option`` is the caller's argument that replaces an existing file, for the error.

    Raises:
        ArgumentError: the target exists, and ``overwrite`` is False.
        WriteFailed: the disk is full.
    """
    unfinished = target.with_name(f".{uuid.uuid4().hex[:12]}.unfinished")
    try:
        with full_disk_error(target):
            yield unfinished
            publish(unfinished, target, overwrite=overwrite, option=option)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def full_disk_error(target: Path | str) -> Iterator[None]:
    """Raise WriteFailed with the path if the disk becomes full while a block writes it: pyarrow does not name it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        reason = os.strerror(error.errno)
        raise WriteFailed(f"{target} cannot be written: {reason}. Make room on the disk.") from error


def publish(unfinished: Path, target: Path, *, overwrite: bool, option: str = "overwrite") -> None:
    """Rename the unfinished file; without ``overwrite`` a hard link is used, because it fails if the target exists."""
    if overwrite:
        unfinished.replace(target)
        return
    try:
        target.hardlink_to(unfinished)
    except FileExistsError as error:
        raise exists_error(target, option) from error
    except OSError:  # a file system without links
        if target.exists():
            raise exists_error(target, option) from None
        unfinished.rename(target)


def exists_error(target: Path, option: str = "overwrite") -> ArgumentError:
    """Return the error that a file exists; ``option`` is the argument that replaces it."""
    return ArgumentError(f"{target} already exists and was not changed: pass another name, or {option}=True.")


class PrivateFolder:
    """A folder of small files that only this user can read and write; a caller checks the names of the files."""

    def __init__(self, path: Path, *, longest: int) -> None:
        self.path = path
        self._longest = longest  # characters that are read of a file

    def write(self, name: str, text: str) -> None:
        """Write a file of mode 0600; a file with this name is replaced at once.

        Raises:
            WriteFailed: the file cannot be written.
        """
        with self._changing(name):
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            with write_atomically(self.path / name, overwrite=True) as unfinished:
                descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(text)

    def read(self, name: str) -> str:
        """Return the text of a file.

        Raises:
            FileNotFoundError: there is no such file.
            ArgumentError: it or its folder belongs to another user, or other users can read it or change one of them.
        """
        _check_owner(str(self.path), self.path.stat(), 0o022, "make its mode 0700")
        with (self.path / name).open(encoding="utf-8", errors="replace") as file:
            _check_owner(name, os.fstat(file.fileno()), 0o077, "make a new plan")
            return file.read(self._longest)

    def has(self, name: str) -> bool:
        """Return whether there is a file with this name."""
        return (self.path / name).exists()

    def claim(self, name: str, claimed: str) -> bool:
        """Return whether this call gave a file its new name: of several threads and processes, one does.

        Raises:
            WriteFailed: the folder cannot be changed.
        """
        with self._changing(name):
            try:
                (self.path / name).rename(self.path / claimed)
            except FileNotFoundError:
                return False
            _store_names(self.path)
        return True

    def remove(self, *names: str) -> None:
        """Remove these files if they exist."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def remove_older(self, seconds: float) -> None:
        """Remove all files that were written before this number of seconds."""
        for path in self.path.iterdir() if self.path.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # another process removed it
                if time.time() - path.stat().st_mtime > seconds:
                    path.unlink()

    @contextlib.contextmanager
    def _changing(self, name: str) -> Iterator[None]:
        try:
            yield
        except WriteFailed:
            raise
        except OSError as error:
            raise WriteFailed(f"{self.path / name} cannot be changed: {error.strerror}") from error


def _store_names(folder: Path) -> None:
    """Write the names of a folder to the disk, so that a new name also remains after a power failure."""
    with contextlib.suppress(OSError):  # not every file system can do this
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check_owner(name: str, status: os.stat_result, forbidden: int, advice: str) -> None:
    """Refuse a file or folder of another user, and one with any of the permissions ``forbidden``."""
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & forbidden):
        raise ArgumentError(f"{name} can be changed or read by others, so it is not used; {advice}.")
