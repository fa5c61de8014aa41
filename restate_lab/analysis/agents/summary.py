"""One row per run of an agent: its calls, its tokens and where its time went, without the text of any payload."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from math import inf
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from restate_lab._text import join, plural
from restate_lab.analysis.agents.entries import is_agent_name
from restate_lab.analysis.agents.model import TOKENS, ModelStep, sum_known
from restate_lab.analysis.agents.prices import PriceTable
from restate_lab.analysis.agents.reader import ModelSteps, Row
from restate_lab.analysis.ids import FIRST_AWAKEABLE
from restate_lab.analysis.journal.entries import FAILED
from restate_lab.frames import to_frame

__all__ = ["WASTEFUL", "RunEntry", "RunJournal", "run_entries", "run_frame", "summarize"]

_COLUMNS: Mapping[str, pa.DataType] = MappingProxyType(
    {
        **dict.fromkeys(("id", "service", "handler", "key", "status"), pa.string()),
        **dict.fromkeys(("created_at", "completed_at"), pa.timestamp("ms", "UTC")),
        **dict.fromkeys(("framework", "models"), pa.string()),
        **dict.fromkeys(("model_calls", "tool_calls", "retries"), pa.int64()),
        **dict.fromkeys(TOKENS, pa.int64()),
        **dict.fromkeys(("spent_tokens", "wasted_tokens", "saved_tokens", "possibly_paid_calls"), pa.int64()),
        "cost": pa.float64(),
        **dict.fromkeys(("model_s", "tools_s", "people_s", "backoff_s"), pa.float64()),
        **dict.fromkeys(("restarted_from", "invoked_by_id", "note"), pa.string()),
    }
)
WASTEFUL = frozenset({"failed", "killed"})
"""The statuses of runs whose tokens were in vain."""
_ENTRY_COLUMNS = ("entry_type", "index", "completion_index", "command_index", "name", "status", "awakeable_id")
_TOOLS = frozenset({"Run", "Call", "Sleep", "AttachInvocation"})
_PROMISES = frozenset({"GetPromise"})
_OWN_STEPS = re.compile(r"store session|run event", re.IGNORECASE)
# a request that the provider refused, or that did not reach it, was not paid
_NOT_PAID = re.compile(r"\b(?:429|5\d\d)\b|[Cc]onnection|[Rr]ate.?limit|ResourceExhausted")
_Span = tuple[float, float]


class RunEntry(NamedTuple):
    """The columns of an entry that a summary needs; times are seconds since 1970."""

    entry_type: str
    journal_index: int | None
    completion_index: int | None
    command_index: int | None
    name: str | None
    status: str | None
    awakeable_id: str | None
    started: float | None
    completed: float | None


@dataclass(frozen=True, slots=True)
class RunJournal:
    """The rows of one run: its entries, the responses of models, its errors, and the copies of its steps.

    ``errors``: None if the source has no events. ``copies`` has the indexes of results that restarts of it copied.
    """

    row: Row
    entries: Sequence[RunEntry]
    models: ModelSteps
    errors: Sequence[Row] | None
    copies: frozenset[int] = frozenset()


def run_entries(tables: Mapping[str, pa.Table]) -> dict[str, list[RunEntry]]:
    """Return id → the entries of its journal; all tables are converted together, because there can be thousands."""
    if not tables:
        return {}
    whole = pa.concat_tables(tables.values())
    columns = [whole[name].to_pylist() for name in _ENTRY_COLUMNS]
    columns += [_seconds_of(whole[name]) for name in ("started", "completed")]
    rows = [RunEntry(*row) for row in zip(*columns, strict=True)]
    ends = list(accumulate(table.num_rows for table in tables.values()))
    return {id_: rows[end - table.num_rows : end] for (id_, table), end in zip(tables.items(), ends, strict=True)}


def _seconds_of(times: pa.ChunkedArray[Any]) -> list[float | None]:
    return [None if each is None else each / 1000 for each in times.cast(pa.int64()).to_pylist()]


def run_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the frame of ``agent_runs`` with these rows."""
    return to_frame(pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in _COLUMNS.items()}))


