"""Why an invocation does not continue, by its status; also the phrases for times, failures and journal entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import pandas as pd

from restate_lab._text import format_age, format_timestamp, plural, truncate
from restate_lab.analysis.journal.diff import explain_mismatch
from restate_lab.analysis.journal.errors import UNREACHABLE, JournalEvent, describe_code
from restate_lab.analysis.patterns import without_refusal
from restate_lab.analysis.waits.model import Edge
from restate_lab.analysis.why.details import InvocationDetails
from restate_lab.status import IN_PROGRESS, UNKNOWN

_LONGEST = 300  # characters of a failure
_FEW = 3  # items of a list in a sentence
_READY_FOR = pd.Timedelta(minutes=1)  # the threshold ``ready_for`` of the doctor
_WAITS = MappingProxyType(
    {
        "awakeable": "the awakeable {detail}, which is not resolved",
        "promise": "the promise “{detail}”, which is not completed",
        "signal": "{detail}, which has not arrived",
        "state": "a value of its state",
        "run": "its own step “{detail}” (Run), which does not wake it",
        "attach": "the result of an invocation that has ended or no longer exists",
        "call": "the response to a call that has ended or no longer exists",
        "unknown": "something that is no longer in its journal",
    }
)


def describe_reason(details: InvocationDetails) -> str:
    """Return why an invocation does not continue, as one or more sentences."""
    reason = _failing_reason if details.is_failing else _REASONS.get(details.status, _unknown_reason)
    return f"{reason(details)} It {details.agent}." if details.agent else reason(details)


def _unknown_reason(details: InvocationDetails) -> str:
    return f"The reason is unknown: this version of restate_lab does not know the status {details.status}."


def _failing_reason(details: InvocationDetails) -> str:
    attempts = plural(details.failures, "attempt")
    sentences = [f"Every attempt fails: {attempts}{_failing_since(details)}, {_next_attempt(details)}."]
    error = details.error
    if details.mismatch and details.invocation:
        subject = f"{details.row['target']} ({details.row['id']})"
        sentences.append(explain_mismatch(details.invocation, details.mismatch).replace(subject, "It"))
    elif details.is_removed:
        sentences.append(
            f"It is pinned to the deployment {details.pinned_deployment}, which was removed: {_replacement(details)}."
        )
    elif details.has_stale_timer:
        sentences.append(describe_stale_timer(details))
    elif error and error.code in UNREACHABLE:
        deployment = details.deployment
        where = f": they go to the deployment {deployment}{_endpoint(details, deployment)}" if deployment else ""
        sentences.append(f"The attempts do not reach its code{where}.")
    if error and not details.mismatch:
        sentences.append(f"Last failure{_in_step(error)}: {describe_error(error)}.")
    return " ".join(sentences)


def _failing_since(details: InvocationDetails) -> str:
    """Return the time since which its attempts fail: the start of the failing entry, or else its first attempt."""
    error = details.error
    failing = [row for row in details.open_entries if error and row["name"] == error.command_name and row["name"]]
    began = failing[0]["started"] if failing else details.row["running_at"]
    if began is None or pd.isna(began):
        return " so far"
    return f" since {_time_and_age(began, details)}"


def _next_attempt(details: InvocationDetails) -> str:
    again = details.row["next_retry_at"]
    if again is None or again <= pd.Timestamp(details.now):
        return "and the next attempt is due"
    return f"and the next attempt starts at {format_time(again)}"


def _in_step(error: JournalEvent) -> str:
    return f" in the step {step_of(error)}" if step_of(error) else ""


def step_of(error: JournalEvent) -> str:
    """Return the entry in which an attempt failed, "“charge card” (Run)"; "" if it failed outside of entries."""
    if not error.command_type and not error.command_name:
        return ""
    return f"{f'“{error.command_name}” ' if error.command_name else ''}({error.command_type or 'Run'})"


def _replacement(details: InvocationDetails) -> str:
    service = details.row["target_service_name"]
    if details.latest is None:
        return f"no attempt can reach its code, and no registered deployment has the service {service}"
    latest = f"{details.latest}{_endpoint(details, details.latest)}"
    return f"no attempt can reach its code; the latest deployment of {service} is {latest}"


def _endpoint(details: InvocationDetails, deployment: str) -> str:
    endpoint = (details.deployments or {}).get(deployment)
    return f" at {endpoint}" if endpoint else ""


def _paused_reason(details: InvocationDetails) -> str:
    pause, error = details.pause, details.error
    at = pause.at if pause else details.row["modified_at"]
    paused = f"It does not run until it is resumed. It was paused at {_time_and_age(at, details, ' ago')}"
    if pause and pause.message:
        timer = f" {describe_stale_timer(details)}" if details.has_stale_timer else ""
        return f"{paused}, after it failed{_in_step(pause)}: {describe_error(pause)}. {_pause_cause(details)}{timer}"
    if pause is None and details.invocation and details.invocation.events is None:
        return f"{paused}; this source has no events that show the reason."
    before = f" Before that, it failed{_in_step(error)}: {describe_error(error)}." if error else ""
    return f"{paused} by hand: the pause has no failure.{before}"


def _pause_cause(details: InvocationDetails) -> str:
    """Return why an invocation with a failure was paused; with vqueues, a pause by hand has no failure."""
    if not details.has_run_in_vqueue:
        return "Restate does not record whether it ran out of attempts or was paused by hand."
    if details.was_retried:
        return "It ran out of attempts, or its handler asked for the pause."
    return "It was paused after one attempt: its retry policy allows only one, or its handler asked for the pause."


def describe_stale_timer(details: InvocationDetails) -> str:
    """Return the sentences about a timer that an earlier invocation with the same id left behind."""
    at = f" at {format_time(details.stale_timer)}" if details.stale_timer is not None else ""
    certainly = "A" if details.stale_timer is not None else "Probably, a"
    return (
        f"{certainly} timer of an earlier invocation with this id fired into this one{at}, so its journal has a result "
        "that the code did not ask for (#5425, fixed in restate 1.8.0; timers from before still fire). Retries do not "
        "repair the journal: start it again under a new id."
    )


def _suspended_reason(details: InvocationDetails) -> str:
    if not details.edges:
        return "None of its waits was found; it may have just continued."
    since = details.suspension.since if details.suspension else None
    since = since or details.edges[0].since
    sentence = f"It has waited since {_time_and_age(since, details)} for {describe_waits(details)}."
    if details.is_removed:
        return (
            f"{sentence} It is pinned to the deployment {details.pinned_deployment}, which is no longer registered: "
            f"when it wakes, its attempts will fail (RT0011)."
        )
    is_asleep = {edge.kind for edge in details.edges} == {"sleep"}
    return f"{sentence} It then wakes by itself; nothing is wrong with it." if is_asleep else sentence


def describe_waits(details: InvocationDetails) -> str:
    """Return the things it waits for: "the awakeable sign_1…, which is not resolved"; "" if unknown."""
    if details.combination or not details.edges:
        return details.combination
    waits = list(dict.fromkeys(_describe_wait(edge, details) for edge in details.edges))
    shown = waits if len(waits) <= _FEW else [*waits[:_FEW], plural(len(waits) - _FEW, "other thing")]
    return (", or " if details.edges[0].alternative else ", and ").join(shown)


def _describe_wait(edge: Edge, details: InvocationDetails) -> str:
    if edge.kind != "sleep":
        return _WAITS.get(edge.kind, "something").format(detail=edge.detail or "")
    names = [row["name"] for row in details.open_entries if row["wakes_at"] == edge.wakes_at and row["name"]]
    name = f" “{names[0]}”" if names and isinstance(names[0], str) else ""
    if edge.wakes_at is None:
        return f"its sleep{name}"
    return f"its sleep{name}, which ends at {format_time(edge.wakes_at)} (in {format_until(edge.wakes_at, details)})"


def format_until(value: datetime, details: InvocationDetails) -> str:
    """Return the time until ``value``, "4s"; "0s" if it is in the past."""
    return format_age(details.now, value)


def _running_reason(details: InvocationDetails) -> str:
    started = [row for row in details.open_entries[:_FEW] if pd.notna(row["started"])]
    if not started:
        return "It is running code of its handler: no entry of its journal is open."
    entries = [f"{describe_entry(row)} since {_time_and_age(row['started'], details)}" for row in started]
    return f"It is running. Open journal entries: {', '.join(entries)}."


def _pending_reason(details: InvocationDetails) -> str:
    vqueue = details.vqueue or {}
    if vqueue.get("is_paused"):
        return f"It waits in the vqueue {vqueue['id']}, which is paused."
    since = details.row["inboxed_at"] or details.row["created_at"]
    if details.has_unknown_holder:
        key = next((edge.detail for edge in details.edges if edge.kind == "key"), "")
        return (
            f"It has queued since {_time_and_age(since, details)} for the key {key}. The holder of the key is not "
            "known, because the partition is not migrated to vqueues yet; it is an open invocation of this key."
        )
    turn = f"It has waited since {_time_and_age(since, details)} for its turn{_vqueue_block(details)}."
    return _uncounted_reason(details) or turn


def _uncounted_reason(details: InvocationDetails) -> str:
    """Return that the scheduler does not count an invocation that was ready for long; "" if it may start soon."""
    vqueue = details.vqueue or {}
    ready, moved = vqueue.get("since"), vqueue.get("last_start_at")
    before = pd.Timestamp(details.now) - _READY_FOR
    if ready is None or ready >= before or (moved is not None and moved >= before):
        return ""
    if vqueue["is_paused"] or vqueue["status"] in {"blocked", "scheduled"}:
        return ""
    return (
        f"It has been ready since {_time_and_age(ready, details)}, nothing blocks its vqueue {vqueue['id']}, and the "
        "scheduler does not start it. Read it again in a minute. If this stays, the scheduler does not count it, and "
        "it starts when the leader of its partition changes; or its worker runs with disable-scheduler."
    )


def _vqueue_block(details: InvocationDetails) -> str:
    blocked_on = (details.vqueue or {}).get("blocked_on")
    return f"; the head of its vqueue is blocked on {blocked_on}" if blocked_on else ""


def _scheduled_reason(details: InvocationDetails) -> str:
    start = details.row["scheduled_start_at"]
    if start is None:
        return "It is scheduled to start later."
    if start <= pd.Timestamp(details.now):
        return f"It was scheduled to start at {format_time(start)}; the server starts it as soon as possible."
    time = f"{format_time(start)} (in {format_until(start, details)})"
    return f"It is scheduled to start at {time}; nothing is wrong with it."


_REASONS: Mapping[str, Callable[[InvocationDetails], str]] = MappingProxyType(
    {
        "suspended": _suspended_reason,
        "running": _running_reason,
        "ready": lambda details: (
            _uncounted_reason(details) or f"It waits for a free slot of the invoker{_vqueue_block(details)}."
        ),
        "pending": _pending_reason,
        "scheduled": _scheduled_reason,
        "paused": _paused_reason,
        IN_PROGRESS: lambda _: "It was running, ready or backing off: which one is not recorded for an earlier time.",
        UNKNOWN: lambda _: "Its journal and events do not show whether it was in progress, suspended or paused then.",
    }
)


def describe_error(error: JournalEvent) -> str:
    """Return the error of an attempt: its code, the meaning of the code, and the first line of the message."""
    code = describe_code(error.code)
    return f"[{code}] {first_line(error.message)}" if code else first_line(error.message)


def describe_entry(entry: Mapping[Any, Any]) -> str:
    """Return the text for a row of ``journal``: 'its step “charge card” (Run)', 'its Call of Payments/charge'."""
    names = (entry[column] for column in ("name", "promise", "state_key"))
    name = next((str(each) for each in names if isinstance(each, str) and each), "")
    if entry["entry_type"] == "Run":
        return f"its step “{name}” (Run)" if name else "a step without a name (Run)"
    target = entry["callee_target"]
    of = f" of {target}" if isinstance(target, str) and target else ""
    return f"its {entry['entry_type']}{f' “{name}”' if name else ''}{of}"


def first_line(text: str | None) -> str:
    """Return the first line of a failure, truncated, and without the text with which a model refused."""
    line = without_refusal(text or "").strip().partition("\n")[0].strip()
    return truncate(line, _LONGEST)


def format_time(value: datetime | None) -> str:
    """Return "2026-11-25 03:00:00 UTC"; "an unknown time" for None."""
    return format_timestamp(value, missing="an unknown time")


def format_elapsed(value: datetime | None, now: datetime) -> str:
    """Return the time from ``value`` to ``now``, "2h 13m"."""
    return format_age(value, now, missing="an unknown time")


def _time_and_age(value: datetime | None, details: InvocationDetails, suffix: str = "") -> str:
    return f"{format_time(value)} ({format_elapsed(value, details.now)}{suffix})"
