"""An explanation in sentences: what an invocation is, the way to its root blocker, who waits for it, how it ended."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from restate_lab._text import format_duration, plural
from restate_lab.analysis.wait_rows import Edge
from restate_lab.analysis.why_case import Case
from restate_lab.analysis.why_chain import Chain
from restate_lab.analysis.why_phrases import ago, entry_words, first_line, moment
from restate_lab.analysis.why_reading import Above, Row
from restate_lab.analysis.why_reasons import reason

__all__ = ["alive", "ended", "waiting"]

_FEW = 3
_LONGEST_WAY = 6  # links in a sentence; the chain has all
_ENDS = {"cancelled": "was cancelled", "killed": "was killed"}


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
