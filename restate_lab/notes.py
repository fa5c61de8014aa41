"""Notes: what a person did or knows during an incident, in the folder ``notes`` within the audit folder.

A note with a finding and a time acknowledges this finding until then. Notes are those of one user of one machine: the
files of other users are not read.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restate_lab._text import one_line
from restate_lab.errors import ArgumentError
from restate_lab.identity import ClusterIdentity
from restate_lab.records import (
    FieldChecks,
    as_number,
    as_text,
    as_time,
    escape_surrogates,
    list_of,
    optional,
    read_records,
)

if TYPE_CHECKING:
    import pandas as pd

_FORMAT = 2  # the version of a note; 1 had no cluster, and not what the finding was about
FOLDER = "notes"
"""The folder of the notes within the folder of the audit log."""
LONGEST = 2_000
"""Characters of the text of a note."""
_COLUMNS = [
    "time", "text", "finding", "check", "where", "title", "severity", "count", "affected", "until",
    "environment", "address", "user", "host", "pid", "id", "file",
]  # fmt: skip


def _as_paths(value: Any) -> tuple[tuple[str, ...], ...]:
    """Return what a finding was about; nothing if it was not stored."""
    return () if value is None else tuple(tuple(path) for path in list_of(list_of(as_text))(value))


_FIELDS: Mapping[str, FieldChecks] = {
    "note": {
        "time": as_time, "until": optional(as_time),
        **dict.fromkeys(("count", "affected", "pid"), optional(as_number)),
        "about": _as_paths, "cluster": ClusterIdentity.from_json,
        **dict.fromkeys(("id", "text", "address"), as_text),
        **dict.fromkeys(("finding", "check", "where", "title", "severity", "environment", "user", "host"),
                        optional(as_text)),
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNote:
    """One note. ``time`` and ``until`` are in UTC; ``finding`` is the fingerprint of a finding, None for none.

    ``severity, count, affected`` are those of the finding when it was noted, and ``about`` is what it was about, as in
    ``Finding``. ``cluster`` is the cluster that had it; None for a note of an earlier version, and if the note
    acknowledges nothing.
    """

    id: str
    time: datetime
    text: str
    address: str
    environment: str | None = None
    user: str | None = None
    host: str | None = None
    pid: int | None = None
    finding: str | None = None
    check: str | None = None
    where: str | None = None
    title: str | None = None
    severity: str | None = None
    count: int | None = None
    affected: int | None = None
    about: tuple[tuple[str, ...], ...] = ()
    cluster: ClusterIdentity | None = None
    until: datetime | None = None
    file: str = ""

    @property
    def acknowledges(self) -> bool:
        """Return whether the note acknowledges a finding for a time."""
        return self.finding is not None and self.until is not None

    def is_over(self, now: datetime) -> bool:
        """Return whether the time of an acknowledgement is over."""
        return self.until is not None and self.until <= now


@dataclass(frozen=True, slots=True)
class NoteList:
    """The notes of a folder, oldest first; ``unreadable`` names the files and lines that could not be read."""

    notes: Sequence[StoredNote] = ()
    unreadable: Sequence[str] = ()

    def of_address(self, address: str) -> list[StoredNote]:
        """Return the notes about the cluster at an address."""
        return [each for each in self.notes if each.address == address]


NO_NOTES = NoteList()


def check_note(text: object) -> str:
    """Return the text of a note without surrounding space.

    Raises:
        ArgumentError: it is not a text, empty, or longer than ``LONGEST``.
    """
    if not isinstance(text, str) or not text.strip():
        raise ArgumentError(f"a note needs a text, such as 'INC-42: called the provider'; got {text!r}.")
    clean = text.strip()
    if len(clean) > LONGEST:
        raise ArgumentError(f"the note has {len(clean):,} characters; it can have at most {LONGEST:,}. Shorten it.")
    return clean


def read_notes(audit_folder: Path) -> NoteList:
    """Return the notes in the folder of an audit log; none if it has no folder of notes."""
    unreadable: list[str] = []
    records = read_records(_files(audit_folder / FOLDER, unreadable), _FIELDS, unreadable, newest=_FORMAT)
    notes = [StoredNote(**{name: each[name] for name in each if name not in {"kind", "at"}}) for each in records]
    return NoteList(sorted(notes, key=lambda note: note.time), unreadable)


def _files(folder: Path, unreadable: list[str]) -> list[Path]:
    """Return the files of notes that belong to this user; ``unreadable`` gets other entries, such as links.

    A link can lead nowhere, or to a pipe that never ends.
    """
    try:
        entries = sorted(each.path for each in os.scandir(folder) if each.name.endswith(".jsonl"))
    except FileNotFoundError:
        return []
    except OSError as error:
        unreadable.append(f"the folder {folder.name} ({error.strerror})")
        return []
    files = []
    for path in map(Path, entries):
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            status = path.lstat()
            is_file = stat.S_ISREG(status.st_mode)
            if not hasattr(os, "getuid") or status.st_uid == os.getuid():
                files += [path] if is_file else []
                unreadable += [] if is_file else [escape_surrogates(f"{path.name} (not a file)")]
    return files


def notes_frame(notes: Sequence[StoredNote]) -> pd.DataFrame:
    """Return one row per note, oldest first."""
    import pandas as pd  # noqa: PLC0415 - writing a note must not load it

    rows = [[getattr(note, name) for name in _COLUMNS] for note in notes]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=_COLUMNS, dtype=object)
    for column in ("time", "until"):
        frame[column] = pd.to_datetime(frame[column], utc=True)
    return frame.astype(dict.fromkeys(("count", "affected", "pid"), "Int64"))


def short_time(value: datetime, now: datetime) -> str:
    """Return "18:00 UTC", with the date if it is not on the day of ``now``."""
    local = value.astimezone(UTC)
    return f"{local:{'%H:%M' if local.date() == now.astimezone(UTC).date() else '%Y-%m-%d %H:%M'}} UTC"


def author_and_text(note: StoredNote) -> str:
    """Return the user and the text on one line: "(mara): INC-42 provider is down"."""
    return f"({note.user or 'unknown user'}): {one_line(note.text, LONGEST)}"


def as_details(note: StoredNote) -> dict[str, Any]:
    """Return the fields of a note for its record."""
    own = {"user", "host", "pid", "file"}
    values = {name: getattr(note, name) for name in StoredNote.__dataclass_fields__ if name not in own}
    values |= {"format": _FORMAT, "cluster": note.cluster and note.cluster.to_json()}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
