"""A source that remembers what it was asked, so that a report can show the SQL behind a judgement."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from threading import Lock
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.reports.masking import Masker
from restate_lab.reports.parts import Statement
from restate_lab.reports.statements import statement_of
from restate_lab.source import Around, Source

__all__ = ["Recorder"]


class Recorder(Around):
    """The same source; ``taken()`` gives what it was asked since it was last called, each statement once."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._lock = Lock()
        self._asked: dict[str, tuple[Mapping[str, Any], int]] = {}

    def taken(self, masker: Masker) -> tuple[Statement, ...]:
        """Return the statements in the order in which each was asked first; what was asked again is counted."""
        with self._lock:
            asked, self._asked = self._asked, {}
        return tuple(
            statement
            for sql, (params, n) in asked.items()
            if (statement := statement_of({"sql": sql, "params": params, "times": n}, masker, printed=False))
        )

    def sql(self, statement: str, /, *, params: Mapping[str, Any] | None = None, **options: Any) -> pd.DataFrame:
        """Return the rows of a statement; the rest is as in the source's."""
        self._note(statement, params)
        return self._source.sql(statement, params=params, **options)

    def arrow(self, statement: str, /, *, params: Mapping[str, Any] | None = None, **options: Any) -> pa.Table:
        """Return the rows of a statement as the server typed them; the rest is as in the source's."""
        self._note(statement, params)
        return self._source.arrow(statement, params=params, **options)

    def stream(
        self, statement: str, /, *, params: Mapping[str, Any] | None = None, **options: Any
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Return a reader that holds one batch at a time; the rest is as in the source's."""
        self._note(statement, params)
        return self._source.stream(statement, params=params, **options)

    def _note(self, statement: str, params: Mapping[str, Any] | None) -> None:
        with self._lock:
            first, n = self._asked.get(statement, (params or {}, 0))
            self._asked[statement] = (first, n + 1)
