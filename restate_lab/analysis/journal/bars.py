"""The rows of a journal for drawing: the label, outcome, start and end of each entry.

``journal_bars`` reads the frame of ``rl.journal``. Cards, panels and plots draw these rows, so that an entry looks the
same everywhere. ``drawing.py`` places them on a time axis.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from restate_lab._cells import is_missing
from restate_lab._text import format_duration, format_timestamp, join, plural
from restate_lab.analysis.journal.entries import DONE, FAILED, OPEN
from restate_lab.analysis.journal.frame import CALLS
from restate_lab.analysis.journal.payloads import payload_line
from restate_lab.frames import records
from restate_lab.status import ENDED, OUTCOMES

OutcomeName: TypeAlias = Literal["done", "pending", "waiting", "retrying", "failed"]
"""A key of ``status.OUTCOMES``."""

HANDLER = "Handler"  # the entry type of a row for handler code that fails between two entries

_NAMES = ("name", "callee_target", "promise", "state_key", "awakeable_id")
_FAILING = frozenset({"backing-off", "paused", "ready", "running"})
_PREFIX = r"^\[\d[^\]]*\] "  # the server's prefix of a failure that is retried: "[500 Internal] "
_FIRST = 20  # rows at the top that a shortened journal keeps


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One entry of a journal, or the handler's code that fails between two entries.

    ``key`` identifies the row across reads; ``parent`` is the key of the call above a callee's row. The ``word`` of an
    entry that fails now is the status of its invocation. ``start`` and
    ``end`` are UTC: an open entry has no ``end``, and an unknown ``start`` has the value None. ``value`` is the result,
    the error, or the awaited event. ``attempts`` are the times at which errors were recorded: Restate records
    consecutive equal errors once, so there may be fewer times than ``failed_attempts``.
    """

    key: str
    invocation_id: str
    index: int | None
    depth: int
    parent: str | None
    entry_type: str
    label: str
    outcome: OutcomeName
    word: str  # the outcome for people
    value: str = ""
    start: datetime | None = None
    end: datetime | None = None
    attempts: tuple[datetime, ...] = ()
    failed_attempts: int | None = None
    at_least: bool = False
    next_attempt: datetime | None = None
    wakes_at: datetime | None = None
    callee: str | None = None
    can_expand: bool = False  # whether the entry called an invocation whose journal was not read

    @property
    def error(self) -> str:
        """Return the error of a failed or failing entry; "" without an error."""
        return self.value if self.outcome in {"failed", "retrying"} else ""

    @property
    def attempts_text(self) -> str:
        """Return the number of failed attempts as text ("372 failed attempts"); "" for zero."""
        if not self.failed_attempts:
            return ""
        return f"{'at least ' if self.at_least else ''}{plural(self.failed_attempts, 'failed attempt')}"

    def duration(self, now: datetime) -> str:
        """Return the duration, up to ``now`` for an open entry; "" if it is unknown or zero."""
        if self.start is None or self.start == self.end or (self.end is None and self.outcome == "pending"):
            return ""
        return format_duration(max(0.0, ((self.end or now) - self.start).total_seconds()))


@dataclass(frozen=True, slots=True)
class JournalBars:
    """The rows of a journal in the frame's order; the bars of open rows end at ``now``.

    ``hidden`` is the number of rows that ``limit`` removed, and ``counts`` has the outcomes of all rows; ``note`` is
    the reason if there are no rows.
    """

    rows: tuple[JournalRow, ...]
    now: datetime
    is_ended: bool
    counts: Counter[str]
    hidden: int = 0
    note: str = ""
    lines: tuple[str, ...] = ()  # what the invocation waits for as a whole, and events of unknown types
    waits_for: str = ""  # what a suspended one waits for, if its SDK reports how several results are combined

    def limit(self, most: int) -> JournalBars:
        """Return at most ``most`` rows: the first ones, the first open one, others without success, the latest ones."""
        excess = len(self.rows) - most
        if excess <= 0:
            return self
        urgent = [at for at, row in enumerate(self.rows) if row.outcome not in {"done", "pending"}]
        is_open = [self.rows[at].outcome != "failed" for at in urgent]
        rows = [self.rows[at] for at in _choose(len(self.rows), urgent, is_open, most)]
        parents = {row.key for row in rows}
        return replace(
            self,
            rows=tuple(row if row.parent in parents else replace(row, parent=None) for row in rows),
            hidden=self.hidden + excess,
        )


