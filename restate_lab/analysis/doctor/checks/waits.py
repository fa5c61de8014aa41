"""Checks of waits that do not end: deadlocks, queues for keys, own steps, awakeables, promises."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from restate_lab._text import format_age, join, one_line, plural, sentences, verb_form
from restate_lab.analysis.doctor.census import Handler, handler_of_target
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.model import MAX_IDS, Blocked, Finding, Severity, Subject
from restate_lab.analysis.doctor.reader import Row, earliest, timestamp_of
from restate_lab.analysis.draining.model import Group
from restate_lab.analysis.patterns import group_by
from restate_lab.analysis.suggestions import ask_call, plan_call, why_call
from restate_lab.analysis.waits import blocker_frame, deadlock_frame
from restate_lab.analysis.waits.model import Edge, edges_by_waiter
from restate_lab.analysis.waits.text import describe_state
from restate_lab.calls import Placeholder, SuggestedCall
from restate_lab.frames import records

_MAX_CANCELLED = 20  # deadlocks of one kind in a suggested call
# Other checks report invocations with these statuses, and the ones that wait for them.
_STATUSES_OF_OTHER_CHECKS = {"backing-off", "paused"}


def deadlocks(context: CheckContext) -> list[Finding]:
    """Find invocations that wait for each other or for themselves."""
    if context.waits is None:
        return []
    context.excluded += context.waits.snapshot.excluded
    grouped = group_by(
        records(deadlock_frame(context.waits)),
        lambda row: (row["certain"], row["length"] == 1, _services(row["targets"])),
    )
    return [_deadlock_finding(context, members) for members in grouped]


def blocked_keys(context: CheckContext) -> list[Finding]:
    """Find invocations that block the queue of a key and that no other check reports."""
    # This reads nothing. It adds the messages about unread data even if another check has already found the blockers.
    context.edges("key")
    return [_blocked_key_finding(context, blocker) for blocker in context.once(_queue_blockers)]


def suspended_on_run(context: CheckContext) -> list[Finding]:
    """Find invocations suspended on their own step: the server waits for a result that cannot arrive."""
    return [_suspended_on_run_finding(context, group) for group in _groups(context.edges("run"), "alternative")]


def awakeables(context: CheckContext) -> list[Finding]:
    """Find awakeables that are not resolved in time, and count the more recent ones."""
    edges = _edges_without_queue(context, "awakeable")
    groups = _groups(edges.assign(forgotten=_are_forgotten(context, edges)), "forgotten")
    return [_awakeable_finding(context, group) for group in groups]


def promises(context: CheckContext) -> list[Finding]:
    """Count the promises that workflows wait for."""
    rows = records(_edges_without_queue(context, "promise"))
    grouped = group_by(rows, lambda row: (handler_of_target(row["waiter_target"])[0], row["detail"]))
    return [_promise_finding(context, members) for members in grouped]


@dataclass(frozen=True, slots=True)
class _EdgeGroup:
    """Edges of one kind and handler, oldest first; ``flag`` is their common value in the column for grouping.

    ``ids`` are the waiting invocations; the first one has waited since ``since``.
    """

    handler: Handler
    flag: bool
    edges: pd.DataFrame
    ids: list[str]
    since: datetime | None


def _groups(edges: pd.DataFrame, flag: str) -> list[_EdgeGroup]:
    handlers = {target: handler_of_target(target) for target in edges["waiter_target"].unique()}
    groups: dict[tuple[Handler, bool], list[int]] = defaultdict(list)
    for at, (target, value) in enumerate(zip(edges["waiter_target"].tolist(), edges[flag].tolist(), strict=True)):
        groups[handlers[target], value].append(at)
    return [
        _EdgeGroup(
            handler, value, rows, list(dict.fromkeys(rows["waiter"].tolist())), timestamp_of(rows["since"].min())
        )
        for (handler, value), at in groups.items()
        for rows in [edges.iloc[at]]
    ]


@dataclass(frozen=True, slots=True)
class _QueueBlocker:
    """A root blocker with a queue for a key; ``row`` is its row from ``waits``, ``awaited`` are its own edges.

    ``queue`` has the edges of the queue, oldest first; its first call has waited since ``since``. ``unread`` counts the
    calls in the queue that were not read.
    """

    row: Row
    blocked: Blocked
    awaited: Sequence[Edge]
    queue: pd.DataFrame
    unread: int
    since: datetime | None


def _edges_without_queue(context: CheckContext, kind: str) -> pd.DataFrame:
    """Return the edges of a kind; excludes waiters whose queue is reported as critical or as a warning."""
    edges = context.edges(kind)
    blockers = context.once(_queue_blockers) if len(edges) else []
    reported = [each.row["id"] for each in blockers if _key_severity(context, each) is not Severity.NOTE]
    same = {id_ for reported_id in reported for id_ in _same_promise(context, reported_id)}
    return edges[~edges["waiter"].isin(same)]


def _same_promise(context: CheckContext, id_: str) -> list[str]:
    """Return an invocation and then the others of its workflow that wait for the same promise."""
    edges = records(context.edges("promise"))
    mine = {_promise_of(row) for row in edges if row["waiter"] == id_}
    return list(dict.fromkeys([id_, *(row["waiter"] for row in edges if _promise_of(row) in mine)]))


def _promise_of(row: Row) -> tuple[str, str]:
    """Return the service and key of the workflow, and the promise; the name of a handler has no slash."""
    return (row["waiter_target"] or "").rpartition("/")[0], row["detail"]


def _queue_blockers(context: CheckContext) -> list[_QueueBlocker]:
    edges = context.edges("key")
    if context.waits is None or edges.empty:
        return []
    graph = context.waits.graph
    excluded = _ids_of_other_checks(context)
    ends = graph.ends_of(edges["blocker"].dropna()) - excluded
    nodes = context.waits.snapshot.nodes.select(ends)
    chosen = {id_ for id_, node in nodes.items() if node.status not in _STATUSES_OF_OTHER_CHECKS}
    rows = records(blocker_frame(context.source, context.waits, context.waits.root_blockers(chosen)))
    awaited = edges_by_waiter(context.waits.snapshot.edges, chosen)
    positions = {id_: at for at, id_ in enumerate(edges["waiter"])}
    blockers = []
    for row in rows:
        waiting, blocked = graph.waiters_of([row["id"]]), context.blocked_by([row["id"]])
        queue = edges.iloc[sorted(positions[id_] for id_ in waiting if id_ in positions)]
        unread, since = blocked.count - len(waiting), timestamp_of(queue["since"].min())
        if len(queue):
            blockers.append(_QueueBlocker(row, blocked, awaited.get(row["id"], ()), queue, unread, since))
    return blockers


def _deadlock_finding(context: CheckContext, rows: Sequence[Row]) -> Finding:
    first, is_certain, services = rows[0], rows[0]["certain"], _services(rows[0]["targets"])
    ids = [id_ for row in rows for id_ in row["members"]]
    waiting = sum(int(row["waiting"] or 0) for row in rows)
    blocked = context.blocked_by(ids, at_least=waiting)
    since = earliest(rows, "since")
    is_young = context.age(since) < context.thresholds.waiting
    kind = "deadlock" if is_certain else "possible deadlock"
    keys = join(key for row in rows for key in (row["keys"] or row["targets"]))
    others = f" (and {plural(len(rows) - 1, 'more like it', 'more like it')})" if len(rows) > 1 else ""
    return Finding(
        severity=Severity.CRITICAL if is_certain else Severity.NOTE if is_young else Severity.WARNING,
        title=f"{plural(len(rows), kind)} {_place_of(rows, services)}",
        details=sentences(f"{one_line(first['description'], 240)}{others}"),
        where=keys,
        subject=Subject(f"{', '.join(services)}{' itself' if first['length'] == 1 else ''}", services),
        count=len(ids),
        ids=tuple(ids[:MAX_IDS]),
        blocked=blocked,
        since=since,
        evidence=SuggestedCall("waits", result="deadlocks"),
        suggested=(plan_call("cancel", [row["cancel"] for row in rows[:_MAX_CANCELLED]], total=len(rows)),),
    )


def _place_of(rows: Sequence[Row], services: Sequence[str]) -> str:
    """Return where deadlocks are, one part for each: "of Warehouse: madrid–berlin, porto with itself"."""
    names = [list(row["keys"] or row["targets"]) for row in rows]
    prefix = f"{services[0]}/" if len(services) == 1 else ""
    if not all(each.startswith(prefix) for members in names for each in members):
        prefix = ""
    cycles = (
        "–".join(each.removeprefix(prefix) for each in members) + (" with itself" if len(members) == 1 else "")
        for members in names
    )
    return f"{f'of {services[0]}:' if prefix else 'at'} {join(cycles)}"


def _ids_of_other_checks(context: CheckContext) -> set[str]:
    ids = {each.id for each in context.retrying_invocations}
    ids |= set(context.edges("run")["waiter"])
    removed = {row["deployment_id"] for row in context.census.pinned_rows()} - set(context.deployments)
    return ids | {row["id"] for row in (context.ask("pinned_to_missing", limit=MAX_IDS) if removed else [])}


def _key_severity(context: CheckContext, blocker: _QueueBlocker) -> Severity:
    limits = context.thresholds
    queue, waited = len(blocker.queue) + blocker.unread, context.age(blocker.since)
    # A running holder will release the key; a suspended one, or one that waits for a slot, may not.
    moves = blocker.row["status"] == "running"
    is_long, is_old = queue >= limits.long_queue, waited >= limits.waiting_long
    if (is_long and is_old) or (not moves and (is_long or is_old)):
        return Severity.CRITICAL
    if waited >= limits.waiting or (not moves and queue >= limits.queue):
        return Severity.WARNING
    return Severity.NOTE


def _blocked_key_finding(context: CheckContext, blocker: _QueueBlocker) -> Finding:
    row, queue = blocker.row, len(blocker.queue) + blocker.unread
    target = str(row["target"] or row["id"])
    keys = join(blocker.queue["detail"])
    held_by_root = (blocker.queue["blocker"] == row["id"]).any()
    behind = f"held by {row['target']}" if held_by_root else f"whose holder waits for {row['target']}"
    awakeable = next((edge.detail for edge in blocker.awaited if edge.kind == "awakeable" and edge.detail), None)
    ids = _same_promise(context, row["id"])
    return Finding(
        severity=_key_severity(context, blocker),
        title=f"{plural(queue, 'call')} {verb_form(queue, 'queues', 'queue')} for {keys}, {behind} ({row['status']})",
        details=sentences(f"{row['target']} {describe_state(one_line(row['waits_for'], 160))}"),
        where=keys,
        subject=Subject(target, _services([target, *blocker.queue["detail"]])),  # the same while its queue changes
        count=len(ids),
        ids=tuple(ids[:MAX_IDS]),
        blocked=blocker.blocked,
        backlogs=tuple(_backlog_of_key(each) for each in dict.fromkeys(blocker.queue["detail"])),
        queued=queue,
        since=blocker.since,
        evidence=ask_call("blocked_keys"),
        suggested=(_resolve_call(awakeable) if awakeable else why_call(row["id"]),),
    )


def _backlog_of_key(key: str) -> Group:
    service, _, name = key.partition("/")
    return Group(service, name)


def _suspended_on_run_finding(context: CheckContext, group: _EdgeGroup) -> Finding:
    ids = group.ids
    count, blocked = len(ids), context.blocked_by(ids)
    service, handler = group.handler
    steps = join(f"“{one_line(detail or '', 40)}”" for detail in group.edges["detail"])
    rest = f"Another wait may still wake {verb_form(count, 'it', 'them')}" if group.flag else ""
    return Finding(
        severity=Severity.WARNING if group.flag else Severity.CRITICAL,
        title=f"{plural(count, 'invocation')} of {service}/{handler} {verb_form(count, 'is', 'are')} suspended on "
        f"{verb_form(count, 'its', 'their')} own step {steps}, which does not wake {verb_form(count, 'it', 'them')}",
        details=sentences("A suspended invocation does not wake for its own Run (server issue 5196)", rest),
        where=f"{service}/{handler}",
        count=count,
        ids=tuple(ids[:MAX_IDS]),
        blocked=blocked,
        since=group.since,
        evidence=ask_call("suspended_on_run", service=service),
        suggested=(plan_call("resume", ids[:MAX_IDS], total=count),),
    )


def _are_forgotten(context: CheckContext, edges: pd.DataFrame) -> pd.Series[bool]:
    """Return which awakeables are older than normal for their handler and are the only thing that can end the wait."""
    targets = edges["waiter_target"]
    by_target = {target: _awakeable_limit(context, handler_of_target(target)) for target in targets.unique()}
    limits = pd.Series(targets.map(by_target), dtype="timedelta64[us]")
    is_old: pd.Series[bool] = context.now - edges["since"] >= limits
    return is_old & ~edges["alternative"].astype(bool)


def _awakeable_limit(context: CheckContext, handler: Handler) -> timedelta:
    limits = context.thresholds
    ended = context.outcomes.get(handler)
    if ended is None or ended.succeeded < limits.answered or ended.median_ms is None:
        return limits.awakeable
    proportional = max(limits.waiting, timedelta(milliseconds=ended.median_ms) * limits.proportion)
    return min(limits.awakeable, proportional)


def _awakeable_finding(context: CheckContext, group: _EdgeGroup) -> Finding:
    ids, since, is_forgotten = group.ids, group.since, group.flag
    service, handler = group.handler
    count, blocked = len(ids), context.blocked_by(ids)
    suggested = why_call(context.most_blocking(ids))
    if is_forgotten and context.waits is not None:
        edges = edges_by_waiter(context.waits.snapshot.edges, ids[:1])[ids[0]]
        suggested = _resolve_call(next(edge.detail or "" for edge in edges if edge.kind == "awakeable"))
    return Finding(
        severity=Severity.WARNING if is_forgotten else Severity.NOTE,
        title=f"{plural(count, 'invocation')} of {service}/{handler} {verb_form(count, 'waits', 'wait')} for an "
        f"awakeable that is not resolved{_wait_duration(context, since, count)}"
        f"{'' if is_forgotten else ', which may be normal'}",
        where=f"{service}/{handler}",
        count=count,
        ids=tuple(ids[:MAX_IDS]),
        blocked=blocked,
        since=since,
        evidence=ask_call("open_awakeables", service=service),
        suggested=(suggested,),
    )


def _promise_finding(context: CheckContext, rows: Sequence[Row]) -> Finding:
    ids, service = list(dict.fromkeys(row["waiter"] for row in rows)), handler_of_target(rows[0]["waiter_target"])[0]
    count, since, blocked = len(ids), earliest(rows, "since"), context.blocked_by(ids)
    flows = list(dict.fromkeys(_promise_of(row)[0] for row in rows))
    return Finding(
        severity=Severity.NOTE,
        title=f"{plural(len(flows), 'workflow')} of {service} {verb_form(len(flows), 'waits', 'wait')} for "
        f"{verb_form(len(flows), 'its', 'their')} promise “{one_line(rows[0]['detail'] or '', 40)}”"
        f"{_wait_duration(context, since, count)}",
        details=sentences(join(flows)),
        where=join(flows),
        subject=Subject(f"{service}/{rows[0]['detail']}", (service,)),
        count=count,
        ids=tuple(ids[:MAX_IDS]),
        blocked=blocked,
        since=since,
        evidence=ask_call("open_promises", service=service),
        suggested=(why_call(context.most_blocking(ids)),),
    )


def _resolve_call(awakeable: str) -> SuggestedCall:
    return SuggestedCall(
        "lab.ingress.resolve_awakeable",
        (awakeable, Placeholder("answer")),
        comment="with the value that it waits for",
    )


def _wait_duration(context: CheckContext, since: datetime | None, count: int) -> str:
    if since is None:
        return ""
    ago = format_age(since, context.now)
    return f" for {ago}" if count == 1 else f", the oldest for {ago}"


def _services(targets: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({(target or "unknown").partition("/")[0] for target in targets}))
