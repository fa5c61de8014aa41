"""Explain why an invocation does not continue: the chain to its root blocker, and the possible actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import pandas as pd

from restate_lab._text import format_duration
from restate_lab.analysis.ids import describe_missing, invocation_id_in
from restate_lab.analysis.suggestions import story_call
from restate_lab.analysis.why.chain import Chain, find_chain, link_frame
from restate_lab.analysis.why.details import InvocationDetails, details_of, summary_of
from restate_lab.analysis.why.explanation import Explanation
from restate_lab.analysis.why.options import Option, list_options
from restate_lab.analysis.why.reader import Blockers, Explorer, Row, Waiters, has_ended
from restate_lab.analysis.why.text import describe_completed, describe_open, describe_waiters, list_facts
from restate_lab.client.arguments import check_seconds
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError
from restate_lab.links import page_link
from restate_lab.reads import begin
from restate_lab.result import unread
from restate_lab.source import Source

Facts: TypeAlias = tuple[tuple[str, str], ...]
DEADLOCK = "a deadlock"
"""The fact "root blocker" of an invocation that waits for a certain deadlock."""
_OVER = "the timeout of {limit} is over; set a longer one with timeout="


@translate_errors
def why(source: Source, invocation_id: str, /, *, timeout: DurationInput = "30s") -> Explanation:
    """Explain one invocation: its state, why it does not continue, its waiters, and the possible actions.

    ``invocation_id`` is an id, or any text with exactly one, such as a log line or a URL of the web UI.
    ``print()`` shows the facts, the chain and the options; ``summary`` is a paragraph of them. ``help(rl.Explanation)``
    describes its frames.

    Everything is read by ids and keys, hop by hop, within ``timeout``. When the timeout is over, ``not_read`` names the
    unread data, and the result is incomplete. If an invocation waits for several things, the chain follows the worst: a
    deadlock, then an invocation that needs help, then one that continues by itself. Waiting invocations are its callers
    (also indirect ones) and the queues of the keys that these hold. Invocations attached to it appear only in
    ``waits``. Upward, its callers are followed to the root. If the invocation does not exist, the summary reports that.

    Raises:
        ArgumentError: the text has no invocation id or several, or ``timeout`` is not positive.
        NotOnThisServer: the source is too old.
        TimedOut: the invocation itself was not read within ``timeout``.
        RestateLabError: the invocation itself could not be read.
    """
    id_ = invocation_id_in(invocation_id)
    seconds = check_seconds("timeout", timeout)
    if not seconds:
        raise ArgumentError(f"timeout is {timeout!r}; use a duration of more than 0, for example '30s'.")
    over = _OVER.format(limit=format_duration(seconds))
    explorer = Explorer(begin(source, "why", timeout, over=over, remembers=True))
    rows = explorer.rows([id_])
    _ = explorer.reads.now  # read the time before the timeout is over
    if id_ not in rows:
        return _build(explorer, id_, describe_missing(source, id_))
    return _explain(explorer, rows[id_])


def _explain(explorer: Explorer, row: Row) -> Explanation:
    waiters = Waiters()
    if has_ended(row):
        details = replace(details_of(explorer, row, ()), callers=explorer.find_callers(row))
        root: InvocationDetails | None = details
        chain, rows = Chain((row["id"],)), {row["id"]: row}
        text, facts = describe_completed(details), list_facts(details, waiters)
    else:
        blockers = explorer.find_blockers(row)
        chain = find_chain(blockers, row["id"])
        details, root = _read_details(explorer, row, blockers, chain)
        waiters, details = explorer.find_waiters(row), replace(details, callers=explorer.find_callers(row))
        rows = {**blockers.rows, row["id"]: details.row}
        text = f"{describe_open(details, root, chain, rows)} {describe_waiters(waiters, chain)}"
        facts = list_facts(details, waiters, _root_text(chain, rows))
    links = link_frame(chain.edges, rows, None if chain.deadlock else root)
    coverage = explorer.reads.coverage
    can_act = coverage.open_invocations and not coverage.is_past and not details.is_gone
    options = list_options(details, root, chain) if can_act else ()
    return _build(explorer, row["id"], text, details, facts, links, options, waiters.direct)


def _read_details(
    explorer: Explorer, row: Row, blockers: Blockers, chain: Chain
) -> tuple[InvocationDetails, InvocationDetails | None]:
    """Return the details of an invocation and of the root of its chain; None if the root no longer exists."""
    if not chain.edges:
        details = details_of(explorer, row, blockers.edges)
        return details, details
    details = summary_of(explorer, row, blockers.edges)
    root = blockers.rows.get(chain.root)
    return details, None if root is None else details_of(explorer, root, blockers.edges)


def _root_text(chain: Chain, rows: Mapping[str, Row]) -> str:
    """Return the root blocker, "Payments/charge inv_…, backing-off"; "" if the invocation is its own root."""
    if chain.deadlock:
        return DEADLOCK if chain.is_certain else "a possible deadlock"
    if not chain.edges:
        return ""
    root = rows.get(chain.root)
    return f"{root['target']} {chain.root}, {root['status']}" if root else f"{chain.root}, which no longer exists"


def _build(
    explorer: Explorer,
    id_: str,
    summary: str,
    details: InvocationDetails | None = None,
    facts: Facts = (),
    chain: pd.DataFrame | None = None,
    options: Sequence[Option] = (),
    waiters: Sequence[Row] = (),
) -> Explanation:
    reads = explorer.reads
    return Explanation(
        id=id_,
        target=details.row["target"] if details else None,
        status=details.status if details else None,
        _paragraph=summary,
        facts=facts,
        chain=link_frame((), {}, None) if chain is None else chain,
        _choices=tuple(options),
        not_read=unread(explanation=explorer.excluded),
        source=reads.name,
        version=reads.version,
        read_at=reads.now,
        queries=tuple(reads.queries),
        link=page_link(reads, "invocation", id_),
        waiters=tuple((str(row["id"]), str(row["target"])) for row in waiters),
        callers=details.callers if details else (),
        story_call=None if details is None or details.is_alone else story_call(id_),
    )