def journal_bars(frame: pd.DataFrame, most: int | None = None) -> JournalBars:
    """Return the rows to draw for a frame of ``rl.journal`` with any depth; with ``most``, those of its ``limit``.

    Only the rows of the limit are built, because those of 100,000 entries take seconds.
    """
    attrs = frame.attrs
    latest = [time for name in ("started", "completed") if (time := _time(frame[name].max()))]
    now = _time(attrs.get("read_at")) or max(latest, default=datetime.now(UTC))
    attempts = {id_: _Attempts.from_attrs(facts) for id_, facts in attrs.get("invocations", {}).items()}
    builder = _RowBuilder(pd.DataFrame(frame).reset_index(drop=True), attempts, now)
    chosen = builder.choose(most)
    rows = list(builder.with_failing_handlers(dict(zip(chosen, builder.rows(chosen), strict=True))))
    bars = JournalBars(
        rows=tuple(rows),
        now=max([now, *latest]),
        is_ended=attrs.get("status") in ENDED,
        counts=builder.counts(handlers=sum(row.entry_type == HANDLER for row in rows)),
        hidden=len(frame) - len(chosen),
        note=str(attrs.get("note", "")),
        lines=tuple(_lines(attrs, now)),
        waits_for=next((each["waits_for"] for each in _suspensions(attrs) if each["is_combination"]), ""),
    )
    return bars if most is None else bars.limit(most)


def _lines(attrs: Mapping[Any, Any], now: datetime) -> Iterator[str]:
    for each in _suspensions(attrs):
        since = format_timestamp(_time(each["since"]), now=now)
        is_open = attrs.get("status") == "suspended"
        head = "waits for" if is_open else "was ended while it waited for"
        yield f"{head} {each['waits_for']}{f' (suspended since {since})' if since else ''}"
    own = [each for each in attrs.get("events", ()) if each["id"] == attrs.get("id")]
    if own:
        texts = [f"{each['event']} {format_timestamp(_time(each['at']), now=now)}".strip() for each in own]
        yield f"other events: {join(texts)}"


def _suspensions(attrs: Mapping[Any, Any]) -> list[Mapping[str, Any]]:
    return [each for each in attrs.get("suspensions", ()) if each["id"] == attrs.get("id")]


def _choose(count: int, urgent: Sequence[int], is_open: Sequence[bool], most: int) -> list[int]:
    """Return the positions of at most ``most`` of ``count`` rows, in order.

    ``urgent`` has the positions of the rows that did not succeed, and ``is_open`` which of them have not ended.
    """
    first_open = [at for at, each in zip(urgent, is_open, strict=True) if each][:1]
    order = [*range(min(_FIRST, most, count)), *first_open, *reversed(urgent), *reversed(range(count))]
    return sorted(list(dict.fromkeys(order))[:most])


