"""Explain one invocation: what it waits for, up to the root blocker and down to its open step, and what one can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pandas as pd

from restate_lab._text import format_duration
from restate_lab.analysis.deadline import Deadline
from restate_lab.analysis.ids import check_invocation_id
from restate_lab.analysis.why.chain import Chain, find_chain, link_frame
from restate_lab.analysis.why.details import InvocationDetails, details_of, summary_of
from restate_lab.analysis.why.explanation import Explanation, ExplanationParts, text_of
from restate_lab.analysis.why.options import Option, list_options
from restate_lab.analysis.why.reader import Explorer, Row, Waiters, has_ended
from restate_lab.analysis.why.text import describe_completed, describe_open, describe_waiters, list_facts
from restate_lab.client.arguments import check_seconds
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError
from restate_lab.recorder import QueryRecorder
from restate_lab.source import Source, check_supported

__all__ = ["why"]

Facts: TypeAlias = tuple[tuple[str, str], ...]
_NOT_THERE = (
    "{source} has no invocation {id}. Possible reasons: it never existed, it was purged, its retention is over, or "
    "it was cancelled or killed before it began, which leaves no row."
)
_HEAD = "What you can do (a plan sends nothing before its .execute(reason=…)):"
_OVER = "the timeout of {limit} is over; set a longer one with timeout="


@translate_errors
def why(source: Source, invocation_id: str, /, *, timeout: DurationInput = "10s") -> Explanation:
    """Explain one invocation: what it is, why it does not go on, who waits for it, and what one can do.

    The answer is a str: ``summary``, a paragraph, and below it the chain and the options. It has

    - ``facts``: the paragraph as pairs of a label and a value: "now" (the state, since when, failed attempts, the next
      attempt), "failing step", "error", "waits for", "root blocker", "called by", "blocks", "created" and more.
    - ``chain``: one row per link, from this invocation to the root blocker, whose own rows say what it waits for:
      ``step`` (1, 2, …; all that the root waits for has the same), ``id, target, status, waits_for`` (as ``kind`` in
      ``waits``: call, attach, key, awakeable, promise, sleep, …; or of a root "step" where one is tried or at work,
      "resume", "start", "slot", "turn"; None for what has ended), ``what`` (key, promise, awakeable's id, step's name),
      ``blocker`` (the id of the next, None at the end), ``since`` (UTC). In a deadlock the last ``blocker`` is one of
      those before.
    - ``options``: one row per thing to do, what helps most first: ``action, id, target, what`` (what comes of it),
      ``code`` (a line to paste, which sends nothing before its ``execute(reason=…)``; "" where there is nothing to
      do). First about the root blocker, then about this invocation alone. ``suggested_calls`` has the code as data.
    - ``excluded``: what could not be looked up, and why; ``queries``: the statements that were sent.

    Everything is read by ids and keys, hop by hop, within ``timeout`` (when it is over, what was not read stands in
    ``excluded``, and the result is marked incomplete). Of several things awaited the chain follows the worst: a
    deadlock, then who needs help, then who goes on alone. Those who wait are its callers upward and the queues of the
    keys that these hold; who attached to it shows only in ``waits``. An invocation that is not there is said to be so.

    Raises:
        ArgumentError: this is no invocation id, or ``timeout`` is not positive.
        NotOnThisServer: the source is too old.
        TimedOut: the invocation itself was not read within ``timeout``.
        RestateLabError: what ``source.sql`` raises when the invocation itself is read.
    """
    id_ = check_invocation_id(invocation_id)
    seconds = check_seconds("timeout", timeout)
    if not seconds:
        raise ArgumentError(f"timeout is {timeout!r}: give a duration of more than 0, such as '10s'.")
    check_supported(source, "why()")
    recorder = QueryRecorder(source)
    explorer = Explorer(
        Deadline(recorder, seconds, timeout_message=_OVER.format(limit=format_duration(seconds))),
        queries=lambda: recorder.queries,
    )
    rows = explorer.rows([id_])
    _ = explorer.source.now  # read while there is time
    if id_ not in rows:
        text = _NOT_THERE.format(source=source.name, id=id_)
        return _build(explorer, id_, None, text, (), link_frame((), {}, None), ())
    return _explain(explorer, rows[id_])


def _explain(explorer: Explorer, row: Row) -> Explanation:
    if has_ended(row):
        details = details_of(explorer, row, ())
        chain, facts = Chain((row["id"],)), list_facts(details, Waiters())
        return _explanation(explorer, details, details, chain, {row["id"]: row}, describe_completed(details), facts)
    blockers = explorer.find_blockers(row)
    chain = find_chain(blockers, row["id"])
    if chain.edges:
        details = summary_of(explorer, row, blockers.edges)
        root = details_of(explorer, blockers.rows[chain.root], blockers.edges) if chain.root in blockers.rows else None
    else:
        details = root = details_of(explorer, row, blockers.edges)
    waiters = explorer.find_waiters(row)
    rows = {**blockers.rows, row["id"]: details.row}
    text = f"{describe_open(details, root, chain, rows)} {describe_waiters(waiters, chain)}"
    facts = list_facts(details, waiters, _root_text(chain, rows))
    return _explanation(explorer, details, root, chain, rows, text, facts, waiters.direct)


def _root_text(chain: Chain, rows: Mapping[str, Row]) -> str:
    """Return the root blocker, "Payments/charge inv_…, backing-off"; "" where it is the invocation itself."""
    if chain.deadlock:
        return "a deadlock" if chain.is_certain else "a possible deadlock"
    if not chain.edges:
        return ""
    root = rows.get(chain.root)
    return f"{root['target']} {chain.root}, {root['status']}" if root else f"{chain.root}, which no longer exists"


def _explanation(
    explorer: Explorer,
    details: InvocationDetails,
    root: InvocationDetails | None,
    chain: Chain,
    rows: Mapping[str, Row],
    text: str,
    facts: Facts,
    waiters: Sequence[Row] = (),
) -> Explanation:
    links = link_frame(chain.edges, rows, None if chain.deadlock else root)
    options = list_options(details, root, chain)
    return _build(explorer, details.row["id"], details, text, facts, links, options, waiters)


def _build(
    explorer: Explorer,
    id_: str,
    details: InvocationDetails | None,
    summary: str,
    facts: Facts,
    chain: pd.DataFrame,
    choices: Sequence[Option],
    waiters: Sequence[Row] = (),
) -> Explanation:
    source = explorer.source
    parts = ExplanationParts(
        id=id_,
        target=details.row["target"] if details else None,
        status=details.status if details else None,
        summary=summary,
        facts=facts,
        chain=chain,
        choices=tuple(choices),
        excluded=tuple(dict.fromkeys(explorer.excluded)),
        source=source.name,
        version=source.version,
        at=source.now,
        queries=tuple(explorer.queries()),
        waiters=tuple((str(row["id"]), str(row["target"])) for row in waiters),
    )
    return Explanation(text_of(parts, [option.code for option in choices], _HEAD), parts)
