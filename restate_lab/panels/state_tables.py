"""The two tables of a StatePanel, the objects that were found and the keys of one, and what stands above the second."""

from __future__ import annotations

import json

import pandas as pd

from restate_lab._text import format_time
from restate_lab.actions.state import State
from restate_lab.panels.blocks import Block

__all__ = ["ROW", "heading", "listed", "object_rows", "values"]

ROW = "row"
"""The column with the ids of the list: which object a row is, as JSON."""


def object_rows(frame: pd.DataFrame) -> list[str]:
    """Return the id of each object in the list: the same object has the same one after every read."""
    return [
        json.dumps({"service": row[0], "key": row[1], "scope": None if pd.isna(row[2]) else row[2]})
        for row in frame.itertuples(index=False)
    ]


def listed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the objects as the list shows them, with their ids in front."""
    shown = frame.rename(columns={"service_name": "service", "service_key": "key"})
    shown.insert(0, ROW, pd.Series(object_rows(frame), dtype="str"))
    return shown


def values(state: State | None) -> pd.DataFrame:
    """Return one row per key of a state, secrets masked; none where no object is open."""
    if state is None:
        empty = {"key": "str", "value": "str", "encoding": "str", "size": "int64"}
        return pd.DataFrame({name: pd.Series([], dtype=kind) for name, kind in empty.items()})
    return state.frame()


def heading(state: State | None) -> Block:
    """Return whose state it is, and of when."""
    if state is None:
        return Block("No object is open", "Click one in the list; or choose its service, type its key, and open it.")
    empty = "" if state else "It has no state. "
    return Block(state.where, f"{empty}Read at {format_time(state.read_at)}.")
