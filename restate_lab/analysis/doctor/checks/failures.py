"""What has ended badly, or slowly, or will soon leave no trace; what was begun again, or twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from restate_lab._text import format_timestamp, join, one_line, plural, verb_form
from restate_lab.analysis.doctor.census import Ended
from restate_lab.analysis.doctor.checks.retries import StepGroup, by_step, groups
from restate_lab.analysis.doctor.context import IDS, MOST, Blocked, Finding, Look, Row, Severity, moment
from restate_lab.analysis.patterns import common_message, normalize, summarize_messages
from restate_lab.analysis.records import none_if_missing
from restate_lab.analysis.suggestions import SuggestedCall, ask_call, plan_call, why_call

__all__ = ["expiring_evidence", "paused", "restarts", "reused_keys", "terminal_failures"]

_KINDS = 5  # kinds of failures of one handler that have a finding each


def terminal_failures(look: Look) -> list[Finding]:
    """Find handlers that fail for good more often than they should, by kind of message."""
    ended = look.ended
    if not look.census.fails_often(look.thresholds):
        return _seldom(ended)
    causes, callers = _passed_on([{**row, "message": _coded_message(row)} for row in look.failed()])
    often: dict[tuple[str, str], list[list[Row]]] = defaultdict(list)
    rest: list[Row] = []
    for members in sorted(groups(causes, lambda row: (*_handler(row), row["message"])), key=len, reverse=True):
        handler = _handler(members[0])
        is_often = (
            len(members) >= look.thresholds.failures
            and ended.get(handler, Ended()).rate >= look.thresholds.failure_rate
        )
        if is_often and len(often[handler]) < _KINDS:
            often[handler].append(members)
        else:
            rest += members
    findings = [_failures(members, ended[handler], callers) for handler, kinds in often.items() for members in kinds]
    return findings + ([_single_failures(rest)] if rest else [])


def expiring_evidence(look: Look) -> list[Finding]:
    """Count failures whose journal or record expires soon."""
    count = look.census.total("expiring", ending="failed")
    if not count:
        return []
    within = look.thresholds.expires_within
    # The question has those that were cancelled or killed, too.
    rows = [row for row in look.ask_quietly("expiring", until=within, limit=MOST) if row["status"] == "failed"]
    counts = look.census.of_handlers("expiring", ending="failed")
    handlers = join(f"{service}/{handler}" for (service, handler), _ in counts)
    times = [moment(row["expires_first"]) for row in look.census.rows if row["ending"] == "failed"]
    first = min((at for at in times if at), default=None)
    return [
        Finding(
            severity=Severity.NOTE,
            summary=f"what {plural(count, 'failed invocation')} of {handlers} left behind expires"
            + (f" from {format_timestamp(first, now=look.now)} on" if first else " soon"),
            where=handlers,
            count=count,
            ids=tuple(row["id"] for row in rows)[:IDS],
            evidence=ask_call("expiring", until=f"{within.total_seconds():g}s"),
            suggested=(SuggestedCall("freeze", ("before-it-expires.evidence",)),),
        )
    ]


def restarts(look: Look) -> list[Finding]:
    """Count invocations that were restarted as new ones."""
    if not look.census.total("restarted"):
        return []
    rows = look.ask("restarts", limit=MOST)
    before = {row["id"]: row["restarted_from"] for row in rows}
    lines = {id_: _line(id_, before) for id_ in before if id_ not in set(before.values())}
    longest = max(lines.values(), key=len)
    ids = list(dict.fromkeys(id_ for line in sorted(lines.values(), key=len, reverse=True) for id_ in line))
    handlers = join(f"{row['target_service_name']}/{row['target_handler_name']}" for row in rows)
    count = len(rows)
    return [
        Finding(
            severity=Severity.NOTE,
            summary=f"{plural(count, 'invocation')} of {handlers} {verb_form(count, 'was', 'were')} restarted as new"
            + (f"; the longest line has {len(longest) - 1:,} restarts" if len(longest) > 2 else ""),
            where=handlers,
            count=count,
            ids=tuple(ids[:IDS]),
            since=min((at for row in rows if (at := moment(row["created_at"]))), default=None),
            evidence=ask_call("restarts"),
            suggested=(why_call(longest[0]),),
        )
    ]


def reused_keys(look: Look) -> list[Finding]:
    """Count idempotency keys that were used for the same handler under several object keys."""
    rows = look.sql("reused_keys", limit=IDS) if look.census.total("keyed") > 1 else []
    if not rows:
        return []
    handlers, count = join(map("/".join, map(_handler, rows))), len(rows)
    many = "at least " if count == IDS else ""
    keys = join(one_line(row["idempotency_key"], 40) for row in rows)
    return [
        Finding(
            severity=Severity.NOTE,
            summary=f"{many}{plural(count, 'idempotency key')} ({keys}) "
            f"{verb_form(count, 'was', 'were')} used for several objects of {handlers}: each began an invocation "
            f"of its own",
            where=handlers,
            count=count,
            ids=tuple(dict.fromkeys(row[side] for row in rows for side in ("one_id", "other_id")))[:IDS],
            since=min((at for row in rows if (at := moment(row["first_created_at"]))), default=None),
            evidence=ask_call("repeated_idempotency_keys"),
            suggested=(why_call(rows[0]["one_id"]),),
        )
    ]


def _passed_on(rows: Sequence[Row]) -> tuple[list[Row], Mapping[str, str]]:
    """Return the failures without those of callers that only passed on a failure, and these by whom they called."""
    by_id = {row["id"]: row for row in rows}
    callers: dict[str, str] = {}
    for row in rows:
        caller = by_id.get(none_if_missing(row["invoked_by_id"]) or "")
        if caller is not None and caller["message"] == row["message"]:
            callers[row["id"]] = caller["id"]
    return [row for row in rows if row["id"] not in set(callers.values())], callers


def _upward(ids: Iterable[str], callers: Mapping[str, str]) -> Blocked:
    """Return who failed because one of these did, through all callers."""
    found: dict[str, None] = {}
    for id_ in ids:
        caller = callers.get(id_)
        while caller is not None and caller not in found:
            found[caller] = None
            caller = callers.get(caller)
    return Blocked(tuple(found)[:IDS], len(found))


def _failures(rows: Sequence[Row], ended: Ended, callers: Mapping[str, str]) -> Finding:
    service, handler = _handler(rows[0])
    blocked = _upward((row["id"] for row in rows), callers)
    more = f"; {plural(blocked.count, 'caller')} failed with {verb_form(len(rows), 'it', 'them')}" if blocked else ""
    count, times = len(rows), [at for row in rows if (at := moment(row["completed_at"]))]
    last = max(rows, key=lambda row: moment(row["completed_at"]) or datetime.min.replace(tzinfo=times[0].tzinfo))
    return Finding(
        severity=Severity.WARNING,
        summary=f"{plural(count, 'invocation')} of {service}/{handler} failed for good: {one_line(_said(rows), 160)}; "
        f"{ended.rate:.0%} of its ends are failures{more}",
        where=f"{service}/{handler}",
        count=count,
        ids=tuple(row["id"] for row in rows)[:IDS],
        blocked=blocked,
        since=min(times, default=None),
        evidence=ask_call("terminal_failures", service=service),
        suggested=(why_call(last["id"]),),
    )


def _seldom(ended: Mapping[tuple[str, str], Ended]) -> list[Finding]:
    """Return what the census alone tells, where no handler fails often."""
    failed = sorted(((each.failed, handler) for handler, each in ended.items() if each.failed), reverse=True)
    count, handlers = sum(n for n, _ in failed), join("/".join(handler) for _, handler in failed)
    if not failed:
        return []
    return [
        Finding(
            severity=Severity.NOTE,
            summary=f"{plural(count, 'invocation')} of {handlers} failed for good, few or seldom",
            where=handlers,
            count=count,
            ids=(),
            evidence=ask_call("terminal_failures"),
            suggested=(ask_call("terminal_failures"),),
        )
    ]


def _single_failures(rows: Sequence[Row]) -> Finding:
    count, handlers = len(rows), join("/".join(_handler(row)) for row in rows)
    messages = join((one_line(_said(alike), 80) for alike in groups(rows, lambda row: row["message"])), most=2)
    return Finding(
        severity=Severity.NOTE,
        summary=f"{plural(count, 'invocation')} of {handlers} failed for good, few or seldom: {messages}",
        where=handlers,
        count=count,
        ids=tuple(row["id"] for row in rows)[:IDS],
        since=min((at for row in rows if (at := moment(row["completed_at"]))), default=None),
        evidence=ask_call("terminal_failures"),
        suggested=(ask_call("terminal_failures"),),
    )


def _coded_message(row: Row) -> str:
    """Return the kind of a failure, with its code."""
    return _coded(row, normalize(str(row["failure"] or "")))


def _said(rows: Sequence[Row]) -> str:
    """Return the message of failures of one kind: as it is where all are the same."""
    return _coded(rows[0], common_message([str(row["failure"] or "") for row in rows]))


def _coded(row: Row, message: str) -> str:
    code, found, _ = str(row["failure"] or "").removeprefix("[").partition("]")
    return f"[{code.split(' ')[0]}] {message}" if found and str(row["failure"]).startswith("[") else message


def _handler(row: Row) -> tuple[str, str]:
    return row["target_service_name"], row["target_handler_name"]


def _line(id_: str, before: Mapping[str, str]) -> list[str]:
    """Return an invocation, the one that it was restarted from, and so on."""
    line = [id_]
    while (earlier := before.get(line[-1])) and earlier not in line:
        line.append(earlier)
    return line


def paused(look: Look) -> list[Finding]:
    """Find paused invocations by handler, code and step; those pinned to a removed deployment are told elsewhere."""
    count = look.census.open("paused")
    if not count:
        return []
    rows = [row for row in look.paused() if _is_deployed(look, row)]
    found = by_step(rows, _kind, lambda row: none_if_missing(row["step"]))
    return [_paused(look, alike) for group in found for alike in _by_message(group)]


def _by_message(group: StepGroup[Row]) -> list[StepGroup[Row]]:
    """Tell kinds of messages apart, as each may need something else; many kinds are one storm in many words."""
    messages = [normalize(each) for each in group.messages(_pause_message)]
    kinds = groups(range(len(messages)), lambda at: messages[at])
    return [group.of(each) for each in kinds] if len(kinds) <= _KINDS else [group]


def _pause_message(row: Row) -> str:
    return none_if_missing(row["message"]) or ""


def _kind(row: Row) -> tuple[object, ...]:
    return (
        row["target_service_name"],
        row["target_handler_name"],
        none_if_missing(row["error_code"]),
        none_if_missing(row["message"]) is None,
    )


def _is_deployed(look: Look, row: Row) -> bool:
    return none_if_missing(row["deployment_id"]) is None or row["deployment_id"] in look.deployments


def _paused(look: Look, group: StepGroup[Row]) -> Finding:
    rows = group.members
    first, ids = rows[0], [row["id"] for row in rows]
    count, blocked = len(rows), look.behind(ids)
    handler = f"{first['target_service_name']}/{first['target_handler_name']}"
    message, code, step = none_if_missing(first["message"]), none_if_missing(first["error_code"]), group.words()
    at = f" in {step}" if step else ""
    # Without vqueues the event is the same whether the policy gave up or somebody paused it between two attempts.
    why = (
        f"after failing{at}: [{code or 'no code'}] {summarize_messages(group.messages(_pause_message))}"
        if message
        else "by hand"
    )
    more = f"; {blocked.count:,} {verb_form(blocked.count, 'waits', 'wait')} behind" if blocked else ""
    evidence = ask_call("paused", service=first["target_service_name"])
    return Finding(
        severity=Severity.CRITICAL if message or blocked else Severity.WARNING,
        summary=f"{plural(count, 'invocation')} of {handler} {verb_form(count, 'is', 'are')} paused {why}; "
        f"{verb_form(count, 'it goes', 'they go')} on only when resumed{more}",
        where=handler,
        count=count,
        ids=tuple(ids[:IDS]),
        blocked=blocked,
        since=min((found for row in rows if (found := moment(row["paused_at"]))), default=None),
        evidence=evidence,
        suggested=(plan_call("resume", ids[:IDS], total=count, comment="once its cause is gone" if message else ""),),
    )
