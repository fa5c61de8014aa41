"""The journal of one run as a story needs it: its entries, what they name, and its recorded failures.

A run that was restarted from another one begins with copies of the other run's entries, which keep their times. Copied
entries are older than the run, and belong to the other run: they are excluded.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

from restate_lab.analysis.ids import awakeable_id
from restate_lab.analysis.journal.awaited import awaited_signals
from restate_lab.analysis.journal.entries import CANCEL, numbers_in, parse_object
from restate_lab.analysis.story.model import EdgeKind
from restate_lab.analysis.story.runs import StoryRun

_KINDS: Mapping[str, EdgeKind] = MappingProxyType(
    {
        "Call": "call",
        "OneWayCall": "one-way call",
        "AttachInvocation": "attach",
        "GetInvocationOutput": "output",
        "CompleteAwakeable": "awakeable",
        "SendSignal": "signal",
    }
)
"""The types of entries that name another invocation, with the kinds of their edges."""
_CALLS = frozenset({"Call", "AttachInvocation", "GetInvocationOutput"})
_TIMED = _CALLS | {"GetPromise", "PeekPromise", "Signal", "Sleep", "Run"}
_SMALLEST_RESPONSE = 80  # bytes of a step with a response: its name, its result, and the tokens that were used
_NOT_STARTED = frozenset({"pending", "scheduled"})
CANCELLED = "cancel"
"""The name of the signal that cancels."""


class StoryEntry(NamedTuple):
    """One entry, with its index ``number``; ``token`` is the awakeable, the signal's name, or the promise's key."""

    type: str
    number: int | None
    started: int
    completed: int | None
    is_success: bool
    has_value: bool
    label: str
    callee: str | None
    token: str | None
    size: int | None = None

    @property
    def takes_time(self) -> bool:
        """Return whether a run waits for an entry of this type."""
        return self.type in _TIMED

    @property
    def is_call(self) -> bool:
        """Return whether the entry waits for the end of another invocation."""
        return self.type in _CALLS


class NamedId(NamedTuple):
    """An invocation that an entry names; ``until`` is the time of the next entry that calls the same id."""

    kind: EdgeKind
    id: str
    number: int | None
    at: int
    done: int | None
    until: int | None
    token: str | None


@dataclass(frozen=True)
class StoryJournal:
    """The journal of one run. ``errors`` and ``pauses`` are the times of recorded failures and pauses.

    ``is_complete``: all entries were read, so an invocation that no entry names was not called by this run.
    ``undecoded`` is the number of entries that name something else than an id of an invocation.
    """

    run: StoryRun
    entries: Sequence[StoryEntry]
    named: Sequence[NamedId]
    errors: Sequence[int]
    pauses: Sequence[int]
    is_complete: bool
    is_missing: bool
    undecoded: int

    @cached_property
    def calls(self) -> Mapping[str, Sequence[NamedId]]:
        """Return id → the calls of this invocation, in order."""
        calls: defaultdict[str, list[NamedId]] = defaultdict(list)
        for each in self.named:
            if each.kind in {"call", "one-way call"}:
                calls[each.id].append(each)
        return dict(calls)

    @cached_property
    def progress(self) -> Sequence[int]:
        """Return the times at which the journal grew, in order."""
        times = {entry.started for entry in self.entries} | {entry.completed for entry in self.entries}
        return sorted(time for time in times if time is not None)

    @property
    def may_have_model(self) -> bool:
        """Return whether a step may have the response of a model: a result that is too small has none."""
        return any(
            entry.type == "Run" and (entry.size is None or entry.size >= _SMALLEST_RESPONSE) for entry in self.entries
        )

    @cached_property
    def has_output(self) -> bool:
        """Return whether the run ended by itself, and was not killed."""
        return any(entry.type == "Output" for entry in self.entries)

    def promises(self, *types: str) -> Iterator[StoryEntry]:
        """Yield the entries of these types about promises."""
        return (entry for entry in self.entries if entry.type in types and entry.token is not None)


def journal_of(
    run: StoryRun, rows: Iterable[Sequence[Any]], events: Iterable[tuple[int, str]], count: int
) -> StoryJournal:
    """Return the journal of a run from its paired entries, its events and the number of its rows."""
    events = sorted(events)
    entries = _entries(run, rows)
    size = run.row["journal_size"] or 0
    return StoryJournal(
        run=run,
        entries=entries,
        named=_named_ids(entries),
        errors=[at for at, kind in events if kind == "TransientError"],
        pauses=[at for at, kind in events if kind == "Paused"],
        is_complete=bool(count and count >= size) or run.status in _NOT_STARTED,
        is_missing=count < size or (not count and run.status not in _NOT_STARTED),
        undecoded=sum(entry.type in _KINDS and entry.callee is None for entry in entries),
    )


def _entries(run: StoryRun, rows: Iterable[Sequence[Any]]) -> list[StoryEntry]:
    times: list[int] = []
    entries: list[StoryEntry] = []
    signals: list[tuple[Any, ...]] = []
    for type_, index, name, status, begun, completed, callee, target, promise, awakeable, result, size in rows:
        # an input that 1.6 wrote can have no time
        started = run.created if begun is None and completed is None else begun
        if run.restarted is not None and (completed if started is None else started) < run.created:
            continue
        label = name or target or promise or ""
        details = (status == "done", result == "success", label, callee, awakeable or promise or name, size)
        if started is None:
            signals.append((type_, index, completed, *details))
        else:
            times.append(started)
            entries.append(StoryEntry(type_, index, started, completed, *details))
        if completed is not None:
            times.append(completed)
    times = sorted(set(times))
    for type_, index, completed, *more in signals:
        entries.append(StoryEntry(type_, index, _before(times, completed, run.created), completed, *more))
    entries += _open_signals(run, times[-1] if times else run.created)
    entries.sort(key=lambda entry: (entry.number is None, entry.number))
    return entries


def _before(times: Sequence[int], at: int, least: int) -> int:
    """Return the last of these times before ``at``: a signal has no entry that begins its wait."""
    place = bisect_left(times, at) - 1
    return times[place] if place >= 0 else min(least, at)


def _open_signals(run: StoryRun, since: int) -> Iterator[StoryEntry]:
    if run.status != "suspended":
        return
    tokens = [awakeable_id(run.plain, number) for number in awaited_signals(run.row) if number != CANCEL]
    names = [name for key, name in numbers_in(parse_object(run.row["future"])) if key == "SignalName"]
    for token in dict.fromkeys([*tokens, *names]):
        if isinstance(token, str):
            yield StoryEntry(
                type="Signal",
                number=None,
                started=since,
                completed=None,
                is_success=False,
                has_value=False,
                label=token,
                callee=None,
                token=token,
            )


def _named_ids(entries: Iterable[StoryEntry]) -> list[NamedId]:
    found: list[NamedId] = []
    following: dict[str, int] = {}
    for entry in sorted(entries, key=lambda each: each.started, reverse=True):
        if (kind := _KINDS.get(entry.type)) is None or entry.callee is None:
            continue
        until = following.get(entry.callee)
        if kind in {"call", "one-way call"}:
            following[entry.callee] = entry.started
        elif kind == "signal":
            kind = "cancel" if entry.token == CANCELLED else kind
            kind = "awakeable" if entry.token and entry.token.startswith("sign_1") else kind
        found.append(NamedId(kind, entry.callee, entry.number, entry.started, entry.completed, until, entry.token))
    found.reverse()
    return found
