"""Read the rows of a frame and their values, several times as fast as pandas does."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

__all__ = ["none_if_missing", "records"]


def records(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return the same rows as ``to_dict("records")``, several times as fast."""
    plain = pd.DataFrame(frame)  # without attrs, which pandas copies for each column
    names = list(plain.columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*(plain[name].tolist() for name in names), strict=True)]


def none_if_missing(value: Any) -> Any:
    """Return the value, or None for any missing value of pandas (None, NaT, NA, NaN)."""
    # pandas.isna gives the same result ten times as slowly.
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value
