"""The checks of changes of state: those that the migration drops, and those that replicas may lack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from restate_lab._text import join, plural, sentences, verb_form
from restate_lab.analysis.doctor.census import MAX_ROWS
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.model import Finding, Severity
from restate_lab.analysis.doctor.reader import Row, timestamp_of
from restate_lab.analysis.doctor.upgrade.reader import CHANGES, HELD, state_changes, uses_vqueues
from restate_lab.analysis.doctor.upgrade.work import finding
from restate_lab.analysis.suggestions import SuggestedCall, ask_call, why_call
from restate_lab.server import is_older

_CONSISTENT = "1.7.13"  # from here on, all replicas apply a change of state (Restate issue 5416)
_KEPT = "The migration keeps changes that are in a vqueue."  # observed on 1.7.12
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
        details=_KEPT,
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
