"""Query tables that do not change with DataFusion, which is also the query engine of the server.

``EngineSource`` is the base of evidence and histories. ``now()`` and similar functions return the timestamp of the
freeze, so that statements compute ages as of then.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import os
import re
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import pyarrow as pa
from pyarrow import dataset

from restate_lab._public import import_extra
from restate_lab.client.arguments import check_seconds, check_size
from restate_lab.client.parquet import arrow_bytes
from restate_lab.client.sql.bind import bind
from restate_lab.client.sql.error_marker import mark_errors
from restate_lab.client.sql.suggestions import add_suggestions
from restate_lab.client.sql.tokenizer import place, tokens
from restate_lab.durations import DurationInput
from restate_lab.errors import (
    EvidenceBroken,
    NotOnThisServer,
    QueryRefused,
    RestateLabError,
    ResultTooLarge,
    StatementError,
    TimedOut,
)
from restate_lab.evidence.folder import EvidenceFolder
from restate_lab.evidence.json_functions import FUNCTIONS
from restate_lab.evidence.manifest import Manifest
from restate_lab.evidence.tables import quote_name
from restate_lab.evidence.verification import MAX_BATCH_ROWS
from restate_lab.frames import number_duplicate_columns
from restate_lab.payload_json import PayloadFunction
from restate_lab.progress import Progress
from restate_lab.source import Source

if TYPE_CHECKING:
    from datafusion import DataFrame, SessionContext

T = TypeVar("T")

_THREADS, _FEWEST_THREADS = "TOKIO_WORKER_THREADS", 4  # the setting is read when the engine starts
_SLICE = 0.2  # seconds of a wait; Windows raises an interrupt only between two waits
_ONE_KEY = "json_get_str(json_get_json(entry_lite_json, 'Command'), 'name')"
DEFAULT_MAX_BYTES = 2 << 30
_MISSING_TABLE = re.compile(r"table '(?:[^'.]+\.)*([^'.]+)' not found")
_MISSING_COLUMN = re.compile(r"No field named (?:\S+\.)?\"?(\w+)\"?\.")
_VIEW = re.compile(r"CREATE VIEW \S+ AS (SELECT .*)", re.DOTALL)
_SETTINGS = {
    "datafusion.catalog.information_schema": "true",
    # Return texts like the server, and not as string views, which some Arrow readers do not support.
    "datafusion.execution.parquet.schema_force_view_types": "false",
    "datafusion.sql_parser.map_string_types_to_utf8view": "false",
}


def session(now: datetime, *, batch_rows: int = MAX_BATCH_ROWS) -> SessionContext:
    """Return an empty session in which ``now()`` returns ``now``, with the server's JSON functions.

    Raises:
        MissingExtra: DataFusion is not installed.
    """
    datafusion = _datafusion()
    _start_threads()
    config = datafusion.SessionConfig(_SETTINGS).with_default_catalog_and_schema("restate", "public")
    context: SessionContext = datafusion.SessionContext(config.with_batch_size(batch_rows))
    for each in FUNCTIONS:
        context.register_udf(datafusion.udf(each, [pa.string(), pa.string()], each.result, "immutable", name=each.name))
    for name, value in _clock(now).items():
        # Immutable and without arguments: it is computed once, while a statement is planned.
        context.register_udf(datafusion.udf(lambda value=value: value, [], value.type, "immutable", name=name))
    return context


@functools.cache
def _start_threads() -> None:
    """Start the threads of the engine, which has them once per process and by default one per core.

    A statement that was stopped keeps its threads until the engine reaches a point at which it can end. With one per
    core, every other statement of the process would wait for that.
    """
    if _THREADS in os.environ:
        return
    os.environ[_THREADS] = str(_FEWEST_THREADS + 4 * (os.cpu_count() or 1))
    try:
        _datafusion().SessionContext().sql("SELECT 1").collect()
    finally:
        del os.environ[_THREADS]


def frozen_session(folder: EvidenceFolder, manifest: Manifest, *, batch_rows: int) -> SessionContext:
    """Return a session with the tables and views of a checked folder.

    At most ``batch_rows`` rows are decoded at a time.

    Raises:
        EvidenceBroken: a file cannot be read, or a view cannot be created from the frozen tables.
        MissingExtra: DataFusion is not installed.
    """
    context = session(manifest.now, batch_rows=batch_rows)
    for each in manifest.files:
        path = folder.path_of(each.file)
        try:
            if folder.is_local:
                context.register_parquet(quote_name(each.table), Path(path).as_uri())
            else:
                context.register_dataset(quote_name(each.table), dataset.dataset(path, filesystem=folder.filesystem))
        except Exception as error:  # DataFusion raises plain Exception
            raise EvidenceBroken(f"{folder.display_path}: {each.file} cannot be read: {error}") from error
    for view in manifest.views:
        try:
            create_view(context, view.name, view.definition, [column.name for column in view.columns])
        except (StatementError, QueryRefused) as error:
            raise EvidenceBroken(f"{folder.display_path}: the view {view.name} cannot be created: {error}") from error
    return context


def read(
    context: SessionContext,
    statement: str,
    *,
    deadline: float | None = None,
    tick: Callable[[], None] | None = None,
) -> tuple[pa.Schema, Generator[pa.RecordBatch]]:
    """Return the columns of a bound statement, and a generator that computes its rows; close it to stop the statement.

    The generator waits for the engine until ``deadline`` (of ``time.monotonic``), and interrupts are raised during this
    wait. ``tick`` is called several times a second, and can end the statement with an error.

    Raises:
        StatementError: the statement uses ``->`` or ``->>``.
        QueryRefused: parsing, planning or running the statement failed; an error of running is raised by the generator.
        TimedOut: the deadline passed.
    """
    frame = plan_query(context, statement)
    batches = _batches(frame, deadline, tick)
    first = next(batches, None)
    # The planned types can differ from the actual types of the batches (for example string and large_string), so the
    # schema of the first batch is used. Arrow's C stream interface reports the planned types, so that its batches would
    # be misread; it is not used.
    return (frame.schema() if first is None else first.schema), _with_first(first, batches)


def plan_query(context: SessionContext, statement: str) -> DataFrame:
    """Return a bound statement as a plan, which has not run.

    Raises:
        StatementError: the statement uses ``->`` or ``->>``.
        QueryRefused: parsing or planning the statement failed.
    """
    for token in tokens(statement):
        if token.kind == "operator" and token.text in {"->", "->>"}:
            raise StatementError(
                f"{token.text} at {place(statement, token.start)} is not supported by evidence and histories. Use "
                f"functions with one key per call, which servers also support: {_ONE_KEY}."
            )
    no = False
    options = _datafusion().SQLOptions().with_allow_ddl(no).with_allow_dml(no).with_allow_statements(no)
    try:
        return context.sql_with_options(statement, options)
    except Exception as error:
        raise _query_refused(error) from error


def result_schema(context: SessionContext, statement: str) -> pa.Schema:
    """Return the columns of a bound statement with the types of its rows, without running it.

    Those of the plan itself can differ: ``SELECT NULL UNION SELECT 'x'`` has the type of its first part there.

    Raises:
        StatementError, QueryRefused: those of ``plan_query``.
    """
    plan = plan_query(context, statement)
    try:
        schema: pa.Schema = context.create_dataframe_from_logical_plan(plan.optimized_logical_plan()).schema()
    except Exception as error:  # DataFusion raises plain Exception
        raise _query_refused(error) from error
    return schema


def _with_first(first: pa.RecordBatch | None, others: Generator[pa.RecordBatch]) -> Generator[pa.RecordBatch]:
    with contextlib.closing(others):
        if first is not None:
            yield first
            yield from others


def _batches(frame: DataFrame, deadline: float | None, tick: Callable[[], None] | None) -> Generator[pa.RecordBatch]:
    """Yield the batches of a statement, which another thread requests from the engine.

    A request that the engine does not answer can only be ended from outside, and the engine has no other way than to
    cancel an asynchronous request. The caller's own thread may already run an event loop, as in a notebook.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=_run_loop, args=(loop,), name="restate_lab engine", daemon=True).start()
    rows = 0
    try:
        stream = _result(loop, _execute(frame), deadline, rows, tick)
        while (batch := _result(loop, _next_batch(stream), deadline, rows, tick)) is not None:
            rows += batch.num_rows
            yield batch
    finally:
        loop.call_soon_threadsafe(loop.stop)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, and cancel what it still waits for: this is what ends the work of the engine."""
    try:
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
            loop.run_until_complete(asyncio.wait([task]))
    finally:
        loop.close()


def _result(
    loop: asyncio.AbstractEventLoop,
    request: Coroutine[Any, Any, T],
    deadline: float | None,
    rows: int,
    tick: Callable[[], None] | None,
) -> T:
    future = asyncio.run_coroutine_threadsafe(request, loop)
    while True:
        if tick is not None:
            tick()
        left = _SLICE if deadline is None else min(deadline - time.monotonic(), _SLICE)
        if left <= 0:
            raise TimedOut(f"the query was stopped at its timeout after {rows:,} rows; pass a longer timeout=.")
        try:
            return future.result(left)
        except TimeoutError:
            continue
        except Exception as error:  # DataFusion raises plain Exception
            raise _query_refused(error) from error


async def _execute(frame: DataFrame) -> Any:
    return frame.execute_stream()


async def _next_batch(stream: Any) -> pa.RecordBatch | None:
    batch = await anext(stream, None)
    return None if batch is None else batch.to_pyarrow()


def create_view(
    context: SessionContext, name: str, definition: str, columns: Sequence[str], *, schema: str = "public"
) -> None:
    """Create a view with the server's own statement, after a check that the statement only reads.

    Raises:
        StatementError: it is not a view, or does not have these columns.
        QueryRefused: a table or a column that it reads does not exist.
    """
    match = _VIEW.fullmatch(definition.strip())
    if match is None:
        raise StatementError("it is not CREATE VIEW … AS SELECT …")
    select = bind(match[1])
    if plan_query(context, select).schema().names != list(columns):
        raise StatementError("its columns differ from those that were stored")
    context.sql(f"CREATE VIEW {schema}.{quote_name(name)} AS {select}")


def _datafusion() -> Any:
    return import_extra(
        "datafusion",
        "evidence",
        purpose="opening evidence requires DataFusion",
        advice="Without it, you can read the Parquet files with pandas, DuckDB or Spark.",
    )


def _clock(now: datetime) -> dict[str, pa.Array[Any]]:
    utc = now.astimezone(UTC)
    moment = pa.array([utc.replace(tzinfo=None)], pa.timestamp("ns"))
    day = pa.array([utc.date()], pa.date32())
    time = pa.array([utc.time()], pa.time64("ns"))
    return {"now": moment, "current_timestamp": moment, "current_date": day, "today": day, "current_time": time}


def _query_refused(error: Exception) -> QueryRefused:
    reason = str(error).removeprefix("DataFusion error: ").partition("\n\nThis was likely caused by a bug")[0]
    advice = ""
    if "to satisfy a call to 'json_" in reason or "Invalid function 'json_" in reason:
        advice = f"\nIn evidence and histories, JSON functions take one key per call, for example {_ONE_KEY}."
    return QueryRefused(f"the query engine refused the query: {reason}{advice}", status=400, reason=reason)


class EngineSource(Source):
    """A source that answers statements with a DataFusion session; ``close()`` ends it, as does a ``with`` block.

    ``coverage.missing`` explains the tables and columns that it does not have.
    """

    decoder: PayloadFunction | None = None

    def __init__(self, context: SessionContext, decoder: PayloadFunction | None = None) -> None:
        self._context: SessionContext | None = context
        self.decoder = decoder

    @contextlib.contextmanager
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
                schema, batches = self._read(self._context, query, deadline, most)
                with contextlib.closing(batches):
                    names = number_duplicate_columns(schema)
                    yield pa.RecordBatchReader.from_batches(names, limited(batches, names, most))
            except QueryRefused as error:
                raise self._explain(error) from error.__cause__

    def _read(
        self,
        context: SessionContext,
        query: str,
        deadline: float | None,
        max_bytes: float,  # noqa: ARG002 - of a subclass
    ) -> tuple[pa.Schema, Generator[pa.RecordBatch]]:
        """Return the columns and the rows of a bound statement."""
        return read(context, query, deadline=deadline)

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
        missing = self.coverage.missing
        for pattern, is_table in ((_MISSING_TABLE, True), (_MISSING_COLUMN, False)):
            name = pattern.search(error.reason)
            for each, reason in missing.items() if name else ():
                table, _, column = each.partition(".")
                if name and name[1] == (table if is_table else column) and is_table is not bool(column):
                    return NotOnThisServer(f"{each} is excluded from {self.name}: {reason}.")
        tables = list(dict.fromkeys(self.tables()["table"]))
        return add_suggestions(error, lambda: tables, lambda: [each.name for each in FUNCTIONS], version=self.version)


def limited(batches: Iterator[pa.RecordBatch], names: pa.Schema, max_bytes: float) -> Iterator[pa.RecordBatch]:
    """Yield batches with the names of a schema until they exceed ``max_bytes``.

    Raises:
        ResultTooLarge: they do.
    """
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
