"""Which findings a person knows: the notes about them, and when an acknowledgement ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from restate_lab.analysis.doctor.model import SEVERITY_RANKS
from restate_lab.analysis.patterns import DATA
from restate_lab.client.lab import innermost_source, is_lab
from restate_lab.identity import ClusterIdentity, why_not_same
from restate_lab.notes import NoteList, StoredNote, author_and_text, read_notes, short_time
from restate_lab.source import Source

_SHOWN_FOR = timedelta(days=1)  # after a note, or after the end of an acknowledgement
_MORE = 2  # an acknowledgement ends when a number is this many times that at the note
_STEP = 3  # the position of the step in a path; only its pattern covers other names
_Path: TypeAlias = Sequence[str]


@dataclass(frozen=True, slots=True)
class FindingNote:
    """What a person noted about a finding: a text, and whether it is acknowledged; ``id`` is that of the note."""

    text: str = ""
    is_known: bool = False
    id: str = ""


@dataclass(frozen=True, slots=True)
class NotedFinding:
    """What a note is compared with: columns of ``Diagnosis.findings``."""

    fingerprint: str
    severity: str
    count: int
    affected: int
    about: Sequence[_Path]


NO_NOTE = FindingNote()


def notes_about(source: Source) -> NoteList:
    """Return the notes of this user about a cluster; none of a source that is not live."""
    innermost = innermost_source(source)
    if not is_lab(innermost):
        return NoteList()
    notes = read_notes(innermost.transport.audit.folder)
    return NoteList(notes.of_address(innermost.address), notes.unreadable)


def match_notes(
    findings: Iterable[NotedFinding],
    notes: Sequence[StoredNote],
    cluster: ClusterIdentity | None,
    now: datetime | None = None,
) -> list[FindingNote]:
    """Return the note about each finding of a cluster, in their order."""
    about: dict[str | None, list[StoredNote]] = defaultdict(list)
    for note in notes:
        about[note.finding].append(note)
    alike: dict[str, list[NotedFinding]] = defaultdict(list)
    rows = list(findings)
    for row in rows:
        alike[row.fingerprint].append(row)
    at = now or datetime.now(UTC)
    return [note_about(row, alike[row.fingerprint], about.get(row.fingerprint, ()), cluster, at) for row in rows]


def note_about(
    finding: NotedFinding,
    alike: Sequence[NotedFinding],
    notes: Sequence[StoredNote],
    cluster: ClusterIdentity | None,
    now: datetime,
) -> FindingNote:
    """Return the note that is shown with a finding from all notes about it: its last acknowledgement, if it holds.

    ``alike`` are all findings with its fingerprint, itself included.
    """
    noted = _last_acknowledgement(finding, notes, cluster)
    if noted is not None and noted.until is not None and not noted.is_over(now):
        until, text = short_time(noted.until, now), author_and_text(noted)
        if not (reason := why_ended(noted, finding, alike, cluster)):
            return FindingNote(f"known until {until} {text}", is_known=True, id=noted.id)
        return FindingNote(f"was known until {until} {text}; {reason}")
    last = notes[-1] if notes else None
    if last is None or max(last.time, last.until or last.time) < now - _SHOWN_FOR:
        return NO_NOTE
    if last.until is not None:
        return FindingNote(f"was known until {short_time(last.until, now)} {author_and_text(last)}")
    return FindingNote(f"noted at {short_time(last.time, now)} {author_and_text(last)}")


def _last_acknowledgement(
    finding: NotedFinding, notes: Sequence[StoredNote], cluster: ClusterIdentity | None
) -> StoredNote | None:
    """Return the last acknowledgement of a finding; if none is about it, the one that says why it does not hold."""
    acknowledged = [each for each in notes if each.acknowledges]
    here = [each for each in acknowledged if not why_not_same(each.cluster, cluster)]
    covering = [each for each in here if _covers(each.about, finding.about)]
    chosen = covering or here or acknowledged
    return chosen[-1] if chosen else None


def why_ended(
    note: StoredNote, finding: NotedFinding, alike: Sequence[NotedFinding], cluster: ClusterIdentity | None
) -> str:
    """Return why an acknowledgement does not hold for a finding before its time; "" if it holds.

    It holds for the cluster and the cause that were noted, until the finding becomes worse. Its numbers are those of
    all findings of ``alike`` that the note is about, so that a problem that splits into several ends it, too.
    """
    if reason := why_not_same(note.cluster, cluster):
        return reason
    if not _covers(note.about, finding.about):
        return f"the note is about another cause: {note.title}"
    last = len(SEVERITY_RANKS)
    if SEVERITY_RANKS.get(finding.severity, last) < SEVERITY_RANKS.get(note.severity or "", last):
        return f"{finding.severity} now, {note.severity} when it was noted"
    count, affected = sum_covered(note.about, alike)
    for present, noted, unit in ((count, note.count, ""), (affected, note.affected, " affected")):
        if noted is not None and present >= _MORE * max(noted, 1):
            return f"{present:,}{unit} now, {noted:,} when it was noted"
    return ""


def sum_covered(about: Sequence[_Path], alike: Iterable[NotedFinding]) -> tuple[int, int]:
    """Return ``count`` and ``affected`` of all findings that a note with this ``about`` covers, as sums."""
    known = [each for each in alike if _covers(about, each.about)]
    return sum(each.count for each in known), sum(each.affected for each in known)


def _covers(noted: Sequence[_Path], about: Sequence[_Path]) -> bool:
    """Return whether everything that a finding is about was noted: a path covers those that begin with it."""
    return all(any(_begins_with(path, start) for start in noted) for path in about)


def _begins_with(path: _Path, start: _Path) -> bool:
    if len(start) > len(path):
        return False
    return all(
        noted == text or (at == _STEP and _is_of_pattern(text, noted))
        for at, (noted, text) in enumerate(zip(start, path, strict=False))
    )


def _is_of_pattern(step: str, pattern: str) -> bool:
    """Return whether a step has a pattern, with a text in place of each mark; a regular expression would be slow."""
    first, *others = pattern.split(DATA)
    if not others or not step.startswith(first):
        return False
    at = len(first)
    for part in others[:-1]:
        at = step.find(part, at + 1) + len(part)
        if at < len(part):
            return False
    return step.endswith(others[-1]) and len(step) - len(others[-1]) > at
