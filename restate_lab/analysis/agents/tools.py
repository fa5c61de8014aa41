"""The tools that models called: their calls, failures and times, one row per service and tool."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from restate_lab.analysis.agents.matching import BY_ID, BY_ORDER, GUESSED, MatchedCall
from restate_lab.analysis.agents.reader import AgentReader, RunSelection, describe_unread
from restate_lab.analysis.agents.run import AgentRun, read_runs
from restate_lab.analysis.journal.entries import FAILED, OPEN
from restate_lab.frames import rows_to_table, to_frame

MOST_ENTRIES = 20_000  # of one journal
_COLUMNS: Mapping[str, pa.DataType] = MappingProxyType(
    {
        **dict.fromkeys(("service", "tool"), pa.string()),
        **dict.fromkeys(("calls", "failures", "open", "retries"), pa.int64()),
        **dict.fromkeys(("median_ms", "p95_ms"), pa.float64()),
        **dict.fromkeys(("unsure", "without_entry"), pa.int64()),
    }
)


def tools_frame(reader: AgentReader, selection: RunSelection) -> pd.DataFrame:
    """Return one row per service and tool that models called; a call copied by a restart counts in its first run."""
    runs, notes = read_selected_runs(reader, selection)
    tools: defaultdict[tuple[str, str], list[_ToolCall]] = defaultdict(list)
    for run in runs:
        for name, call in _calls_of(run, has_events=reader.has_events):
            tools[str(run.row["service"]), name].append(call)
    rows = sorted((_row_of(*key, calls) for key, calls in tools.items()), key=lambda row: (-row["calls"], row["tool"]))
    frame = to_frame(rows_to_table(rows, _COLUMNS))
    frame.attrs = {"runs": len(runs), "not_read": notes, **selection.attrs}
    return frame


def read_selected_runs(reader: AgentReader, selection: RunSelection) -> tuple[list[AgentRun], list[str]]:
    """Return the runs of a selection, and notes about journals and payloads that are too large."""
    rows = {id_: row for id_, row in selection.rows.items() if (row["journal_size"] or 0) <= MOST_ENTRIES}
    runs = read_runs(reader, rows, (), selection.scope)
    large, excluded = len(selection.rows) - len(rows), sum(run.excluded for run in runs)
    notes = [f"not read, because they have more than {MOST_ENTRIES:,} entries: {large:,} journals"] if large else []
    return runs, notes + describe_unread(excluded)


@dataclass(frozen=True, slots=True)
class _ToolCall:
    how: str
    has_failed: bool
    is_open: bool
    retries: int | None
    milliseconds: float | None


def _calls_of(run: AgentRun, *, has_events: bool) -> Iterator[tuple[str, _ToolCall]]:
    errors = Counter(each["command_index"] for each in run.errors)
    for turn in run.turns:
        for call in turn.calls:
            times = [each.entry.completed or each.entry.started for each in call.entries or (turn.entry,)]
            if all(time is not None and time < run.row["created_at"] for time in times):
                continue  # a restart copied it
            yield (
                call.call.name,
                _ToolCall(
                    call.how if call.entries else "",
                    any(each.entry.status == FAILED for each in call.entries),
                    any(each.entry.status == OPEN for each in call.entries),
                    sum(errors[each.entry.command_index] for each in call.entries) if has_events else None,
                    _milliseconds_of(call) if call.how in {BY_ID, BY_ORDER} else None,
                ),
            )


def _milliseconds_of(call: MatchedCall) -> float | None:
    """Return the time from the start of the first entry to the end of the last one; None if a time is unknown."""
    starts = [each.entry.started or each.entry.completed for each in call.entries]
    ends = [each.entry.completed for each in call.entries]
    if not ends or None in starts or None in ends:
        return None
    first, last = min(filter(None, starts)), max(filter(None, ends))
    return max((last - first).total_seconds() * 1000, 0.0)


def _row_of(service: str, tool: str, calls: Sequence[_ToolCall]) -> dict[str, Any]:
    known = [each.milliseconds for each in calls if each.milliseconds is not None]
    return {
        "service": service,
        "tool": tool,
        "calls": len(calls),
        "failures": _count(each.has_failed for each in calls),
        "open": _count(each.is_open for each in calls),
        "retries": None if calls[0].retries is None else sum(each.retries or 0 for each in calls),
        "median_ms": statistics.median(known) if known else None,
        "p95_ms": float(np.percentile(known, 95)) if known else None,
        "unsure": _count(each.how == GUESSED for each in calls),
        "without_entry": _count(not each.how for each in calls),
    }


def _count(flags: Iterable[bool]) -> int:
    return sum(flags)
