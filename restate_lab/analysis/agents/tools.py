"""The tools that models called: their calls, failures and times, one row per service and tool."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from restate_lab.analysis.agents.matching import BY_ID, BY_ORDER, GUESSED, MatchedCall
from restate_lab.analysis.agents.notes import describe_unread
from restate_lab.analysis.agents.reader import AgentReader, RunSelection
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
    tools: defaultdict[tuple[str, str], list[MatchedCall]] = defaultdict(list)
    retries: Counter[tuple[str, str]] = Counter()
    for run in runs:
        errors = Counter(each["command_index"] for each in run.errors)
        for call in _own_calls(run):
            tool = str(run.row["service"]), call.call.name
            tools[tool].append(call)
            retries[tool] += sum(errors[each.entry.command_index] for each in call.entries)
    known_retries = retries if reader.has_events else {}
    rows = [_row_of(*tool, calls, known_retries.get(tool)) for tool, calls in tools.items()]
    frame = to_frame(rows_to_table(sorted(rows, key=lambda row: (-row["calls"], row["tool"])), _COLUMNS))
    frame.attrs = {"runs": len(runs), "not_read": notes, **selection.attrs}
    return frame


def read_selected_runs(reader: AgentReader, selection: RunSelection) -> tuple[list[AgentRun], list[str]]:
    """Return the runs of a selection, and notes about journals and payloads that are too large."""
    rows = {id_: row for id_, row in selection.rows.items() if (row["journal_size"] or 0) <= MOST_ENTRIES}
    runs = read_runs(reader, rows, (), selection.scope)
    large, excluded = len(selection.rows) - len(rows), sum(run.excluded for run in runs)
    notes = [f"not read, because they have more than {MOST_ENTRIES:,} entries: {large:,} journals"] if large else []
    return runs, notes + describe_unread(excluded)


def _own_calls(run: AgentRun) -> Iterator[MatchedCall]:
    """Yield the tool calls, without those that a restart copied from an earlier run."""
    for turn in run.turns:
        for call in turn.calls:
            times = [each.entry.completed or each.entry.started for each in call.entries or (turn.entry,)]
            if any(time is None or time >= run.row["created_at"] for time in times):
                yield call


def _milliseconds_of(call: MatchedCall) -> float | None:
    """Return the time from the start of the first entry to the end of the last one; None if a time is unknown."""
    starts = [each.entry.started or each.entry.completed for each in call.entries]
    ends = [each.entry.completed for each in call.entries]
    if not ends or None in starts or None in ends:
        return None
    first, last = min(filter(None, starts)), max(filter(None, ends))
    return max((last - first).total_seconds() * 1000, 0.0)


def _row_of(service: str, tool: str, calls: Sequence[MatchedCall], retries: int | None) -> dict[str, Any]:
    times = [_milliseconds_of(call) for call in calls if call.how in {BY_ID, BY_ORDER}]
    known = [time for time in times if time is not None]
    statuses = [{each.entry.status for each in call.entries} for call in calls]
    return {
        "service": service,
        "tool": tool,
        "calls": len(calls),
        "failures": sum(FAILED in each for each in statuses),
        "open": sum(OPEN in each for each in statuses),
        "retries": retries,
        "median_ms": statistics.median(known) if known else None,
        "p95_ms": float(np.percentile(known, 95)) if known else None,
        "unsure": sum(call.how == GUESSED and bool(call.entries) for call in calls),
        "without_entry": sum(not call.entries for call in calls),
    }
