"""A frame's rows as dicts."""

from __future__ import annotations

from typing import Any

import pandas as pd

__all__ = ["records"]


def records(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return what ``to_dict("records")`` gives, several times as fast."""
    names = list(frame.columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*(frame[name].tolist() for name in names), strict=True)]
