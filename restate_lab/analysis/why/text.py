"""An explanation in sentences: the invocation, the path to its root blocker, its waiters, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from restate_lab._text import format_duration, plural, verb_form
from restate_lab.analysis.journal.errors import JournalEvent
from restate_lab.analysis.waits.model import Edge
from restate_lab.analysis.why.chain import Chain
from restate_lab.analysis.why.details import InvocationDetails
from restate_lab.analysis.why.reader import Row, Waiters, has_ended
from restate_lab.analysis.why.reasons import (
    describe_entry,
    describe_error,
    describe_reason,
    describe_stale_timer,
    describe_waits,
    first_line,
    format_elapsed,
    format_time,
    format_until,
    step_of,
)

_FEW = 3  # items of a list in a sentence
_LONGEST_PATH = 6  # links in a sentence; the chain has all of them
_ENDS = {"cancelled": "was cancelled", "killed": "was killed"}


def list_facts(details: InvocationDetails, waiters: Waiters, root: str = "") -> tuple[tuple[str, str], ...]:
    """Return the facts about an invocation as (label, value), most urgent first; ``root`` is its root blocker.

    Labels are unique. An unknown value has no row.
    """
    row, error, is_failed = details.row, _failure_of(details), details.status == "failed"
    facts = [
        ("now", " · ".join(_state_of(details))),
        ("failing step" if details.is_failing else "failed step", step_of(error) if error else ""),
        ("error", describe_error(error) if error else first_line(row["completion_failure"] if is_failed else "")),
        ("waits for", details.combination or ("" if error or root else describe_waits(details))),
        ("agent", details.agent),
        ("root blocker", root),
        ("called by", _callers_of(details, "{target} {id}")),
        ("blocks", _blocked_of(waiters)),
        ("changes of state", _changes_of(details)),
        ("created", f"{format_elapsed(row['created_at'], details.now)} ago, {format_time(row['created_at'])}"),
        ("pinned to", details.pinned_deployment or ""),
        ("restarted from", ", ".join(details.restarted_from[:_FEW])),
        ("restarted as", ", ".join(details.restarted_as[:_FEW])),
        ("retention", _retention(details) if has_ended(row) else ""),
    ]
    return tuple((label, value) for label, value in facts if value)


def _callers_of(details: InvocationDetails, form: str = "{target} ({id})") -> str:
    """Return its caller, the caller's caller, and the root: "A/a (inv_…), which B/b (inv_…) called"."""
    names = [form.format(id=id_, target=target) for id_, target in details.callers]
    if len(names) < _FEW:
        return ", which ".join(names) + (" called" if len(names) > 1 else "")
    between = f" through {plural(len(names) - 2, 'more invocation')}"
    return f"{names[0]}, which {names[-1]} called{between}"


def _failure_of(details: InvocationDetails) -> JournalEvent | None:
    if details.status == "paused":
        return details.pause if details.pause and details.pause.message else None
    return details.error if details.is_failing else None


def _state_of(details: InvocationDetails) -> Iterator[str]:
    row = details.row
    if has_ended(row):
        yield f"{details.status} {format_elapsed(row['completed_at'], details.now)} ago"
        yield f"took {format_duration(row['completed_at'] - row['created_at'])}"
        return
    yield f"{'failing' if details.is_failing else details.status} for {format_elapsed(_since(details), details.now)}"
    if details.is_failing:
        yield plural(details.failures, "failed attempt")
        again = row["next_retry_at"]
        yield f"next attempt in {format_until(again, details)}" if again else "the next attempt is due"


def _since(details: InvocationDetails) -> Any:
    row = details.row
    if details.status == "paused" and details.pause and details.pause.at:
        return details.pause.at
    if details.is_failing:
        return row["running_at"] or row["modified_at"]
    if details.suspension and details.suspension.since:
        return details.suspension.since
    if details.edges and details.edges[0].since is not None:
        return details.edges[0].since
    return row["inboxed_at"] or row["modified_at"] or row["created_at"]


