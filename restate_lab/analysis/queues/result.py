"""The result of ``read_queues()``: the worst queues and the counters of the rules, as a card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from restate_lab._html import render
from restate_lab._text import format_duration, plural, verb_form
from restate_lab.analysis.queues.text import LEGEND, NEARLY, describe_load, describe_usage, resume_call, upsert_call
from restate_lab.frames import records
from restate_lab.result import ORIGIN, Result
from restate_lab.status import STATUSES

_SHOWN = 50  # queues in a card
_SHOWN_COUNTERS = 20


@dataclass(frozen=True, slots=True)
class LoadBar:
    """The calls of one queue or counter in parts of a bar: running, other use of the rule, and waiting.

    ``of`` is the length of the bar. ``mark`` is where the limit is; None without a limit.
    """

    running: int
    others: int
    waiting: int
    of: int
    mark: int | None = None

    @property
    def lengths(self) -> list[float]:
        """Return the lengths of the three parts and the place of the limit as shares of the bar; -1 without a limit."""
        left, lengths = float(self.of), []
        for count in (self.running, self.others, self.waiting):
            lengths.append(min(count, left) / self.of)
            left -= min(count, left)
        return [round(each, 3) for each in (*lengths, -1 if self.mark is None else self.mark / self.of)]


def bar_of_queue(row: Mapping[Any, Any], largest: int) -> LoadBar:
    """Return the bar of a queue: its middle is the limit of its fullest rule, or its end is the largest queue."""
    running, waiting, limit = int(row["running"]), int(row["waiting"]), row["limit"]
    if limit is None:
        return LoadBar(running, 0, waiting, max(largest, 1))
    return LoadBar(running, max(int(row["used"] or 0) - running, 0), waiting, 2 * max(int(limit), 1), int(limit))


def bar_of_counter(row: Mapping[Any, Any]) -> LoadBar:
    """Return the bar of a counter of a rule: its middle is the limit."""
    limit = max(int(row["concurrency_limit"] or 0), 1)
    return LoadBar(int(row["usage"] or 0), 0, int(row["waiting"]), 2 * limit, limit)


def largest_queue(rows: Iterable[Mapping[Any, Any]]) -> int:
    """Return the number of running and waiting calls of the largest queue without a limit."""
    return max((int(row["running"]) + int(row["waiting"]) for row in rows if row["limit"] is None), default=1)


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
        waiting = frame["waiting"] > 0
        calls, total = int(frame["waiting"].sum()) + self.hidden["waiting"], len(frame) + self.hidden["queues"]
        if not total:
            return "No queue has an open call."
        if not calls:
            return f"{plural(total, 'queue')} with open calls; no call waits."
        paused = int((frame["blocked_on"] == "queue paused").sum())
        full = int((self.limits["usage_share"] > NEARLY).sum())
        queues = int(waiting.sum()) + self.hidden["waiting_queues"]
        parts = [f"{plural(calls, 'call')} in {plural(queues, 'queue')} {verb_form(calls, 'waits', 'wait')}"]
        parts += [f"{plural(paused, 'queue')} paused"] if paused else []
        parts += [f"{plural(full, 'limit')} above {NEARLY:.0%}"] if full else []
        return " · ".join(parts)

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

    def resumes(self) -> Iterator[tuple[str, str]]:
        """Yield the name of each paused queue, and the call that resumes it."""
        for row in records(self.queues):
            if row["paused_vqueue_id"] is not None:
                yield row["queue"], resume_call(row["paused_vqueue_id"])

    def _card(self) -> str:
        rows, counters = records(self.queues.head(_SHOWN)), records(self.limits.head(_SHOWN_COUNTERS))
        more = len(self.queues) - len(rows)
        largest = largest_queue(rows)
        return render(
            "analysis/queues/card.html.j2",
            title=self.summary,
            place=self.where,
            accent=STATUSES["paused" if (self.queues["blocked_on"] == "queue paused").any() else "running"].colour,
            page=self.link,
            legend=LEGEND,
            queues=[
                row | {"bar": bar_of_queue(row, largest).lengths, "age": _age(row), "load": describe_load(row)}
                for row in rows
            ],
            limits=[row | {"bar": bar_of_counter(row).lengths, "use": describe_usage(row)} for row in counters],
            calls=[(row["rule"], upsert_call(row)) for row in _first_of_rules(counters)],
            resumes=list(self.resumes()),
            lines=[
                *([f"… and {plural(more, 'more queue')} in the data."] if more else []),
                *([self.not_shown] if self.not_shown else []),
                *(
                    [f"The {len(counters)} fullest of {len(self.limits):,} counters."]
                    if len(self.limits) > len(counters)
                    else []
                ),
            ],
        )


def _age(row: Mapping[Any, Any]) -> str:
    return format_duration(row["oldest_wait"]) if row["oldest_wait"] is not None else ""


def _first_of_rules(counters: list[dict[Any, Any]]) -> list[dict[Any, Any]]:
    """Return one row of each rule that exists: a counter can outlive its rule for a short time."""
    rows = {row["rule"]: row for row in reversed(counters) if row["disabled"] is not None}
    return list(reversed(rows.values()))
