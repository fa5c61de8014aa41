"""``EngineSource``: a source of rows that do not change, which answers statements with DataFusion."""

from __future__ import annotations

import math
import re
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from restate_lab.client.arguments import check_seconds, check_size
from restate_lab.client.parquet import arrow_bytes
from restate_lab.client.sql.bind import bind
from restate_lab.client.sql.error_marker import mark_errors
from restate_lab.client.sql.suggestions import add_suggestions
from restate_lab.durations import DurationInput
from restate_lab.errors import (
    NotOnThisServer,
    QueryRefused,
    RestateLabError,
    ResultTooLarge,
    StatementError,
)
from restate_lab.evidence.engine import read
from restate_lab.evidence.json_functions import FUNCTIONS
from restate_lab.frames import number_duplicate_columns
from restate_lab.payload_json import PayloadFunction
from restate_lab.progress import Progress
from restate_lab.source import Source

if TYPE_CHECKING:
    from datafusion import SessionContext

DEFAULT_MAX_BYTES = 2 << 30
_MISSING_TABLE = re.compile(r"table '(?:[^'.]+\.)*([^'.]+)' not found")
_MISSING_COLUMN = re.compile(r"No field named (?:\S+\.)?\"?(\w+)\"?\.")


class EngineSource(Source):
    """A source that answers statements with a DataFusion session; ``close()`` ends it, as does a ``with`` block.

    ``coverage.missing`` explains the tables and columns that it does not have.
    """

    def __init__(self, context: SessionContext, decoder: PayloadFunction | None = None) -> None:
        self._context: SessionContext | None = context
        self._decoder = decoder

    @property
    def decoder(self) -> PayloadFunction | None:
        """Return the function that decodes payloads for showing; None without one."""
        return self._decoder

    @property
    @abstractmethod
    def name(self) -> str:
        """Return the name of the cluster."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Return the version of the server."""

    @contextmanager
    def stream(
        self,
        statement: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: DurationInput | None = None,
        max_bytes: float | None = math.inf,
        progress: bool | Progress | None = False,  # noqa: ARG002 - one signature for all sources
        **named: Any,
    ) -> Iterator[pa.RecordBatchReader]:
        """Yield a ``RecordBatchReader`` that keeps some thousand rows in memory, for a result of any size.

        A statement ends at its ``timeout`` and at an interrupt, also while the engine computes. The engine itself stops
        only between some batches: a join of large tables can use the processor for longer, in threads of its own.
        ``progress`` has no effect; it is an argument of all sources. Types are those of
        DataFusion.
        """
        if self._context is None:
            raise StatementError(f"{self!r} is closed; open it again.")
        most = DEFAULT_MAX_BYTES if max_bytes is None else check_size("max_bytes", max_bytes)
        with mark_errors(statement, {**(params or {}), **named}):
            query = bind(statement, params, **named)
            self._check_files()
            deadline = None if timeout is None else time.monotonic() + check_seconds("timeout", timeout)
            try:
                schema, batches = read(self._context, query, deadline=deadline)
                with closing(batches):
                    names = number_duplicate_columns(schema)
                    yield pa.RecordBatchReader.from_batches(names, _with_limit(batches, names, most))
            except QueryRefused as error:
                raise self._explain(error) from error.__cause__

    def close(self) -> None:
        """Close the files."""
        self._context = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_files(self) -> None:
        """Check, before a statement, that the files are still as they were; by default nothing is checked."""

    def _explain(self, error: QueryRefused) -> RestateLabError:
        """Return an error with the reason if something is missing here, else one that suggests similar names."""
        missing = self.coverage.missing
        for pattern, is_table in ((_MISSING_TABLE, True), (_MISSING_COLUMN, False)):
            name = pattern.search(error.reason)
            for each, reason in missing.items() if name else ():
                table, _, column = each.partition(".")
                if name and name[1] == (table if is_table else column) and is_table is not bool(column):
                    return NotOnThisServer(f"{each} is excluded from {self.name}: {reason}.")
        tables = list(dict.fromkeys(self.tables()["table"]))
        return add_suggestions(error, lambda: tables, lambda: [each.name for each in FUNCTIONS], version=self.version)


def _with_limit(batches: Iterator[pa.RecordBatch], names: pa.Schema, max_bytes: float) -> Iterator[pa.RecordBatch]:
    size = rows = 0
    for batch in batches:
        size, rows = size + max(arrow_bytes(batch), batch.num_rows), rows + batch.num_rows
        if size > max_bytes:
            raise ResultTooLarge(
                f"the result exceeded {max_bytes / 1e6:,.0f} MB after {rows:,} rows and was stopped. Select fewer "
                f"columns or rows, read it in batches with stream(), or pass a higher max_bytes=….",
                rows=rows,
                size=size,
            )
        yield batch.rename_columns(names.names)