def _blocked_of(waiters: Waiters) -> str:
    """Return how many wait for it, and which: "18: Orders/place inv_…, 12 in the queue of Account/acme"."""
    if not waiters.total_waiting:
        return ""
    groups = [f"{row['target']} {row['id']}" for row in waiters.callers[:_FEW]]
    groups += [f"{waiters.waiting:,} in the queue of {waiters.key}"] if waiters.waiting else []
    least = "at least " if waiters.is_truncated else ""
    return f"{least}{waiters.total_waiting:,}: {', '.join(groups)}" if groups else f"{least}{waiters.total_waiting:,}"


def describe_open(
    details: InvocationDetails, root: InvocationDetails | None, chain: Chain, rows: Mapping[str, Row]
) -> str:
    """Return its state and why it does not continue; ``root`` is the end of its chain, None if that does not exist."""
    row = details.row
    caller = f", called by {_callers_of(details)}" if details.callers else ""
    created = (
        f"It was created {format_elapsed(row['created_at'], details.now)} ago "
        f"({format_time(row['created_at'])}){caller}."
    )
    sentences = [f"{row['target']} ({row['id']}) is {details.status}. {created}"]
    sentences += [_describe_path(chain, rows)] if chain.edges and not chain.is_in_deadlock else []
    if chain.deadlock:
        sentences.append(_describe_deadlock(chain))
    elif chain.edges:
        sentences.append(f"That is the root blocker. {describe_reason(root) if root else 'It no longer exists.'}")
        sentences += [_other_ends(chain)] if chain.other_ends else []
    else:
        sentences.append(describe_reason(details))
    sentences += [f"{_changes_of(details)[:1].upper()}{_changes_of(details)[1:]}."] if details.changes.count else []
    if chain.edges and details.combination:
        sentences.append(f"{row['target']} itself waits for {details.combination}.")
    return " ".join([*sentences, _lineage(details)]).strip()


def _changes_of(details: InvocationDetails) -> str:
    count = details.changes.count
    if not count:
        return ""
    since = f" since {format_time(details.changes.since)}" if details.changes.since is not None else ""
    when = "before it starts" if details.status == "pending" else "when it ends"
    wait, are = verb_form(count, "waits", "wait"), verb_form(count, "is", "are")
    return f"{plural(count, 'change')} of state {wait}{since} and {are} applied {when}"


def describe_completed(details: InvocationDetails) -> str:
    """Return how it ended, how long it took, and how long its evidence is kept."""
    row = details.row
    end = f"{_ENDS.get(details.status, details.status)} {format_elapsed(row['completed_at'], details.now)} ago"
    took = f"{format_duration(row['completed_at'] - row['created_at'])} after it was created"
    sentences = [f"{row['target']} ({row['id']}) {end} ({format_time(row['completed_at'])}), {took}."]
    sentences += [f"It was called by {_callers_of(details)}."] if details.callers else []
    if details.status == "failed":
        sentences.append(f"Its failure: {first_line(row['completion_failure'])}.")
    if details.refused_deployment:
        sentences.append(_refusal(details))
    if details.has_stale_timer:
        sentences.append(describe_stale_timer(details))
    if details.status != "succeeded" and (entry := details.failed_entry):
        sentences.append(f"The failed entry: {describe_entry(entry)}.")
    return " ".join([*sentences, _retention(details), _lineage(details)]).strip()


def _refusal(details: InvocationDetails) -> str:
    return (
        f"The deployment {details.refused_deployment} speaks service protocol 3 or older, which restate 1.8 and newer "
        f"refuse (RT0020): upgrade the SDK of {details.row['target_service_name']} and register its deployment; then "
        f"start this invocation again."
    )


def describe_waiters(waiters: Waiters, chain: Chain) -> str:
    """Return which invocations wait for it; in a deadlock, which wait in addition to its members."""
    if chain.is_in_deadlock:
        return _describe_other_waiters(waiters, chain)
    if not waiters.total_waiting:
        return (
            "Whether invocations wait for it is not known." if waiters.is_truncated else "No invocation waits for it."
        )
    groups = [f"its caller {row['target']} ({row['id']})" for row in waiters.callers[:_FEW]]
    if waiters.waiting:
        groups.append(f"{plural(waiters.waiting, 'call')} in the queue of its key {waiters.key}")
    rest = len(waiters.ids) + waiters.unread - len(waiters.callers[:_FEW]) - waiters.waiting
    groups += [f"{rest:,} that {verb_form(rest, 'waits', 'wait')} for these"] if rest > 0 else []
    wait = "invocation waits" if waiters.total_waiting == 1 else "invocations wait"
    return f"{'At least ' if waiters.is_truncated else ''}{waiters.total_waiting:,} {wait} for it: {', '.join(groups)}."


