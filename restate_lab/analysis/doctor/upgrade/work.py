"""The checks of what an upgrade affects.

Old service protocols, long steps, paused invocations, and changes of state: those that the migration drops, and those
that replicas may lack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from restate_lab._text import format_age, join, plural, sentences, verb_form
from restate_lab.analysis.doctor.census import MAX_ROWS
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.model import MAX_IDS, Finding, Severity, Subject
from restate_lab.analysis.doctor.reader import Row, timestamp_of
from restate_lab.analysis.doctor.upgrade.reader import (
    CHANGES,
    DEPLOYMENTS,
    HELD,
    OLD_PROTOCOL,
    PINNED,
    TARGET,
    state_changes,
    uses_vqueues,
)
from restate_lab.analysis.suggestions import ask_call, plan_call, why_call
from restate_lab.calls import SuggestedCall
from restate_lab.server import is_older

_CONSISTENT = "1.7.13"  # from here on, all replicas apply a change of state (Restate issue 5416)
_UNSEEN = (
    "In partitions without vqueues, SQL does not show waiting changes; this computer's audit log has only its own",
    "Wait until the holders end, and change no state of these keys before the upgrade is complete",
    "The server logs each dropped change as “[VQueues Migration] Ignoring inboxed state mutation”: send it again",
)
_REPLICAS = (
    f"With vqueues, followers can skip such changes before {_CONSISTENT}, and a new leader lacks them (Restate #5416)",
    "SQL reads the leader only; `restatectl config get` shows the replication",
    "With more than one replica, write the state again after the upgrade",
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
    pinned = sum(int(row["invocations"]) for row in counts if row["is_pinned"])
    waiting = Counter({row["target_service_name"]: int(row["invocations"]) for row in counts if not row["is_pinned"]})
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


def upgrade_state_changes(context: CheckContext) -> list[Finding]:
    """Find changes of state that wait for a key: the migration drops those that are not in a vqueue."""
    held = context.rows("held_keys", limit=MAX_ROWS)
    queued = context.rows("state_changes", limit=MAX_ROWS)
    return [
        *([_held_finding(held, _changes_since(context, held))] if held else []),
        *([_queued_finding(queued)] if queued else []),
    ]


def replica_notes(context: CheckContext) -> list[Finding]:
    """Return the note about changes of state that replicas may lack, with the records of this computer."""
    if not uses_vqueues(context) or not is_older(context.source.version, _CONSISTENT):
        return []
    changed = Counter(target for record in state_changes(context) for target in record["targets"])
    title = "replicas may lack changes of state that were made through the Admin API"
    details = sentences(*_REPLICAS, _records_text(context, changed))
    call = SuggestedCall("rl.audit_log")
    return [finding(Severity.NOTE, title, call, subject="replicas", details=details, count=changed.total())]


def _pinned_finding(context: CheckContext, count: int) -> Finding:
    rows = context.rows("old_protocol_invocations", newest=OLD_PROTOCOL, limit=MAX_IDS)
    ids = tuple(row["id"] for row in rows)
    uses, fails = verb_form(count, "uses", "use"), verb_form(count, "fails", "fail")
    them, they = verb_form(count, "it", "them"), verb_form(count, "it", "they")
    wait = SuggestedCall("wait_for", (ids,), comment=f"with {TARGET} {they} can only be restarted as new")
    return finding(
        Severity.CRITICAL,
        f"{plural(count, 'open invocation')} of {_handlers(rows)} {uses} service protocol {OLD_PROTOCOL} or older and "
        f"{fails} after the upgrade (RT0020)",
        SuggestedCall("lab.sql", (PINNED,)),
        subject="invocations",
        details=sentences(
            f"Let {them} end before the upgrade, or cancel {them}",
            "Invocations without an attempt have no protocol yet and are not counted",
        ),
        rows=rows,
        count=count,
        ids=ids,
        since=timestamp_of(rows[0]["created_at"]) if rows else None,
        suggested=(wait, plan_call("cancel", ids, comment=f"only if {they} cannot end", total=count)),
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
        details="The restart of a node ends such an attempt, and the step is executed again, even while it still runs.",
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
    details = f"The upgrade does not resume {verb_form(count, 'it', 'them')}."
    return finding(Severity.NOTE, title, call, subject="paused", details=details, rows=rows, count=count, ids=ids)


def _handlers(rows: Sequence[Row]) -> str:
    """Return the handlers of rows, or their services if they have no handlers."""
    names = (
        (row.get("target_service_name") or row.get("service_name"), row.get("target_handler_name")) for row in rows
    )
    return join(f"{service}/{handler}" if handler else str(service) for service, handler in names if service)


def _records_text(context: CheckContext, changed: Counter[str]) -> str:
    if context.audit_records is None:
        return "The audit log of this computer was not read, because this source is not a live cluster"
    if not changed:
        return "The audit log of this computer has no change of state of this cluster"
    changes = plural(changed.total(), "change")
    return f"The audit log of this computer has {changes} of state of this cluster: {join(changed)}"


def _queued_finding(rows: Sequence[Row]) -> Finding:
    count, keys = len(rows), join(dict.fromkeys(str(row["key"]) for row in rows))
    title = f"{plural(count, 'change')} of state of {keys} {verb_form(count, 'waits', 'wait')} in a vqueue"
    return finding(
        Severity.NOTE,
        title,
        SuggestedCall("lab.sql", (CHANGES,)),
        subject="queued",
        details="The migration keeps changes that are in a vqueue.",  # observed on 1.7.12
        rows=rows,
        ids=[row["entry_id"] for row in rows],
        since=timestamp_of(rows[0]["created_at"]),
        suggested=(ask_call("blocked_keys", comment="the invocations that hold the keys"),),
    )


def _held_finding(rows: Sequence[Row], sent: Counter[str]) -> Finding:
    """Return the finding about keys for which changes of state can wait; ``sent`` has the changes that certainly do."""
    held = f"{plural(len(rows), 'key')} ({join(map(_key_of, rows))}) {verb_form(len(rows), 'is', 'are')} held"
    title = f"{held}: the migration drops changes of state that wait for {verb_form(len(rows), 'it', 'them')}"
    return finding(
        Severity.CRITICAL if sent else Severity.WARNING,
        _sent_title(sent) if sent else title,
        SuggestedCall("lab.sql", (HELD,)),
        subject="held",
        details=sentences(held if sent else "", *_UNSEEN),
        rows=rows,
        ids=[row["invocation_id"] for row in rows],
        suggested=(why_call(rows[0]["invocation_id"]),),
    )


def _sent_title(sent: Counter[str]) -> str:
    count = sent.total()
    waits = f"{plural(count, 'change')} of state of {join(sent)} {verb_form(count, 'waits', 'wait')} for a holder"
    return f"{waits}, and the migration drops {verb_form(count, 'it', 'them')}"


def _changes_since(context: CheckContext, held: Sequence[Row]) -> Counter[str]:
    """Return the keys whose state was changed from this computer since their holder has them: these changes wait."""
    since = {_key_of(row): at for row in held if (at := timestamp_of(row["running_at"]))}
    changes = [(timestamp_of(record["time"]), each) for record in state_changes(context) for each in record["targets"]]
    return Counter(target for time, target in changes if time is not None and target in since and time >= since[target])


def _key_of(row: Row) -> str:
    return f"{row['service_name']}/{row['service_key']}"
