"""What suspended invocations wait for: the numbers in their status, paired with the commands in their journals."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from restate_lab._text import format_timestamp
from restate_lab.analysis.ids import FIRST_AWAKEABLE, awakeable_id
from restate_lab.analysis.records import none_if_missing
from restate_lab.analysis.waits.model import Edge

__all__ = ["AwaitedCommand", "SuspendedInvocation", "awaited_commands", "edges_of", "suspended_invocations"]

CANCEL = 1  # the signal that all await
_COMMAND = "Command: "
# Only a key of the outermost kind is followed by a plain quotation mark: within texts JSON writes a backslash first.
_NUMBER = re.compile(r'"(?:result_)?completion_id":\s*(\d+)')
_KINDS = {
    "Call": "call",
    "AttachInvocation": "attach",
    "GetInvocationOutput": "attach",
    "GetPromise": "promise",
    "PeekPromise": "promise",
    "CompletePromise": "promise",
    "Sleep": "sleep",
    "Run": "run",
    "GetLazyState": "state",
    "GetLazyStateKeys": "state",
}


@dataclass(frozen=True, slots=True)
class SuspendedInvocation:
    """One suspended invocation, with the numbers of the completions and of the signals that it waits for."""

    id: str
    target: str
    since: pd.Timestamp | None
    created_at: pd.Timestamp | None
    caller: str | None
    completions: tuple[int, ...]
    signals: tuple[int, ...]

    @property
    def awaited_count(self) -> int:
        """Return how many completions and signals it waits for; one where only a named signal can wake it."""
        return len(self.completions) + len(self.signals) or 1


@dataclass(frozen=True, slots=True)
class AwaitedCommand:
    """One command that an invocation waits for."""

    index: int
    kind: str
    what: str | None = None
    callee: str | None = None
    wakes_at: pd.Timestamp | None = None


def suspended_invocations(frame: pd.DataFrame) -> list[SuspendedInvocation]:
    """Return the invocations of a frame with the columns of ``sql/waits/suspended.sql``."""
    names = ("id", "target", "modified_at", "created_at", "invoked_by_id", "completions", "signals")
    return [
        SuspendedInvocation(
            id=id_,
            target=target,
            since=none_if_missing(since),
            created_at=none_if_missing(created_at),
            caller=none_if_missing(caller),
            completions=_to_numbers(completions),
            signals=tuple(number for number in _to_numbers(signals) if number != CANCEL),
        )
        for id_, target, since, created_at, caller, completions, signals in zip(
            *(frame[name].tolist() for name in names), strict=True
        )
    ]


def awaited_commands(rows: pd.DataFrame, wanted: Mapping[str, Sequence[int]]) -> dict[tuple[str, int], AwaitedCommand]:
    """Return, of the rows of ``sql/waits/commands.sql``, those with numbers that are wanted of their id."""
    columns = ("id", "entry_index", "entry_type", "name", "body")
    commands = {}
    for id_, index, entry_type, name, body in zip(*(rows[column].tolist() for column in columns), strict=True):
        open_ = wanted[id_]
        if not any(int(number) in open_ for number in _NUMBER.findall(body or "")):
            continue
        kind = entry_type.removeprefix(_COMMAND)
        details = json.loads(body)["Command"][kind]
        number = details.get("result_completion_id", details.get("completion_id"))
        if number in open_:
            commands[id_, number] = _parse_command(int(index), kind, none_if_missing(name), details)
    return commands


def edges_of(
    invocation: SuspendedInvocation, commands: Mapping[tuple[str, int], AwaitedCommand], *, alternative: bool
) -> list[Edge]:
    """Return an edge for each command that an invocation waits for, in the order of the journal."""
    unknown = AwaitedCommand(-1, "unknown")
    of_completions = sorted(
        (commands.get((invocation.id, number), unknown) for number in invocation.completions),
        key=lambda each: each.index,
    )
    awaited = [*of_completions, *(_signal_command(invocation.id, number) for number in sorted(invocation.signals))]
    return [
        _edge(invocation, command, alternative)
        for command in awaited or [AwaitedCommand(-1, "signal", "a signal with a name")]
    ]


def _edge(invocation: SuspendedInvocation, command: AwaitedCommand, alternative: bool) -> Edge:
    return Edge(
        waiter=invocation.id,
        waiter_target=invocation.target,
        kind=command.kind,
        blocker=command.callee,
        what=command.what,
        wakes_at=command.wakes_at,
        alternative=alternative,
        since=invocation.since,
        created_at=invocation.created_at,
        caller=invocation.caller,
    )


def _signal_command(id_: str, number: int) -> AwaitedCommand:
    if number < FIRST_AWAKEABLE:
        return AwaitedCommand(-1, "signal", f"signal {number}")
    return AwaitedCommand(-1, "awakeable", awakeable_id(id_, number) or f"signal {number}")


def _parse_command(index: int, kind: str, name: str | None, details: Mapping[str, Any]) -> AwaitedCommand:
    callee = details.get("invocation_id") or _attached_invocation(details)
    what, wakes_at = name or None, None
    if _KINDS[kind] == "promise":
        what = str(details.get("key"))
    elif kind == "Sleep" and details.get("wake_up_time") is not None:
        wakes_at = pd.Timestamp(details["wake_up_time"], unit="ms", tz="UTC")
        what = f"until {format_timestamp(wakes_at)}"
    return AwaitedCommand(index, _KINDS[kind], what, callee, wakes_at)


def _attached_invocation(details: Mapping[str, Any]) -> str | None:
    """Return the invocation that is attached to; None where it is named by its key."""
    target = details.get("target")
    return target.get("InvocationId") if isinstance(target, Mapping) else None


def _to_numbers(value: Sequence[int] | float | None) -> tuple[int, ...]:
    """Return a list column's value; pandas has None or NaN where it is null."""
    return () if value is None or isinstance(value, float) else tuple(np.asarray(value).tolist())
