"""Write a file that is complete or does not exist, and that replaces another one only if the caller says so."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

from restate_lab.errors import ArgumentError


@contextlib.contextmanager
def write_atomically(target: Path, *, overwrite: bool, option: str = "overwrite") -> Iterator[Path]:
    """Yield a temporary path; if the block succeeds, the file is renamed to ``target``, else it is removed.

    ``option`` is the caller's argument that replaces an existing file, for the error.

    Raises:
        ArgumentError: the target exists, and ``overwrite`` is False.
    """
    unfinished = target.with_name(f".{uuid.uuid4().hex[:12]}.unfinished")
    try:
        yield unfinished
        publish(unfinished, target, overwrite=overwrite, option=option)
    finally:
        unfinished.unlink(missing_ok=True)


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
