"""Results of sources for tests, in the shape that a server gives them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.client.schema import FAMILIES, selected_columns


def reshape(answer: Any, statement: str) -> Any:
    """Return a frame or table with every column that the statement selects; missing columns are null.

    A value that is never null on a server is 0, or "made".
    """
    for name, is_never_null in selected_columns(statement):
        value = (0 if "number" in FAMILIES[name] else "made") if is_never_null else None
        if isinstance(answer, pd.DataFrame) and name not in answer.columns:
            answer[name] = pd.Series([value] * len(answer), index=answer.index, dtype=object)
        elif isinstance(answer, pa.Table) and name not in answer.column_names:
            answer = answer.append_column(name, [pa.array([value] * len(answer))])
    return answer
