"""The changes of each user to a cluster in the last day, and the notes: the rows of the audit log, newest first."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from restate_lab._text import one_line, plural, shorten_id
from restate_lab.analysis.doctor.known import notes_about
from restate_lab.analysis.invocations.reader import read_targets
from restate_lab.client.lab import is_lab
from restate_lab.errors import RestateLabError
from restate_lab.frames import records
from restate_lab.notes import FOLDER, StoredNote
from restate_lab.records import process_info, state_of_files
from restate_lab.reports.timeline import fold_changes, read_actions
from restate_lab.source import Source

_SINCE = timedelta(days=1)
_MOST = 20  # rows
_WIDTH = 300  # characters
_WITHIN = 2.0  # seconds to read the targets of invocations, which are only names here
_DONE = re.compile(r"([\d,]+ )?done")  # of a request, or of all targets of a plan
_NOTES = frozenset({"note", "acknowledge"})
_SENTENCES = {
    "cancel": "cancelled {}",
    "kill": "killed {}",
    "pause": "paused {}",
    "resume": "resumed {}",
    "purge": "purged {}",
    "purge_journal": "purged the journal of {}",
    "restart_as_new": "restarted {} as new",
    "move_to": "moved {} to another deployment",
    "call": "called {}",
    "send": "sent {}",
    "resolve_awakeable": "completed {}",
    "reject_awakeable": "rejected {}",
    "modify_service_state": "changed the state of {}",
    "create_deployment": "registered {}",
    "delete_deployment": "removed {}",
}
"""An action of a plan, or an operation without "_invocation" → its sentence with a target."""


class ActionLog:
    """The changes in the audit log, and the notes; the files are read again only when they have changed."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._state: tuple[Any, ...] | None = None
        self._rows: list[dict[str, Any]] = []
        self._targets: dict[str, str] = {}
        self.notes: Sequence[StoredNote] = ()

    def read(self) -> dict[str, Any]:
        """Return ``title``, such as "Changes in 24 h: 15 (1 by you, 14 by demo)", and the newest ``rows``.

        A row has ``at`` (seconds since 1970) and ``text``. A source that is not live has no rows.
        """
        if not is_lab(self._source):
            return {"title": "", "rows": []}
        folder = self._source.transport.audit.folder
        state = state_of_files(folder, folder / FOLDER)
        if state != self._state:
            self._rows, self.notes = (self._read(), notes_about(self._source).notes) if state else ([], ())
            self._state = state
        first = (datetime.now(UTC) - _SINCE).timestamp()
        rows = [row for row in self._rows if row["at"] >= first]
        return {"title": _title(rows), "rows": [{"at": row["at"], "text": row["text"]} for row in rows[:_MOST]]}

    def _read(self) -> list[dict[str, Any]]:
        actions, unreadable = read_actions(self._source, since=datetime.now(UTC) - _SINCE, folder=None)
        found = records(fold_changes(actions))[::-1]
        self._read_targets(found[:_MOST])
        you = process_info()["user"]
        rows = [
            {
                "at": row["time"].timestamp(),
                "text": self._text_of(row, you),
                "by": "you" if row["user"] == you else str(row["user"]),
                "is_change": row["action"] not in _NOTES,
            }
            for row in found
        ]
        if unreadable:
            now = datetime.now(UTC).timestamp()
            rows.insert(0, {"at": now, "text": f"The log is incomplete: {unreadable}", "by": "", "is_change": False})
        return rows

    def _read_targets(self, rows: Sequence[Mapping[Any, Any]]) -> None:
        """Read which handlers the invocations of these rows call; without an answer, they have only their ids."""
        ids = {each for row in rows if row["action"] not in _NOTES for each in row["targets"][:1]}
        new = sorted(id_ for id_ in ids if id_.startswith("inv_") and id_ not in self._targets)
        if new:
            with contextlib.suppress(RestateLabError):
                self._targets |= read_targets(self._source, new, timeout=_WITHIN)

    def _text_of(self, row: Mapping[Any, Any], you: str) -> str:
        """Return "restarted Orders/place …fELn as new (INC-42: the API is back)", or the text of a note."""
        by = "" if row["user"] == you else f"{row['user']}: "
        if row["action"] in _NOTES:
            about = f": {row['what']}, {row['outcome']}" if row["what"] else ""
            return one_line(f"{by}{row['action']} “{row['reason']}”{about}", _WIDTH)
        sentence = _SENTENCES.get(row["action"].removesuffix("_invocation"), f"{row['action'].replace('_', ' ')} {{}}")
        outcome = "" if _DONE.fullmatch(row["outcome"]) else f": {row['outcome']}"
        reason = f" ({row['reason']})" if row["reason"] else ""
        return one_line(f"{by}{sentence.replace('{}', self._name_of(row))}{outcome}{reason}", _WIDTH)

    def _name_of(self, row: Mapping[Any, Any]) -> str:
        """Return the first target of a row, and the number of the others: "Orders/place …fELn and 3 more"."""
        targets = row["targets"]
        if not targets:
            return "nothing"
        first, number = targets[0], max(row["changes"], len(targets))
        target, short = self._targets.get(first), shorten_id(first)
        name = short if target is None else f"{target} {short.removeprefix('inv_')}"
        return name if number == 1 else f"{name} and {number - 1:,} more"


def _title(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the number of changes, with equal ones as one, and their users; notes count only without a change."""
    numbers = Counter(row["by"] for row in rows if row["is_change"])
    by = dict(sorted(numbers.items(), key=lambda each: each[0] != "you"))
    notes = sum(1 for row in rows if row["by"])
    if not rows:
        return ""
    if not by:
        return f"{plural(notes, 'note')} in 24 h" if notes else "Changes in 24 h: not known"
    return f"Changes in 24 h: {sum(by.values()):,} ({', '.join(f'{n:,} by {name}' for name, n in by.items())})"
