"""The spans of a story: one trace, with a span per member and per journal entry, and a link per other edge.

The parent of a member is its first caller, or the invocation that it was restarted from. A call is only that: the span
of the member is in the span of the entry. Every other edge is a link, at the span of the one that was acted on; the
link of an attached or read result is at the entry that waited for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeAlias

from restate_lab.analysis.journal.entries import FAILED
from restate_lab.analysis.story.result import Story
from restate_lab.client.otlp import RoleInCall, SpanLink, SpanRecord, nanoseconds, stable_id
from restate_lab.export.agent_spans import agent_attributes, failure_of
from restate_lab.frames import records

Row: TypeAlias = Mapping[Any, Any]
Place: TypeAlias = tuple[str, int]

_PARENTS = ("call", "one-way call", "invoked", "restart")
_RESULTS = frozenset({"attach", "output"})
_ROLES: Mapping[str, RoleInCall] = MappingProxyType({"Call": "CLIENT", "OneWayCall": "PRODUCER"})


def story_spans(story: Story, *, has_payloads: bool) -> list[SpanRecord]:
    """Return the spans of a story; each member comes before its entries, and each caller before its callees."""
    members, edges = records(story.members), records(story.edges)
    entries: dict[str, list[Row]] = defaultdict(list)
    for entry in records(story.entries):
        entries[entry["id"]].append(entry)
    places = {(id_, entry["index"]) for id_, rows in entries.items() for entry in rows}
    maker = _StorySpans(
        story=story,
        trace_id=stable_id(16, "story", *_run_of(members[0])),
        members={row["id"]: row for row in members},
        places=frozenset(places),
        incoming=_by_id(edges, "target"),
        outgoing=_by_id(edges, "source"),
        has_payloads=has_payloads,
    )
    return [span for row in members for span in maker.spans_of(row, entries[row["id"]])]


def _by_id(edges: Sequence[Row], column: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for edge in edges:
        found[edge[column]].append(edge)
    return found


def _run_of(member: Row) -> tuple[str, int]:
    """Return what identifies a run on a cluster and in a history, where an earlier run has its time in its id."""
    return member["id"].partition("@")[0], nanoseconds(member["created_at"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _StorySpans:
    story: Story
    trace_id: int
    members: Mapping[str, Row]
    places: frozenset[Place]
    """The entries that have a span."""
    incoming: Mapping[str, Sequence[Row]]
    outgoing: Mapping[str, Sequence[Row]]
    has_payloads: bool

    def spans_of(self, member: Row, entries: Sequence[Row]) -> Iterator[SpanRecord]:
        """Yield the span of a member and those of its entries."""
        call = self._call_of(member)
        has_failed = failure_of(member["status"]) is not None
        failure = member["failure"] if self.has_payloads else None
        yield SpanRecord(
            name=f"{member['service']}/{member['handler']}",
            trace_id=self.trace_id,
            span_id=self._member_id(member["id"]),
            parent_id=self._parent_id(member, call),
            start=nanoseconds(member["created_at"]),
            end=nanoseconds(max(member["created_at"], member["ended_at"] or self.story.read_at)),
            attributes=_attributes_of(member),
            error=(failure or failure_of(member["status"])) if has_failed else None,
            role="CONSUMER" if call is not None and call["kind"] == "one-way call" else "SERVER",
            links=[*self._links_of(member["id"], call)],
        )
        edges = {edge["index"]: edge for edge in self.outgoing.get(member["id"], ()) if edge["index"] is not None}
        for entry in entries:
            yield self._entry(member, entry, edges.get(entry["index"]))

    def _entry(self, member: Row, entry: Row, edge: Row | None) -> SpanRecord:
        start: datetime = entry["started"] or entry["completed"] or member["created_at"]
        end: datetime = entry["completed"] or member["ended_at"] or self.story.read_at
        other = None if edge is None else self.members[edge["target"]]
        callee = None if other is None else f"{other['service']}/{other['handler']}"
        return SpanRecord(
            name=" ".join(filter(None, [entry["entry_type"], entry["name"] or callee])),
            trace_id=self.trace_id,
            span_id=self._entry_id((member["id"], entry["index"])),
            parent_id=self._member_id(member["id"]),
            start=nanoseconds(start),
            end=nanoseconds(max(start, end)),
            attributes={
                "restate.invocation_id": member["id"],
                "restate.journal_index": entry["index"],
                "restate.entry_type": entry["entry_type"],
                "restate.entry_name": entry["name"],
                "restate.entry_status": entry["status"],
            },
            error="the entry failed" if entry["status"] == FAILED else None,
            role=_ROLES.get(entry["entry_type"], "INTERNAL"),
            links=[self._link(edge, self._member_id(edge["target"]))] if edge and edge["kind"] in _RESULTS else [],
        )

    def _call_of(self, member: Row) -> Row | None:
        """Return the edge to a member from its parent: the first one that created it."""
        edges = (edge for edge in self.incoming.get(member["id"], ()) if edge["source"] == member["parent"])
        return next((edge for edge in edges if edge["kind"] in _PARENTS), None)

    def _parent_id(self, member: Row, call: Row | None) -> int | None:
        if call is not None:
            return self._source_id(call)
        return None if member["parent"] is None else self._member_id(member["parent"])

    def _links_of(self, id_: str, call: Row | None) -> Iterator[SpanLink]:
        for edge in self.incoming.get(id_, ()):
            is_inside = edge is call and edge["kind"] in {"call", "invoked"}
            if edge["kind"] not in _RESULTS and not is_inside:
                yield self._link(edge, self._source_id(edge))

    def _link(self, edge: Row, span_id: int) -> SpanLink:
        return SpanLink(span_id, {"restate.edge": edge["kind"], "restate.known_from": edge["known_from"]})

    def _source_id(self, edge: Row) -> int:
        """Return the span of the entry of an edge, or of its member if the entry was not read."""
        place = edge["source"], edge["index"]
        return self._entry_id(place) if place in self.places else self._member_id(edge["source"])

    def _member_id(self, id_: str) -> int:
        return stable_id(8, "member", *_run_of(self.members[id_]))

    def _entry_id(self, place: Place) -> int:
        id_, index = place
        return stable_id(8, "entry", *_run_of(self.members[id_]), index)


def _attributes_of(member: Row) -> dict[str, Any]:
    return {
        "restate.invocation_id": member["id"],
        "restate.service": member["service"],
        "restate.handler": member["handler"],
        "restate.key": member["key"],
        "restate.status": member["status"],
        "restate.found_by": member["found_by"],
        "restate.failed_attempts": member["failed_attempts"],
        "restate.critical_seconds": member["critical"].total_seconds() or None,
        "restate.origin": member["origin"],
        **_agent_of(member),
    }


def _agent_of(member: Row) -> dict[str, Any]:
    """Return the attributes of an agent; {} for other members."""
    if member["model_calls"] is None:
        return {}
    target, key = f"{member['service']}/{member['handler']}", member["key"]
    return {
        **agent_attributes(member["id"], target, key and f"{member['service']}/{key}", member["status"]),
        "llm.token_count.total": member["tokens"],
        "llm.cost.total": member["cost"],
    }
