"""A source that records the statements that it sends, so that a result can show its queries."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from functools import cached_property
from threading import Lock
from typing import Any

import pyarrow as pa

from restate_lab.source import Source, SourceWrapper, query_json

__all__ = ["QueryRecorder"]

_OPTIONS = {"params", "timeout", "max_bytes", "progress"}


class QueryRecorder(SourceWrapper):
    """The same source, which records its queries; its clock is read once, so that a result has one time."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._lock = Lock()
        self._queries: dict[str, dict[str, Any]] = {}

    @cached_property
    def now(self) -> datetime:
        """Return the time of the source at the first use."""
        return self._source.now

    @property
    def queries(self) -> list[dict[str, Any]]:
        """Return ``sql, params, times`` of each statement, in the order of its first use, with the values of that use.

        Values are JSON values; a list of values is summarized by its length and its first values.
        """
        with self._lock:
            return [dict(each) for each in self._queries.values()]

    def stream(self, statement: str, /, **options: Any) -> AbstractContextManager[pa.RecordBatchReader]:
        """Record the statement, and return the source's reader."""
        named = {name: value for name, value in options.items() if name not in _OPTIONS}
        with self._lock:
            known = self._queries.get(statement)
            if known is None:
                values = {**(options.get("params") or {}), **named}
                known = self._queries[statement] = query_json(statement, values) | {"times": 0}
            known["times"] += 1
        return super().stream(statement, **options)
