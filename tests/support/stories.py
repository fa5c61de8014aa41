"""Stories for tests of what shows them: an order with every kind of phase, and one with hundreds of members."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab.analysis.ids import encode_invocation_id
from restate_lab.analysis.story.model import Member, Phase, StoryEdge
from restate_lab.analysis.story.result import Story, entry_frame
from restate_lab.result import unread

SECOND = timedelta(seconds=1)
ROOT: dict[str, Any] = {"found_by": "start", "found_from": None, "parent": None, "depth": 0}
NOW = datetime(2026, 11, 30, 14, 5, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """Return the time so many seconds after the beginning of the sample."""
    return NOW - timedelta(seconds=120) + timedelta(seconds=seconds)


def id_of(number: int) -> str:
    """Return the id of the member with this number."""
    return encode_invocation_id(number.to_bytes(24, "big"))


def member(number: int, target: str, status: str, created: float, ended: float | None, **more: Any) -> Member:
    """Return one member that began 0.1 s after its creation."""
    service, *key, handler = target.split("/")
    return Member(
        id=id_of(number),
        target=target,
        service=service,
        handler=handler,
        key="/".join(key) or None,
        status=status,
        created_at=at(created),
        started_at=None if status in {"pending", "scheduled"} else at(created + 0.1),
        ended_at=None if ended is None else at(ended),
        **({"found_by": "call", "found_from": id_of(1), "parent": id_of(1), "depth": 1} | more),
    )


def phase(number: int, kind: Any, started: float, ended: float, **more: Any) -> Phase:
    """Return one phase of the member with this number."""
    return Phase(id=id_of(number), kind=kind, started=at(started), ended=at(ended), **more)


def sample_entries() -> pd.DataFrame:
    """Return the entries of the order and of the payment."""
    rows = [
        (1, 0, "Input", None, "done", 0.1, 0.1),
        (1, 1, "Call", None, "done", 2, 42),
        (1, 2, "OneWayCall", None, "done", 44, 44),
        (1, 3, "Call", None, "done", 45, 60),
        (1, 4, "Sleep", "cool down", "done", 60, 70),
        (1, 5, "Call", None, "open", 70, None),
        (2, 0, "Input", None, "done", 2.1, 2.1),
        (2, 1, "Run", "charge card", "done", 2.1, 40),
        (2, 2, "Output", None, "done", 42, 42),
        (6, 1, "Awakeable", "approval", "failed", 40, 99),
        (6, 2, "CompleteAwakeable", None, "done", 99, 99),
    ]
    names = ("id", "index", "entry_type", "name", "status", "started", "completed")
    columns: dict[str, list[Any]] = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    columns["id"] = [id_of(number) for number in columns["id"]]
    for name in ("started", "completed"):
        columns[name] = [None if each is None else at(each) for each in columns[name]]
    return entry_frame(**columns)


def sample_story() -> Story:
    """Return an order: a call that retries, an approval, a delayed mail, an agent with costs, and a queued callee."""
    members = [
        member(1, "Order/4711/place", "suspended", 0, None, **ROOT, critical=32.1 * SECOND),
        member(2, "Payments/charge", "succeeded", 2, 42, critical=40 * SECOND, failed_attempts=5),
        member(3, "Mail/send", "scheduled", 44, None, found_by="one-way call"),
        member(4, "Support/answer", "succeeded", 45, 60, model_calls=3, tokens=4_210, cost=0.0123),
        member(5, "Stock/berlin/reserve", "pending", 50, None, critical=47.9 * SECOND),
        member(6, "Approval/4711/ask", "failed", 30, 100, found_by="awakeable", failure="[500] no answer"),
    ]
    edges = [
        StoryEdge(source=id_of(1), target=id_of(2), kind="call", index=1, at=at(2), done_at=at(42)),
        StoryEdge(source=id_of(1), target=id_of(3), kind="one-way call", index=2, at=at(44)),
        StoryEdge(source=id_of(1), target=id_of(4), kind="call", index=3, at=at(45), done_at=at(60)),
        StoryEdge(source=id_of(1), target=id_of(5), kind="call", index=5, at=at(72.1)),
        StoryEdge(source=id_of(6), target=id_of(1), kind="awakeable", index=2, at=at(99), known_from="search"),
    ]
    phases = [
        *(phase(1, "queued", 0, 0.1), phase(1, "running", 0.1, 2)),
        phase(1, "calling", 2, 42, index=1, label="Payments/charge", other=id_of(2)),
        *(phase(1, "running", 42, 45), phase(1, "calling", 45, 60, index=3, label="Support/answer", other=id_of(4))),
        phase(1, "sleeping", 60, 70, index=4, label="cool down"),
        phase(1, "calling", 70, 120, index=5, label="Stock/berlin/reserve", other=id_of(5)),
        *(phase(2, "queued", 2, 2.1), phase(2, "running", 2.1, 5, index=1, label="charge card")),
        *(phase(2, "retrying", 5, 40, index=1, label="charge card"), phase(2, "running", 40, 42)),
        phase(3, "sleeping", 44, 120),
        *(phase(4, "queued", 45, 45.1), phase(4, "running", 45.1, 60)),
        phase(5, "queued", 50, 120),
        *(phase(6, "queued", 30, 30.1), phase(6, "running", 30.1, 40)),
        phase(6, "waiting", 40, 99, label="approval"),
        phase(6, "running", 99, 100),
    ]
    path = [
        *(phase(1, "queued", 0, 0.1), phase(1, "running", 0.1, 2), phase(2, "queued", 2, 2.1)),
        *(phase(2, "running", 2.1, 5, index=1), phase(2, "retrying", 5, 40, index=1, label="charge card")),
        *(phase(2, "running", 40, 42), phase(1, "running", 42, 60), phase(1, "sleeping", 60, 72.1, index=4)),
        phase(5, "queued", 72.1, 120),
    ]
    return Story.of(
        members,
        edges,
        path,
        phases,
        entries=sample_entries(),
        source="prod",
        version="1.7.12",
        read_at=NOW,
        not_read=unread(edges=["the journals of other invocations were not searched"]),
    )


def large_story(count: int) -> Story:
    """Return an order with so many equal calls, of which every 50th fails."""
    members = [member(1, "Import/run", "running", 0, None, **ROOT, critical=120 * SECOND)]
    for number in range(2, count + 1):
        status = "failed" if number % 50 == 0 else "succeeded"
        members.append(member(number, f"Row/{number}/store", status, 1 + number % 60, 40 + number % 70))
    edges = [
        StoryEdge(source=id_of(1), target=each.id, kind="call", index=place, at=each.created_at, done_at=each.ended_at)
        for place, each in enumerate(members[1:], start=1)
    ]
    phases = [phase(1, "running", 0, 120)]
    path = [phase(1, "running", 0, 120)]
    return Story.of(members, edges, path, phases, source="prod", version="1.7.12", read_at=NOW)


def joined_story() -> Story:
    """Return a story whose first half is only in an archive."""
    members = [
        member(1, "Order/4711/place", "succeeded", 0, 60, **ROOT, origin="archive", critical=60 * SECOND),
        member(2, "Payments/charge", "succeeded", 2, 20, origin="archive"),
        member(3, "Mail/send", "running", 60, None, found_by="one-way call", origin="server", critical=60 * SECOND),
    ]
    edges = [
        StoryEdge(source=id_of(1), target=id_of(2), kind="call", index=1, at=at(2), done_at=at(20)),
        StoryEdge(source=id_of(1), target=id_of(3), kind="one-way call", index=2, at=at(60)),
    ]
    phases = [phase(1, "running", 0, 60), phase(2, "running", 2, 20), phase(3, "running", 60, 120)]
    path = [phase(1, "running", 0, 60), phase(3, "running", 60, 120)]
    return _story(members, edges, path, phases)


def agents_story() -> Story:
    """Return a conversation with a nested agent without a price, and calls of a tool."""
    chat: dict[str, Any] = {"critical": 40 * SECOND, "tokens": 9_100, "model_calls": 4, "cost": 1.25}
    research: dict[str, Any] = {"critical": 50 * SECOND, "tokens": 61_004, "model_calls": 12, "failed_attempts": 2}
    tool: dict[str, Any] = {"parent": id_of(2), "found_from": id_of(2), "depth": 2}
    members = [
        member(1, "Chat/anna/turn", "succeeded", 0, 90, **ROOT, **chat),
        member(2, "Research/ask", "succeeded", 10, 60, **research),
        *(
            member(number, "Tools/search", "succeeded", 10 + 4 * number, 12 + 4 * number, **tool)
            for number in range(3, 9)
        ),
    ]
    edges = [
        StoryEdge(source=each.parent, target=each.id, kind="call", index=at_, at=each.created_at, done_at=each.ended_at)
        for at_, each in enumerate(members[1:])
        if each.parent
    ]
    phases = [
        *(phase(1, "running", 0, 10), phase(1, "calling", 10, 60, other=id_of(2)), phase(1, "running", 60, 90)),
        *(phase(2, "running", 10, 40), phase(2, "retrying", 40, 50), phase(2, "running", 50, 60)),
    ]
    path = [phase(1, "running", 0, 10), phase(2, "running", 10, 40), phase(2, "retrying", 40, 50)]
    path += [phase(2, "running", 50, 60), phase(1, "running", 60, 90)]
    return _story(members, edges, path, phases)


def sequence_story(count: int) -> Story:
    """Return a handler that calls one after the other, so that all are on the critical path; the first one is slow."""
    root = member(1, "Import/run", "succeeded", 0, 120, **ROOT)
    starts = [20 + 100 * number / count for number in range(count)]
    starts[0] = 0
    ends = [*starts[1:], 120]
    calls = [
        member(number, "Row/store", "succeeded", start, end, critical=(end - start) * SECOND)
        for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=2)
    ]
    edges = [
        StoryEdge(source=id_of(1), target=each.id, kind="call", index=number, at=each.created_at, done_at=each.ended_at)
        for number, each in enumerate(calls, start=1)
    ]
    path = [Phase(id=each.id, kind="running", started=each.created_at, ended=each.ended_at or NOW) for each in calls]
    return _story([root, *calls], edges, path, [phase(1, "calling", 0, 120), *path])


def deep_story(depth: int) -> Story:
    """Return a chain of calls of so many levels; the last one is slow."""
    members = [member(1, "Chain/1/next", "succeeded", 0, 120, **ROOT)]
    for number in range(2, depth + 1):
        above = id_of(number - 1)
        critical = (100 if number == depth else 0.01) * SECOND
        members.append(
            member(number, f"Chain/{number}/next", "succeeded", number / depth, 120 - number / depth, parent=above,
                   found_from=above, depth=number - 1, critical=critical)
        )  # fmt: skip
    edges = [
        StoryEdge(source=each.parent, target=each.id, kind="call", index=1, at=each.created_at)
        for each in members[1:]
        if each.parent
    ]
    return _story(members, edges, [phase(depth, "running", 0, 120)], [phase(1, "running", 0, 120)])


def sends_story(count: int) -> Story:
    """Return a handler that sends one-way calls to as many different services, each with a delay."""
    members = [member(1, "Fanout/start", "succeeded", 0, 10, **ROOT)]
    members += [
        member(number, f"Worker{number}/do", "succeeded", number / 3, 60 + 2 * number, found_by="one-way call")
        for number in range(2, count + 2)
    ]
    edges = [
        StoryEdge(source=id_of(1), target=each.id, kind="one-way call", index=number, at=each.created_at)
        for number, each in enumerate(members[1:], start=1)
    ]
    phases = [phase(1, "running", 0, 10)]
    phases += [phase(number, "sleeping", number / 3, 40) for number in range(2, count + 2)]
    phases += [phase(number, "running", 40, 60 + 2 * number) for number in range(2, count + 2)]
    return _story(members, edges, [phase(1, "running", 0, 10)], phases)


def hostile_story(text: str) -> Story:
    """Return a story whose names, labels, failures and reasons are this text."""
    more = {"failure": text, "failed_attempts": 1}
    members = [
        member(1, f"{text}/{text}/run", "failed", 0, 60, **ROOT, **more, critical=60 * SECOND),
        *(member(number, f"{text}/call", "failed", number, 30, **more) for number in range(2, 10)),
    ]
    edges = [
        StoryEdge(source=id_of(1), target=each.id, kind="one-way call", at=each.created_at) for each in members[1:]
    ]
    phases = [phase(1, "retrying", 0, 60, label=text)]
    return Story.of(
        members, edges, phases, phases, source=text, version="1.7.12", read_at=NOW, not_read=unread(edges=[text])
    )


def _story(members: list[Member], edges: list[StoryEdge], path: list[Phase], phases: list[Phase]) -> Story:
    return Story.of(members, edges, path, phases, source="prod", version="1.7.12", read_at=NOW)
