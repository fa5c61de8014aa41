"""An explanation in sentences: what an invocation is, the way to its root blocker, who waits for it, how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import pandas as pd

from restate_lab._text import format_age, format_duration, format_timestamp, plural, truncate
from restate_lab.analysis.journal.diff import explain_mismatch
from restate_lab.analysis.journal.errors import UNREACHABLE, JournalEvent, describe_code
from restate_lab.analysis.waits.model import Edge
from restate_lab.analysis.why.chain import Chain
from restate_lab.analysis.why.details import Case
from restate_lab.analysis.why.reader import Above, Row

__all__ = ["alive", "ended", "moment", "waiting"]

_LONGEST = 300  # characters of a failure
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
_LONGEST_WAY = 6  # links in a sentence; the chain has all
_ENDS = {"cancelled": "was cancelled", "killed": "was killed"}


def moment(value: datetime | None) -> str:
    """Return "2026-11-25 03:00:00 UTC"; "an unknown time" for None."""
    return format_timestamp(value, missing="an unknown time")


def ago(value: datetime | None, now: datetime) -> str:
    """Return how long before ``now`` that is, "2h 13m"."""
    return format_age(value, now, missing="an unknown time")


def first_line(text: str | None) -> str:
    """Return what a failure says first, cut where it is long."""
    line = (text or "").strip().partition("\n")[0].strip()
    return truncate(line, _LONGEST)


def failure_words(error: JournalEvent) -> str:
    """Return an attempt's error: its code with the code's meaning, and the first line of what was said."""
    code = describe_code(error.code)
    return f"[{code}] {first_line(error.message)}" if code else first_line(error.message)


def entry_words(entry: Mapping[Any, Any]) -> str:
    """Return a row of ``journal`` in words: 'its step “charge card” (Run)', 'its Call of Payments/charge'."""
    names = (entry[column] for column in ("name", "promise", "state_key"))
    name = next((str(each) for each in names if isinstance(each, str) and each), "")
    if entry["entry_type"] == "Run":
        return f"its step “{name}” (Run)" if name else "a step without a name (Run)"
    target = entry["callee_target"]
    of = f" of {target}" if isinstance(target, str) and target else ""
    return f"its {entry['entry_type']}{f' “{name}”' if name else ''}{of}"


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
        told.append(
            explain_mismatch(case.invocation, case.mismatch).replace(f"{case.row['target']} ({case.row['id']})", "It")
        )
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


def _place(error: JournalEvent) -> str:
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


def alive(case: Case, root: Case | None, chain: Chain, rows: Mapping[str, Row]) -> str:
    """Return what it is and why it does not go on; ``root`` is at the end of its chain, None where it is gone."""
    row = case.row
    caller = f", called by {row['invoked_by_target']} ({row['invoked_by_id']})" if row["invoked_by_id"] else ""
    created = f"It was created {ago(row['created_at'], case.now)} ago ({moment(row['created_at'])}){caller}."
    told = [f"{row['target']} ({row['id']}) is {case.status}. {created}"]
    told += [_way(chain, rows)] if chain.edges and not chain.is_inside else []
    if chain.deadlock:
        told.append(_deadlock(chain))
    elif chain.edges:
        told.append(f"That is the root blocker. {reason(root) if root else 'It is not there any more.'}")
        told += [_others(chain)] if chain.other_ends else []
    else:
        told.append(reason(case))
    return " ".join([*told, _lineage(case)]).strip()


def ended(case: Case) -> str:
    """Return how it ended, how long it took, and how long its evidence is kept."""
    row = case.row
    end = f"{_ENDS.get(case.status, case.status)} {ago(row['completed_at'], case.now)} ago"
    took = f"{format_duration(row['completed_at'] - row['created_at'])} after it was created"
    told = [f"{row['target']} ({row['id']}) {end} ({moment(row['completed_at'])}), {took}."]
    if case.status == "failed":
        told.append(f"Its failure: {first_line(row['completion_failure'])}.")
    if case.status != "succeeded" and (entry := case.failed_entry):
        told.append(f"What failed for good: {entry_words(entry)}.")
    return " ".join([*told, _kept(case), _lineage(case)]).strip()


def waiting(above: Above, chain: Chain) -> str:
    """Return who waits for it; in a deadlock, who waits besides those in it."""
    if chain.is_inside:
        return _besides(above, chain)
    if not above.total_waiting:
        return "No invocation waits for it."
    told = [f"its caller {row['target']} ({row['id']})" for row in above.callers[:_FEW]]
    if above.waiting:
        told.append(f"{plural(above.waiting, 'call')} in the queue of its key {above.key}")
    rest = len(above.ids) + above.unread - len(above.callers[:_FEW]) - above.waiting
    told += [f"{rest:,} behind these"] if rest > 0 else []
    wait = "invocation waits" if above.total_waiting == 1 else "invocations wait"
    return f"{'At least ' if above.is_cut else ''}{above.total_waiting:,} {wait} for it: {', '.join(told)}."


def _besides(above: Above, chain: Chain) -> str:
    others = len(above.ids - set(chain.way)) + above.unread
    least = "At least " if above.is_cut else ""
    if not others:
        return "No invocation waits for it besides those in the deadlock."
    return f"{least}{plural(others, 'other invocation')} wait for it or for others in the deadlock."


def _way(chain: Chain, rows: Mapping[str, Row]) -> str:
    """Return the links in words, of a deadlock only the way to it; who was named with an id before is named without."""
    known = {chain.way[0]}
    steps = []
    for edge in chain.edges[: chain.enters] if chain.deadlock else chain.edges:
        steps.append(_step(edge, rows, known))
        known.add(edge.blocker or "")
    if len(steps) > _LONGEST_WAY:
        left = len(steps) - _LONGEST_WAY
        steps = [*steps[: _LONGEST_WAY - 1], f"and so on over {left:,} more", steps[-1]]
    return f"It {'; that one '.join(steps)}."


def _others(chain: Chain) -> str:
    enough = ", which may be enough for it to go on" if any(edge.alternative for edge in chain.edges) else ""
    others = plural(chain.other_ends, "other end")
    return f"What it waits for has {others} besides this worst one{enough}; rl.waits(lab) has all."


def _step(edge: Edge, rows: Mapping[str, Row], known: set[str]) -> str:
    blocker = rows.get(edge.blocker or "")
    if blocker is None:
        who = f"{edge.blocker}, which is not there any more"
    elif edge.blocker in known:
        who = str(blocker["target"])
    else:
        who = f"{blocker['target']} ({edge.blocker}), which is {blocker['status']}"
    since = f" since {moment(edge.since)}" if edge.since is not None else ""
    if edge.kind == "key":
        return f"has queued{since} for the key {edge.what}, held by {who}"
    if edge.kind == "open call":
        return f"runs, and has had no answer{since} of its call of {who}"
    return f"has waited{since} for {'the outcome' if edge.kind == 'attach' else 'its call'} of {who}"


def _deadlock(chain: Chain) -> str:
    told = chain.deadlock.description if chain.deadlock else ""
    behind = "It is in" if chain.is_inside else "It stands behind"
    if chain.is_certain:
        return f"{behind} a deadlock: {told}. Nobody in it can go on by themselves."
    return f"{behind} what may be a deadlock: {told}. Somebody in it may still go on without the others."


def _kept(case: Case) -> str:
    row = case.row
    if row["completion_retention"] is None:
        return ""
    record = row["completed_at"] + row["completion_retention"]
    told = f"Its record is kept until {moment(record)}"
    if not row["journal_size"]:
        return f"{told}; it has no journal (any more)."
    kept = row["journal_retention"]
    journal = record if kept is None else row["completed_at"] + min(pd.Timedelta(kept), row["completion_retention"])
    return f"{told}, its journal until {moment(journal)}." if journal != record else f"{told}, its journal too."


def _lineage(case: Case) -> str:
    told = []
    if case.restarted_from:
        chain = ", before that ".join(case.restarted_from[:_FEW])
        told.append(f"It was restarted from {chain}.")
    if case.restarted_as:
        told.append(f"It was restarted as {', '.join(case.restarted_as[:_FEW])}.")
    return " ".join(told)
