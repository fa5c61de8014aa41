"""Stories for tests of what shows them: an order with every kind of phase, and one with hundreds of members."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab.analysis.ids import encode_invocation_id
from restate_lab.analysis.story.model import Member, Phase, StoryEdge
from restate_lab.analysis.story.result import Story, entry_frame
from restate_lab.result import unread

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
    second = timedelta(seconds=1)
    root: dict[str, Any] = {"found_by": "start", "found_from": None, "parent": None, "depth": 0}
    members = [
        member(1, "Order/4711/place", "suspended", 0, None, **root, critical=32.1 * second),
        member(2, "Payments/charge", "succeeded", 2, 42, critical=40 * second, failed_attempts=5),
        member(3, "Mail/send", "scheduled", 44, None, found_by="one-way call"),
        member(4, "Support/answer", "succeeded", 45, 60, model_calls=3, tokens=4_210, cost=0.0123),
        member(5, "Stock/berlin/reserve", "pending", 50, None, critical=47.9 * second),
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
    root: dict[str, Any] = {"found_by": "start", "found_from": None, "parent": None, "depth": 0}
    members = [member(1, "Import/run", "running", 0, None, **root)]
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