@dataclass(frozen=True, slots=True)
class _Attempts:
    status: str
    failed: int | None
    last_failure: str | None
    command_index: int | None
    last_start_at: datetime | None
    next_retry_at: datetime | None
    errors: Mapping[int, tuple[datetime, ...]]

    @classmethod
    def from_attrs(cls, facts: Mapping[str, Any]) -> _Attempts:
        return cls(
            status=facts["status"],
            failed=facts["failed_attempts"],
            last_failure=re.sub(_PREFIX, "", facts["last_failure"] or "") or None,
            command_index=facts["command_index"],
            last_start_at=_time(facts["last_start_at"]),
            next_retry_at=_time(facts["next_retry_at"]),
            errors={index: tuple(map(datetime.fromisoformat, times)) for index, times in facts["errors"]},
        )

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt failed and the invocation has made no progress since."""
        has_errors = bool(self.failed or self.last_failure or (self.status == "paused" and self.errors))
        return self.status in _FAILING and has_errors


@dataclass(frozen=True)
class _RowBuilder:
    frame: pd.DataFrame
    attempts: Mapping[str, _Attempts]
    now: datetime

    def choose(self, most: int | None) -> Sequence[int]:
        """Return the positions of the entries that a limit can show: one more, if a handler's row is the first open."""
        count = len(self.frame)
        if most is None or count <= most:
            return range(count)
        urgent = np.flatnonzero(self.frame["status"].isin([OPEN, FAILED]))
        is_open = self.frame["status"].take(urgent).eq(OPEN)
        return _choose(count, urgent.tolist(), is_open.tolist(), most + 1)

    def rows(self, positions: Sequence[int]) -> Iterator[JournalRow]:
        parents = self._parents
        calls = set(parents.values())
        for at, entry in zip(positions, records(self.frame.take(positions)), strict=True):
            id_ = entry["invocation_id"]
            key = self._key(at, id_, entry["index"])
            row = _row(entry, key, parents.get(id_), self.attempts.get(id_), self.now)
            # a call whose callee's journal was not read
            can_expand = bool(row.callee) and row.entry_type in CALLS and key not in calls
            yield replace(row, can_expand=True) if can_expand else row

    def with_failing_handlers(self, rows: Mapping[int, JournalRow]) -> Iterator[JournalRow]:
        handlers: dict[int, JournalRow] = {}
        for id_, attempts in self.attempts.items():
            own = self._positions(id_) if attempts.is_failing else []
            if own and not self._retrying[id_]:
                handlers[own[-1]] = _handler_row(list(self.rows(own)), attempts)
        for at in sorted({*rows, *handlers}):
            yield from (each[at] for each in (rows, handlers) if at in each)

    def counts(self, *, handlers: int) -> Counter[str]:
        """Return the number of rows by outcome, with the rows of handlers."""
        statuses, retrying = self.frame["status"].value_counts(), sum(self._retrying.values())
        done, failed, is_open = (int(statuses.get(status, 0)) for status in (DONE, FAILED, OPEN))
        pending = len(self.frame) - done - failed - is_open
        waiting = is_open - retrying
        return Counter(done=done, pending=pending, waiting=waiting, retrying=retrying + handlers, failed=failed)

    @cached_property
    def _retrying(self) -> Mapping[str, int]:
        """The number of entries that fail now, by failing invocation."""
        return {
            id_: sum(row.outcome == "retrying" for row in self.rows(self._positions(id_, status=OPEN)))
            for id_, attempts in self.attempts.items()
            if attempts.is_failing
        }

    def _positions(self, id_: str, *, status: str | None = None) -> list[int]:
        chosen = self.frame["invocation_id"].eq(id_)
        chosen = chosen if status is None else chosen & self.frame["status"].eq(status)
        return [int(at) for at in np.flatnonzero(chosen)]

    def _key(self, at: int, id_: str, index: object) -> str:
        return f"{id_}/signal {self._numbers[at]}" if is_missing(index) else f"{id_}/{index}"

    @cached_property
    def _numbers(self) -> Sequence[int]:
        return [int(number) for number in self.frame["index"].isna().cumsum()]

    @cached_property
    def _parents(self) -> Mapping[str, str]:
        ids, indexes = self.frame["invocation_id"], self.frame["index"]
        is_first = ~ids.duplicated() & self.frame["depth"].gt(1)
        firsts = [int(at) for at in np.flatnonzero(is_first) if at]
        return {ids.iloc[at]: self._key(at - 1, ids.iloc[at - 1], indexes.iloc[at - 1]) for at in firsts}