def summarize(journal: RunJournal, prices: PriceTable, now: datetime) -> dict[str, Any]:
    """Return the row of one run; ``now`` is the end of entries that are still open."""
    models = dict(sorted(journal.models.steps.items()))
    calls = frozenset(each.name for each in journal.entries if each.completion_index in models and each.name)
    run = _RunSummary(journal, models, calls, now.timestamp())
    steps, row = run.steps, journal.row
    names = [step.model or step.model_asked for step in steps.values()]
    return {
        **{name: row[name] for name in ("id", "service", "handler", "key", "status", "created_at", "completed_at")},
        **{name: row[name] for name in ("restarted_from", "invoked_by_id")},
        "framework": join([step.framework for step in steps.values()]) or None,
        "models": join([name for name in names if name]) or None,
        "model_calls": len(steps),
        "tool_calls": sum(len(step.tool_calls) for step in steps.values()),
        "retries": run.retries,
        **{name: sum_known(getattr(step, name) for step in steps.values()) for name in TOKENS},
        **run.spending(),
        "possibly_paid_calls": run.possibly_paid_calls(),
        "cost": run.cost(prices),
        **run.seconds(),
        "note": "; ".join(run.notes()) or None,
    }


def _tokens(steps: Iterable[ModelStep]) -> int | None:
    """Return input and output together; None if no step has a number."""
    return sum_known(each for step in steps for each in (step.input_tokens, step.output_tokens))


