"""A report's file, whole or not there."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from restate_lab.errors import ArgumentError
from restate_lab.export.files import publish

__all__ = ["target_of", "written"]

FORMATS = (".html", ".pdf")


def target_of(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Return the file that is meant.

    Raises:
        ArgumentError: it is no HTML or PDF file, its folder is not there, or it is there itself.
    """
    text = os.fspath(path)
    if "://" in text:
        raise ArgumentError(f"{path!r} is no local file: a report is written to one, and copied from there.")
    target = Path(text).expanduser()
    if target.suffix.lower() not in FORMATS:
        raise ArgumentError(f"{target.name!r} does not say what to write: end it with {' or '.join(FORMATS)}.")
    if not target.parent.is_dir():
        raise ArgumentError(f"the folder {target.parent} is not there: make it, or give another path.")
    if target.is_dir():
        raise ArgumentError(f"{target} is a folder: give the path of a file.")
    if target.exists() and not overwrite:
        raise ArgumentError(f"{target} is there already and was not touched: give another name, or overwrite=True.")
    return target


@contextmanager
def written(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give the path to write to; when the block ends well, the file gets its name, and else it goes."""
    unfinished = target.with_name(f".{uuid.uuid4().hex[:12]}.unfinished")
    try:
        yield unfinished
        publish(unfinished, target, overwrite=overwrite)
    finally:
        unfinished.unlink(missing_ok=True)
