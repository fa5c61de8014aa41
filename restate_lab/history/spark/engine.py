"""Run statements of a history in the user's Spark: in a session of its own, with views of the archive.

The session shares the cluster and the files of the user's session, and has its own settings, so that those of the user
do not change, and do not change results: times are UTC, and errors are errors.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from restate_lab._text import one_line
from restate_lab.errors import QueryRefused, ResultTooLarge, RestateLabError, TimedOut
from restate_lab.evidence.engine import read
from restate_lab.history.spark.files import read_table
from restate_lab.history.spark.translate import Translator, is_over_runs, parse_view, rows_of

if TYPE_CHECKING:
    from datafusion import SessionContext
    from deltalake import DeltaTable

_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "true",
    "spark.sql.parser.escapedStringLiterals": "false",
    "spark.sql.legacy.interval.enabled": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    # The files are those of the log, and a job that lists them takes longer than the driver.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
}
_VIEWS = "SELECT table_schema AS schema, table_name AS name, definition FROM information_schema.views"
_SLICE = 0.2  # seconds of a wait, after which an interrupt is raised
_LONGEST = 600  # characters of an error of Spark
_MOST_ROWS = 2**31 - 1


class SparkEngine:
    """Answers statements about many runs of one history; ``context`` answers the others, and has the definitions.

    Its views are created when a statement needs them first, and dropped by ``close``.
    """

    def __init__(
        self, spark: Any, context: SessionContext, tables: Mapping[str, DeltaTable], now: datetime
    ) -> None:
        self._context, self._tables = context, tables
        # Connect has a copy with the user's settings, such as credentials; in the classic session they are shared.
        self._spark = spark.cloneSession() if hasattr(spark, "cloneSession") else spark.newSession()
        for name, value in _SETTINGS.items():
            with suppress(Exception):  # a cluster can fix a setting
                self._spark.conf.set(name, value)
        self._translator = Translator.of(context, f"restate_lab_{uuid.uuid4().hex[:12]}", now)
        self._definitions = {(row["schema"], row["name"]): row["definition"] for row in rows_of(context, _VIEWS)}
        self._created: set[tuple[str, str]] = set()
        self._lock = threading.RLock()

    def answers(self, query: str) -> bool:
        """Return whether a bound statement runs in Spark."""
        return is_over_runs(query)

    def read(self, query: str, schema: pa.Schema, deadline: float | None, max_bytes: float) -> pa.Table:
        """Return the rows of a statement, with the names and types of ``schema``, those of its plan in DataFusion.

        Raises:
            StatementError: it has a part whose result could differ.
            QueryRefused: Spark refused it.
            ResultTooLarge: its rows exceed ``max_bytes``.
            TimedOut: the deadline passed.
        """
        statement = self._translator.translate(query)
        tag = f"restate_lab_{uuid.uuid4().hex}"

        def collect() -> pa.Table:
            self._spark.addTag(tag)
            try:
                with self._lock:
                    for name in self._translator.tables_of(query):
                        self._create(*name)
                frame = self._spark.sql(statement)
                frame = frame.toDF(*(f"c{at}" for at in range(len(schema))))
                if (most := max_bytes // _least_bytes(schema)) < _MOST_ROWS:
                    frame = frame.limit(int(most) + 1)
                return frame.toArrow()
            finally:
                self._spark.removeTag(tag)

        rows = self._wait(collect, tag, deadline)
        if rows.nbytes > max_bytes or len(rows) > max_bytes:
            raise ResultTooLarge(
                f"the result exceeded {max_bytes / 1e6:,.0f} MB with {len(rows):,} rows. Select fewer columns or rows, "
                f"or pass a higher max_bytes=….",
                rows=len(rows),
                size=rows.nbytes,
            )
        columns = [_cast(column, each.type) for column, each in zip(rows.columns, schema, strict=True)]
        return pa.table(columns, schema=schema)

    def close(self) -> None:
        """Drop the views."""
        with self._lock, suppress(Exception):  # the session can have ended
            for name in self._created:
                self._spark.catalog.dropTempView(self._translator.names[name])
            self._created.clear()

    def _create(self, schema: str, table: str) -> None:
        """Create the view of a table, after those that it reads."""
        if (schema, table) in self._created:
            return
        definition = self._definitions.get((schema, table))
        if definition is not None:
            select = parse_view(definition)
            for name in self._translator.tables_of(select):
                self._create(*name)
            frame = self._spark.sql(self._translator.translate(select))
        elif schema == "archive":
            frame = read_table(self._spark, self._tables[table.removesuffix("_stored")])
        else:
            columns, batches = read(self._context, f'SELECT * FROM {schema}."{table}"')  # noqa: S608
            frame = self._spark.createDataFrame(pa.Table.from_batches(batches, columns))
        frame.createOrReplaceTempView(self._translator.names[schema, table])
        self._created.add((schema, table))

    def _wait(self, collect: Any, tag: str, deadline: float | None) -> pa.Table:
        """Return the result of a function that runs in a thread of its own; an interrupt or the deadline cancels it."""
        future: Future[pa.Table] = Future()

        def run() -> None:
            try:
                future.set_result(collect())
            except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
                future.set_exception(error)

        threading.Thread(target=run, name="restate_lab spark", daemon=True).start()
        try:
            while True:
                left = _SLICE if deadline is None else min(deadline - time.monotonic(), _SLICE)
                if left <= 0:
                    raise TimedOut("the query was stopped at its timeout on Spark; pass a longer timeout=.")
                with suppress(TimeoutError):
                    return future.result(left)
        except RestateLabError:
            self._stop(tag)
            raise
        except Exception as error:
            raise _refused(error) from error
        except BaseException:  # an interrupt
            self._stop(tag)
            raise

    def _stop(self, tag: str) -> None:
        with suppress(Exception):
            self._spark.interruptTag(tag)


def _least_bytes(schema: pa.Schema) -> float:
    """Return the bytes that a row has at least in Arrow."""
    return max(1.0, sum(each.type.bit_width / 8 for each in schema if pa.types.is_primitive(each.type)))


def _cast(column: pa.ChunkedArray[Any], kind: pa.DataType) -> pa.ChunkedArray[Any]:
    if pa.types.is_decimal(column.type) and pa.types.is_integer(kind):
        return column.cast(pa.decimal128(38, 0)).cast(kind)
    is_finer = pa.types.is_temporal(column.type) and pa.types.is_temporal(kind)
    return column.cast(kind, safe=not is_finer)


def _refused(error: Exception) -> QueryRefused:
    reason = one_line(str(error).partition("\n\nJVM stacktrace")[0], _LONGEST)
    return QueryRefused(f"Spark refused the query: {reason}", status=400, reason=reason)
