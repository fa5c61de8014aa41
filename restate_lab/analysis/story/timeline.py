"""How one run spent its time: the phases from its creation to its end, or to now.

A run is explained backwards. Of the entries that were completed until a time, the one that was completed last explains
why the run was not further: between its start and its completion the run waited for it. Entries that were in progress
meanwhile explain nothing. The time between entries is the run's own:

- "sleeping" until the start of a delayed call, then "queued" until its first attempt;
- "retrying" from a recorded failure, "waiting" from a recorded pause, until the journal grows again;
- otherwise "running".

An entry without a result lasts until the end of a run that is open or was ended from outside. If a handler returned
without the result, the entry explains nothing. A signal has no entry that begins its wait: it begins when the journal
grew last.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from restate_lab.analysis.story.journals import StoryEntry, StoryJournal
from restate_lab.analysis.story.model import PhaseKind
from restate_lab.analysis.story.runs import StoryRun

_STATES: Mapping[str, PhaseKind] = MappingProxyType({"progress": "running", "error": "retrying", "pause": "waiting"})
_ORDER = tuple(_STATES)


class Span(NamedTuple):
    """An interval in the time of a run, in milliseconds; ``number`` is the index of its entry."""

    id: str
    kind: PhaseKind
    started: int
    ended: int
    number: int | None = None
    label: str = ""
    other: str | None = None


class EntryAnswer(NamedTuple):
    """The member that an entry waits for; ``at`` is when it answered, None for the end of the member."""

    id: str
    at: int | None


class TimedEntry(NamedTuple):
    """An entry with the time until which it lasted."""

    completed: int
    place: int
    started: int
    entry: StoryEntry
    answer: EntryAnswer | None


@dataclass(frozen=True)
class RunTimeline:
    """The time of one run; ``answers`` are the members that its entries wait for, by the position of the entry."""

    run: StoryRun
    journal: StoryJournal
    now: int
    answers: Mapping[int, EntryAnswer]

    @property
    def id(self) -> str:
        """Return the id of the run."""
        return self.run.id

    @property
    def created(self) -> int:
        """Return the time at which the run was created."""
        return self.run.created

    @cached_property
    def end(self) -> int:
        """Return the end of the run, or now."""
        return max(self.created, self.now if self.run.ended is None else self.run.ended)

    @cached_property
    def begun(self) -> int | None:
        """Return the time of the first attempt: as the server recorded it, or the first trace of one."""
        if self.run.begun is not None:
            return self.run.begun
        first = [entry.started for entry in self.journal.entries if entry.type != "Input"][:1]
        return min([*first, *self.journal.errors[:1]], default=None)

    @cached_property
    def entries(self) -> Sequence[TimedEntry]:
        """Return the entries that explain time, by their completion."""
        lasts = self.run.ended is None or not self.journal.has_output
        found = []
        for place, entry in enumerate(self.journal.entries):
            completed = entry.completed if entry.completed is not None else self.end if lasts else None
            if completed is None or not entry.takes_time:
                continue
            started, completed = max(entry.started, self.created), min(completed, self.end)
            if started < completed:
                found.append(TimedEntry(completed, place, started, entry, self.answers.get(place)))
        return sorted(found, key=lambda each: each[:2])

    def last_before(self, at: int) -> TimedEntry | None:
        """Return the entry that was completed last at this time or before; of several, the last one in the journal."""
        place = bisect_right(self._completions, at) - 1
        return self.entries[place] if place >= 0 else None

    def phases(self) -> list[Span]:
        """Return the phases of the run, in order."""
        spans: list[Span] = []
        at = self.end
        while at > self.created:
            last = self.last_before(at)
            if last is None:
                spans += reversed(list(self.own(self.created, at)))
                break
            spans += reversed(list(self.own(last.completed, at)))
            spans += reversed(list(self.within(last, last.started, last.completed)))
            at = last.started
        return spans[::-1]

    def within(self, timed: TimedEntry, since: int, until: int) -> Iterator[Span]:
        """Yield what a part of the time of an entry is, in order."""
        entry = timed.entry
        details = (entry.number, entry.label)
        if entry.type == "Sleep":
            yield Span(self.id, "sleeping", since, until, *details)
        elif entry.type == "Run":
            marks = [mark for mark in self._failures if timed.started <= mark[0] < timed.completed]
            for kind, start, end in _states(marks, since, until):
                yield Span(self.id, kind, start, end, *details)
        else:
            other = timed.answer.id if timed.answer else None
            waits: PhaseKind = "calling" if timed.answer else "waiting"
            yield Span(self.id, waits, since, until, *details, other)

    def own(self, since: int, until: int) -> Iterator[Span]:
        """Yield what the run did by itself in this time, in order."""
        scheduled = min(max(self.run.scheduled or self.created, self.created), self.end)
        begun = max(scheduled, self.end if self.begun is None else self.begun)
        if self.run.status == "scheduled":
            scheduled = begun = self.end
        before: tuple[tuple[PhaseKind, int, int], ...]
        before = ("sleeping", self.created, scheduled), ("queued", scheduled, begun)
        for first, start, end in before:
            if max(start, since) < min(end, until):
                yield Span(self.id, first, max(start, since), min(end, until))
        for kind, start, end in _states(self._marks, max(begun, since), until):
            yield Span(self.id, kind, start, end)

    @cached_property
    def _completions(self) -> Sequence[int]:
        return [each.completed for each in self.entries]

    @cached_property
    def _failures(self) -> Sequence[tuple[int, int]]:
        errors = [(at, _ORDER.index("error")) for at in self.journal.errors]
        return sorted([*errors, *((at, _ORDER.index("pause")) for at in self.journal.pauses)])

    @cached_property
    def _marks(self) -> Sequence[tuple[int, int]]:
        if not self._failures:
            return ()
        return sorted([*((at, _ORDER.index("progress")) for at in self.journal.progress), *self._failures])


def _states(marks: Sequence[tuple[int, int]], since: int, until: int) -> Iterator[tuple[PhaseKind, int, int]]:
    """Yield the states between two times: the last mark until a time says what it is, and "running" is the first."""
    if since >= until:
        return
    place = bisect_right(marks, (since, len(_ORDER)))
    kind = _STATES[_ORDER[marks[place - 1][1]]] if place else "running"
    start = since
    for at, mark in marks[place:]:
        if at >= until:
            break
        following = _STATES[_ORDER[mark]]
        if following != kind and at > start:
            yield kind, start, at
            start = at
        kind = following
    yield kind, start, until