def _row(
    entry: Mapping[str, Any], key: str, parent: str | None, attempts: _Attempts | None, now: datetime
) -> JournalRow:
    outcome = _outcome(entry, attempts)
    failing = attempts if outcome == "retrying" else None
    retries, failed = entry.get("retries") or 0, (failing.failed or 0) if failing else 0
    times = attempts.errors.get(entry["index"], ()) if attempts and entry["index"] is not None else ()
    last = failing.last_start_at if failing else None
    if last is not None and all(time < last for time in times):
        times = (*times, last)  # the last attempt fails here, too
    return JournalRow(
        key=key,
        invocation_id=entry["invocation_id"],
        index=entry["index"],
        depth=entry["depth"],
        parent=parent,
        entry_type=entry["entry_type"] or "?",
        label=next((str(entry[name]) for name in _NAMES if entry.get(name)), ""),
        outcome=outcome,
        word=failing.status if failing else OUTCOMES[outcome].label,
        value=_value(entry, outcome, attempts, now),
        start=_time(entry["started"]),
        end=_time(entry["completed"]) if outcome != "waiting" else None,
        attempts=times,
        failed_attempts=max(retries, failed) or None,
        at_least=retries > failed and bool(entry.get("retries_at_least")),
        next_attempt=failing.next_retry_at if failing else None,
        wakes_at=_time(entry.get("wakes_at")) if outcome == "waiting" else None,
        callee=entry.get("callee"),
    )


def _outcome(entry: Mapping[str, Any], attempts: _Attempts | None) -> OutcomeName:
    status = entry["status"]
    if status in {DONE, FAILED}:
        return "done" if status == DONE else "failed"
    if status != OPEN:
        return "pending"
    if attempts is None or not attempts.is_failing:
        return "waiting"
    is_failing_here = bool(entry.get("retries"))
    if attempts.command_index is not None:
        is_failing_here = entry.get("command_index") == attempts.command_index
    return "retrying" if is_failing_here else "waiting"


def _value(entry: Mapping[str, Any], outcome: str, attempts: _Attempts | None, now: datetime) -> str:
    if outcome == "failed":
        return entry.get("failure") or "failed; its error was not read"
    if outcome == "retrying":
        return entry.get("last_error") or (attempts.last_failure if attempts else None) or "failing"
    if outcome == "pending":
        return "no result: the invocation ended first" if entry["status"] else ""
    if outcome == "waiting":
        wakes_at = _time(entry.get("wakes_at"))
        if wakes_at:
            return f"until {format_timestamp(wakes_at, now=now)}"
        is_between_attempts = attempts is not None and attempts.is_failing and entry["entry_type"] == "Run"
        return "waiting for the next attempt" if is_between_attempts else _WAITS.get(entry["entry_type"], "")
    return payload_line(entry)


_WAITS = {
    "Call": "waiting for the callee",
    "Run": "in progress",
    "Signal": "waiting for a signal",
    "GetPromise": "waiting for the promise",
    "AttachInvocation": "waiting for the invocation",
}


def _handler_row(rows: Sequence[JournalRow], attempts: _Attempts) -> JournalRow:
    last = rows[-1]
    progress = max((time for row in rows if (time := row.end or row.start) is not None), default=None)
    errors = sorted(time for row in rows for time in row.attempts if progress is None or time >= progress)
    before = next((row.index for row in reversed(rows) if row.failed_attempts), last.index)
    return JournalRow(
        key=f"{last.invocation_id}/handler",
        invocation_id=last.invocation_id,
        index=None,
        depth=last.depth,
        parent=last.parent,
        entry_type=HANDLER,
        label="code" if before is None else f"code after entry {before}",
        outcome="retrying",
        word=attempts.status,
        value=attempts.last_failure or "the last attempt failed",
        start=errors[0] if errors else progress or attempts.last_start_at,
        attempts=(*errors, *([attempts.last_start_at] if attempts.last_start_at else ())),
        failed_attempts=attempts.failed or max(row.failed_attempts or 0 for row in rows) or None,
        at_least=attempts.failed is None,
        next_attempt=attempts.next_retry_at if attempts.is_failing and attempts.status != "paused" else None,
    )


def _time(value: object) -> datetime | None:
    """Return a timestamp from the frame or its attrs as a datetime in UTC."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if value is None or value is pd.NaT or not isinstance(value, datetime):
        return None
    return (value.to_pydatetime() if isinstance(value, pd.Timestamp) else value).astimezone(UTC)
