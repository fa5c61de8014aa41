"""The critical path of a story: what it waited for, from its beginning to its end.

The path is followed backwards, from the end of the last member; if members are open, from now in the open member that
is nearest to the root. At a time t in a member M:

- The entry e of M that was completed last, at t or before, explains the time from its start to its completion
  (``RunTimeline``). The time from its completion to t is M's own.
- If e waits for a member C that was not followed at this time already, the path goes through C: from the time of C's
  answer, which is its end for a call, back to the start of e or the creation of C, whichever is later. The time between
  the answer and the completion of e is M's own, "running". The time between the start of e and the creation of C is
  "running" for a call and "waiting" for an answer. The path then goes on in M at the start of e.
- Otherwise the time of e is a sleep, a step ("running", "retrying"), or "waiting".
- Before its first entry, M's own time goes back to its creation. There the path goes on in the caller of M at the time
  of the entry of the call, or in the run that M was restarted from at its end; the time between this end and the
  restart is "waiting". Without such a member the path is complete.

So the intervals of the path follow each other without gaps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from restate_lab.analysis.story.model import PhaseKind
from restate_lab.analysis.story.timeline import RunTimeline, Span, TimedEntry

_BEGINNING = -(1 << 62)


class Cause(NamedTuple):
    """The member that created another one, at a time; ``is_restart``: it was restarted as the other one."""

    id: str
    at: int
    is_restart: bool = False


class _Step(NamedTuple):
    """A member that is followed from ``at`` back to ``floor``; ``since`` is the time at which it was left."""

    timeline: RunTimeline
    at: int
    floor: int
    left_at: int | None = None


def critical_path(timelines: Mapping[str, RunTimeline], causes: Mapping[str, Cause], last: str) -> list[Span]:
    """Return the intervals of the critical path, oldest first; ``last`` is the member at its end."""
    first = timelines[last]
    steps: list[_Step | Span] = [_Step(first, first.end, _BEGINNING)]
    spans: list[Span] = []
    while steps:
        step = steps.pop()
        if isinstance(step, Span):
            spans.append(step)
        elif step.at > step.floor:
            steps += _follow(step, steps, spans, timelines, causes)
    return merge_spans(each for each in reversed(spans) if each.started < each.ended)


def end_of_story(timelines: Mapping[str, RunTimeline], order: Sequence[str]) -> str:
    """Return the member at which the path begins to be followed; ``order`` has the members nearest to the root first.

    It is the open member that is nearest to the root, or the one that ended last.
    """
    if still_open := [id_ for id_ in order if timelines[id_].run.ended is None]:
        return still_open[0]
    return max(order, key=lambda id_: timelines[id_].end)


def merge_spans(spans: Iterator[Span]) -> list[Span]:
    """Return the intervals; neighbors that say the same are one."""
    merged: list[Span] = []
    for span in spans:
        before = merged[-1] if merged else None
        if before is not None and before.ended == span.started and _facts(before) == _facts(span):
            merged[-1] = before._replace(ended=span.ended)
        else:
            merged.append(span)
    return merged


def _facts(span: Span) -> tuple[object, ...]:
    return span.id, span.kind, span.number, span.label, span.other


def _follow(
    step: _Step,
    steps: Sequence[_Step | Span],
    spans: list[Span],
    timelines: Mapping[str, RunTimeline],
    causes: Mapping[str, Cause],
) -> Iterator[_Step | Span]:
    """Add the intervals of a step until its next entry, and yield the steps before it, the earliest first."""
    timeline = step.timeline
    last = timeline.last_before(step.at)
    if last is None or last.completed <= step.floor:
        spans += reversed(list(timeline.own(max(step.floor, timeline.created), step.at)))
        if step.floor == _BEGINNING and timeline.id in causes:
            yield from _cause(timeline, causes[timeline.id], timelines)
        return
    spans += reversed(list(timeline.own(last.completed, step.at)))
    since = max(last.started, step.floor)
    yield _Step(timeline, since, step.floor, step.at)
    other = timelines.get(last.answer.id) if last.answer else None
    answered = _answered(last, other, since)
    if other is None or (other.id, answered) in _left(steps, step):
        for span in timeline.within(last, since, last.completed):
            yield span if span.other is None else span._replace(kind="waiting", other=None)
        return
    details = (last.entry.number, last.entry.label)
    created = min(max(since, other.created), answered)
    kind: PhaseKind = "running" if last.entry.is_call else "waiting"
    yield Span(timeline.id, kind, since, created, *details)
    yield _Step(other, answered, created)
    yield Span(timeline.id, "running", answered, last.completed)


def _answered(last: TimedEntry, other: RunTimeline | None, since: int) -> int:
    if other is None or last.answer is None:
        return since
    at = other.end if last.answer.at is None else last.answer.at
    return max(since, min(at, other.end, last.completed))


def _left(steps: Sequence[_Step | Span], current: _Step) -> set[tuple[str, int | None]]:
    """Return the members that are being followed, with the times at which they were left."""
    followed = {(each.timeline.id, each.left_at) for each in steps if isinstance(each, _Step)}
    return followed | {(current.timeline.id, current.at)}


def _cause(timeline: RunTimeline, cause: Cause, timelines: Mapping[str, RunTimeline]) -> Iterator[_Step | Span]:
    source = timelines[cause.id]
    at = min(source.end if cause.is_restart else cause.at, timeline.created)
    yield _Step(source, at, _BEGINNING)
    yield Span(source.id, "waiting" if cause.is_restart else "running", at, timeline.created)