@dataclass(frozen=True, slots=True)
class _RunSummary:
    """Computes the columns of one run."""

    journal: RunJournal
    steps: Mapping[int, ModelStep]
    """Index of the result → the response of a model, in the order of the journal."""
    names: frozenset[str]
    """The names of the steps with a response."""
    now: float

    @property
    def entries(self) -> Sequence[RunEntry]:
        return self.journal.entries

    @property
    def retries(self) -> int | None:
        if self.journal.errors is None:
            return None
        is_running = bool(self.journal.row["status"] == "running")
        attempts = int(self.journal.row["retry_count"] or 0) - is_running  # the current one has not failed
        return max(len(self.journal.errors), attempts)

    def spending(self) -> dict[str, int | None]:
        """Return the tokens that this run paid for, those that were in vain, and those that replays saved.

        A restart as new copies steps with their old times, so a step that is older than the run was paid by another.
        """
        created, times, steps = self._created, self._times, self.steps
        copied = {at for at in steps if (time := times.get(at)) is not None and time < created}
        own = {at: step for at, step in steps.items() if at not in copied}
        last_error = max((each["appended_at"].timestamp() for each in self.journal.errors or ()), default=-inf)
        repeated = {at for at in own if (time := times.get(at)) is not None and time <= last_error}
        has_failed = self.journal.row["status"] in WASTEFUL
        wasted = [step for at, step in own.items() if has_failed and at not in self.journal.copies]
        saved = [steps[at] for at in steps if at in copied | repeated]
        unknown = bool(steps) and _tokens(steps.values()) is None
        return {
            "spent_tokens": None if unknown else _tokens(own.values()) or 0,
            "wasted_tokens": None if unknown else _tokens(wasted) or 0,
            "saved_tokens": None if unknown else _tokens(saved) or 0,
        }

    def cost(self, prices: PriceTable) -> float | None:
        """Return the cost of the steps that this run paid for; None if one of them has no price."""
        times = self._times
        own = [(step, times.get(at)) for at, step in self.steps.items()]
        costs = [
            prices.cost(step, datetime.fromtimestamp(time, UTC) if time is not None else None)
            for step, time in own
            if time is None or time >= self._created
        ]
        return None if None in costs or not self.steps else sum(each for each in costs if each is not None)

    def possibly_paid_calls(self) -> int | None:
        """Return the number of failed attempts at a call of a model that the provider may have been paid for."""
        if self.journal.errors is None:
            return None
        numbers = {each.command_index for each in self.entries if self._is_model(each)}
        failed = [each for each in self.journal.errors if each["command_index"] in numbers]
        return sum(_NOT_PAID.search(each["message"] or "") is None for each in failed)

    def notes(self) -> Iterable[str]:
        steps = self.steps.values()
        if not self.entries:
            yield "its journal was purged or not retained"
        elif not steps:
            yield "no step has the shape of a model response"
        if self.journal.models.excluded:
            yield f"not read, because they are too large: {plural(self.journal.models.excluded, 'payload')}"
        unknown = sum(step.input_tokens is None or step.output_tokens is None for step in steps)
        if unknown:
            yield f"the tokens of {unknown} of {len(steps)} model calls are unknown"

    def _is_model(self, entry: RunEntry) -> bool:
        if entry.completion_index in self.journal.models.steps:
            return True
        has_no_response = entry.completion_index is None or entry.status == FAILED
        return entry.entry_type == "Run" and has_no_response and (entry.name in self.names or is_agent_name(entry.name))

    def seconds(self) -> dict[str, float | None]:
        """Return the seconds of the run by kind; a time that belongs to several kinds counts for the first of them."""
        if not self.entries:
            return dict.fromkeys(("model_s", "tools_s", "people_s", "backoff_s"))
        created, end = self._created, self._end
        kinds = {"backoff_s": self._backoffs(), "people_s": self._human_waits()}
        kinds |= {"model_s": self._spans(self._is_model), "tools_s": self._tools()}
        seconds: dict[str, float | None] = {}
        covered: list[_Span] = []
        for kind, spans in kinds.items():
            before = _length(covered)
            covered = _union([*covered, *((max(a, created), min(b, end)) for a, b in spans)])
            seconds[kind] = round(_length(covered) - before, 3)
        return seconds

    @property
    def _created(self) -> float:
        created: datetime = self.journal.row["created_at"]
        return created.timestamp()

    @property
    def _end(self) -> float:
        completed: datetime | None = self.journal.row["completed_at"]
        return completed.timestamp() if completed else self.now

    @property
    def _times(self) -> Mapping[int | None, float | None]:
        return {each.completion_index: each.completed for each in self.entries}

    def _span(self, entry: RunEntry, since: float | None = None) -> _Span:
        start = next((each for each in (since, entry.started, entry.completed) if each is not None), self._end)
        return start, entry.completed if entry.completed is not None else self._end

    def _spans(self, is_wanted: Any) -> list[_Span]:
        return [self._span(each) for each in self.entries if is_wanted(each)]

    def _backoffs(self) -> list[_Span]:
        """Return for each failing entry the time from its first recorded error to its result."""
        by_number = {each.command_index: each for each in self.entries if each.command_index is not None}
        first: dict[int, float] = {}
        for each in self.journal.errors or ():
            first.setdefault(each["command_index"], each["appended_at"].timestamp())
        return [self._span(by_number[at], since) for at, since in first.items() if at in by_number]

    def _human_waits(self) -> list[_Span]:
        """Return the waits for awakeables and promises; a wait for an awakeable begins after the entry before it."""
        times = sorted(
            (at, time)
            for each in self.entries
            for at, time in ((each.journal_index, each.started), (each.completion_index, each.completed))
            if at is not None and time is not None and each.entry_type != "Signal"
        )
        spans = [self._span(each) for each in self.entries if each.entry_type in _PROMISES]
        for each in self.entries:
            if each.entry_type == "Signal" and each.awakeable_id is not None and each.completed is not None:
                before = bisect_left(times, each.journal_index or 0, key=itemgetter(0))
                spans.append(self._span(each, times[before - 1][1] if before else each.completed))
        signals = self.journal.row["signals"] or ()
        if self.journal.row["status"] == "suspended" and any(signal >= FIRST_AWAKEABLE for signal in signals) and times:
            spans.append((times[-1][1], self._end))
        return spans

    def _tools(self) -> list[_Span]:
        """Return the spans of the commands between a response with tool calls and the next call of a model."""
        spans: list[_Span] = []
        steps = self.steps
        ends = list(steps)
        for each in self.entries:
            if each.entry_type not in _TOOLS or each.journal_index is None or self._is_model(each):
                continue
            before = bisect_left(ends, each.journal_index)
            if before and steps[ends[before - 1]].tool_calls and not _OWN_STEPS.fullmatch(each.name or ""):
                spans.append(self._span(each))
        return spans


def _union(spans: Iterable[_Span]) -> list[_Span]:
    """Return the spans without overlaps, in order; those without a length are omitted."""
    merged: list[_Span] = []
    for start, end in sorted(spans):
        if end <= start:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _length(spans: Iterable[_Span]) -> float:
    return sum(end - start for start, end in spans)
