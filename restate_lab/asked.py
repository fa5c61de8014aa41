"""What a result was asked with, kept beside it as JSON has it, so that a report can show it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

import pandas as pd

from restate_lab.redact import MASK, is_secret_name

__all__ = ["note_asked", "query_json"]

_FEW = 3


def note_asked(frame: pd.DataFrame, statement: str, params: Mapping[str, Any]) -> pd.DataFrame:
    """Put the statement and its parameters into the frame's ``attrs``, as JSON has them, and return the frame."""
    frame.attrs = query_json(statement, params)
    return frame


def query_json(statement: str, params: Mapping[str, Any]) -> dict[Any, Any]:
    """Return ``sql`` and ``params`` of a statement as JSON values; of a list of values the number and the first few."""
    shown = {name: MASK if is_secret_name(name) else _json(value) for name, value in params.items()}
    return {"sql": statement.strip(), "params": shown}


def _json(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Collection) and not isinstance(value, bytes | bytearray):
        return {"count": len(value), "first": [_json(each) for each in islice(value, _FEW)]}
    return str(value)
