"""Rows of a frame, and their values, without what pandas costs."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

__all__ = ["given", "records"]


def records(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return what ``to_dict("records")`` gives, several times as fast."""
    names = list(frame.columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*(frame[name].tolist() for name in names), strict=True)]


def given(value: Any) -> Any:
    """Return the value, None where it is missing in one of pandas' ways."""
    # pandas.isna tells the same, ten times as slowly.
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value
