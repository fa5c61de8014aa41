"""Write the files of a test into a folder: each is complete or does not exist, and none replaces one of the user."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from restate_lab._files import write_atomically
from restate_lab.errors import ArgumentError


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """Return the folder for a test.

    Raises:
        ArgumentError: it does not exist, or is not a folder.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        problem = "is not a folder" if path.exists() else "does not exist"
        raise ArgumentError(f"the folder {path} {problem}; create it, or pass another folder.")
    return path


def check_files(folder: Path, texts: Mapping[str, str], *, shared: frozenset[str], force: bool) -> None:
    """Check that the files can be written, before one is.

    ``texts`` has the text of each file by its path in the folder. A file in ``shared``, such as a copy of the code that
    several tests import, may exist with the same text.

    Raises:
        ArgumentError: a file exists and ``force`` is False, or a path leads out of the folder.
    """
    for name, text in texts.items():
        target = folder / name
        if not target.parent.resolve().is_relative_to(folder.resolve()):
            raise ArgumentError(f"{target.parent} leads out of {folder} through a symbolic link; nothing was written.")
        if target.is_symlink() or target.is_dir():
            what = "symbolic link" if target.is_symlink() else "folder"
            raise ArgumentError(f"{target} is a {what}, which is not replaced; nothing was written.")
        if target.exists() and not force and not (name in shared and target.read_text("utf-8") == text):
            raise ArgumentError(f"{target} already exists; pass force=True to replace it. Nothing was written.")


def write_files(folder: Path, texts: Mapping[str, str], *, shared: frozenset[str], force: bool) -> tuple[Path, ...]:
    """Write the files that ``check_files`` has checked, and return their paths.

    Raises:
        ArgumentError: a file was created in the meantime and ``force`` is False.
    """
    paths = []
    for name, text in texts.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        paths.append(target)
        if name in shared and target.exists() and not force:
            continue  # it has the same text
        with write_atomically(target, overwrite=force, option="force") as unfinished:
            unfinished.write_text(text, "utf-8", newline="\n")
    return tuple(paths)
