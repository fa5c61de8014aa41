"""The result of ``forecast()``: for each backlog, whether it drains, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from restate_lab._html import render
from restate_lab._public import public
from restate_lab._text import format_duration, plural
from restate_lab.analysis.forecast.reader import Group
from restate_lab.result import Result
from restate_lab.status import STATUSES

GROWING, UNKNOWN, DRAINS, EMPTY = "growing", "unknown", "drains", "empty"
ORDER = (GROWING, UNKNOWN, DRAINS, EMPTY)
_MOST = 20  # rows of the card and the text
_HEADS = ("backlog", "waiting", "arrivals", "completions", "empty in (80 %)")
_COLOURS = {GROWING: STATUSES["failed"].colour, UNKNOWN: STATUSES["paused"].colour}


@public
@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Forecast(Result):
    """Whether each backlog drains, and when; ``forecast()`` returns it.

    ``frame`` has one row per service, per key of an object and per queue of a scope with 10 or more waiting calls;
    growing ones first, then unknown ones, then the latest end:

    - ``level`` ("service", "key" or "queue"), ``service, key, scope, limit_key``
    - ``waiting``: calls that could start and do not run: pending and ready ones. Of a service also ``running,
      retrying`` and ``scheduled``; None for a key or a queue.
    - ``arrivals, completions``: per minute, the mean of the observed minutes, which are ``minutes``
    - ``answer``: "drains", "growing" (it will not drain within 24 hours at these rates), "unknown" or "empty", and
      ``reason``, why it is unknown
    - ``earliest, latest``: the interval that contains the time until the backlog is empty in 80 % of the cases
      (timedeltas from ``read_at``); without a ``latest``, more than 10 % are later than 24 hours
    """

    frame: pd.DataFrame

    @property
    def summary(self) -> str:
        """Return how many backlogs grow, are unknown, and drain, on one line."""
        counts = self.frame["answer"].value_counts()
        names = {GROWING: "will not drain", UNKNOWN: "unknown", DRAINS: "will drain"}
        parts = [f"{plural(int(counts[each]), 'backlog')} {text}" for each, text in names.items() if counts.get(each)]
        return " · ".join(parts) or "nothing waits"

    def _text(self) -> str:
        return "\n".join(
            [self.summary, self.where, *self._lines(), *(f"Not read: {reason}." for reason in self.reasons)]
        )

    def _lines(self) -> Iterator[str]:
        shown = self.frame[self.frame["answer"] != EMPTY]
        for row in shown.head(_MOST).to_dict("records"):
            rates = f"{row['arrivals']:,.1f} arrive and {row['completions']:,.1f} end a minute"
            yield f"  {name_of(row)}: {row['waiting']:,} waiting, {rates}; {describe(row)}"
        if len(shown) > _MOST:
            yield f"  … and {len(shown) - _MOST:,} more"

    def _card(self) -> str:
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
