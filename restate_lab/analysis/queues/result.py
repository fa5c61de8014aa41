"""The result of ``read_queues()``: the worst queues and the counters of the rules, as a card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from functools import partial
from typing import Any

import pandas as pd

from restate_lab._text import format_duration, plural, verb_form
from restate_lab.analysis.queues.text import LEGEND, NEARLY, describe_load, describe_usage, resume_call, upsert_call
from restate_lab.calls import Step
from restate_lab.document import Document, Fold, Item, Items, Row, Table, Text, Word
from restate_lab.frames import BuiltRows, records
from restate_lab.result import ORIGIN, Result

_SHOWN = 50  # queues in a card
_SHOWN_COUNTERS = 20
_HEADS = ("queue", "its head waits for", "running", "waiting", "load", "oldest wait", "oldest call")
_LONG = frozenset({"its head waits for", "oldest call"})
_LOADS = ("running", "waiting", "backing_off")
_LIMIT_HEADS = ("rule", "counts", "use", "", "waiting", "description")


@dataclass(frozen=True, slots=True)
class LoadBar:
    """The calls of one queue or counter in parts of a bar: running, other use of the rule, waiting, between attempts.

    ``of`` is the length of the bar. ``mark`` is where the limit is; None without a limit.
    """

    running: int
    others: int
    waiting: int
    of: int
    mark: int | None = None
    backing_off: int = 0

    @property
    def lengths(self) -> list[float]:
        """Return the lengths of the four parts and the place of the limit as shares of the bar; -1 without a limit."""
        left, lengths = float(self.of), []
        for count in (self.running, self.others, self.waiting, self.backing_off):
            lengths.append(min(count, left) / self.of)
            left -= min(count, left)
        return [round(each, 3) for each in (*lengths, -1 if self.mark is None else self.mark / self.of)]


def bar_of_queue(row: Mapping[Any, Any], largest: int) -> LoadBar:
    """Return the bar of a queue: its middle is the limit of its fullest rule, or its end is the largest queue."""
    running, waiting, backing_off, limit = *(int(row[name]) for name in _LOADS), row["limit"]
    if limit is None:
        return LoadBar(running, 0, waiting, max(largest, 1), None, backing_off)
    others = max(int(row["used"] or 0) - running, 0)
    return LoadBar(running, others, waiting, 2 * max(int(limit), 1), int(limit), backing_off)


def bar_of_counter(row: Mapping[Any, Any]) -> LoadBar:
    """Return the bar of a counter of a rule: its middle is the limit."""
    limit = max(int(row["concurrency_limit"] or 0), 1)
    return LoadBar(int(row["usage"] or 0), 0, int(row["waiting"]), 2 * limit, limit)


def largest_queue(rows: Iterable[Mapping[Any, Any]]) -> int:
    """Return the number of calls in the bar of the largest queue without a limit."""
    return max((sum(int(row[name]) for name in _LOADS) for row in rows if row["limit"] is None), default=1)


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Queues(Result):
    """The queues with open calls, the oldest wait first, and the counters of the rules, the fullest first.

    ``queues`` is the result of the question ``queues`` with ``queue`` (a name), ``waits_for`` (what the head waits for,
    a text), and the fullest rule that applies: ``rule, used, limit``. ``limits`` is the result of the question
    ``limits`` with ``counted`` and ``mark``. ``hidden`` counts the ``queues`` that are not in the frame, and their
    ``waiting`` calls.
    """

    _json = (*ORIGIN, "queues", "hidden", "limits")
    queues: pd.DataFrame
    limits: pd.DataFrame
    hidden: Mapping[str, int]

    @property
    def summary(self) -> str:
        """Return how many queues and calls wait, and how many counters are nearly full, on one line."""
        frame = self.queues
        waiting, between = frame["waiting"] > 0, int(frame["backing_off"].sum())
        calls, total = int(frame["waiting"].sum()) + self.hidden["waiting"], len(frame) + self.hidden["queues"]
        if not total:
            return "No queue has an open call."
        retried = [f"{between:,} between attempts"] if between else []
        if not calls:
            return " · ".join([f"{plural(total, 'queue')} with open calls; no call waits", *retried])
        paused = int((frame["blocked_on"] == "queue paused").sum())
        full = int((self.limits["usage_share"] > NEARLY).sum())
        queues = int(waiting.sum()) + self.hidden["waiting_queues"]
        parts = [f"{plural(calls, 'call')} in {plural(queues, 'queue')} {verb_form(calls, 'waits', 'wait')}"]
        parts += [f"{plural(paused, 'queue')} paused"] if paused else []
        parts += [f"{plural(full, 'limit')} above {NEARLY:.0%}"] if full else []
        return " · ".join([*parts, *retried])

    @property
    def not_shown(self) -> str:
        """Return how many queues the frame does not have; "" if it has all."""
        number = self.hidden["queues"]
        if not number:
            return ""
        return (
            f"The {len(self.queues):,} queues with the oldest waits of {len(self.queues) + number:,}. "
            f"{plural(self.hidden['waiting'], 'call')} more wait in the other {plural(number, 'queue')}."
        )

    def document(self, zone: tzinfo = UTC, /) -> Document:
        """Return the queues, the counters of the rules, and the calls that would change them as blocks."""
        largest = largest_queue(records(self.queues.head(_SHOWN)))
        rules = _first_of_rules(records(self.limits.head(_SHOWN_COUNTERS)))
        calls = tuple(Item(row["rule"], steps=(Step((), code=upsert_call(row)),)) for row in rules)
        blocks = (
            *((Text(self.not_shown),) if self.not_shown else ()),
            Table(_HEADS, BuiltRows(self.queues, partial(_row, largest=largest)), long=_LONG, shown=_SHOWN),
            Table(_LIMIT_HEADS, BuiltRows(self.limits, _limit_row), "Limits", shown=_SHOWN_COUNTERS),
            *(() if len(self.limits) else (Text("No rule limits the concurrency."),)),
            Fold("What the bars show", (Text(LEGEND),), is_aside=True),
            *((Fold("Calls that would change a rule", (Items(calls),), is_aside=True),) if calls else ()),
        )
        is_paused = (self.queues["blocked_on"] == "queue paused").any()
        return replace(super().document(zone), blocks=blocks, tone="paused" if is_paused else "running")


def _row(row: Mapping[Any, Any], largest: int) -> Row:
    wait, paused = row["oldest_wait"], row["paused_vqueue_id"]
    tip = f"rule {row['rule']}" if row["rule"] else "no limit"
    load = Word(describe_load(row), "", tuple(bar_of_queue(row, largest).lengths), tip)
    numbers = (f"{row['running']:,}", f"{row['waiting']:,}", load, format_duration(wait) if wait is not None else "")
    steps = () if paused is None else (Step((resume_call(paused),), "to resume it"),)
    return Row((row["queue"], row["waits_for"], *numbers, row["oldest_id"] or ""), steps)


def _limit_row(row: Mapping[Any, Any]) -> Row:
    use = Word(describe_usage(row), "", tuple(bar_of_counter(row).lengths), describe_usage(row))
    return Row((row["rule"], row["counted"], use, row["mark"], f"{row['waiting']:,}", row["description"] or ""))


def _first_of_rules(counters: list[dict[Any, Any]]) -> list[dict[Any, Any]]:
    """Return one row of each rule that exists: a counter can outlive its rule for a short time."""
    rows = {row["rule"]: row for row in reversed(counters) if row["disabled"] is not None}
    return list(reversed(rows.values()))
