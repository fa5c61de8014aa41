"""The result of ``forecast()``: for each backlog, whether it drains, and when; or what would be stuck."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from restate_lab._html import render
from restate_lab._public import public
from restate_lab._text import format_duration, one_line, plural
from restate_lab.analysis.forecast.reader import Group
from restate_lab.analysis.forecast.stuck import COUNTS, REASONS, STUCK
from restate_lab.result import Result
from restate_lab.status import STATUSES

GROWING, UNKNOWN, DRAINS, EMPTY = "growing", "unknown", "drains", "empty"
ORDER = (GROWING, UNKNOWN, DRAINS, EMPTY)
_MOST, _MOST_CALLS = 20, 10  # rows of the card and the text; calls in the text
_LONGEST = 90  # characters of a target and of a reason: a caller decides how long a key is
_HEADS = ("backlog", "waiting", "arrivals", "completions", "empty in (80 %)")
_STUCK_HEADS = ("calls", "status", "service", "reason")
_COLOURS = {GROWING: STATUSES["failed"].colour, UNKNOWN: STATUSES["paused"].colour}


@public
@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Forecast(Result):
    """Whether each backlog drains, and when, or what would be stuck; ``forecast()`` returns it.

    ``frame`` has one row per service, per key of an object and per queue of a scope with 10 or more waiting calls;
    growing ones first, then unknown ones, then the latest end:

    - ``level`` ("service", "key" or "queue"), ``service, key, scope, limit_key``
    - ``waiting``: calls that could start and do not run: pending and ready ones. Of a service also ``running,
      retrying``, ``scheduled`` and ``waking`` (suspended, and their sleep ends within 24 hours; only where calls wait);
      None for a key or a queue.
    - ``arrivals, completions``: per minute, the mean of the observed minutes, which are ``minutes``; if these are fewer
      than 10, those between two readings
    - ``answer``: "drains", "growing" (it will not drain within 24 hours at these rates), "unknown" or "empty", and
      ``reason``, why it is unknown
    - ``earliest, latest``: the interval that contains the time until the backlog is empty in 80 % of the cases
      (timedeltas from ``read_at``); without a ``latest``, more than 10 % are later than 24 hours

    With ``without_deployment``, ``frame`` is empty:

    - ``stuck``: the open calls that would be stuck, oldest first, at most 1,000 of each service, status and cause:
      ``id, target, service, status, created_at``, ``cause`` and ``reason`` (its text). The cause is "pinned", "service"
      (it never started, and no other deployment has the service), "handler" (the same for a handler), or "key" (it
      waits for the key of such a call)
    - ``stuck_counts``: all of them: ``service, status, cause, calls``
    """

    frame: pd.DataFrame
    without_deployment: str | None = None
    stuck: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(STUCK)))
    stuck_counts: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(COUNTS)))

    @property
    def summary(self) -> str:
        """Return how many backlogs grow, are unknown, and drain, or how many calls would be stuck, on one line."""
        if self.without_deployment is not None:
            count = int(self.stuck_counts["calls"].sum())
            calls = plural(count, "open call") if count else "no open call"
            return f"{calls} would be stuck without {self.without_deployment}"
        counts = self.frame["answer"].value_counts()
        names = {GROWING: "will not drain", UNKNOWN: "unknown", DRAINS: "will drain"}
        parts = [f"{plural(int(counts[each]), 'backlog')} {text}" for each, text in names.items() if counts.get(each)]
        return " · ".join(parts) or "nothing waits"

    def _text(self) -> str:
        return "\n".join(
            [self.summary, self.where, *self._lines(), *(f"Not read: {reason}." for reason in self.reasons)]
        )

    def _lines(self) -> Iterator[str]:
        if self.without_deployment is not None:
            yield from self._stuck_lines()
            return
        shown = self.frame[self.frame["answer"] != EMPTY]
        for row in shown.head(_MOST).to_dict("records"):
            rates = f"{row['arrivals']:,.1f} arrive and {row['completions']:,.1f} end a minute"
            yield f"  {name_of(row)}: {row['waiting']:,} waiting, {rates}; {describe(row)}"
        if len(shown) > _MOST:
            yield f"  … and {len(shown) - _MOST:,} more"

    def _stuck_lines(self) -> Iterator[str]:
        yield from ("  " + "  ".join(cells) for cells in self._stuck_cells())
        if len(self.stuck_counts) > _MOST:
            yield f"  … and {len(self.stuck_counts) - _MOST:,} more"
        if len(self.stuck):
            yield "Oldest:"
        for row in self.stuck.head(_MOST_CALLS).to_dict("records"):
            target, reason = (one_line(row[name], _LONGEST) for name in ("target", "reason"))
            yield f"  {row['id']}  {row['status']:<11}  {target}: {reason}"
        if len(self.stuck) > _MOST_CALLS:
            yield f"  … and {int(self.stuck_counts['calls'].sum()) - _MOST_CALLS:,} more"

    def _stuck_cells(self) -> list[tuple[str, str, str, str]]:
        return [
            (f"{row['calls']:>7,}", f"{row['status']:<11}", row["service"], REASONS[row["cause"]])
            for row in self.stuck_counts.head(_MOST).to_dict("records")
        ]

    def _card(self) -> str:
        if self.without_deployment is not None:
            return self._stuck_card()
        shown = self.frame[self.frame["answer"] != EMPTY]
        worst = next(iter(shown["answer"]), EMPTY)
        more = [f"… and {len(shown) - _MOST:,} more, in .frame"] if len(shown) > _MOST else []
        return render(
            "_html/rows.html.j2",
            title=self.summary,
            place=self.where,
            accent=_COLOURS.get(worst, STATUSES["succeeded"].colour),
            heads=_HEADS,
            rows=[
                (name_of(row), f"{row['waiting']:,}", _rate(row["arrivals"]), _rate(row["completions"]), describe(row))
                for row in shown.head(_MOST).to_dict("records")
            ],
            lines=[*more, *(f"Not read: {reason}." for reason in self.reasons)],
        )

    def _stuck_card(self) -> str:
        more = len(self.stuck_counts) - _MOST
        return render(
            "_html/rows.html.j2",
            title=self.summary,
            place=self.where,
            accent=_COLOURS[GROWING] if len(self.stuck_counts) else STATUSES["succeeded"].colour,
            heads=_STUCK_HEADS,
            rows=[tuple(each.strip() for each in cells) for cells in self._stuck_cells()],
            lines=[
                *([f"… and {more:,} more, in .stuck_counts"] if more > 0 else []),
                *([".stuck lists them"] if len(self.stuck) else []),
                *(f"Not read: {reason}." for reason in self.reasons),
            ],
        )


def name_of(row: dict[Any, Any]) -> str:
    """Return the name of the backlog in a row of the frame."""
    parts: list[Any] = [None if pd.isna(row[name]) else row[name] for name in Group._fields]
    return str(Group(*parts))


def describe(row: dict[Any, Any]) -> str:
    """Return the answer of a row as text."""
    if row["answer"] == GROWING:
        return "growing, will not drain"
    if row["answer"] == UNKNOWN:
        return f"unknown: {row['reason']}"
    if row["answer"] == EMPTY:
        return "empty"
    earliest = format_duration(row["earliest"])
    if pd.isna(row["latest"]):
        return f"{earliest} or later, perhaps never"
    return f"{earliest} to {format_duration(row['latest'])}"


def _rate(value: float) -> str:
    return f"{value:,.1f}/min"
