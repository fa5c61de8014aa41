"""A source with the rows of a test: it writes one method, and every way of reading follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.source import Source


class RowSource(Source):
    """A source whose subclass has ``rows``: a frame or a table for a statement with its parameters."""

    def rows(self, statement: str, params: Mapping[str, Any], *, timeout: Any = None) -> pd.DataFrame | pa.Table:
        raise NotImplementedError

    @contextmanager
    def stream(
        self,
        statement: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: Any = None,
        max_bytes: float | None = math.inf,
        progress: Any = False,
        **named: Any,
    ) -> Iterator[pa.RecordBatchReader]:
        rows = self.rows(statement, {**(params or {}), **named}, timeout=timeout)
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, preserve_index=False)
        yield table.to_reader()
