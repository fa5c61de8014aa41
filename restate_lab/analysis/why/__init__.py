"""Explain why an invocation does not continue: the chain to its root blocker, and the possible actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pandas as pd

from restate_lab._text import format_duration
from restate_lab.analysis.ids import check_invocation_id, describe_missing
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
from restate_lab.reads import begin
from restate_lab.source import Source

Facts: TypeAlias = tuple[tuple[str, str], ...]
_HEAD = "What you can do (a plan sends nothing before its .execute(reason=…)):"
_OVER = "the timeout of {limit} is over; set a longer one with timeout="


@translate_errors
def why(source: Source, invocation_id: str, /, *, timeout: DurationInput = "10s") -> Explanation:
    """Explain one invocation: its state, why it does not continue, its waiters, and the possible actions.

    The result is a str: the paragraph ``summary``, then the chain and the options. It has

    - ``facts``: the paragraph as (label, value) pairs: "now" (the state, its start, failed attempts, the next attempt),
      "failing step", "error", "waits for", "agent" (the tool that an agent executes, and the model that called it; its
      arguments are not shown), "root blocker", "called by", "blocks", "changes of state" (that wait for its key),
      "created" and more.
    - ``chain``: one row per link from this invocation to the root blocker; the last rows show what the root blocker
      waits for. ``step`` (1, 2, …; the same for all waits of the root blocker), ``id, target, status, waits_for`` (as
      ``kind`` in ``waits``: call, attach, key, awakeable, promise, sleep, …; for a root blocker also "step" for a step
      that runs or is retried, "resume", "start", "slot", "turn"; None if it has ended), ``what`` (key, promise, id of
      the awakeable, name of the step), ``blocker`` (the id of the next link; None at the end), ``since`` (UTC). In a
      deadlock the last ``blocker`` is an earlier link.
    - ``options``: one row per possible action, the most helpful first: ``action, id, target, what`` (the effect),
      ``code`` (Python code; a plan sends nothing before its ``execute(reason=…)``; "" if no call is needed). Options
      for the root blocker come first, then options for this invocation alone. ``suggested_calls`` has the calls as
      data.
    - ``excluded``: messages about data that could not be read; ``queries``: the statements that were sent.

    Everything is read by ids and keys, hop by hop, within ``timeout``. When the timeout is over, ``excluded`` names the
    unread data, and the result is incomplete. If an invocation waits for several things, the chain follows the worst: a
    deadlock, then an invocation that needs help, then one that continues by itself. Waiting invocations are its callers
    (also indirect ones) and the queues of the keys that these hold. Invocations attached to it appear only in
    ``waits``. If the invocation does not exist, the summary reports that.

    Raises:
        ArgumentError: the argument is not an invocation id, or ``timeout`` is not positive.
        NotOnThisServer: the source is too old.
        TimedOut: the invocation itself was not read within ``timeout``.
        RestateLabError: the invocation itself could not be read.
    """
    id_ = check_invocation_id(invocation_id)
    seconds = check_seconds("timeout", timeout)
    if not seconds:
        raise ArgumentError(f"timeout is {timeout!r}; use a duration of more than 0, for example '10s'.")
    over = _OVER.format(limit=format_duration(seconds))
    explorer = Explorer(begin(source, "why", timeout, over=over, remembers=True))
    rows = explorer.rows([id_])
    _ = explorer.reads.now  # read the time before the timeout is over
    if id_ not in rows:
        return _build(explorer, id_, None, describe_missing(source, id_), (), link_frame((), {}, None), ())
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
    """Return the root blocker, "Payments/charge inv_…, backing-off"; "" if the invocation is its own root."""
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
    options = list_options(details, root, chain) if explorer.reads.coverage.open_invocations else ()
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
    reads = explorer.reads
    parts = ExplanationParts(
        id=id_,
        target=details.row["target"] if details else None,
        status=details.status if details else None,
        summary=summary,
        facts=facts,
        chain=chain,
        choices=tuple(choices),
        excluded=tuple(dict.fromkeys(explorer.excluded)),
        source=reads.name,
        version=reads.version,
        at=reads.now,
        queries=tuple(reads.queries),
        waiters=tuple((str(row["id"]), str(row["target"])) for row in waiters),
    )
    return Explanation(text_of(parts, [option.code for option in choices], _HEAD), parts)
