"""Read queues and the counters of rules, and complete their rows: names, reasons as text, and the fullest rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from restate_lab.analysis.questions import run_question
from restate_lab.analysis.queues.text import describe_wait, mark_counter, name_counter, name_queue
from restate_lab.analysis.scopes import counter_key_of
from restate_lab.frames import records
from restate_lab.reads import Reads, Row

MOST = 500
"""Queues that are shown; the others are counted."""
_MOST_READ = 100_000
_MOST_COUNTERS = 1_000
_ADDED = {"queue": "str", "waits_for": "str", "rule": "str", "used": "Int64", "limit": "Int64"}
Key = tuple[Any, Any]


class QueueReader:
    """Read with ``reads``, which has the time limit and the record of the statements."""

    def __init__(self, reads: Reads) -> None:
        self.reads = reads

    def limits(self) -> pd.DataFrame:
        """Return the question ``limits`` with ``counted``, what a counter counts, and ``mark``, a word about it."""
        frame = run_question(self.reads, "limits", limit=_MOST_COUNTERS)
        rows = records(frame)
        columns = {"counted": map(name_counter, rows), "mark": map(mark_counter, rows)}
        return _with_columns(
            frame, {name: list(values) for name, values in columns.items()}, dict.fromkeys(columns, "str")
        )

    def queues(self, limits: pd.DataFrame) -> tuple[pd.DataFrame, Mapping[str, int]]:
        """Return the first queues with the added columns, and the number of the others and of their waiting calls.

        ``queue`` is a name, ``waits_for`` a text. ``rule, used, limit`` are those of the fullest rule that applies.
        """
        frame = run_question(self.reads, "queues", limit=_MOST_READ)
        first = frame.head(MOST)
        first.attrs = frame.attrs
        rows, counters = records(first), _counters_by_scope(records(limits))
        holders = self._holders(rows)
        for row in rows:
            applying = [each for each in counters.get(row["scope"], ()) if counter_key_of(each).has(row)]
            fullest = max(applying, key=lambda each: each["usage_share"] or 0, default={})
            blocking = next((each for each in applying if each["rule"] == row["blocked_rule"]), None)
            holder = holders.get((row["lock_name"], row["scope"]))
            row["queue"], row["waits_for"] = name_queue(row), describe_wait(row, blocking, holder, self.reads.now)
            row |= {
                "rule": fullest.get("rule"),
                "used": fullest.get("usage"),
                "limit": fullest.get("concurrency_limit"),
            }
        rest = frame["waiting"].iloc[MOST:]
        others = {"queues": len(rest), "waiting": int(rest.sum()), "waiting_queues": int((rest > 0).sum())}
        return _with_columns(first, {name: [row[name] for row in rows] for name in _ADDED}, _ADDED), others

    def calls(self, queue: Mapping[Any, Any], *, limit: int) -> list[str]:
        """Return the ids of the open calls of a queue, a row of ``queues``: those that have begun come first."""
        names = {name: queue[name] for name in ("scope", "limit_key", "lock_name")}
        rows = self.reads.rows("queues/calls", service=queue["target_service_name"], **names, limit=limit)
        return [row["id"] for row in rows]

    def _holders(self, queues: Sequence[Row]) -> Mapping[Key, Row]:
        """Return the holder of each key that a head waits for, with its status if it is an invocation."""
        names = [row["lock_name"] for row in queues if row["blocked_on"] == "lock"]
        holders = self.reads.rows("queues/holders", names=names) if names else []
        ids = [row["holder_id"] for row in holders if str(row["holder_id"]).startswith("inv_")]
        statuses = {row["id"]: row["status"] for row in self.reads.rows("queues/statuses", ids=ids)} if ids else {}
        return {(row["lock_name"], row["scope"]): {**row, "status": statuses.get(row["holder_id"])} for row in holders}


def _counters_by_scope(limits: Sequence[Row]) -> Mapping[str, Sequence[Row]]:
    """Return the counters with a limit by their scope."""
    counters: dict[str, list[Row]] = {}
    for row in limits:
        if row["scope"] is not None and row["concurrency_limit"] is not None:
            counters.setdefault(row["scope"], []).append(row)
    return counters


def _with_columns(frame: pd.DataFrame, columns: Mapping[str, Sequence[Any]], kinds: Mapping[str, str]) -> pd.DataFrame:
    """Return the frame with more columns; it keeps the record of its statement."""
    added = {name: pd.Series(values, dtype=kinds[name]) for name, values in columns.items()}
    whole = frame.assign(**added)
    whole.attrs = frame.attrs
    return whole
