"""One page of a list of invocations: its rows in their order and groups, as texts for the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from restate_lab._text import format_age, format_ago, format_timestamp, one_line, plural
from restate_lab.analysis.invocations.filters import SORTS as ORDERS, statuses_of
from restate_lab.analysis.invocations.groups import status_rank
from restate_lab.analysis.invocations.reader import Rows
from restate_lab.errors import ArgumentError
from restate_lab.frames import records
from restate_lab.serve.page import PageRequest
from restate_lab.status import ENDED, STATUSES

ROWS = 250
"""Lines of a page."""
_HEADS = {
    "status": "status",
    "target": "target",
    "retry_count": "attempts",
    "step": "step",
    "failure": "error",
    "created_at": "age",
    "next_retry_at": "next try",
    "completed_at": "ended",
    "id": "id",
}
_COLUMNS = ("status", "target", "retry_count", "step", "failure", "created_at", "next_retry_at", "id")
_ENDED_COLUMNS = ("status", "target", "failure", "created_at", "completed_at", "id")
SORTS = (*ORDERS, *_HEADS, *(f"-{name}" for name in _HEADS), "modified_at", "-modified_at")
"""The values of ``sort``: an order of the panel, or a column, with ``-`` for the largest value first."""


@dataclass(frozen=True, slots=True)
class InvocationList:
    """All rows of a list, at most 10,000, with their groups; ``now`` is the time from which ages count.

    ``hints`` are names of filters that do not exist, if the list is empty.
    """

    rows: Rows
    now: datetime
    source: str
    version: str
    hints: tuple[str, ...] = ()


class ListView:
    """One page of a list. ``lines`` are its rows; a row that stands for a group has the column ``group_size``."""

    def __init__(self, request: PageRequest, listed: InvocationList, sort: str, page: int) -> None:
        self.request, self.listed, self.sort, self.page = request, listed, sort, page
        self.group = request.text("group") or "yes"
        self.filters = listed.rows.filters
        self.every = self._lines(listed.rows.frame)
        self.pages = max(1, -(-len(self.every) // ROWS))
        if page > self.pages:
            raise ArgumentError(f"page is {page:,}; the last one is {self.pages:,}.")
        self.lines = self.every.iloc[(page - 1) * ROWS : page * ROWS].reset_index(drop=True)

    def _lines(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the sorted lines: one for each group if they are not sorted by a column, else one for each row."""
        frame = _sorted(frame, self.sort)
        if self.group not in {"yes", "no"}:
            frame = frame[frame["group"] == self.group]
        sizes = frame["group"].map(frame["group"].value_counts()).astype("Int64")
        is_grouped = self.group == "yes" and self.sort in ORDERS
        frame = frame.assign(group_size=sizes if is_grouped else sizes.mask(sizes.notna()))
        if is_grouped:
            frame = frame[frame["group"].isna() | ~frame["group"].duplicated()]
        return frame.reset_index(drop=True)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that are shown."""
        return _ENDED_COLUMNS if set(statuses_of(self.filters.status)) <= set(ENDED) else _COLUMNS

    @property
    def summary(self) -> str:
        """Return how many invocations match, and how many lines they are."""
        loaded, total = len(self.listed.rows.frame), self.listed.rows.total
        text = plural(total or loaded, "invocation")
        if total != loaded:
            text = f"The first {loaded:,} of {f'{total:,}' if total else 'many'} invocations"
        lines = len(self.every)
        return f"{text} in {plural(lines, 'line')}" if self.every["group_size"].notna().any() else text

    def heads(self) -> Iterator[Mapping[str, Any]]:
        """Yield the headings, each with the address that sorts by it and the present order."""
        for name in self.columns:
            is_up, is_down = self.sort == name, self.sort == f"-{name}"
            largest_first = name in {"retry_count", "created_at", "completed_at"}
            following = name if is_down or not (is_up or largest_first) else f"-{name}"
            yield {
                "name": _HEADS[name],
                "address": self.request.link_here(sort=following, page=None),
                "order": "ascending" if is_up else "descending" if is_down else "",
                "is_number": name == "retry_count",
            }

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """Yield the values of the rows as texts."""
        now = self.listed.now
        for row in records(self.lines):
            size = row["group_size"]
            yield {
                "status": row["status"],
                "colour": STATUSES[row["status"]].colour if row["status"] in STATUSES else "",
                "target": one_line(row["target"], 200),
                "attempts": "" if row["retry_count"] is None else f"{row['retry_count']:,}",
                "step": one_line(row["step"] or "", 120),
                "error": one_line(row["failure"] or "", 300),
                "code": row["error_code"] or "",
                "age": format_age(row["created_at"], now),
                "created": format_timestamp(row["created_at"]),
                "next": _next_try(row, now),
                "ended": "" if row["completed_at"] is None else format_ago(row["completed_at"], now),
                "id": row["id"],
                "group": f"{size:,} × {row['group_label']}" if size else "",
                "group_address": self.request.link_here(group=row["group"], page=None) if size else "",
            }


def _next_try(row: Mapping[Any, Any], now: datetime) -> str:
    """Return when the next attempt begins; "" for a row whose attempt runs."""
    at = row["next_retry_at"]
    return "" if at is None or row["status"] == "running" else format_ago(at, now)


def _sorted(frame: pd.DataFrame, sort: str) -> pd.DataFrame:
    """Return the rows in the order of a column, equal ones and those without a value as they were."""
    name = sort.removeprefix("-")
    if sort in ORDERS:
        return frame
    if name == "status":
        ranks = [status_rank(row["status"], row["retry_count"]) for row in records(frame[["status", "retry_count"]])]
        order = pd.Series(ranks, index=frame.index, dtype="int64")
    else:
        order = frame[name]
    return frame.loc[order.sort_values(ascending=not sort.startswith("-"), kind="stable", na_position="last").index]
