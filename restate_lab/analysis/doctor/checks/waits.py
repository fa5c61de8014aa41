"""Checks of waits that do not end: deadlocks, queues for keys, own steps, awakeables, promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from restate_lab._text import format_age, join, one_line, plural, verb_form
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.grouping import group_by
from restate_lab.analysis.doctor.model import MAX_IDS, Blocked, Finding, Severity
from restate_lab.analysis.doctor.reader import Row, timestamp_of
from restate_lab.analysis.records import none_if_missing, records
from restate_lab.analysis.suggestions import Placeholder, SuggestedCall, ask_call, plan_call, why_call

__all__ = ["awakeables", "blocked_keys", "deadlocks", "promises", "suspended_on_run"]

_MAX_CANCELLED = 20  # deadlocks of one kind in a suggested call
# Other checks report these, with the invocations that wait for them.
_STATUSES_OF_OTHER_CHECKS = {"backing-off", "paused"}


def deadlocks(context: CheckContext) -> list[Finding]:
    """Find invocations that wait for each other, or for themselves."""
    rows = _waits_rows(context, "deadlocks")
    grouped = group_by(
        rows, lambda row: (row["certain"], row["length"] == 1, tuple(sorted(set(_services(row["targets"])))))
    )
    return [_deadlock_finding(context, members) for members in grouped]


def blocked_keys(context: CheckContext) -> list[Finding]:
    """Find invocations that keep a queue waiting for a key, and that no other check reports."""
    return [_blocked_key_finding(context, row) for row in _queue_blockers(context)]


def suspended_on_run(context: CheckContext) -> list[Finding]:
    """Find invocations suspended on their own step: nothing that the server waits for can arrive."""
    rows = _edges_of_kind(context, "run")
    return [
        _suspended_on_run_finding(context, members)
        for members in group_by(rows, lambda row: (row["handler"], row["alternative"]))
    ]


def awakeables(context: CheckContext) -> list[Finding]:
    """Find awakeables that nobody resolves, and count those that are still young."""
    rows = _edges_without_queue(context, "awakeable")
    grouped = group_by(rows, lambda row: (row["handler"], _is_forgotten(context, row)))
    return [_awakeable_finding(context, members) for members in grouped]


def promises(context: CheckContext) -> list[Finding]:
    """Count the promises that workflows wait for."""
    rows = _edges_without_queue(context, "promise")
    return [
        _promise_finding(context, members) for members in group_by(rows, lambda row: (row["handler"][0], row["what"]))
    ]


def _edges_without_queue(context: CheckContext, kind: str) -> list[dict[Any, Any]]:
    """Return the edges of a kind, without waiters whose queue for a key is reported as more than a note."""
    rows = [row for row in _queue_blockers(context) if _key_severity(context, row) is not Severity.NOTE]
    reported = {id_ for row in rows for id_ in _same_promise(context, row["id"])}
    return [row for row in _edges_of_kind(context, kind) if row["waiter"] not in reported]


def _same_promise(context: CheckContext, id_: str) -> list[str]:
    """Return an invocation, followed by others of its workflow that wait for the same promise."""
    edges = [row for row in _waits_rows(context, "edges") if row["kind"] == "promise"]
    mine = {_promise_of(row) for row in edges if row["waiter"] == id_}
    return list(dict.fromkeys([id_, *(row["waiter"] for row in edges if _promise_of(row) in mine)]))


def _promise_of(row: Row) -> tuple[str, str]:
    """Return the workflow's service and key, and the promise; a handler's name has no slash."""
    return (row["waiter_target"] or "").rpartition("/")[0], row["what"]


def _waits_rows(context: CheckContext, name: str) -> list[Row]:
    if context.waits is None:
        return []
    context.excluded += context.waits.excluded
    return context.edges if name == "edges" else records(getattr(context.waits, name))


def _edges_of_kind(context: CheckContext, kind: str) -> list[dict[Any, Any]]:
    """Return the edges of a kind, with the service and the handler of the waiter."""
    edges = [row for row in _waits_rows(context, "edges") if row["kind"] == kind]
    known = context.handlers_of(row["waiter"] for row in edges)
    return [{**row, "handler": known.get(row["waiter"], ("unknown", "unknown"))} for row in edges]


def _deadlock_finding(context: CheckContext, rows: Sequence[Row]) -> Finding:
    first, is_certain = rows[0], rows[0]["certain"]
    ids = [id_ for row in rows for id_ in row["members"]]
    waiting = sum(int(none_if_missing(row["waiting"]) or 0) for row in rows)
    behind = context.blocked_by(ids)
    since = min((at for row in rows if (at := timestamp_of(row["since"]))), default=None)
    is_young = context.age(since) < context.thresholds.waiting
    kind = "deadlock" if is_certain else "possible deadlock"
    more = f"; {waiting:,} more {verb_form(waiting, 'waits', 'wait')} behind" if waiting else ""
    others = f" (and {plural(len(rows) - 1, 'more like it', 'more like it')})" if len(rows) > 1 else ""
    return Finding(
        severity=Severity.CRITICAL if is_certain else Severity.NOTE if is_young else Severity.WARNING,
        summary=f"{plural(len(rows), kind)}: {one_line(first['description'], 240)}{others}{more}",
        where=join(key for row in rows for key in (row["keys"] or row["targets"])),
        count=len(ids),
        ids=tuple(ids[:MAX_IDS]),
        blocked=Blocked(behind.ids, max(waiting, behind.count)),
        since=since,
        evidence=SuggestedCall("waits", result="deadlocks"),
        suggested=(plan_call("cancel", [row["cancel"] for row in rows[:_MAX_CANCELLED]], total=len(rows)),),
    )


def _queue_blockers(context: CheckContext) -> list[dict[Any, Any]]:
    """Return the root blockers with a queue for a key behind them, without those of other checks."""
    queue = {row["waiter"]: row for row in _waits_rows(context, "edges") if row["kind"] == "key"}
    if not queue:
        return []
    excluded = _ids_of_other_checks(context)
    blockers = []
    for row in _waits_rows(context, "blockers"):
        if row["status"] in _STATUSES_OF_OTHER_CHECKS or row["id"] in excluded:
            continue
        blocked = context.blocked_by([row["id"]])
        key_edge = [queue[id_] for id_ in blocked.ids if id_ in queue]
        if key_edge:
            blockers.append({**row, "blocked": blocked, "queued": key_edge, "unread": blocked.count - len(blocked.ids)})
    return blockers


def _ids_of_other_checks(context: CheckContext) -> set[str]:
    ids = {each.id for each in context.retrying_invocations}
    ids |= {row["waiter"] for row in _waits_rows(context, "edges") if row["kind"] == "run"}
    removed = {row["deployment_id"] for row in context.census.pinned_rows()} - set(context.deployments)
    return ids | {row["id"] for row in (context.ask("pinned_to_missing", limit=MAX_IDS) if removed else [])}


def _key_severity(context: CheckContext, row: Mapping[Any, Any]) -> Severity:
    limits = context.thresholds
    queue, waited = len(row["queued"]) + row["unread"], context.age(_oldest(row["queued"]))
    # A running holder will free the key; one that is suspended or waits for a slot does not.
    moves = row["status"] == "running"
    is_long, is_old = queue >= limits.long_queue, waited >= limits.waiting_long
    if (is_long and is_old) or (not moves and (is_long or is_old)):
        return Severity.CRITICAL
    if waited >= limits.waiting or (not moves and queue >= limits.queue):
        return Severity.WARNING
    return Severity.NOTE


def _blocked_key_finding(context: CheckContext, row: Mapping[Any, Any]) -> Finding:
    key_edge: Sequence[Row] = row["queued"]
    queue = len(key_edge) + row["unread"]
    keys = join(each["what"] for each in key_edge)
    held_by_root = any(each["blocker"] == row["id"] for each in key_edge)
    behind = f"held by {row['target']}" if held_by_root else f"whose holder waits for {row['target']}"
    since = _oldest(key_edge)
    awaited = [
        each for each in _waits_rows(context, "edges") if each["waiter"] == row["id"] and each["kind"] == "awakeable"
    ]
    step = _resolve_call(awaited[0]["what"]) if awaited else why_call(row["id"])
    others, ids = row["blocked"].count - queue, _same_promise(context, row["id"])
    more = f"; {others:,} more {verb_form(others, 'waits', 'wait')} behind" if others else ""
    return Finding(
        severity=_key_severity(context, row),
        summary=f"{plural(queue, 'call')} {verb_form(queue, 'queues', 'queue')} for {keys}, {behind} "
        f"({row['status']}), which waits for {one_line(row['waits_for'], 160)}{more}",
        where=keys,
        count=len(ids),
        ids=tuple(ids[:MAX_IDS]),
        blocked=row["blocked"],
        since=since,
        evidence=ask_call("blocked_keys"),
        suggested=(step,),
    )


def _suspended_on_run_finding(context: CheckContext, rows: Sequence[Row]) -> Finding:
    ids = _waiter_ids(rows)
    count, blocked = len(ids), context.blocked_by(ids)
    service, handler = rows[0]["handler"]
    steps = join(f"“{one_line(row['what'] or '', 40)}”" for row in rows)
    rest = "" if not rows[0]["alternative"] else "; something else that they wait for may still wake them"
    return Finding(
        severity=Severity.WARNING if rows[0]["alternative"] else Severity.CRITICAL,
        summary=f"{plural(count, 'invocation')} of {service}/{handler} {verb_form(count, 'is', 'are')} suspended on "
        f"{verb_form(count, 'its', 'their')} own step {steps} (Run), for which nothing wakes "
        f"{verb_form(count, 'it', 'them')} (server issue 5196){rest}",
        where=f"{service}/{handler}",
        count=count,
        ids=tuple(ids[:MAX_IDS]),
        blocked=blocked,
        since=_oldest(rows),
        evidence=ask_call("suspended_on_run", service=service),
        suggested=(plan_call("resume", ids[:MAX_IDS], total=count),),
    )


def _is_forgotten(context: CheckContext, row: Row) -> bool:
    """Return whether an awakeable is older than is normal for its handler, and nothing else can end the wait."""
    limits, waited = context.thresholds, context.age(timestamp_of(row["since"]))
    if row["alternative"]:
        return False
    if waited >= limits.awakeable:
        return True
    ended = context.outcomes.get(row["handler"])
    if ended is None or ended.succeeded < limits.answered or ended.median_ms is None:
        return False
    return waited >= max(limits.waiting, timedelta(milliseconds=ended.median_ms) * limits.proportion)


def _awakeable_finding(context: CheckContext, rows: Sequence[Row]) -> Finding:
    ids = _waiter_ids(rows)
    service, handler = rows[0]["handler"]
    count, since, blocked = len(ids), _oldest(rows), context.blocked_by(ids)
    is_forgotten = _is_forgotten(context, rows[0])
    more = f"; {blocked.count:,} {verb_form(blocked.count, 'waits', 'wait')} behind" if blocked else ""
    return Finding(
        severity=Severity.WARNING if is_forgotten else Severity.NOTE,
        summary=f"{plural(count, 'invocation')} of {service}/{handler} {verb_form(count, 'waits', 'wait')} for an "
        f"awakeable that nobody has resolved{_wait_duration(context, since, count)}"
        f"{'' if is_forgotten else ', which may be as it should'}{more}",
        where=f"{service}/{handler}",
        count=count,
        ids=tuple(ids[:MAX_IDS]),
        blocked=blocked,
        since=since,
        evidence=ask_call("open_awakeables", service=service),
        suggested=(_resolve_call(rows[0]["what"]) if is_forgotten else why_call(ids[0]),),
    )


def _promise_finding(context: CheckContext, rows: Sequence[Row]) -> Finding:
    ids, service = _waiter_ids(rows), rows[0]["handler"][0]
    count, since, blocked = len(ids), _oldest(rows), context.blocked_by(ids)
    flows = list(dict.fromkeys(_promise_of(row)[0] for row in rows))
    return Finding(
        severity=Severity.NOTE,
        summary=f"{plural(len(flows), 'workflow')} of {service} {verb_form(len(flows), 'waits', 'wait')} for "
        f"{verb_form(len(flows), 'its', 'their')} promise “{one_line(rows[0]['what'] or '', 40)}”"
        f"{_wait_duration(context, since, count)}: {join(flows)}",
        where=join(flows),
        count=count,
        ids=tuple(ids[:MAX_IDS]),
        blocked=blocked,
        since=since,
        evidence=ask_call("open_promises", service=service),
        suggested=(why_call(ids[0]),),
    )


def _resolve_call(awakeable: str) -> SuggestedCall:
    arguments = (awakeable, Placeholder("answer"))
    return SuggestedCall("lab.ingress.resolve_awakeable", arguments, comment="with the answer that it waits for")


def _wait_duration(context: CheckContext, since: datetime | None, count: int) -> str:
    if since is None:
        return ""
    ago = format_age(since, context.now)
    return f" for {ago}" if count == 1 else f", the oldest for {ago}"


def _waiter_ids(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["waiter"] for row in rows))


def _oldest(rows: Sequence[Row]) -> datetime | None:
    return min((at for row in rows if (at := timestamp_of(row["since"]))), default=None)


def _services(targets: Sequence[str | None]) -> list[str]:
    return [(target or "unknown").partition("/")[0] for target in targets]
