"""What a panel gives back of a named question that it asked: its statement, and the values to run it with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pandas as pd

__all__ = ["params_of", "sql_of"]


def sql_of(answer: pd.DataFrame) -> str:
    """Return the statement that an answer came from; "" where there is none."""
    return str(answer.attrs.get("sql", ""))


def params_of(answer: pd.DataFrame) -> Mapping[str, Any]:
    """Return the values of its parameters, as a source takes them: ``attrs`` has moments as text."""
    params = dict(answer.attrs.get("params", {}))
    return {**params, "now": datetime.fromisoformat(params["now"])} if "now" in params else params
