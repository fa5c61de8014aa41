"""What a frame was asked with, kept beside its rows, so that a report can show it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

import pandas as pd

__all__ = ["note_asked"]

_FEW = 3


def note_asked(frame: pd.DataFrame, statement: str, params: Mapping[str, Any]) -> pd.DataFrame:
    """Put the statement and its parameters into the frame's ``attrs``, as JSON has them, and return the frame."""
    frame.attrs = {"sql": statement.strip(), "params": {name: _json(value) for name, value in params.items()}}
    return frame


def _json(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Collection) and not isinstance(value, bytes | bytearray):
        return {"count": len(value), "first": [_json(each) for each in islice(value, _FEW)]}
    return str(value)
