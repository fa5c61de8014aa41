"""Derive the status of a run at an earlier time from its row, its journal and its events.

A server records when a run was created, started and ended, when its journal grew, and its failures and pauses; since
service protocol 7, also its suspensions. It does not record when a run was resumed by hand, nor single attempts. So
running, ready and backing off are one status here, "in-progress", and a status that these traces do not prove is
"unknown".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from restate_lab.status import IN_PROGRESS, UNKNOWN

SUSPENSIONS_SINCE = 7
"""The service protocol from which a server records suspensions."""
_RUN = "Run"
_OWN_RESULTS = frozenset({_RUN, "CallInvocationId"})
"""The notifications that only a running attempt adds; all others can also arrive while it is suspended or paused."""
_WAITED, _REPLAY = 1.2, timedelta(seconds=1)
"""The longest time of an attempt that only waits: a multiple of an earlier one, and the time to replay a journal."""
Kind = Literal["command", "result", "arrival", "failure", "suspended", "paused"]


@dataclass(frozen=True, slots=True)
class Trace:
    """One journal entry or event of a run.

    - ``kind``: a "command" of the handler; the "result" of a step, which the attempt itself adds; the "arrival" of
      another result or a signal; a "failure" of an attempt; or that it was "suspended" or "paused".
    - ``awaited``: the result that a command waits for or that arrived, as in a tree of ``awaits``.
    - ``awaits``: the results that a suspended run waits for, a tree.
    - ``is_step``: whether a command is a step, whose result the attempt itself adds.
    """

    at: datetime
    kind: Kind
    awaited: tuple[str, Any] | None = None
    awaits: Any = None
    is_step: bool = False

    @property
    def is_attempt(self) -> bool:
        """Return whether only a run with a running attempt leaves this trace."""
        return self.kind != "arrival"


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that had started and had not ended at the time in question, and whose row changed after that time.

    ``status`` and ``modified_at`` are those of its row now. ``protocol`` is its service protocol, None if unknown.
    """

    status: str
    started_at: datetime
    modified_at: datetime
    protocol: int | None


def open_status(run: OpenRun, traces: Iterable[Trace], time: datetime) -> str:
    """Return the status of a started, open run at a time: in-progress, suspended, paused or unknown."""
    ordered = sorted(traces, key=lambda trace: trace.at)
    before = [trace for trace in ordered if trace.at <= time]
    after = [trace for trace in ordered if trace.at > time]
    if not any(trace.is_attempt for trace in ordered):
        return UNKNOWN  # the journal is not kept
    place = max((number for number, each in enumerate(before) if each.kind in {"suspended", "paused"}), default=None)
    if place is None:
        return _without_stop(run, before, after)
    last, since = before[place], before[place + 1 :]
    if any(trace.is_attempt for trace in since):
        return _without_stop(run, before, after)
    if last.kind == "paused":
        return _after_pause(run, since, after)
    return _after_suspension(run, before, place, after, time)


def _after_pause(run: OpenRun, since: Sequence[Trace], after: Sequence[Trace]) -> str:
    """Return the status after a pause without a later attempt: when it was resumed is not recorded."""
    is_still_paused = run.status == "paused" and not any(trace.is_attempt for trace in after)
    is_cancelled = any(trace.awaited == ("SignalIndex", 1) for trace in (*since, *after))
    return "paused" if is_still_paused and not is_cancelled else UNKNOWN


