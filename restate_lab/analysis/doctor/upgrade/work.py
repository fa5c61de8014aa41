"""The checks of work that an upgrade affects: old service protocols, long steps, and paused invocations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from restate_lab._text import format_age, join, plural, sentences, verb_form
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.model import MAX_IDS, Finding, Severity, Subject
from restate_lab.analysis.doctor.reader import Row, timestamp_of
from restate_lab.analysis.doctor.upgrade.reader import DEPLOYMENTS, OLD_PROTOCOL, PINNED, TARGET
from restate_lab.analysis.suggestions import SuggestedCall, ask_call, plan_call, why_call

_NOT_COUNTED = "Invocations without an attempt have no protocol yet and are not counted"
_AGAIN = (
    "The restart of a node ends these attempts, and the steps are executed again, also if they are still executing."
)


def finding(
    severity: Severity,
    title: str,
    evidence: SuggestedCall,
    *,
    subject: str,
    details: str = "",
    rows: Sequence[Row] = (),
    count: int | None = None,
    ids: Sequence[str] = (),
    since: datetime | None = None,
    suggested: tuple[SuggestedCall, ...] = (),
) -> Finding:
    """Return a finding; ``rows`` have the services. Without ``suggested``, the next step is to look at the evidence."""
    services = {str(row.get("target_service_name") or row.get("service_name") or "") for row in rows}
    return Finding(
        severity=severity,
        title=title,
        details=details,
        where=_handlers(rows),
        subject=Subject(subject, tuple(sorted(services - {""}))),
        count=len(ids) if count is None else count,
        ids=tuple(ids[:MAX_IDS]),
        since=since,
        evidence=evidence,
        suggested=suggested or (evidence,),
    )


def upgrade_protocols(context: CheckContext) -> list[Finding]:
    """Find open invocations and deployments with a service protocol that 1.8 does not support."""
    counts = context.rows("old_protocol_counts", newest=OLD_PROTOCOL)
    pinned = sum(int(row["n"]) for row in counts if row["is_pinned"])
    waiting = Counter({row["target_service_name"]: int(row["n"]) for row in counts if not row["is_pinned"]})
    deployments = context.rows("old_protocol_deployments", newest=OLD_PROTOCOL)
    return [
        *([_pinned_finding(context, pinned)] if pinned else []),
        *(_deployment_finding(context, row, waiting) for row in deployments),
    ]


def upgrade_running(context: CheckContext) -> list[Finding]:
    """Find paused invocations, and steps that have been executing for so long that a restart interrupts them."""
    before = context.now - context.thresholds.waiting
    attempts = context.rows("long_attempts", before=before, limit=MAX_IDS)
    if len(attempts) == MAX_IDS:
        context.excluded.append(f"only the journals of the {MAX_IDS:,} longest attempts were read")
    steps = context.rows("open_steps", ids=[row["id"] for row in attempts], before=before) if attempts else []
    paused = context.ask_first("paused", limit=MAX_IDS)
    return [
        *([_steps_finding(context, steps)] if steps else []),
        *([_paused_finding(context, paused)] if paused else []),
    ]


def _pinned_finding(context: CheckContext, count: int) -> Finding:
    rows = context.rows("old_protocol_invocations", newest=OLD_PROTOCOL, limit=MAX_IDS)
    ids = tuple(row["id"] for row in rows)
    uses, fails = verb_form(count, "uses", "use"), verb_form(count, "fails", "fail")
    wait = SuggestedCall("wait_for", (ids,), comment=f"with {TARGET} they can only be restarted as new")
    return finding(
        Severity.CRITICAL,
        f"{plural(count, 'open invocation')} of {_handlers(rows)} {uses} service protocol {OLD_PROTOCOL} or older and "
        f"{fails} after the upgrade (RT0020)",
        SuggestedCall("lab.sql", (PINNED,)),
        subject="invocations",
        details=sentences("Let them end before the upgrade, or cancel them", _NOT_COUNTED),
        rows=rows,
        count=count,
        ids=ids,
        since=timestamp_of(rows[0]["created_at"]) if rows else None,
        suggested=(wait, plan_call("cancel", ids, comment="only if they cannot end", total=count)),
    )


def _deployment_finding(context: CheckContext, row: Row, waiting: Counter[str]) -> Finding:
    services = deployment.latest_of if (deployment := context.deployments.get(row["id"])) else ()
    return finding(
        Severity.CRITICAL if services else Severity.NOTE,
        f"the deployment {row['endpoint'] or row['id']} has service protocol "
        f"{int(row['max_service_protocol_version'])}, which {TARGET} does not support",
        SuggestedCall("lab.sql", (DEPLOYMENTS,)),
        subject=row["id"],
        details=_deployment_details(services, sum(waiting[service] for service in services)),
        rows=[{"service_name": service} for service in services],
        ids=[row["id"]],
        since=timestamp_of(row["created_at"]),
        suggested=(ask_call("deployment_pins"),),
    )


def _deployment_details(services: Sequence[str], waiting: int) -> str:
    if not services:
        return "No service has its latest revision there."
    waits = f"{plural(waiting, 'open invocation')} without an attempt would start there" if waiting else ""
    return sentences(f"Register {join(services)} with a newer SDK before the upgrade", waits)


def _steps_finding(context: CheckContext, steps: Sequence[Row]) -> Finding:
    ids, since = list(dict.fromkeys(row["id"] for row in steps)), timestamp_of(steps[0]["appended_at"])
    known = list(context.rows_by_id("invocations", ids))
    names = join(dict.fromkeys(f"“{row['name'] or ''}”" for row in steps))
    return finding(
        Severity.WARNING,
        f"{plural(len(ids), 'invocation')} of {_handlers(known)} {verb_form(len(ids), 'has', 'have')} been executing "
        f"{names} for up to {format_age(since, context.now)}",
        SuggestedCall("journal", (ids[0],)),
        subject="steps",
        details=_AGAIN,
        rows=known,
        ids=ids,
        since=since,
        suggested=(why_call(ids[0]),),
    )


def _paused_finding(context: CheckContext, rows: Sequence[Row]) -> Finding:
    count = max(len(rows), context.census.count_open("paused"))
    stays = verb_form(count, "stays", "stay")
    title = f"{plural(count, 'paused invocation')} of {_handlers(rows)} {stays} paused"
    ids, call = [row["id"] for row in rows], ask_call("paused")
    details = "The upgrade does not resume them."
    return finding(Severity.NOTE, title, call, subject="paused", details=details, rows=rows, count=count, ids=ids)


def _handlers(rows: Sequence[Row]) -> str:
    """Return the handlers of rows, or their services if they have no handlers."""
    names = (row.get("target_service_name") or row.get("service_name") for row in rows)
    handlers = (row.get("target_handler_name") for row in rows)
    pairs = zip(names, handlers, strict=True)
    return join(dict.fromkeys(f"{name}/{handler}" if handler else str(name) for name, handler in pairs if name))
