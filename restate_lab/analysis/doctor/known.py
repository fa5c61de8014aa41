"""Which findings a person knows: the notes about them, and when an acknowledgement ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from restate_lab.analysis.doctor.model import SEVERITY_RANKS
from restate_lab.client.lab import innermost_source, is_lab
from restate_lab.notes import NoteList, StoredNote, author_and_text, read_notes, short_time
from restate_lab.source import Source

_SHOWN_FOR = timedelta(days=1)  # after a note, or after the end of an acknowledgement
_MORE = 2  # an acknowledgement ends when the count is this many times that at the note


@dataclass(frozen=True, slots=True)
class FindingNote:
    """What a person noted about a finding: a text, and whether it is acknowledged; ``id`` is that of the note."""

    text: str = ""
    is_known: bool = False
    id: str = ""


NO_NOTE = FindingNote()


def notes_about(source: Source) -> NoteList:
    """Return the notes of this user about a cluster; none of a source that is not live."""
    innermost = innermost_source(source)
    if not is_lab(innermost):
        return NoteList()
    notes = read_notes(innermost.transport.audit.folder)
    return NoteList(notes.of_address(innermost.address), notes.unreadable)


def match_notes(
    findings: Iterable[tuple[str, str, int]], notes: Sequence[StoredNote], now: datetime | None = None
) -> list[FindingNote]:
    """Return the note about each finding, in their order; a finding is its fingerprint, severity and count."""
    about: dict[str | None, list[StoredNote]] = defaultdict(list)
    for note in notes:
        about[note.finding].append(note)
    at = now or datetime.now(UTC)
    return [note_about(about.get(name, ()), severity, count, at) for name, severity, count in findings]


def note_about(notes: Sequence[StoredNote], severity: str, count: int, now: datetime) -> FindingNote:
    """Return the note that is shown with a finding from all notes about it: its last acknowledgement, if it holds."""
    acknowledged = next((each for each in reversed(notes) if each.acknowledges), None)
    if acknowledged is not None and acknowledged.until is not None and not acknowledged.is_over(now):
        until = short_time(acknowledged.until, now)
        noted = author_and_text(acknowledged)
        if not (reason := why_ended(acknowledged, severity, count)):
            return FindingNote(f"known until {until} {noted}", is_known=True, id=acknowledged.id)
        return FindingNote(f"was known until {until} {noted}; {reason}")
    last = notes[-1] if notes else None
    if last is None or max(last.time, last.until or last.time) < now - _SHOWN_FOR:
        return NO_NOTE
    if last.until is not None:
        return FindingNote(f"was known until {short_time(last.until, now)} {author_and_text(last)}")
    return FindingNote(f"noted at {short_time(last.time, now)} {author_and_text(last)}")


def why_ended(note: StoredNote, severity: str, count: int) -> str:
    """Return why an acknowledgement ended before its time, "" if it did not: the finding has become worse."""
    last = len(SEVERITY_RANKS)
    if note.severity is not None and SEVERITY_RANKS.get(severity, last) < SEVERITY_RANKS.get(note.severity, last):
        return f"{severity} now, {note.severity} when it was noted"
    if note.count is not None and count >= _MORE * max(note.count, 1):
        return f"{count:,} now, {note.count:,} when it was noted"
    return ""
