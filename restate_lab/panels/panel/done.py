"""What this user did on a cluster in the last day: the changes and the notes of the audit log, newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from restate_lab._text import one_line, shorten_id
from restate_lab.analysis.doctor.known import notes_about
from restate_lab.client.lab import is_lab
from restate_lab.frames import records
from restate_lab.notes import FOLDER, StoredNote
from restate_lab.records import state_of_files
from restate_lab.reports.timeline import fold_changes, read_actions
from restate_lab.source import Source

_SINCE = timedelta(days=1)
_MOST = 20  # rows
_WIDTH = 300  # characters


class ActionLog:
    """The rows of the strip "What I did", and the notes; the files are read again only when they have changed."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._state: tuple[Any, ...] | None = None
        self._rows: list[dict[str, Any]] = []
        self.notes: Sequence[StoredNote] = ()

    def read(self) -> list[dict[str, Any]]:
        """Return ``at`` (seconds since 1970) and ``text``, newest first; [] for a source that is not live."""
        if not is_lab(self._source):
            return []
        folder = self._source.transport.audit.folder
        state = state_of_files(folder, folder / FOLDER)
        if state != self._state:
            self._rows, self.notes = (self._read(), notes_about(self._source).notes) if state else ([], ())
            self._state = state
        first = (datetime.now(UTC) - _SINCE).timestamp()
        return [row for row in self._rows if row["at"] >= first]

    def _read(self) -> list[dict[str, Any]]:
        actions, unreadable = read_actions(self._source, since=datetime.now(UTC) - _SINCE, folder=None)
        rows = [
            {"at": row["time"].timestamp(), "text": _text_of(row)} for row in records(fold_changes(actions))[-_MOST:]
        ]
        if unreadable:
            rows.append({"at": datetime.now(UTC).timestamp(), "text": f"The log is incomplete: {unreadable}"})
        return rows[::-1]


def _text_of(row: Mapping[Any, Any]) -> str:
    """Return "resume 15 …: done (INC-42: the API is back)", or the text of a note first."""
    times = f"{row['changes']:,} × " if row["changes"] > 1 else ""
    if row["action"] in {"note", "acknowledge"}:
        about = f": {row['what']}, {row['outcome']}" if row["what"] else ""
        return one_line(f"{row['action']} “{row['reason']}”{about}", _WIDTH)
    reason = f" ({row['reason']})" if row["reason"] else ""
    return one_line(f"{times}{row['action']} {shorten_id(row['what'])}: {row['outcome']}{reason}", _WIDTH)