def _after_suspension(run: OpenRun, before: Sequence[Trace], place: int, after: Sequence[Trace], time: datetime) -> str:
    """Return the status after a suspension without a later attempt; ``place`` is its number in ``before``."""
    last = before[place]
    arrived = {trace.awaited for trace in before if trace.kind == "arrival" and trace.awaited}
    is_complete = _is_complete(last.awaits, arrived) if before[place + 1 :] else False
    if is_complete is not False:
        return IN_PROGRESS if is_complete else UNKNOWN
    ended_at = None if run.status == "suspended" else run.modified_at
    for trace in after:
        if trace.awaited and not trace.is_attempt:
            arrived.add(trace.awaited)
        if trace.is_attempt or _is_complete(last.awaits, arrived) is not False:
            if trace.is_attempt and trace.kind != "paused":
                return UNKNOWN  # an attempt that no arrival explains: it was resumed by hand
            ended_at = trace.at
            break
    # One that was resumed by hand waits as long as before it was suspended, and is then suspended again.
    idle_since = max([run.started_at, *(trace.at for trace in before[:place])])
    waited = (last.at - idle_since) * _WAITED + _REPLAY
    return "suspended" if ended_at is None or time < ended_at - waited else UNKNOWN


def _without_stop(run: OpenRun, before: Sequence[Trace], after: Sequence[Trace]) -> str:
    """Return the status of a run that was not stopped, or whose attempt continued after the last recorded stop."""
    if (run.protocol or 0) >= SUSPENSIONS_SINCE:
        return IN_PROGRESS
    results = {trace.awaited for trace in before if trace.kind == "result"}
    if any(trace.is_step and trace.awaited not in results for trace in before):
        return IN_PROGRESS
    # Suspensions are not recorded. A suspended run wakes when a result or a signal arrives, or when a person resumes
    # it; then it can fail before a result arrives. With vqueues, a person can also pause it without an attempt.
    has_waited = any(trace.kind == "command" and not trace.is_step for trace in before)
    is_sure = after and after[0].is_attempt and not (after[0].kind in {"failure", "paused"} and has_waited)
    return IN_PROGRESS if is_sure else UNKNOWN


def _is_complete(tree: Any, arrived: AbstractSet[tuple[str, Any]]) -> bool | None:
    """Return whether the results that arrived wake a run that waits for a tree of results; None if that is unknown."""
    if not isinstance(tree, Mapping) or len(tree) != 1:
        return None
    ((kind, parts),) = tree.items()
    if kind == "Single":
        return isinstance(parts, Mapping) and any((name, _value(value)) in arrived for name, value in parts.items())
    if not isinstance(parts, list):
        return None
    states = [_is_complete(part, arrived) for part in parts]
    if kind == "FirstCompleted":
        return True if True in states else None if None in states else False
    if kind == "AllCompleted":
        return False if False in states else None if None in states else True
    return False if not any(state is not False for state in states) else None


def _value(value: Any) -> Any:
    return value if isinstance(value, int | str) else json.dumps(value)


def trace_of_entry(at: datetime, entry_type: str, lite_json: str | None) -> Trace | None:
    """Return the trace of a journal entry; None for the input, and for an entry of an unknown form.

    Of the commands, only a step needs its JSON.
    """
    family, _, name = entry_type.partition(": ")
    if family not in {"Command", "Notification"} or name == "Input":
        return None
    if family == "Command" and name != _RUN:
        return Trace(at, "command")
    try:
        content = json.loads(lite_json or "")[family]
        if family == "Command":
            return Trace(at, "command", ("CompletionId", content[name]["completion_id"]), is_step=True)
        ((id_kind, id_),) = content["id"].items()
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return Trace(at, "result" if name in _OWN_RESULTS else "arrival", (id_kind, _value(id_)))


_EVENTS: Mapping[str, Kind] = {"TransientError": "failure", "Suspended": "suspended", "Paused": "paused"}


def trace_of_event(at: datetime, event_type: str, event_json: str | None) -> Trace | None:
    """Return the trace of an event; None for one of an unknown type. Only a suspension needs its JSON."""
    kind = _EVENTS.get(event_type)
    if kind != "suspended":
        return None if kind is None else Trace(at, kind)
    try:
        return Trace(at, kind, awaits=json.loads(event_json or "")["awaiting_on"])
    except (KeyError, TypeError, ValueError):
        return Trace(at, kind)
