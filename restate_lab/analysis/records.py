"""Read the rows of a frame several times as fast as pandas does."""

from __future__ import annotations

from typing import Any

import pandas as pd

__all__ = ["records"]


def records(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return the rows as ``to_dict("records")`` does, with None for each missing value (None, NaT, NA, NaN)."""
    plain = pd.DataFrame(frame)  # without attrs, which pandas copies for each column
    names = list(plain.columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*(_values(plain[name]) for name in names), strict=True)]


def _values(column: pd.Series[Any]) -> list[Any]:
    values, is_missing = column.tolist(), column.isna()
    if not is_missing.any():
        return values
    return [None if unknown else value for value, unknown in zip(values, is_missing.tolist(), strict=True)]
