"""The journal of an invocation as a frame: one row per entry, with the journals of callees below their calls."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab.analysis.ids import describe_missing, invocation_id_in
from restate_lab.analysis.journal.drawing import journal_html
from restate_lab.analysis.journal.frame import JournalTree, calls_of, to_frame
from restate_lab.analysis.journal.reader import Invocation, JournalReader, is_archived
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, NotFound, Truncated
from restate_lab.frames import with_card
from restate_lab.links import page_link
from restate_lab.reads import begin
from restate_lab.source import Source, decoding_of

_MOST_ENTRIES = 100_000  # of all callees of one level, counted by sys_invocation.journal_size


@translate_errors
def journal(
    source: Source,
    invocation_id: str,
    /,
    *,
    depth: int = 1,
    payloads: bool = False,
    limit: int = 500,
    timeout: DurationInput | None = "30s",
) -> pd.DataFrame:
    """Return the journal of one invocation: one row per entry, ordered by index.

    ``invocation_id`` is an id, or any text with exactly one, such as a log line or a URL of the web UI.
    A row is a command with the notifications that complete it, or a signal. ``depth=2`` also reads the journals of its
    callees and inserts them below their calls, ``depth=3`` also those of their callees; at most ``limit`` invocations
    per level. ``payloads=True`` also reads the entries' payloads, which is slow for large payloads. ``timeout`` is for
    the whole call.

    A notebook shows the journal as a card with a time bar in each row; ``head()`` and filters return plain tables.

    Columns: ``invocation_id, depth, index, entry_type, name, status, open, started, completed`` (UTC), ``duration,
    result, failure, failure_code, callee, callee_target, wakes_at`` (UTC), ``promise, awakeable_id, state_key, retries,
    retries_at_least, last_error, last_error_code, size`` (bytes), ``command_index, completion_index, caller,
    children``, and with ``payloads``: ``payload, argument, headers``. ``frame.attrs`` has ``failed_attempts``,
    ``suspensions``, ``events``, ``queries``, ``truncated`` and others. ``help("restate_lab.guide.columns")`` explains
    all of them.

    An awaited awakeable is visible only while the invocation is suspended; a named signal also needs version 1.7 or
    later. Otherwise the server has no record of it.

    Raises:
        ArgumentError: the text has no invocation id or several, or depth or limit is below 1.
        NotFound: the invocation does not exist, or no longer exists.
        NotOnThisServer: the source is too old.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: any error of ``source.arrow``.
    """
    for name, value in (("depth", depth), ("limit", limit)):
        if value < 1:
            raise ArgumentError(f"{name} is {value!r}: pass a whole number, 1 or more.")
    frame, _ = read_journal(source, invocation_id, depth=depth, payloads=payloads, limit=limit, timeout=timeout)
    if "truncated" in frame.attrs:
        warnings.warn(
            frame.attrs["truncated"]["message"], Truncated, stacklevel=3
        )  # point to the caller of the decorated function
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
    timeout: DurationInput | None = None,
) -> tuple[pd.DataFrame, Invocation]:
    """Return the frame of ``journal`` without its warning, and the invocation that it was built from.

    With ``expand``, only the journals of these callees are inserted, at any depth.
    """
    invocation_id = invocation_id_in(invocation_id, name=name)
    reads = begin(source, "journal", timeout)
    reader = JournalReader(reads, payloads=payloads, decoding=decoding_of(source) if payloads else None)
    if expand is not None:
        depth, limit = len(expand) + 1, max(len(expand), 1)
    tree = _read_tree(reader, invocation_id, depth=depth, limit=limit, only=expand)
    frame = to_frame(tree, payloads=payloads)
    root = tree.invocations[invocation_id]
    frame.attrs |= {
        "id": invocation_id,
        "target": root.row["target"],
        "status": root.status,
        "failed_attempts": root.attempts,
        "source": reads.name,
        "version": reads.version,
        "read_at": reads.now.isoformat(),
        "depth": depth,
        "queries": reads.queries,
    }
    if link := page_link(reads, "invocation", invocation_id):
        frame.attrs["link"] = link
    if not root.entries.num_rows:
        archived = is_archived(reads, invocation_id)
        frame.attrs["note"] = _reason_for_no_entries(root, reads.now, is_archived=archived)
    if tree.excluded:
        parts = ", ".join(f"{count:,} callees at {level}" for level, count in tree.excluded.items())
        message = (
            f"The journal of {tree.root} excludes {parts}. Pass a higher limit= (at most {_MOST_ENTRIES:,} entries are "
            f"read per level), or read the journal of a single callee."
        )
        frame.attrs["truncated"] = {"excluded": tree.excluded, "message": message}
    return frame, root


def _read_tree(
    reader: JournalReader, root: str, *, depth: int, limit: int, only: Collection[str] | None = None
) -> JournalTree:
    """Read an invocation's journal and, level by level, the journals of its callees; each invocation once."""
    tree = JournalTree(root, depth)
    rows = reader.rows([root])
    if not rows:
        raise NotFound(describe_missing(reader.reads, root), status=404)
    for level in range(1, depth + 1):
        read = reader.journals(rows)
        tree.invocations.update(read)
        callees = dict.fromkeys(callee for invocation in read.values() for _, callee in calls_of(invocation))
        wanted = [id_ for id_ in callees if id_ not in tree.invocations and (only is None or id_ in only)]
        if level == depth or not wanted:
            break
        rows, excluded = _take_within_bounds(reader.rows(wanted[:limit]))
        excluded += len(wanted[limit:])
        if excluded:
            tree.excluded[f"depth {level + 1}"] = excluded
    return tree


def _take_within_bounds(rows: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Mapping[str, Any]], int]:
    kept: dict[str, Mapping[str, Any]] = {}
    entries = 0
    for id_, row in rows.items():
        entries += row["journal_size"] or 0
        if entries <= _MOST_ENTRIES:
            kept[id_] = row
    return kept, len(rows) - len(kept)


def _reason_for_no_entries(invocation: Invocation, now: datetime, *, is_archived: bool) -> str:
    row = invocation.row
    if not row["ended"]:
        return f"it is {invocation.status} and has not started yet"
    kept, completed = row["journal_retention"], row["completed_at"]
    if kept == timedelta(0):
        return "its journal was not retained: the journal retention of its handler is 0"
    if is_archived and row["journal_size"]:
        return "its journal is not in the archive: the cluster had removed it before a visit could read it"
    if kept and completed and completed + kept < now:
        return f"its journal was retained for {kept} after completion, and this time has passed"
    return "its journal was purged"
