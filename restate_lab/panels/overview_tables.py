"""The tables of an overview: the answers to two questions, with the names and the ids that a grid shows and needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from restate_lab._html import render
from restate_lab.status import STATUSES

__all__ = ["BACKLOG", "HANDLERS", "ROW", "Columns", "about", "rows", "sums", "table"]

ROW = "row"
"""The column with the grid's ids: what a row is about, as JSON."""

_GREY = STATUSES["suspended"].colour
Columns = Mapping[str, tuple[str, str]]

HANDLERS: Columns = {
    "target_service_name": ("service", "str"),
    "target_handler_name": ("handler", "str"),
    "status": ("status", "str"),
    "n": ("count", "int64"),
    "oldest_age": ("oldest", "timedelta64[ms]"),
    "oldest_created_at": ("oldest since", "datetime64[ms, UTC]"),
    "oldest_id": ("oldest id", "str"),
}
"""Column of the question → its name in the table, and its type where there are no rows."""

BACKLOG: Columns = {
    "target_service_name": ("service", "str"),
    "target_service_key": ("key", "str"),
    "waiting": ("waiting", "int64"),
    "oldest_wait": ("the first for", "timedelta64[ms]"),
    "oldest_id": ("first id", "str"),
    "scope": ("scope", "str"),
}

_ABOUT = ("service", "handler", "status", "key", "scope")


def table(answer: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return the rows of an answer as a grid shows them, with their ids in front."""
    names = {name: shown for name, (shown, _) in columns.items()}
    if answer.empty:
        empty = {shown: pd.Series([], dtype=kind) for shown, kind in columns.values()}
        return pd.DataFrame({ROW: pd.Series([], dtype="str"), **empty})
    shown = answer[list(columns)].rename(columns=names)
    for name in shown.select_dtypes("timedelta"):
        shown[name] = shown[name].dt.floor("s")
    shown.insert(0, ROW, rows(shown))
    return shown


def rows(shown: pd.DataFrame) -> list[str]:
    """Return the id of each row: the same row has the same one after every read."""
    names = [name for name in _ABOUT if name in shown]
    return [
        json.dumps({name: None if pd.isna(value) else value for name, value in row.items()})
        for row in shown[names].to_dict("records")
    ]


def about(row: str) -> dict[str, str]:
    """Return what a row with this id is about: service, handler and status, or service, key and scope."""
    told: dict[str, str | None] = json.loads(row)
    return {name: value for name, value in told.items() if value is not None}


def sums(answer: pd.DataFrame) -> str:
    """Return a bar of how many stand in each status, in the order of a life, as escaped HTML."""
    if answer.empty:
        return "<div>No invocation is on its way: all that there are have ended.</div>"
    counts: dict[Any, int] = answer.groupby("status", sort=False)["n"].sum().to_dict()
    known = [word for word in STATUSES if word in counts]
    parts = [(word, int(counts[word]), STATUSES[word].colour) for word in known]
    parts += [(str(word), int(n), _GREY) for word, n in counts.items() if word not in STATUSES]
    return render("_html/bar.html.j2", parts=parts)