def _describe_other_waiters(waiters: Waiters, chain: Chain) -> str:
    others = len(waiters.ids - set(chain.path)) + waiters.unread
    least = "At least " if waiters.is_truncated else ""
    if not others:
        return "No other invocation waits for those in the deadlock."
    return (
        f"{least}{plural(others, 'other invocation')} {verb_form(others, 'waits', 'wait')} for those in the deadlock."
    )


def _describe_path(chain: Chain, rows: Mapping[str, Row]) -> str:
    """Return the links as a sentence, up to the deadlock if there is one; each id appears once."""
    known = {chain.path[0]}
    steps = []
    for edge in chain.edges[: chain.cycle_start] if chain.deadlock else chain.edges:
        steps.append(_describe_link(edge, rows, known))
        known.add(edge.blocker or "")
    if len(steps) > _LONGEST_PATH:
        more = len(steps) - _LONGEST_PATH
        steps = [*steps[: _LONGEST_PATH - 1], f"waits through {plural(more, 'more invocation')}", steps[-1]]
    return f"It {'; that one '.join(steps)}."


def _describe_link(edge: Edge, rows: Mapping[str, Row], known: set[str]) -> str:
    blocker = rows.get(edge.blocker or "")
    if blocker is None:
        target = f"{edge.blocker}, which no longer exists"
    elif edge.blocker in known:
        target = str(blocker["target"])
    else:
        target = f"{blocker['target']} ({edge.blocker}), which is {blocker['status']}"
    since = f" since {format_time(edge.since)}" if edge.since is not None else ""
    if edge.kind == "key":
        return f"has queued{since} for the key {edge.detail}, held by {target}"
    if edge.kind == "open call":
        return f"is running and has had no response{since} from {target}"
    return f"has waited{since} for {'the result of' if edge.kind == 'attach' else 'its call to'} {target}"


def _other_ends(chain: Chain) -> str:
    is_alternative = any(edge.alternative for edge in chain.edges)
    enough = " The end of a single root blocker may be enough to continue." if is_alternative else ""
    others = plural(chain.other_ends, "other root blocker")
    there = verb_form(chain.other_ends, "There is", "There are")
    return f"{there} {others}; this one is the worst.{enough} `waits` lists all of them."


def _describe_deadlock(chain: Chain) -> str:
    members = chain.deadlock.description if chain.deadlock else ""
    position = "It is in" if chain.is_in_deadlock else "It is blocked by"
    if chain.is_certain:
        return f"{position} a deadlock: {members}. No invocation in it can continue by itself."
    return f"{position} a possible deadlock: {members}. An invocation in it may still continue without the others."


def _retention(details: InvocationDetails) -> str:
    row = details.row
    if row["completion_retention"] is None:
        return ""
    record = row["completed_at"] + row["completion_retention"]
    if details.is_archived:
        return f"It is archived; the cluster keeps its record until {format_time(record)}."
    sentence = f"Its record is kept until {format_time(record)}"
    if not row["journal_size"]:
        return f"{sentence}; it has no journal now."
    kept = row["journal_retention"]
    journal = record if kept is None else row["completed_at"] + min(pd.Timedelta(kept), row["completion_retention"])
    return (
        f"{sentence}, its journal until {format_time(journal)}."
        if journal != record
        else f"{sentence}, its journal too."
    )


def _lineage(details: InvocationDetails) -> str:
    sentences = []
    if details.restarted_from:
        chain = ", before that ".join(details.restarted_from[:_FEW])
        sentences.append(f"It was restarted from {chain}.")
    if details.restarted_as:
        sentences.append(f"It was restarted as {', '.join(details.restarted_as[:_FEW])}.")
    return " ".join(sentences)
