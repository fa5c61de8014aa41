"""One row per run of an agent: its calls, its tokens and where its time went, without the text of any payload."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import compress, pairwise
from math import inf
from operator import attrgetter, itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from restate_lab._text import join, plural
from restate_lab.analysis.agents.entries import is_named_like_model, is_own_step
from restate_lab.analysis.agents.model import TOKENS, ModelStep, sum_known
from restate_lab.analysis.agents.prices import PriceTable
from restate_lab.analysis.agents.reader import ModelSteps, Row
from restate_lab.analysis.ids import FIRST_AWAKEABLE
from restate_lab.analysis.journal.entries import FAILED, PairedEntries
from restate_lab.frames import rows_to_table, to_frame

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
_ROW_COLUMNS = (
    *("id", "service", "handler", "key", "status", "created_at", "completed_at"),
    *("restarted_from", "invoked_by_id"),
)
_NUMBERS = {name: attrgetter(name) for name in TOKENS}
_SECONDS = ("model_s", "tools_s", "people_s", "backoff_s")
_ENTRY_COLUMNS = ("entry_type", "index", "completion_index", "command_index", "name", "status", "awakeable_id")
_TOOLS = frozenset({"Run", "Call", "Sleep", "AttachInvocation"})
_PROMISES = frozenset({"GetPromise"})
_WAITS = _PROMISES | {"Signal"}
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


def run_entries(tables: Iterable[PairedEntries]) -> dict[str, list[RunEntry]]:
    """Return id → the entries of its journal."""
    entries: dict[str, list[RunEntry]] = {}
    for ids, table, bounds in tables:
        columns = [table[name].to_pylist() for name in _ENTRY_COLUMNS]
        columns += [_seconds_of(table[name]) for name in ("started", "completed")]
        rows = list(map(RunEntry._make, zip(*columns, strict=True)))
        entries |= {id_: rows[start:end] for id_, (start, end) in zip(ids, pairwise(bounds), strict=True)}
    return entries


def _seconds_of(times: pa.ChunkedArray[Any]) -> list[float | None]:
    return [None if each is None else each / 1000 for each in times.cast(pa.int64()).to_pylist()]


def run_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the frame of ``agent_runs`` with these rows."""
    return to_frame(rows_to_table(rows, _COLUMNS))


def summarize(journal: RunJournal, prices: PriceTable, now: datetime) -> dict[str, Any]:
    """Return the row of one run; ``now`` is the end of entries that are still open."""
    run, row = _summary_of(journal, now.timestamp()), journal.row
    steps = run.steps.values()
    return {
        **{name: row[name] for name in _ROW_COLUMNS},
        "framework": join(step.framework for step in steps) or None,
        "models": join(name for step in steps if (name := step.model or step.model_asked)) or None,
        "model_calls": len(steps),
        "tool_calls": sum(len(step.tool_calls) for step in steps),
        "retries": run.retries,
        **{name: sum_known(map(number_of, steps)) for name, number_of in _NUMBERS.items()},
        **run.spending(),
        "possibly_paid_calls": run.possibly_paid_calls(),
        "cost": run.cost(prices),
        **run.seconds(),
        "note": "; ".join(run.notes()) or None,
    }


def _summary_of(journal: RunJournal, now: float) -> _RunSummary:
    row, steps = journal.row, dict(sorted(journal.models.steps.items()))
    names = {each.name for each in journal.entries if each.completion_index in steps and each.name}
    return _RunSummary(
        journal,
        steps,
        journal.entries,
        created=row["created_at"].timestamp(),
        end=row["completed_at"].timestamp() if row["completed_at"] else now,
        times={at: each.completed for each in journal.entries if (at := each.completion_index) in steps},
        is_model=[each.completion_index in steps or _is_like_model(each, names) for each in journal.entries],
    )


def _is_like_model(entry: RunEntry, names: Collection[str]) -> bool:
    """Return whether a step without a response has the name of one with a response, or of an integration's."""
    has_no_response = entry.completion_index is None or entry.status == FAILED
    return has_no_response and is_named_like_model(entry.entry_type, entry.name, names)


def _tokens(step: ModelStep) -> int | None:
    """Return input and output together; None if both are unknown."""
    if step.input_tokens is None and step.output_tokens is None:
        return None
    return (step.input_tokens or 0) + (step.output_tokens or 0)


