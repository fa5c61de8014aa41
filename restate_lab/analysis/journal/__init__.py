"""The journal of an invocation as a frame: one row per entry, callees' journals below the calls that made them."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.analysis.deadline import within
from restate_lab.analysis.ids import check_invocation_id
from restate_lab.analysis.journal.card import journal_html
from restate_lab.analysis.journal.frame import CALLS, JournalTree, to_frame
from restate_lab.analysis.journal.reader import Invocation, JournalReader
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, NotFound, Truncated
from restate_lab.frames import with_card
from restate_lab.recorder import QueryRecorder
from restate_lab.source import Source, check_supported

__all__ = ["journal", "read_journal"]

_MOST_ENTRIES = 100_000  # of one level's callees, by what sys_invocation says


@translate_errors
def journal(
    source: Source,
    invocation_id: str,
    /,
    *,
    depth: int = 1,
    payloads: bool = False,
    limit: int = 500,
    timeout: DurationInput | None = None,
) -> pd.DataFrame:
    """Return the journal of one invocation, one row per entry in the order of their index.

    A row is a command together with the notifications that answer it, or a signal. ``depth=2`` brings the journals of
    its callees in, below the calls that made them, ``depth=3`` those of theirs; ``limit`` invocations per level at
    most. ``payloads=True`` also reads what the entries carry, which is heavy where that is large. ``timeout`` is for
    the whole call; None leaves each statement to the connection's own limit.

    A notebook shows the journal as a card, with a bar of time in each row; ``head()`` and filters give plain tables.

    Columns, None where an entry has no such thing:

    - ``invocation_id, depth`` (1 is the one asked for), ``index`` (None for a wait that is not written down yet)
    - ``entry_type`` as Restate names it ("Run", "Call", "Sleep", "Signal", …; awaited awakeables are "Signal"),
      ``name`` (of a step, or of a signal; signal 1 is "cancel")
    - ``status``: "done", "failed", "open", or "abandoned" when the invocation ended first; None if it cannot be told
    - ``open``: whether it is what the invocation still does or waits for
    - ``started, completed`` (UTC), ``duration``. Restate writes a command down when the handler gets there; what comes
      with a result is completed at once. A restart as new keeps the times of the entries that it copies. When a handler
      began to wait for a signal is not known.
    - ``result``: "success", "failure" or "void" (nothing there); of SendSignal and CompleteAwakeable what they send
    - ``failure, failure_code``: how it failed for good; None in journals above 32 MB, unless payloads are read
    - ``callee, callee_target``: the invocation that was called, sent to, attached to, signalled, or waits for the
      awakeable; ``wakes_at`` (UTC): when a sleep ends or a delayed send starts; ``promise, awakeable_id, state_key``
    - ``retries``: how often it failed and was tried again. ``retries_at_least`` says that there may have been more:
      equal errors in a row are kept once, and only what is tried at present has a counter. None where the source
      has no events. An error between two entries stands at the one before.
    - ``last_error, last_error_code``: the last of these errors
    - ``size`` (bytes, of command and notifications; None before 1.7)
    - ``command_index`` (counts commands only, as in ``last_failure_related_command_index``), ``completion_index`` (of
      the notification; ``from`` of a restart as new counts these, too)
    - ``caller`` (the invocation a callee's row belongs below), ``children`` (rows brought in below; None if not asked)
    - with ``payloads``: ``payload`` (what came of it, or what was written), ``argument`` (of a call), each parsed as
      JSON (as Python's ``json.loads`` does), else as text, else bytes, None where empty; ``headers`` (a dict). Secret
      headers are masked, also those of a response that a payload repeats; other parts of payloads are not.

    ``frame.attrs`` has ``id, target, status, source, version, read_at, depth``, ``failed_attempts`` (since the
    invocation last made progress; None where the server does not say), ``invocations`` (id → the attempts of each
    invocation that is in flight or had errors), ``queries`` (the statements that were sent, with ``sql, params,
    times``), ``note`` if there is no journal, and ``truncated`` if callees were not read, with a warning
    (Truncated).

    An awakeable that is awaited shows once the invocation is suspended, a named signal also only since 1.7: before
    that, nothing on the server tells of it.

    Raises:
        ArgumentError: this is no invocation id, or depth or limit is below 1.
        NotFound: there is no such invocation (any more).
        NotOnThisServer: the source is too old.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: what ``source.arrow`` raises.
    """
    for name, value in (("depth", depth), ("limit", limit)):
        if value < 1:
            raise ArgumentError(f"{name} is {value!r}: give a whole number, 1 or more.")
    limited = within(source, timeout, verb="journal")
    frame, _ = read_journal(limited, invocation_id, depth=depth, payloads=payloads, limit=limit)
    if "truncated" in frame.attrs:
        warnings.warn(
            frame.attrs["truncated"]["message"], Truncated, stacklevel=3
        )  # of the caller of the decorated function
    return with_card(frame, journal_html)


def read_journal(
    source: Source,
    invocation_id: str,
    *,
    depth: int = 1,
    payloads: bool = False,
    limit: int = 1,
    name: str = "id",
    expand: Collection[str] | None = None,
) -> tuple[pd.DataFrame, Invocation]:
    """Return the frame that ``journal`` gives, without its warning, and what it was made of.

    With ``expand`` the journals of these callees are brought in, at any depth, and no others.
    """
    check_invocation_id(invocation_id, name=name)
    check_supported(source, "journal()")
    recorder = QueryRecorder(source)
    reader = JournalReader(recorder, payloads=payloads)
    if expand is None:
        tree = _read_tree(reader, invocation_id, depth=depth, limit=limit)
    else:
        depth, limit = len(expand) + 1, max(len(expand), 1)
        tree = _read_tree(reader, invocation_id, depth=depth, limit=limit, only=expand)
    frame = to_frame(tree, payloads=payloads)
    root, now = tree.invocations[invocation_id], source.now
    frame.attrs |= {
        "id": invocation_id,
        "target": root.row["target"],
        "status": root.status,
        "failed_attempts": root.attempts,
        "source": source.name,
        "version": source.version,
        "read_at": now.isoformat(),
        "depth": depth,
        "queries": recorder.queries,
    }
    if not root.entries.num_rows:
        frame.attrs["note"] = _reason_for_no_entries(root, now)
    if tree.excluded:
        frame.attrs["truncated"] = {"excluded": tree.excluded, "message": _truncation_message(tree)}
    return frame, root


def _read_tree(
    reader: JournalReader, root: str, *, depth: int, limit: int, only: Collection[str] | None = None
) -> JournalTree:
    """Read an invocation's journal, and level by level those of its callees, each invocation once."""
    tree = JournalTree(root, depth)
    rows = reader.rows([root])
    if not rows:
        raise NotFound(
            f"{reader.source.name} has no invocation {root}. It may never have been there, have been purged, have "
            f"outlived its retention, or have been cancelled or killed before it started, which leaves no row.",
            status=404,
        )
    for level in range(1, depth + 1):
        read = reader.journals(rows)
        tree.invocations.update(read)
        callees = dict.fromkeys(callee for invocation in read.values() for callee in _callees(invocation))
        wanted = [id_ for id_ in callees if id_ not in tree.invocations and (only is None or id_ in only)]
        if level == depth or not wanted:
            break
        rows, excluded = _take_within_bounds(reader.rows(wanted[:limit]))
        excluded += len(wanted[limit:])
        if excluded:
            tree.excluded[f"depth {level + 1}"] = excluded
    return tree


def _callees(invocation: Invocation) -> list[str]:
    entries = invocation.entries
    calls = entries.filter(pc.is_in(entries["entry_type"], pa.array(sorted(CALLS))))
    return [callee for callee in calls["callee"].to_pylist() if callee]


def _take_within_bounds(rows: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Mapping[str, Any]], int]:
    """Return the first of these invocations whose journals are not too long together, and how many are left out."""
    kept: dict[str, Mapping[str, Any]] = {}
    entries = 0
    for id_, row in rows.items():
        entries += row["journal_size"] or 0
        if entries <= _MOST_ENTRIES:
            kept[id_] = row
    return kept, len(rows) - len(kept)


def _reason_for_no_entries(invocation: Invocation, now: datetime) -> str:
    """Return why there are no entries."""
    row = invocation.row
    if not row["ended"]:
        return f"it is {invocation.status}, and has no journal before it starts"
    kept, completed = row["journal_retention"], row["completed_at"]
    if kept == timedelta(0):
        return "its journal was not retained: the journal retention of its handler is 0"
    if kept and completed and completed + kept < now:
        return f"its journal was kept for {kept} after it completed, which is over"
    return "its journal was purged"


def _truncation_message(tree: JournalTree) -> str:
    parts = ", ".join(f"{count:,} callees at {level}" for level, count in tree.excluded.items())
    return (
        f"{parts} were left out of the journal of {tree.root}; read more with limit=, up to {_MOST_ENTRIES:,} entries "
        f"per level, or read the journal of one of them."
    )
