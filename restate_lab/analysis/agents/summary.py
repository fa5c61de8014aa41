"""One row per run of an agent: its calls, its tokens and where its time went, without the text of any payload.

There can be thousands of runs, so all are computed together, column by column, like their entries.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab._text import join
from restate_lab.analysis.agents.entries import is_named_like_model, is_own_step
from restate_lab.analysis.agents.model import TOKENS, ModelStep
from restate_lab.analysis.agents.notes import WITHOUT_STATUS, describe_encoded, describe_uncounted, describe_unread
from restate_lab.analysis.agents.prices import PriceTable
from restate_lab.analysis.agents.reader import ModelSteps, Row
from restate_lab.analysis.ids import FIRST_AWAKEABLE
from restate_lab.analysis.journal.entries import ENTRY_TYPES, FAILED, PairedEntries
from restate_lab.frames import to_frame
from restate_lab.status import UNKNOWN

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
WASTEFUL = frozenset({"failed", "killed"})  # the statuses of runs whose tokens were in vain
_ROW_COLUMNS = (
    *("id", "service", "handler", "key", "status", "created_at", "completed_at"),
    *("restarted_from", "invoked_by_id"),
)
_NUMBERS = attrgetter(*TOKENS)
_TOOLS = ("Run", "Call", "Sleep", "AttachInvocation")
# a request that the provider refused, or that did not reach it, was not paid
_NOT_PAID = re.compile(r"\b(?:429|5\d\d)\b|[Cc]onnection|[Rr]ate.?limit|ResourceExhausted")
_TOO_LARGE = "RT0003"  # a message is too large; such an error names no command
_NONE = -1  # a missing number, or a missing time
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_Numbers: TypeAlias = npt.NDArray[np.int64]
_Flags: TypeAlias = npt.NDArray[np.bool_]
_EMPTY = np.zeros(0, np.int64)
_NO_TOKENS = pa.array([], pa.int64())


@dataclass(frozen=True, slots=True)
class RunJournals:
    """The rows of runs by id: their entries, the responses of models, their errors, and the copies of their steps.

    ``errors``: None if the source has no events. ``copies`` has the indexes of results that restarts of a run copied.
    ``redone`` are the runs whose attempts do not replay the journal, and pay again.
    """

    rows: Mapping[str, Row]
    entries: Sequence[PairedEntries]
    models: Mapping[str, ModelSteps]
    errors: Mapping[str, Sequence[Row]] | None
    copies: Mapping[str, frozenset[int]]
    redone: Collection[str] = ()


def summarize(journals: RunJournals, prices: PriceTable, now: datetime) -> pd.DataFrame:
    """Return the frame of ``agent_runs``, one row per run; ``now`` is the end of entries that are still open."""
    runs = _runs_of(journals, now)
    columns: dict[str, Any] = {
        **{name: [row[name] for row in runs.rows] for name in _ROW_COLUMNS},
        "framework": runs.names([step.framework for step in runs.steps.models]),
        "models": runs.names([step.model or step.model_asked for step in runs.steps.models]),
        "model_calls": pa.array(runs.total(1), mask=runs.is_encoded),
        "tool_calls": pa.array(runs.total(runs.steps.tool_calls), mask=runs.is_encoded),
        "retries": runs.retries(),
        **runs.tokens(),
        **runs.spending(),
        "possibly_paid_calls": runs.possibly_paid_calls(),
        "cost": runs.cost(prices),
        **runs.seconds(),
        "note": list(runs.notes()),
    }
    return to_frame(pa.table({name: pa.array(columns[name], kind) for name, kind in _COLUMNS.items()}))


class _Spans(NamedTuple):
    """Times from ``starts`` to ``ends``; ``owners`` has the number of the run of each."""

    owners: _Numbers
    starts: _Numbers
    ends: _Numbers


@dataclass(frozen=True, slots=True)
class _Entries:
    """The entries of all runs; ``owners`` has the number of the run of each.

    A run and an index in its journal are one number, a key: ``span`` is more than any index.
    """

    table: pa.Table
    owners: _Numbers
    span: int

    def numbers(self, name: str) -> _Numbers:
        return _whole(self.table[name])

    def is_one_of(self, name: str, values: Sequence[str]) -> _Flags:
        return np.asarray(pc.is_in(self.table[name], pa.array(values, pa.string())))

    def keys(self, name: str) -> _Numbers:
        return self.key_of(self.owners, self.numbers(name))

    def key_of(self, owners: _Numbers, numbers: _Numbers) -> _Numbers:
        """Return the keys of numbers, ``_NONE`` for those that no entry can have."""
        is_possible = (numbers >= 0) & (numbers < self.span)
        return np.where(is_possible, owners * self.span + numbers, _NONE)

    def find(self, name: str, keys: _Numbers) -> _Numbers:
        """Return for each key the position of the entry with this key in a column, or ``_NONE``."""
        own = np.append(self.keys(name), _NONE)  # never empty
        order = np.argsort(own, kind="stable")
        positions = order[np.minimum(np.searchsorted(own, keys, sorter=order), len(own) - 1)]
        return np.where((keys != _NONE) & (own[positions] == keys), positions, _NONE)

    def only_open_steps(self, owners: _Numbers, indexes: _Numbers) -> list[int]:
        """Return for each run and index the position of the only step without a result up to it, or ``_NONE``."""
        starts, results = self.numbers("index"), self.numbers("completion_index")
        steps = np.flatnonzero(self.is_one_of("entry_type", ["Run"]) & np.isin(self.owners, owners))
        steps = steps[np.argsort(self.owners[steps], kind="stable")]
        bounds = np.searchsorted(self.owners[steps], [owners, owners + 1])
        found = []
        for first, last, index in zip(*bounds.tolist(), indexes.tolist(), strict=True):
            own = steps[first:last]
            is_open = (starts[own] <= index) & ((results[own] == _NONE) | (results[own] > index))
            found.append(int(own[is_open][0]) if is_open.sum() == 1 else _NONE)
        return found

    def last_before(self, sorted_keys: _Numbers, keys: _Numbers, owners: _Numbers) -> _Numbers:
        """Return for each key the position of the last one before it that belongs to the same run, or ``_NONE``."""
        positions = np.searchsorted(sorted_keys, keys) - 1
        padded = np.append(sorted_keys, _NONE)  # for position -1
        return np.where(padded[positions] // self.span == owners, positions, _NONE)


@dataclass(frozen=True, slots=True)
class _Steps:
    """The responses of models of all runs, in the order of their journals."""

    models: Sequence[ModelStep]
    owners: _Numbers
    indexes: _Numbers
    tool_calls: _Numbers
    tokens: Mapping[str, _Numbers]  # by kind


@dataclass(frozen=True, slots=True)
class _Runs:
    rows: Sequence[Row]
    created: _Numbers
    ends: _Numbers
    journals: RunJournals
    entries: _Entries
    steps: _Steps
    times: _Numbers  # of each response
    # whether the run paid for each response: a restart as new copies steps of another run with their old times
    is_own: _Flags
    is_call: _Flags  # whether each entry is a call of a model
    is_encoded: _Flags  # whether each run has calls of models whose responses are encoded
    errors: Sequence[tuple[int, Row]]  # the number of the run and the row of each error

    def total(self, values: Any, owners: _Numbers | None = None) -> _Numbers:
        """Return the sum of the values of each run; without ``owners`` they are those of the steps."""
        totals = np.zeros(len(self.rows), np.int64)
        np.add.at(totals, self.steps.owners if owners is None else owners, values)
        return totals

    def names(self, names: Sequence[str | None]) -> list[str | None]:
        groups: list[dict[str, None]] = [{} for _ in self.rows]
        for owner, name in zip(self.steps.owners.tolist(), names, strict=True):
            if name:
                groups[owner][name] = None
        texts = {names: join(names) or None for names in set(map(tuple, groups))}
        return [texts[tuple(group)] for group in groups]

    def tokens(self) -> dict[str, pa.Array[Any]]:
        return {
            name: pa.array(self.total(np.maximum(each, 0)), mask=self.total(each != _NONE) == 0)
            for name, each in self.steps.tokens.items()
        }

    def retries(self) -> list[int | None]:
        if self.journals.errors is None:
            return [None] * len(self.rows)
        # the current attempt has not failed
        attempts = [int(row["retry_count"] or 0) - (row["status"] == "running") for row in self.rows]
        numbers = [len(self.journals.errors.get(id_, ())) for id_ in self.journals.rows]
        return list(map(max, numbers, attempts))

    def spending(self) -> dict[str, pa.Array[Any]]:
        into, out = self.steps.tokens["input_tokens"], self.steps.tokens["output_tokens"]
        is_wasteful = np.array([row["status"] in WASTEFUL for row in self.rows], bool)[self.steps.owners]
        is_redone = np.array([id_ in self.journals.redone for id_ in self.journals.rows], bool)[self.steps.owners]
        chosen = {
            "spent_tokens": self.is_own,
            "wasted_tokens": self.is_own & is_wasteful & ~self._is_copied(),
            "saved_tokens": (~self.is_own | self._is_older_than_error()) & ~is_redone,
        }
        is_unknown = ((self.total(1) > 0) | self.is_encoded) & (self.total((into != _NONE) | (out != _NONE)) == 0)
        tokens = np.maximum(into, 0) + np.maximum(out, 0)
        return {name: pa.array(self.total(tokens * each), mask=is_unknown) for name, each in chosen.items()}

    def _is_copied(self) -> _Flags:
        copies, ids = self.journals.copies, self.journals.rows
        copied = [(number, index) for number, id_ in enumerate(ids) for index in copies.get(id_, ())]
        keys = self.entries.key_of(*np.array(copied, np.int64).reshape(-1, 2).T)
        return np.isin(self.entries.key_of(self.steps.owners, self.steps.indexes), keys)

    def _is_older_than_error(self) -> _Flags:
        """Return whether the run failed after each response, and did not pay for it again."""
        last: _Numbers = np.full(len(self.rows), _NONE, np.int64)
        for owner, error in self.errors:
            last[owner] = max(last[owner], _micros(error["appended_at"]))
        is_older: _Flags = (self.times != _NONE) & (self.times <= last[self.steps.owners])
        return is_older

    def cost(self, prices: PriceTable) -> list[float | None]:
        """Return the cost of the steps that each run paid for; None if a step has no price."""
        is_known = (self.total(1) > 0) & ~self.is_encoded
        costs: list[float | None] = [0.0 if each else None for each in is_known.tolist()]
        columns = (self.steps.owners.tolist(), self.steps.models, self.times.tolist(), self.is_own.tolist())
        for owner, step, time, is_own in zip(*columns, strict=True):
            if is_own:
                cost = prices.cost(step, None if time == _NONE else datetime.fromtimestamp(time / 1_000_000, UTC))
                total = costs[owner]
                costs[owner] = None if total is None or cost is None else total + cost
        return costs

    def possibly_paid_calls(self) -> list[int | None]:
        if self.journals.errors is None:
            return [None] * len(self.rows)
        paid = [
            owner
            for (owner, error), at in zip(self.errors, self._failed_commands().tolist(), strict=True)
            if at != _NONE and self.is_call[at] and _NOT_PAID.search(error["message"] or "") is None
        ]
        return list(map(int, self.total(1, np.array(paid, np.int64))))

    def notes(self) -> Iterator[str | None]:
        is_unknown = (self.steps.tokens["input_tokens"] == _NONE) | (self.steps.tokens["output_tokens"] == _NONE)
        unknown, steps = self.total(is_unknown).tolist(), self.total(1).tolist()
        entries = self.total(1, self.entries.owners).tolist()
        for number, id_ in enumerate(self.journals.rows):
            found = self.journals.models.get(id_, ModelSteps({}))
            notes = [] if entries[number] else ["its journal was purged or not retained"]
            if entries[number] and not steps[number] and not found.encoded:
                notes.append("no step has the shape of a model response")
            notes += [*describe_unread(found.excluded), *describe_encoded(found.encoded)]
            notes += describe_uncounted(found.steps.values())
            if self.rows[number]["status"] == UNKNOWN:
                notes.append(WITHOUT_STATUS)
            if unknown[number]:
                notes.append(f"the tokens of {unknown[number]} of {steps[number]} model calls are unknown")
            yield "; ".join(notes) or None

    def seconds(self) -> dict[str, pa.Array[Any]]:
        """Return the seconds by kind; a time that belongs to several kinds counts for the first of them."""
        kinds = {"backoff_s": self._backoffs(), "people_s": self._human_waits()}
        kinds |= {"model_s": [self._spans(np.flatnonzero(self.is_call))], "tools_s": [self._tools()]}
        has_no_entries = self.total(1, self.entries.owners) == 0
        has_no_status = np.array([row["status"] == UNKNOWN for row in self.rows], bool)
        seconds: dict[str, pa.Array[Any]] = {}
        covered: list[_Spans] = []
        before = self._lengths(covered)
        for kind, spans in kinds.items():
            covered += spans
            length = self._lengths(covered)
            is_unknown = has_no_entries | has_no_status if kind == "people_s" else has_no_entries
            seconds[kind] = pa.array(np.rint((length - before) / 1000) / 1000, mask=is_unknown)
            before = length
        return seconds

    def _lengths(self, spans: Sequence[_Spans]) -> _Numbers:
        """Return the time of each run that the spans cover, within the run."""
        columns = [np.concatenate([_EMPTY, *each]) for each in zip(*spans, strict=True)] or [_EMPTY] * 3
        owners, starts, ends = columns
        starts, ends = np.maximum(starts, self.created[owners]), np.minimum(ends, self.ends[owners])
        order = np.lexsort((starts, owners))
        order = order[(starts < ends)[order]]
        owners, starts, ends = owners[order], starts[order], ends[order]
        latest = pd.Series(ends).groupby(owners).cummax().groupby(owners).shift(fill_value=_NONE)
        return self.total(np.maximum(ends - np.maximum(starts, latest.to_numpy()), 0), owners)

    def _spans(self, positions: _Numbers) -> _Spans:
        """Return the times of entries; those without a result end with the run."""
        owners = self.entries.owners[positions]
        started, completed = (self.entries.numbers(name)[positions] for name in ("started", "completed"))
        ends = np.where(completed == _NONE, self.ends[owners], completed)
        return _Spans(owners, np.where(started == _NONE, ends, started), ends)

    def _failed_commands(self) -> _Numbers:
        numbers = pa.array([error["command_index"] for _, error in self.errors], pa.int64())
        owners = np.array([owner for owner, _ in self.errors], np.int64)
        positions = self.entries.find("command_index", self.entries.key_of(owners, _whole(numbers)))
        too_large = {
            at: error["after_journal_entry_index"] or 0
            for at, (_, error) in enumerate(self.errors)
            if error["command_index"] is None and error["code"] == _TOO_LARGE
        }
        chosen, indexes = np.array(list(too_large), np.int64), np.array(list(too_large.values()), np.int64)
        positions[chosen] = self.entries.only_open_steps(owners[chosen], indexes)
        return positions

    def _backoffs(self) -> list[_Spans]:
        """Return for each failing entry the time from its first recorded error to its result."""
        first: dict[int, int] = {}
        for (_, error), at in zip(self.errors, self._failed_commands().tolist(), strict=True):
            if at != _NONE:
                first.setdefault(at, _micros(error["appended_at"]))
        spans = self._spans(np.array(list(first), np.int64))
        return [spans._replace(starts=np.array(list(first.values()), np.int64))]

    def _human_waits(self) -> list[_Spans]:
        """Return the waits for awakeables and promises; a wait for an awakeable begins after the entry before it."""
        entries = self.entries
        promises = self._spans(np.flatnonzero(entries.is_one_of("entry_type", ["GetPromise"])))
        is_awakeable = np.asarray(entries.table["awakeable_id"].is_valid()) & (entries.numbers("completed") != _NONE)
        signals = np.flatnonzero(is_awakeable & entries.is_one_of("entry_type", ["Signal"]))
        awakeables = self._spans(signals)
        signals_of = {at: row["signals"] or () for at, row in enumerate(self.rows) if row["status"] == "suspended"}
        waits = [at for at, each in signals_of.items() if any(signal >= FIRST_AWAKEABLE for signal in each)]
        waiting = np.array(waits, np.int64)
        if not len(awakeables.owners) and not len(waiting):
            return [promises]
        keys, times = self._row_times()
        # an awakeable that was not completed is not in the journal: it is awaited since the last row
        owners = np.concatenate([awakeables.owners, waiting])
        wanted = np.concatenate([entries.keys("index")[signals], (waiting + 1) * entries.span])
        ends = np.concatenate([awakeables.ends, self.ends[waiting]])
        before = entries.last_before(keys, wanted, owners)
        return [promises, _Spans(owners, np.where(before == _NONE, ends, np.append(times, _NONE)[before]), ends)]

    def _row_times(self) -> tuple[_Numbers, _Numbers]:
        """Return the keys of the rows of all journals in order, without signals, and the time of each."""
        entries, columns = self.entries, {"index": "started", "completion_index": "completed"}
        is_signal = entries.is_one_of("entry_type", ["Signal"])
        keys = np.concatenate([np.where(is_signal, _NONE, entries.keys(name)) for name in columns])
        times = np.concatenate([entries.numbers(name) for name in columns.values()])
        order = np.argsort(keys, kind="stable")
        order = order[((keys != _NONE) & (times != _NONE))[order]]
        return keys[order], times[order]

    def _tools(self) -> _Spans:
        """Return the spans of the commands between a response with tool calls and the next call of a model."""
        entries, steps = self.entries, self.steps
        chosen = np.flatnonzero(entries.is_one_of("entry_type", _TOOLS) & ~self.is_call)
        sorted_keys = entries.key_of(steps.owners, steps.indexes)
        before = entries.last_before(sorted_keys, entries.keys("index")[chosen], entries.owners[chosen])
        chosen = chosen[np.append(steps.tool_calls, 0)[before] > 0]
        names = entries.table["name"].take(chosen)
        own = [name for name in names.unique().to_pylist() if is_own_step(name)]
        return self._spans(chosen[~np.asarray(pc.is_in(names, pa.array(own, pa.string())))])


def _runs_of(journals: RunJournals, now: datetime) -> _Runs:
    rows, numbers = list(journals.rows.values()), {id_: number for number, id_ in enumerate(journals.rows)}
    steps = _steps_of(journals.models, numbers)
    entries = _entries_of(journals.entries, numbers, steps)
    created = np.array([_micros(row["created_at"]) for row in rows], np.int64)
    positions = entries.find("completion_index", entries.key_of(steps.owners, steps.indexes))
    times = np.append(entries.numbers("completed"), _NONE)[positions]
    return _Runs(
        rows,
        created,
        np.array([_micros(row["completed_at"] or now) for row in rows], np.int64),
        journals,
        entries,
        steps,
        times,
        is_own=(times == _NONE) | (times >= created[steps.owners]),
        is_call=_find_calls(entries, positions[positions != _NONE]),
        is_encoded=np.array([id_ in journals.models and bool(journals.models[id_].encoded) for id_ in numbers], bool),
        errors=[(number, error) for id_, number in numbers.items() for error in (journals.errors or {}).get(id_, ())],
    )


def _steps_of(models: Mapping[str, ModelSteps], numbers: Mapping[str, int]) -> _Steps:
    steps = [
        (number, index, step)
        for id_, number in numbers.items()
        if id_ in models
        for index, step in sorted(models[id_].steps.items())
    ]
    owners, indexes, read = zip(*steps, strict=True) if steps else ((), (), ())
    columns = [pa.array(values, pa.int64()) for values in zip(*map(_NUMBERS, read), strict=True)] or [_NO_TOKENS] * 4
    return _Steps(
        read,
        np.array(owners, np.int64),
        np.array(indexes, np.int64),
        np.array([len(step.tool_calls) for step in read], np.int64),
        {name: _whole(column) for name, column in zip(TOKENS, columns, strict=True)},
    )


def _entries_of(tables: Sequence[PairedEntries], numbers: Mapping[str, int], steps: _Steps) -> _Entries:
    table = pa.concat_tables([ENTRY_TYPES.empty_table(), *(each.table for each in tables)])
    owners = np.array([numbers[id_] for each in tables for id_ in each.ids], np.int64)
    lengths = np.concatenate([_EMPTY, *(np.diff(each.bounds) for each in tables)])
    indexes = [_whole(table[name]) for name in ("index", "completion_index", "command_index")]
    span = 1 + max((int(each.max()) for each in (*indexes, steps.indexes) if len(each)), default=0)
    return _Entries(table, np.repeat(owners, lengths), span)


def _find_calls(entries: _Entries, positions: _Numbers) -> _Flags:
    """Return whether each entry is a call of a model; those at ``positions`` have a response.

    A step without a response is one if it has the name of one with a response, or of an integration's.
    """
    is_call = np.zeros(len(entries.owners), bool)
    is_call[positions] = True
    has_no_result = (entries.numbers("completion_index") == _NONE) | entries.is_one_of("status", [FAILED])
    others = np.flatnonzero(entries.is_one_of("entry_type", ["Run"]) & has_no_result & ~is_call)
    if not len(others):
        return is_call
    names = entries.table["name"]
    known = set(zip(entries.owners[positions].tolist(), names.take(positions).to_pylist(), strict=True))
    columns = (others.tolist(), entries.owners[others].tolist(), names.take(others).to_pylist())
    for at, owner, name in zip(*columns, strict=True):
        is_call[at] = is_named_like_model("Run", name, [name] if name and (owner, name) in known else ())
    return is_call


def _whole(column: Any) -> _Numbers:
    """Return numbers, or times in microseconds; those that are missing are ``_NONE``."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", "UTC"), safe=False)
    return np.asarray(pc.fill_null(column.cast(pa.int64()), pa.scalar(_NONE)))


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND
