"""The parts of a story: its members, the edges between them, and the phases of each member's time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal, TypeAlias

EdgeKind: TypeAlias = Literal[
    "call",
    "one-way call",
    "invoked",
    "attach",
    "output",
    "awakeable",
    "signal",
    "cancel",
    "promise",
    "restart",
    "trace",
    "key",
]
PhaseKind: TypeAlias = Literal["running", "retrying", "queued", "sleeping", "waiting", "calling"]
FoundBy: TypeAlias = EdgeKind | Literal["start"]
Origin: TypeAlias = Literal["server", "archive"]
KnownFrom: TypeAlias = Literal["journal", "row", "search"]

EDGE_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "call": "{source} called {target}",
        "one-way call": "{source} sent a one-way call to {target}",
        "invoked": "{source} invoked {target}, by a call or a one-way call",
        "attach": "{source} waited for the result of {target}",
        "output": "{source} read the result of {target}",
        "awakeable": "{source} completed an awakeable of {target}",
        "signal": "{source} sent a signal to {target}",
        "cancel": "{source} cancelled {target}",
        "promise": "{source} completed a promise that {target} read",
        "restart": "{target} was restarted from {source}",
        "trace": "{source} and {target} have the same trace id",
        "key": "{source} and {target} are invocations of the same key",
    }
)
"""Each kind of edge with its meaning."""
PHASES: Mapping[str, str] = MappingProxyType(
    {
        "running": "its code ran, or a step was in progress",
        "retrying": "its attempts failed",
        "queued": "it waited for its key, a limit or a slot",
        "sleeping": "a sleep, or the delay of its start",
        "waiting": "it waited for an answer from outside of the story, such as a person, or was paused",
        "calling": "it waited for another member",
    }
)
"""Each kind of phase with its meaning; the critical path has all but "calling"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One run of an invocation; ``found_from`` and ``parent`` are ids of other members."""

    id: str
    target: str
    service: str
    handler: str
    key: str | None
    status: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    found_by: FoundBy
    found_from: str | None = None
    parent: str | None = None
    depth: int = 0
    critical: timedelta = timedelta()
    failed_attempts: int | None = None
    failure: str | None = None
    model_calls: int | None = None
    tokens: int | None = None
    cost: float | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryEdge:
    """One relation of two members: ``source`` acted on ``target`` at the entry ``index`` of its journal.

    ``at`` is the time of the entry, or of the creation of ``target``; ``done_at`` is when the source got the result.
    """

    source: str
    target: str
    kind: EdgeKind
    index: int | None = None
    at: datetime | None = None
    done_at: datetime | None = None
    known_from: KnownFrom = "journal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One interval in the time of a member; the phases of a member follow each other from its creation to its end.

    ``index`` is the entry of the journal, ``label`` its name, and ``other`` the member that is waited for.
    """

    id: str
    kind: PhaseKind
    started: datetime
    ended: datetime
    index: int | None = None
    label: str = ""
    other: str | None = None
