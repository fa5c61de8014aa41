"""The files that a panel writes for its user: the rows of its lists, beside the notebook."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import quote

import pandas as pd

from restate_lab._files import write_atomically
from restate_lab._text import escape_invisible, plural
from restate_lab.panels._base.worker import BackgroundAction

ExportForm: TypeAlias = Literal["csv", "xlsx", "txt"]
"""The format of a file; "txt" has one id per line."""

_NOT_IN_NAMES = re.compile(r"[^\w.-]+", re.ASCII)
_LONGEST_NAME = 80  # characters


@dataclass(frozen=True)
class ExportedRows:
    """Rows to write: the ``frame``, the column ``key`` with ids, the ``name`` of the list, and why rows are missing."""

    frame: pd.DataFrame
    name: str
    key: str = "id"
    missing: str = ""


class PanelFiles:
    """Write files in the background, one at a time, to the working folder of the kernel.

    A notebook's kernel works in the folder of the notebook. A file is written there and not sent through the page,
    because a message to the page has a limit that a list of 10,000 rows can exceed. ``show`` gets the text about a
    written file, its path, and its address relative to the folder. ``guard`` wraps the work so that errors are shown.
    """

    def __init__(self, *, guard: Callable[..., Callable[..., None]], show: Callable[[str, str, str], object]) -> None:
        self._guard, self._show = guard, show
        self._background = BackgroundAction()

    def write(self, rows: ExportedRows, form: ExportForm) -> None:
        """Start to write rows; an existing file is never replaced.

        Raises:
            Busy: another file is being written.
        """
        self._background.run(self._guard(lambda: self._write(rows, form), by_reader=False))

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds until a file in progress is written; return whether it is."""
        return self._background.wait(timeout)

    def close(self) -> None:
        """Wait for a file in progress."""
        self._background.close()

    def _write(self, rows: ExportedRows, form: ExportForm) -> None:
        path = _free_path(rows, form)
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            _write_rows(rows, path, form)
        reasons = dict.fromkeys(filter(None, (rows.missing, *(str(note.message) for note in notes))))
        about = f"Exported {plural(len(rows.frame), 'row')}: {path.name}"
        text = ". ".join([about, *(reason.rstrip(".") for reason in reasons)])
        self._show(text, str(path.absolute()), quote(path.name))


def _write_rows(rows: ExportedRows, path: Path, form: ExportForm) -> None:
    if form != "txt":
        from restate_lab.export.files import save  # noqa: PLC0415 - a panel that exports nothing does not load it

        save(rows.frame, path)
        return
    with write_atomically(path, overwrite=False) as unfinished:
        lines = (escape_invisible(str(value), lines=False) for value in rows.frame[rows.key])
        unfinished.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _free_path(rows: ExportedRows, form: ExportForm) -> Path:
    """Return a path in the working folder that does not exist: it names the list, the time, and missing rows."""
    name = _NOT_IN_NAMES.sub("-", rows.name).strip("-.")[:_LONGEST_NAME]
    incomplete = "-incomplete" if rows.missing or rows.frame.attrs.get("truncated") else ""
    stem = f"{name}{incomplete}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    number, path = 1, Path(f"{stem}.{form}")
    while path.exists():
        number += 1
        path = Path(f"{stem}-{number}.{form}")
    return path
