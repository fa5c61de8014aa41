"""Why an invocation that waits for no other one does not go on, by its status."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType

import pandas as pd

from restate_lab._text import format_duration, plural
from restate_lab.analysis.error_codes import UNREACHABLE
from restate_lab.analysis.journal_errors import Event
from restate_lab.analysis.journal_words import explained
from restate_lab.analysis.wait_rows import Edge
from restate_lab.analysis.why_case import Case
from restate_lab.analysis.why_phrases import ago, entry_words, failure_words, moment

__all__ = ["reason"]

_THINGS = MappingProxyType(
    {
        "awakeable": "the awakeable {what}, which nobody has resolved",
        "promise": "the promise “{what}”, which nobody has completed",
        "signal": "{what}, which has not come",
        "state": "a value of its state",
        "run": "its own step “{what}” (Run), for which nothing wakes it",
        "attach": "the outcome of an invocation that is over or gone",
        "call": "the answer of a call that is over or gone",
        "unknown": "something that its journal does not have any more",
    }
)
_FEW = 3


def reason(case: Case) -> str:
    """Return one sentence or some."""
    if case.is_failing:
        return _failing(case)
    say = _REASONS.get(case.status)
    return say(case) if say else f"What it waits for is not known: this version does not know the status {case.status}."


def _failing(case: Case) -> str:
    told = [f"Every attempt fails: {plural(case.failures, 'attempt')}{_since(case)}, {_next(case)}."]
    error = case.error
    if case.mismatch and case.invocation:
        told.append(explained(case.invocation, case.mismatch).replace(f"{case.row['target']} ({case.row['id']})", "It"))
    elif case.is_removed:
        told.append(f"It is bound to the deployment {case.bound_to}, which was removed: {_replacement(case)}.")
    elif error and error.code in UNREACHABLE:
        told.append(f"They do not reach its code{_address(case)}.")
    if error and not case.mismatch:
        told.append(f"Last failure{_place(error)}: {failure_words(error)}.")
    return " ".join(told)


def _since(case: Case) -> str:
    """Return since when: the entry that fails was begun then, or else it first ran then."""
    error = case.error
    failing = [row for row in case.open_entries if error and row["name"] == error.command_name and row["name"]]
    began = failing[0]["started"] if failing else case.row["running_at"]
    if began is None or pd.isna(began):
        return " so far"
    return f" since {moment(began)} ({ago(began, case.now)})"


def _next(case: Case) -> str:
    again = case.row["next_retry_at"]
    if again is None or again <= pd.Timestamp(case.now):
        return "and the next one is due"
    return f"and the next one comes at {moment(again)}"


def _place(error: Event) -> str:
    if not error.command_type and not error.command_name:
        return ""
    name = f" “{error.command_name}”" if error.command_name else ""
    return f" in the step{name} ({error.command_type or 'Run'})"


def _replacement(case: Case) -> str:
    service = case.row["target_service_name"]
    if case.latest is None:
        return f"no attempt can reach its code, and no registered deployment has the service {service} either"
    return f"no attempt can reach its code; the latest one of {service} is {case.latest}{_at(case, case.latest)}"


def _address(case: Case) -> str:
    if not case.deployment:
        return ""
    return f": they go to the deployment {case.deployment}{_at(case, case.deployment)}"


def _at(case: Case, deployment: str) -> str:
    endpoint = (case.deployments or {}).get(deployment)
    return f" at {endpoint}" if endpoint else ""


def _paused(case: Case) -> str:
    pause, error = case.pause, case.error
    at = pause.at if pause else case.row["modified_at"]
    told = f"Nothing tries it until somebody resumes it: it was paused at {moment(at)} ({ago(at, case.now)} ago)"
    if pause and pause.message:
        # with vqueues a pause by hand names no failure; without, it names the last one
        whose = (
            "Its attempts were used up."
            if case.row["vqueue_id"]
            else "Whether its attempts were used up or somebody paused it is not written down."
        )
        return f"{told}, while it failed{_place(pause)}: {failure_words(pause)}. {whose}"
    if pause is None and case.invocation and case.invocation.events is None:
        return f"{told}; this source has no events that tell why."
    before = f" Before, it had failed{_place(error)}: {failure_words(error)}." if error else ""
    return f"{told}, by hand: no failure is written down with the pause.{before}"


def _suspended(case: Case) -> str:
    if not case.edges:
        return "What it waits for was not found: it may have gone on just now."
    things = list(dict.fromkeys(_thing(edge, case) for edge in case.edges))
    shown = things if len(things) <= _FEW else [*things[:_FEW], f"{len(things) - _FEW:,} other things"]
    joint = ", or " if case.edges[0].alternative else ", and "
    since = case.edges[0].since
    told = f"It has waited since {moment(since)} ({ago(since, case.now)}) for {joint.join(shown)}."
    if case.is_removed:
        return (
            f"{told} It is bound to the deployment {case.bound_to}, which is not registered any more: when it wakes, "
            f"its attempts will fail (RT0011)."
        )
    is_asleep = {edge.kind for edge in case.edges} == {"sleep"}
    return f"{told} It wakes by itself then: nothing is wrong with it." if is_asleep else told


def _thing(edge: Edge, case: Case) -> str:
    if edge.kind != "sleep":
        return _THINGS.get(edge.kind, "something").format(what=edge.what or "")
    names = [row["name"] for row in case.open_entries if row["wakes_at"] == edge.wakes_at and row["name"]]
    name = f" “{names[0]}”" if names and isinstance(names[0], str) else ""
    if edge.wakes_at is None:
        return f"its sleep{name}"
    return f"its sleep{name}, which ends at {moment(edge.wakes_at)} (in {_until(edge.wakes_at, case)})"


def _until(value: datetime, case: Case) -> str:
    return format_duration(max(value - case.now, pd.Timedelta(0)))


def _running(case: Case) -> str:
    started = [row for row in case.open_entries[:_FEW] if pd.notna(row["started"])]
    if not started:
        return "It is at work in its handler's own code: no step of its journal is open."
    told = [f"{entry_words(row)} since {moment(row['started'])} ({ago(row['started'], case.now)})" for row in started]
    return f"It is at work. Open in its journal: {', '.join(told)}."


def _ready(case: Case) -> str:
    return f"It waits for a free slot of the invoker{_blocked(case)}."


def _pending(case: Case) -> str:
    vqueue = case.vqueue or {}
    if vqueue.get("is_paused"):
        return f"It waits in the vqueue {vqueue['id']}, which somebody has paused."
    since = case.row["inboxed_at"] or case.row["created_at"]
    return f"It has waited since {moment(since)} ({ago(since, case.now)}) for its turn{_blocked(case)}."


def _blocked(case: Case) -> str:
    blocked_on = (case.vqueue or {}).get("blocked_on")
    return f"; the head of its vqueue is blocked on {blocked_on}" if blocked_on else ""


def _scheduled(case: Case) -> str:
    start = case.row["scheduled_start_at"]
    if start is None:
        return "It starts later, as it was sent."
    if start <= pd.Timestamp(case.now):
        return f"It was to start at {moment(start)}, which is over: the server starts it as soon as it gets to it."
    return f"It starts at {moment(start)} (in {_until(start, case)}), as it was sent: nothing is wrong with it."


_REASONS: Mapping[str, Callable[[Case], str]] = MappingProxyType(
    {
        "suspended": _suspended,
        "running": _running,
        "ready": _ready,
        "pending": _pending,
        "scheduled": _scheduled,
        "paused": _paused,
    }
)
