"""Run the package's statements about a history in the user's Spark: in a session of its own, with views of the archive.

The session shares the cluster with the user's session, and has its own settings and views. So the settings of the user
are not changed, and do not change results. Each view has two names: the package's statements read the one that begins
with ``restate_lab_``, and the other, that of the server's table, is for the user's own statements in Spark's dialect.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from restate_lab._text import one_line
from restate_lab.errors import ArgumentError, QueryRefused, StatementError, TimedOut
from restate_lab.evidence.engine import read
from restate_lab.history.spark.translate import (
    MOST_FIRST,
    Translator,
    is_over_runs,
    parse_view,
    rows_of,
    tables_of,
    view_name,
)

if TYPE_CHECKING:
    from datafusion import SessionContext
    from deltalake import DeltaTable

_NEEDED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "true",
    "spark.sql.parser.escapedStringLiterals": "false",
    "spark.sql.variable.substitute": "false",  # it would replace ${…} within texts
    # Below this LIMIT, the first rows are right; Spark reserves memory for all of them.
    "spark.sql.execution.topKSortFallbackThreshold": str(MOST_FIRST),
}
"""Settings without which results would differ."""
_WANTED = {
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
    # The files are those of the log, and a job that lists them takes longer than the driver.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
}
_VIEWS = "SELECT table_schema AS schema, table_name AS name, definition FROM information_schema.views"
_SLICE = 0.2  # seconds of a wait, after which an interrupt is raised
_LONGEST = 600  # characters of an error of Spark
_MOST_ROWS = 2**31 - 1
_PLACE = "place"


@dataclass(frozen=True, slots=True)
class _Jobs:
    """Functions that give the jobs of a thread a tag, and cancel the jobs with a tag."""

    add_tag: Callable[[str], Any]
    remove_tag: Callable[[str], Any]
    cancel: Callable[[str], Any]

    @classmethod
    def of_session(cls, spark: Any) -> _Jobs:
        return cls(spark.addTag, spark.removeTag, spark.interruptTag)

    @classmethod
    def of_context(cls, context: Any) -> _Jobs:
        return cls(context.addJobTag, context.removeJobTag, context.cancelJobsWithTag)


class SparkEngine:
    """Answers statements about many runs of one history; ``context`` answers the others, and has the definitions.

    Its views are created when a statement needs them first, and dropped by ``close``.

    Raises:
        ArgumentError: the session has another setting that changes results, and does not allow to change it.
    """

    def __init__(self, spark: Any, context: SessionContext, tables: Mapping[str, DeltaTable]) -> None:
        self._context, self._tables = context, tables
        is_connect = "connect" in type(spark).__module__
        # In Connect, a new session does not have the user's settings, such as those of a store.
        self._spark = spark.cloneSession() if is_connect else spark.newSession()
        # In a classic session, only the thread that has a tag of the session can interrupt its jobs.
        self._jobs = _Jobs.of_session(self._spark) if is_connect else _Jobs.of_context(self._spark.sparkContext)
        self._set(_WANTED)
        self._check_settings()
        self._translator = Translator.of(context)
        self._definitions = {(row["schema"], row["name"]): row["definition"] for row in rows_of(context, _VIEWS)}
        self._created: set[tuple[str, str]] = set()
        self._lock = threading.RLock()

    @property
    def session(self) -> Any:
        """Return the session, with a view of each table of the history under the name of the server."""
        self._check_settings()
        for schema, table in self._translator.types:
            if schema == "public":
                self._create(schema, table)
        return self._spark

    def _set(self, settings: Mapping[str, str]) -> None:
        for name, value in settings.items():
            with suppress(Exception):  # a cluster can fix a setting
                self._spark.conf.set(name, value)

    def _check_settings(self) -> None:
        """Set what changes results; the user can have changed it in the session."""
        changed = {name: value for name, value in _NEEDED.items() if self._setting(name) != value.lower()}
        self._set(changed)
        for name, value in changed.items():
            if self._setting(name) != value.lower():
                raise ArgumentError(f"engine has another value of {name} than {value}, and does not let it be changed.")

    def _setting(self, name: str) -> str:
        with suppress(Exception):  # a cluster can hide a setting
            return str(self._spark.conf.get(name)).lower()
        return ""

    def answers(self, query: str) -> bool:
        """Return whether a bound statement runs in Spark."""
        return is_over_runs(query)

    def read(self, query: str, schema: pa.Schema, deadline: float | None, max_bytes: float) -> pa.Table:
        """Return the rows of a statement with the names and types of ``schema``, those that DataFusion would give them.

        Of a larger result than ``max_bytes``, only as many rows are read as show this.

        Raises:
            StatementError: it has a part whose result could differ.
            QueryRefused: Spark refused it.
            TimedOut: the deadline passed.
        """
        statement = self._translator.translate(query)
        tag = f"restate_lab_{uuid.uuid4().hex}"

        def collect() -> pa.Table:
            self._jobs.add_tag(tag)
            try:
                self._check_settings()
                for name in tables_of(query):
                    self._create(*name)
                frame = self._spark.sql(statement).toDF(*(f"c{at}" for at in range(len(schema))))
                # A limit takes the rows from all workers in any order, so each row keeps its place.
                frame = frame.selectExpr("*", f"monotonically_increasing_id() AS {_PLACE}")
                if (most := max_bytes // _least_bytes(schema)) < _MOST_ROWS:
                    frame = frame.limit(int(most) + 1)
                rows: pa.Table = frame.toArrow()
                return rows.sort_by(_PLACE).drop_columns(_PLACE)
            finally:
                self._jobs.remove_tag(tag)

        rows = self._wait(collect, tag, deadline)
        try:
            columns = [_cast(column, each.type) for column, each in zip(rows.columns, schema, strict=True)]
        except pa.ArrowException as error:
            raise StatementError(f"the statement has other types in Spark: {error}") from error
        return pa.table(columns, schema=schema)

    def close(self) -> None:
        """Drop the views."""
        with self._lock, suppress(Exception):  # the session can have ended
            for schema, table in self._created:
                for name in _names_of(schema, table):
                    self._spark.catalog.dropTempView(name)
            self._created.clear()

    def _create(self, schema: str, table: str) -> None:
        """Create the view of a table, after those that it reads."""
        with self._lock:
            if (schema, table) in self._created:
                return
            definition = self._definitions.get((schema, table))
            if definition is not None:
                select = parse_view(definition)
                for name in tables_of(select):
                    self._create(*name)
                frame = self._spark.sql(self._translator.translate(select))
            elif schema == "archive":
                frame = _read_table(self._spark, self._tables[table.removesuffix("_stored")])
            else:
                columns, batches = read(self._context, f'SELECT * FROM {schema}."{table}"')  # noqa: S608
                frame = self._spark.createDataFrame(pa.Table.from_batches(batches, columns))
            for view in _names_of(schema, table):
                frame.createOrReplaceTempView(view)
            self._created.add((schema, table))

    def _wait(self, collect: Callable[[], pa.Table], tag: str, deadline: float | None) -> pa.Table:
        """Return the result of a function that runs in a thread of its own; an interrupt or the deadline cancels it."""
        future: Future[pa.Table] = Future()

        def run() -> None:
            try:
                future.set_result(collect())
            except BaseException as error:  # noqa: BLE001 - it is raised by the thread that waits
                future.set_exception(error)

        threading.Thread(target=run, name="restate_lab spark", daemon=True).start()
        try:
            while not future.done() and (deadline is None or time.monotonic() < deadline):
                wait([future], _SLICE)
        finally:
            if not future.done():
                threading.Thread(target=self._cancel, args=(future, tag), name="restate_lab spark", daemon=True).start()
        if not future.done():
            raise TimedOut("the query was stopped at its timeout in Spark; pass a longer timeout=.")
        try:
            return future.result()
        except Exception as error:
            raise _refused(error) from error

    def _cancel(self, future: Future[pa.Table], tag: str) -> None:
        """Cancel the jobs of a statement until it has ended: at first, Spark may not have started one."""
        with suppress(Exception):  # the session can have ended
            while not future.done():
                self._jobs.cancel(tag)
                wait([future], 1)


def _names_of(schema: str, table: str) -> tuple[str, ...]:
    """Return the names of the view of a table; those of the schema "public" also have the name of the server."""
    return (view_name(schema, table), *([table] if schema == "public" else []))


def _least_bytes(schema: pa.Schema) -> float:
    """Return the bytes that a row has at least in Arrow."""
    sizes = [each.type.bit_width / 8 for each in schema if pa.types.is_primitive(each.type)]
    return float(max(1.0, sum(sizes)))


def _cast(column: pa.ChunkedArray[Any], kind: pa.DataType) -> pa.ChunkedArray[Any]:
    if pa.types.is_decimal(column.type) and pa.types.is_integer(kind):
        return column.cast(pa.decimal128(38, 0)).cast(kind)
    is_finer = pa.types.is_temporal(column.type) and pa.types.is_temporal(kind)
    return column.cast(kind, safe=not is_finer)


def _refused(error: Exception) -> QueryRefused:
    reason = one_line(str(error).partition("JVM stacktrace")[0], _LONGEST)
    return QueryRefused(f"Spark refused the query: {reason}", status=400, reason=reason)


def _read_table(spark: Any, table: DeltaTable) -> Any:
    """Return a table as a DataFrame of Spark: with the package of Delta if the session has it, or else by its files.

    Spark infers nothing from the files: a column that an older file does not have is null, and the values of the
    partitions are those in the paths that the log has.
    """
    where = _address(table.table_uri)
    if _has_delta(spark):
        return spark.read.format("delta").option("versionAsOf", table.version()).load(where)
    schema = json.loads(table.schema().to_json())
    schema["fields"] = [each | {"nullable": True, "metadata": {}} for each in schema["fields"]]
    types = type(spark.range(0).schema)
    files = [_address(file) for file in table.file_uris()]
    if not files:
        return spark.createDataFrame([], types.fromJson(schema))
    return spark.read.schema(types.fromJson(schema)).option("basePath", where).parquet(*files)


def _has_delta(spark: Any) -> bool:
    """Return whether the session knows the extensions or the catalog of Delta."""
    for name in ("spark.sql.extensions", "spark.sql.catalog.spark_catalog"):
        with suppress(Exception):  # a setting that a cluster hides
            if "delta" in str(spark.conf.get(name, "")).lower():
                return True
    return False


def _address(uri: str) -> str:
    """Return an address as Spark's file systems name it."""
    return f"s3a://{uri.removeprefix('s3://')}" if uri.startswith("s3://") else uri