@dataclass(frozen=True, slots=True)
class _RunSummary:
    """Computes the columns of one run; times are seconds since 1970."""

    journal: RunJournal
    steps: Mapping[int, ModelStep]
    """Index of the result → the response of a model, in the order of the journal."""
    entries: Sequence[RunEntry]
    created: float
    end: float
    times: Mapping[int | None, float | None]
    """Index of the result → the time of a response."""
    is_model: Sequence[bool]
    """Whether each entry is a call of a model."""

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
        tokens = {at: _tokens(step) for at, step in self.steps.items()}
        if tokens and set(tokens.values()) == {None}:
            return dict.fromkeys(("spent_tokens", "wasted_tokens", "saved_tokens"))
        last_error = max((each["appended_at"].timestamp() for each in self.journal.errors or ()), default=-inf)
        has_failed = self.journal.row["status"] in WASTEFUL
        spent = wasted = saved = 0
        for at, number in tokens.items():
            time = self.times.get(at)
            is_own = time is None or time >= self.created
            if is_own:
                spent += number or 0
            if is_own and has_failed and at not in self.journal.copies:
                wasted += number or 0
            if not is_own or (time is not None and time <= last_error):
                saved += number or 0
        return {"spent_tokens": spent, "wasted_tokens": wasted, "saved_tokens": saved}

    def cost(self, prices: PriceTable) -> float | None:
        """Return the cost of the steps that this run paid for; None if one of them has no price."""
        times = self.times
        costs = [
            prices.cost(step, datetime.fromtimestamp(time, UTC) if time is not None else None)
            for at, step in self.steps.items()
            if (time := times.get(at)) is None or time >= self.created
        ]
        return None if None in costs or not self.steps else sum(each for each in costs if each is not None)

    def possibly_paid_calls(self) -> int | None:
        """Return the number of failed attempts at a call of a model that the provider may have been paid for."""
        if self.journal.errors is None:
            return None
        if not self.journal.errors:
            return 0
        numbers = {each.command_index for each in compress(self.entries, self.is_model)}
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

    def seconds(self) -> dict[str, float | None]:
        """Return the seconds of the run by kind; a time that belongs to several kinds counts for the first of them."""
        if not self.entries:
            return dict.fromkeys(_SECONDS)
        kinds = {"backoff_s": self._backoffs(), "people_s": self._human_waits()}
        kinds |= {"model_s": list(map(self._span, compress(self.entries, self.is_model))), "tools_s": self._tools()}
        seconds: dict[str, float | None] = dict.fromkeys(_SECONDS, 0.0)
        covered: list[_Span] = []
        length = 0.0
        for kind, spans in kinds.items():
            if spans:
                before = length
                covered = _union([*covered, *((max(a, self.created), min(b, self.end)) for a, b in spans)])
                length = sum(end - start for start, end in covered)
                seconds[kind] = round(length - before, 3)
        return seconds

    def _span(self, entry: RunEntry, since: float | None = None) -> _Span:
        end = entry.completed
        start = since if since is not None else entry.started if entry.started is not None else end
        return self.end if start is None else start, self.end if end is None else end

    def _backoffs(self) -> list[_Span]:
        """Return for each failing entry the time from its first recorded error to its result."""
        if not self.journal.errors:
            return []
        by_number = {each.command_index: each for each in self.entries if each.command_index is not None}
        first: dict[int, float] = {}
        for each in self.journal.errors:
            first.setdefault(each["command_index"], each["appended_at"].timestamp())
        return [self._span(by_number[at], since) for at, since in first.items() if at in by_number]

    def _human_waits(self) -> list[_Span]:
        """Return the waits for awakeables and promises; a wait for an awakeable begins after the entry before it."""
        signals = self.journal.row["signals"] or ()
        is_waiting = self.journal.row["status"] == "suspended" and any(each >= FIRST_AWAKEABLE for each in signals)
        waits = [each for each in self.entries if each.entry_type in _WAITS]
        if not waits and not is_waiting:
            return []
        times = sorted(
            (at, time)
            for each in self.entries
            for at, time in ((each.journal_index, each.started), (each.completion_index, each.completed))
            if at is not None and time is not None and each.entry_type != "Signal"
        )
        spans = [self._span(each) for each in waits if each.entry_type in _PROMISES]
        for each in waits:
            if each.entry_type == "Signal" and each.awakeable_id is not None and each.completed is not None:
                before = bisect_left(times, each.journal_index or 0, key=itemgetter(0))
                spans.append(self._span(each, times[before - 1][1] if before else each.completed))
        if is_waiting and times:
            spans.append((times[-1][1], self.end))
        return spans

    def _tools(self) -> list[_Span]:
        """Return the spans of the commands between a response with tool calls and the next call of a model."""
        spans: list[_Span] = []
        steps, ends = self.steps, list(self.steps)
        for each, is_model in zip(self.entries, self.is_model, strict=True):
            if is_model or each.entry_type not in _TOOLS or each.journal_index is None:
                continue
            before = bisect_left(ends, each.journal_index)
            if before and steps[ends[before - 1]].tool_calls and not is_own_step(each.name):
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
