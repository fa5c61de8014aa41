"""Put a story together: the order of the members, their phases, and the critical path."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from restate_lab.analysis.story.critical import Cause, critical_path, end_of_story, merge_spans
from restate_lab.analysis.story.discovery import CALLS, Discovery, RunEdge
from restate_lab.analysis.story.model import Member, Phase, StoryEdge
from restate_lab.analysis.story.runs import CLOCK, StoryRun
from restate_lab.analysis.story.timeline import EntryAnswer, RunTimeline, Span

_ANSWERS = frozenset({"awakeable", "signal", "cancel", "promise"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class StoryParts:
    """The members in their order, with the edges, the critical path and the phases."""

    members: Sequence[Member]
    edges: Sequence[StoryEdge]
    path: Sequence[Phase]
    phases: Sequence[Phase]


def assemble(found: Discovery, now: int, details: Mapping[str, Mapping[str, Any]]) -> StoryParts:
    """Return the parts of a story; ``details`` are more fields of members by id."""
    runs = {id_: found.known.by_id[id_] for id_ in found.members}
    edges = sorted(found.edges.values(), key=lambda each: (each.at, each.source, each.number or 0, each.target))
    parents = _parents(runs, edges)
    order = _ordered(runs, parents)
    answers = _answers(found, edges)
    timelines = {id_: RunTimeline(run, found.journals[id_], now, answers.get(id_, {})) for id_, run in runs.items()}
    causes = {id_: Cause(edge.source, edge.at, edge.kind == "restart") for id_, edge in parents.items()}
    by_depth = sorted(order, key=lambda id_: order[id_])  # the sort is stable
    path = critical_path(timelines, causes, end_of_story(timelines, by_depth))
    critical: defaultdict[str, int] = defaultdict(int)
    for span in path:
        critical[span.id] += span.ended - span.started
    members = [
        _member(
            found,
            runs[id_],
            parent=parents[id_].source if id_ in parents else None,
            depth=depth,
            critical=timedelta(milliseconds=critical[id_]),
            **details.get(id_, {}),
        )
        for id_, depth in order.items()
    ]
    phases = [span for id_ in order for span in merge_spans(iter(timelines[id_].phases()))]
    return StoryParts(members, [_edge(each) for each in edges], [*map(_phase, path)], [*map(_phase, phases)])


def to_time(milliseconds: int | None) -> Any:
    """Return a time in UTC; None for None."""
    return None if milliseconds is None else _EPOCH + timedelta(milliseconds=milliseconds)


def _parents(runs: Mapping[str, StoryRun], edges: Iterable[RunEdge]) -> dict[str, RunEdge]:
    """Return id → the edge from the member that called it first, or that it was restarted from."""
    best: dict[str, tuple[tuple[bool, bool, int], RunEdge]] = {}
    for edge in edges:
        target, source = runs[edge.target], runs[edge.source]
        if edge.kind not in CALLS and edge.kind != "restart":
            continue
        is_first = target.caller == source.plain
        if source is target or source.created > target.created + (CLOCK if is_first else -1):
            continue
        rank = (edge.kind == "restart", not is_first, edge.at)
        if edge.target not in best or rank < best[edge.target][0]:
            best[edge.target] = rank, edge
    return {id_: edge for id_, (_, edge) in best.items()}


def _ordered(runs: Mapping[str, StoryRun], parents: dict[str, RunEdge]) -> dict[str, int]:
    """Return id → depth, parents before children and siblings by their creation; circles of ``parents`` are opened."""
    children: defaultdict[str | None, list[str]] = defaultdict(list)
    by_creation = sorted(runs, key=lambda id_: (runs[id_].created, id_))
    for id_ in by_creation:
        children[parents[id_].source if id_ in parents else None].append(id_)
    order: dict[str, int] = {}
    for start in [*children[None], *by_creation]:
        if start in order:
            continue
        parents.pop(start, None)
        pending = [(start, 0)]
        while pending:
            id_, depth = pending.pop()
            if id_ not in order:
                order[id_] = depth
                pending += [(child, depth + 1) for child in reversed(children[id_])]
    return order


def _answers(found: Discovery, edges: Iterable[RunEdge]) -> dict[str, dict[int, EntryAnswer]]:
    """Return id → place of an entry → the member that answers it."""
    by_entry = {(edge.source, edge.number): edge for edge in edges if edge.kind in {"call", "attach", "output"}}
    by_token: defaultdict[tuple[str, str | None], list[RunEdge]] = defaultdict(list)
    for edge in edges:
        if edge.kind in _ANSWERS:
            by_token[edge.target, edge.token].append(edge)
    answers: defaultdict[str, dict[int, EntryAnswer]] = defaultdict(dict)
    for id_ in found.members:
        for place, entry in enumerate(found.journals[id_].entries):
            if entry.is_call and (called := by_entry.get((id_, entry.number))) is not None:
                answers[id_][place] = EntryAnswer(called.target, None)
            elif entry.takes_time and entry.token and entry.completed is not None:
                given = [edge for edge in by_token.get((id_, entry.token), ()) if edge.at <= entry.completed + CLOCK]
                if given:
                    answers[id_][place] = EntryAnswer(given[-1].source, given[-1].at)
    return answers


def _member(found: Discovery, run: StoryRun, **more: Any) -> Member:
    row, membership, journal = run.row, found.members[run.id], found.journals[run.id]
    attempts = max(len(journal.errors), run.attempts or 0)
    has_events = found.reader.reads.has("sys_journal_events")
    return Member(
        id=run.id,
        target=row["target"] or "",
        service=row["service"] or "",
        handler=row["handler"] or "",
        key=row["key"],
        status=run.status,
        created_at=to_time(run.created),
        started_at=to_time(run.begun),
        ended_at=to_time(run.ended),
        found_by=membership.by,
        found_from=membership.source,
        failed_attempts=attempts if has_events or run.attempts is not None else None,
        failure=(row["completion_failure"] if run.has_ended else row["last_failure"]) or None,
        **more,
    )


def _edge(edge: RunEdge) -> StoryEdge:
    return StoryEdge(
        source=edge.source,
        target=edge.target,
        kind=edge.kind,
        index=edge.number,
        at=to_time(edge.at),
        done_at=to_time(edge.done),
        known_from=edge.known_from,
    )


def _phase(span: Span) -> Phase:
    return Phase(
        id=span.id,
        kind=span.kind,
        started=to_time(span.started),
        ended=to_time(span.ended),
        index=span.number,
        label=span.label,
        other=span.other,
    )
