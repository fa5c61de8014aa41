"""Who waits and will not go on: deadlocks, keys with a queue, steps that nobody wakes, what nobody answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from restate_lab._text import format_age, join, one_line, plural, verb_form
from restate_lab.analysis.doctor.checks.retries import groups
from restate_lab.analysis.doctor.context import IDS, Blocked, Finding, Look, Row, Severity, moment
from restate_lab.analysis.records import none_if_missing, records
from restate_lab.analysis.suggestions import Placeholder, SuggestedCall, ask_call, plan_call, why_call

__all__ = ["awakeables", "blocked_keys", "deadlocks", "promises", "suspended_on_run"]

_CANCELLED = 20  # of deadlocks that are alike; a line with more does not read well
# Told by the checks of their own, with whoever waits behind.
_TOLD_ELSEWHERE = {"backing-off", "paused"}


def deadlocks(look: Look) -> list[Finding]:
    """Find invocations that wait for each other, or for themselves."""
    rows = _all_waits(look, "deadlocks")
    found = groups(
        rows, lambda row: (row["certain"], row["length"] == 1, tuple(sorted(set(_services(row["targets"])))))
    )
    return [_deadlock(look, members) for members in found]


def blocked_keys(look: Look) -> list[Finding]:
    """Find whoever makes a queue wait for a key, and is not told by another check."""
    return [_blocked(look, row) for row in _blockers(look)]


def suspended_on_run(look: Look) -> list[Finding]:
    """Find who is suspended on a step of its own: the server waits for nothing that could come."""
    rows = _edges(look, "run")
    return [_on_run(look, members) for members in groups(rows, lambda row: (row["handler"], row["alternative"]))]


def awakeables(look: Look) -> list[Finding]:
    """Find awakeables that nobody resolves, and count those that are still young."""
    rows = _not_told(look, "awakeable")
    found = groups(rows, lambda row: (row["handler"], _is_forgotten(look, row)))
    return [_awakeable(look, members) for members in found]


def promises(look: Look) -> list[Finding]:
    """Count the promises that workflows wait for."""
    rows = _not_told(look, "promise")
    return [_promise(look, members) for members in groups(rows, lambda row: (row["handler"][0], row["what"]))]


def _not_told(look: Look, kind: str) -> list[dict[Any, Any]]:
    """Return what is awaited of a kind, without those whose queue for a key is told as more than a note."""
    rows = [row for row in _blockers(look) if _key_severity(look, row) is not Severity.NOTE]
    told = {id_ for row in rows for id_ in _alike(look, row["id"])}
    return [row for row in _edges(look, kind) if row["waiter"] not in told]


def _alike(look: Look, id_: str) -> list[str]:
    """Return an invocation, and after it others of its workflow that wait for the same promise."""
    edges = [row for row in _all_waits(look, "edges") if row["kind"] == "promise"]
    mine = {_promise_of(row) for row in edges if row["waiter"] == id_}
    return list(dict.fromkeys([id_, *(row["waiter"] for row in edges if _promise_of(row) in mine)]))


def _promise_of(row: Row) -> tuple[str, str]:
    """Return the workflow's service and key, and the promise; a handler's name has no slash."""
    return (row["waiter_target"] or "").rpartition("/")[0], row["what"]


def _all_waits(look: Look, name: str) -> list[Row]:
    if look.waits is None:
        return []
    look.excluded += look.waits.excluded
    return look.edges if name == "edges" else records(getattr(look.waits, name))


def _edges(look: Look, kind: str) -> list[dict[Any, Any]]:
    """Return what is awaited of a kind, with the service and the handler of who waits."""
    edges = [row for row in _all_waits(look, "edges") if row["kind"] == kind]
    known = look.handlers(row["waiter"] for row in edges)
    return [{**row, "handler": known.get(row["waiter"], ("unknown", "unknown"))} for row in edges]


def _deadlock(look: Look, rows: Sequence[Row]) -> Finding:
    first, is_certain = rows[0], rows[0]["certain"]
    ids = [id_ for row in rows for id_ in row["members"]]
    waiting = sum(int(none_if_missing(row["waiting"]) or 0) for row in rows)
    behind = look.behind(ids)
    since = min((at for row in rows if (at := moment(row["since"]))), default=None)
    is_young = look.age(since) < look.thresholds.waiting
    kind = "deadlock" if is_certain else "possible deadlock"
    more = f"; {waiting:,} more {verb_form(waiting, 'waits', 'wait')} behind" if waiting else ""
    others = f" (and {plural(len(rows) - 1, 'more like it', 'more like it')})" if len(rows) > 1 else ""
    return Finding(
        severity=Severity.CRITICAL if is_certain else Severity.NOTE if is_young else Severity.WARNING,
        summary=f"{plural(len(rows), kind)}: {one_line(first['description'], 240)}{others}{more}",
        where=join(key for row in rows for key in (row["keys"] or row["targets"])),
        count=len(ids),
        ids=tuple(ids[:IDS]),
        blocked=Blocked(behind.ids, max(waiting, behind.count)),
        since=since,
        evidence=SuggestedCall("waits", result="deadlocks"),
        suggested=(plan_call("cancel", [row["cancel"] for row in rows[:_CANCELLED]], total=len(rows)),),
    )


def _blockers(look: Look) -> list[dict[Any, Any]]:
    """Return the root blockers with a queue for a key behind them, those of other checks left out."""
    queue = {row["waiter"]: row for row in _all_waits(look, "edges") if row["kind"] == "key"}
    if not queue:
        return []
    apart = _told_elsewhere(look)
    found = []
    for row in _all_waits(look, "blockers"):
        if row["status"] in _TOLD_ELSEWHERE or row["id"] in apart:
            continue
        blocked = look.behind([row["id"]])
        queued = [queue[id_] for id_ in blocked.ids if id_ in queue]
        if queued:
            found.append({**row, "blocked": blocked, "queued": queued, "unread": blocked.count - len(blocked.ids)})
    return found


def _told_elsewhere(look: Look) -> set[str]:
    told = {each.id for each in look.retriers}
    told |= {row["waiter"] for row in _all_waits(look, "edges") if row["kind"] == "run"}
    gone = {row["deployment_id"] for row in look.census.pinned()} - set(look.deployments)
    return told | {row["id"] for row in (look.ask("pinned_to_missing", limit=IDS) if gone else [])}


def _key_severity(look: Look, row: Mapping[Any, Any]) -> Severity:
    limits = look.thresholds
    queue, waited = len(row["queued"]) + row["unread"], look.age(_oldest(row["queued"]))
    # Who runs will free the key; who is suspended or waits for a slot does nothing for it.
    moves = row["status"] == "running"
    is_long, is_old = queue >= limits.long_queue, waited >= limits.waiting_long
    if (is_long and is_old) or (not moves and (is_long or is_old)):
        return Severity.CRITICAL
    if waited >= limits.waiting or (not moves and queue >= limits.queue):
        return Severity.WARNING
    return Severity.NOTE


def _blocked(look: Look, row: Mapping[Any, Any]) -> Finding:
    queued: Sequence[Row] = row["queued"]
    queue = len(queued) + row["unread"]
    keys = join(each["what"] for each in queued)
    held_by_root = any(each["blocker"] == row["id"] for each in queued)
    behind = f"held by {row['target']}" if held_by_root else f"whose holder waits for {row['target']}"
    since = _oldest(queued)
    awaited = [
        each for each in _all_waits(look, "edges") if each["waiter"] == row["id"] and each["kind"] == "awakeable"
    ]
    step = _resolving(awaited[0]["what"]) if awaited else why_call(row["id"])
    others, ids = row["blocked"].count - queue, _alike(look, row["id"])
    more = f"; {others:,} more {verb_form(others, 'waits', 'wait')} behind" if others else ""
    return Finding(
        severity=_key_severity(look, row),
        summary=f"{plural(queue, 'call')} {verb_form(queue, 'queues', 'queue')} for {keys}, {behind} "
        f"({row['status']}), which waits for {one_line(row['waits_for'], 160)}{more}",
        where=keys,
        count=len(ids),
        ids=tuple(ids[:IDS]),
        blocked=row["blocked"],
        since=since,
        evidence=ask_call("blocked_keys"),
        suggested=(step,),
    )


def _on_run(look: Look, rows: Sequence[Row]) -> Finding:
    ids = _waiters(rows)
    count, blocked = len(ids), look.behind(ids)
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
        ids=tuple(ids[:IDS]),
        blocked=blocked,
        since=_oldest(rows),
        evidence=ask_call("suspended_on_run", service=service),
        suggested=(plan_call("resume", ids[:IDS], total=count),),
    )


def _is_forgotten(look: Look, row: Row) -> bool:
    """Tell whether an awakeable is older than its kind gets, with nothing else that could end the wait."""
    limits, waited = look.thresholds, look.age(moment(row["since"]))
    if row["alternative"]:
        return False
    if waited >= limits.awakeable:
        return True
    ended = look.ended.get(row["handler"])
    if ended is None or ended.succeeded < limits.answered or ended.median_ms is None:
        return False
    return waited >= max(limits.waiting, timedelta(milliseconds=ended.median_ms) * limits.proportion)


def _awakeable(look: Look, rows: Sequence[Row]) -> Finding:
    ids = _waiters(rows)
    service, handler = rows[0]["handler"]
    count, since, blocked = len(ids), _oldest(rows), look.behind(ids)
    is_forgotten = _is_forgotten(look, rows[0])
    more = f"; {blocked.count:,} {verb_form(blocked.count, 'waits', 'wait')} behind" if blocked else ""
    return Finding(
        severity=Severity.WARNING if is_forgotten else Severity.NOTE,
        summary=f"{plural(count, 'invocation')} of {service}/{handler} {verb_form(count, 'waits', 'wait')} for an "
        f"awakeable that nobody has resolved{_for(look, since, count)}"
        f"{'' if is_forgotten else ', which may be as it should'}{more}",
        where=f"{service}/{handler}",
        count=count,
        ids=tuple(ids[:IDS]),
        blocked=blocked,
        since=since,
        evidence=ask_call("open_awakeables", service=service),
        suggested=(_resolving(rows[0]["what"]) if is_forgotten else why_call(ids[0]),),
    )


def _promise(look: Look, rows: Sequence[Row]) -> Finding:
    ids, service = _waiters(rows), rows[0]["handler"][0]
    count, since, blocked = len(ids), _oldest(rows), look.behind(ids)
    flows = list(dict.fromkeys(_promise_of(row)[0] for row in rows))
    return Finding(
        severity=Severity.NOTE,
        summary=f"{plural(len(flows), 'workflow')} of {service} {verb_form(len(flows), 'waits', 'wait')} for "
        f"{verb_form(len(flows), 'its', 'their')} promise “{one_line(rows[0]['what'] or '', 40)}”"
        f"{_for(look, since, count)}: {join(flows)}",
        where=join(flows),
        count=count,
        ids=tuple(ids[:IDS]),
        blocked=blocked,
        since=since,
        evidence=ask_call("open_promises", service=service),
        suggested=(why_call(ids[0]),),
    )


def _resolving(awakeable: str) -> SuggestedCall:
    arguments = (awakeable, Placeholder("answer"))
    return SuggestedCall("lab.ingress.resolve_awakeable", arguments, comment="with the answer that it waits for")


def _for(look: Look, since: datetime | None, count: int) -> str:
    if since is None:
        return ""
    ago = format_age(since, look.now)
    return f" for {ago}" if count == 1 else f", the oldest for {ago}"


def _waiters(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["waiter"] for row in rows))


def _oldest(rows: Sequence[Row]) -> datetime | None:
    return min((at for row in rows if (at := moment(row["since"]))), default=None)


def _services(targets: Sequence[str | None]) -> list[str]:
    return [(target or "unknown").partition("/")[0] for target in targets]
