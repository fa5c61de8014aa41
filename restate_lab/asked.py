"""What a result was asked with, kept beside it as JSON has it, so that a report can show it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from itertools import islice
from threading import Lock
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.redact import MASK, is_secret_name
from restate_lab.source import Around, Source

__all__ = ["Recorder", "note_asked"]

_FEW = 3


def note_asked(frame: pd.DataFrame, statement: str, params: Mapping[str, Any]) -> pd.DataFrame:
    """Put the statement and its parameters into the frame's ``attrs``, as JSON has them, and return the frame."""
    frame.attrs = _noted(statement, params)
    return frame


class Recorder(Around):
    """The same source, which remembers what it was asked."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._lock = Lock()
        self._asked: dict[str, dict[str, Any]] = {}

    @property
    def queries(self) -> list[dict[str, Any]]:
        """Return ``sql, params, times`` of each statement, in the order in which it was asked first, with those values.

        They are JSON values; of a list of values the number and the first few.
        """
        with self._lock:
            return [dict(each) for each in self._asked.values()]

    def sql(self, statement: str, /, *, params: Mapping[str, Any] | None = None, **options: Any) -> pd.DataFrame:
        """Return the rows of a statement; the rest is as in the source's."""
        self._note(statement, params, options)
        return self._source.sql(statement, params=params, **options)

    def arrow(self, statement: str, /, *, params: Mapping[str, Any] | None = None, **options: Any) -> pa.Table:
        """Return the rows of a statement as the server typed them; the rest is as in the source's."""
        self._note(statement, params, options)
        return self._source.arrow(statement, params=params, **options)

    def stream(
        self, statement: str, /, *, params: Mapping[str, Any] | None = None, **options: Any
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Return a reader that holds one batch at a time; the rest is as in the source's."""
        self._note(statement, params, options)
        return self._source.stream(statement, params=params, **options)

    def _note(self, statement: str, params: Mapping[str, Any] | None, options: Mapping[str, Any]) -> None:
        named = {name: value for name, value in options.items() if name not in _OPTIONS}
        with self._lock:
            known = self._asked.get(statement)
            if known is None:
                known = self._asked[statement] = _noted(statement, {**(params or {}), **named}) | {"times": 0}
            known["times"] += 1


_OPTIONS = {"timeout", "max_bytes", "dtype_backend", "progress"}


def _noted(statement: str, params: Mapping[str, Any]) -> dict[Any, Any]:
    shown = {name: MASK if is_secret_name(name) else _json(value) for name, value in params.items()}
    return {"sql": statement.strip(), "params": shown}


def _json(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Collection) and not isinstance(value, bytes | bytearray):
        return {"count": len(value), "first": [_json(each) for each in islice(value, _FEW)]}
    return str(value)
