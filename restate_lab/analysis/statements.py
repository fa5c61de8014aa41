"""SQL files that are not named questions: ``<package>/sql/<name>.sql``."""

from __future__ import annotations

import contextvars
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from importlib.resources import files
from threading import Event
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.client.schema import check_columns
from restate_lab.client.sql.parts import complete
from restate_lab.errors import RestateLabError
from restate_lab.source import Source, SourceWrapper

__all__ = ["read_sql_file", "read_together", "run_sql_file", "table_of_sql_file", "used_params", "without_views"]


def run_sql_file(source: Source, package: str, name: str, **params: Any) -> pd.DataFrame:
    """Return the rows of a SQL file, completed for the tables of the source; unused ``params`` are ignored."""
    statement = read_sql_file(source, package, name)
    return check_columns(source.sql(statement, params=used_params(statement, params)), statement, source)


def table_of_sql_file(source: Source, package: str, name: str, **params: Any) -> pa.Table:
    """Return the rows of a SQL file as an Arrow table: several times as fast for very many rows."""
    statement = read_sql_file(source, package, name)
    rows = source.arrow(statement, params=used_params(statement, params))
    return without_views(check_columns(rows, statement, source))


def without_views(table: pa.Table) -> pa.Table:
    """Return the same rows without string views: servers return them for expressions, and Arrow cannot filter them."""
    plain = [each.with_type(pa.large_string()) if each.type == pa.string_view() else each for each in table.schema]
    return table.cast(pa.schema(plain))


def read_sql_file(source: Source, package: str, name: str) -> str:
    """Return a SQL file of a package ("analysis.why"), completed for the tables of the source."""
    return complete(files(f"restate_lab.{package}").joinpath("sql", f"{name}.sql").read_text("utf-8"), source)


def used_params(statement: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a statement has: some parts of a completed statement are read from few sources."""
    names = set(re.findall(r"(?<!:):([a-z]\w*)", re.sub(r"--.*", "", statement)))
    return {key: value for key, value in params.items() if key in names}


def read_together(source: Source, reads: Sequence[Callable[[Source], Any]]) -> list[Any]:
    """Run all reads at the same time and return their results, because a server uses only a few cores for one scan.

    The first read runs in this thread, so that an interrupt reaches it. If it fails or is interrupted, the other reads
    stop within a second. The first error in the order of ``reads`` is raised after all reads have ended.
    """
    stop = Event()
    other = _StoppableSource(source, stop)
    with ThreadPoolExecutor(max(len(reads) - 1, 1), thread_name_prefix="restate-lab") as pool:
        futures = [pool.submit(contextvars.copy_context().run, read, other) for read in reads[1:]]
        try:
            first = reads[0](source)
            return [first, *(future.result() for future in futures)]
        except BaseException:
            stop.set()
            raise


class _StoppableSource(SourceWrapper):
    """The same source for another thread: it shows no progress, and its reads stop when ``stop`` is set."""

    def __init__(self, source: Source, stop: Event) -> None:
        super().__init__(source)
        self._progress = _UntilStopped(stop) if source.live else False

    def stream(self, statement: str, /, **options: Any) -> AbstractContextManager[pa.RecordBatchReader]:
        """Return a reader that keeps one batch in memory at a time."""
        return super().stream(statement, **{**options, "progress": self._progress})


class _Stopped(RestateLabError):
    """Stop a read whose result is no longer needed."""


class _UntilStopped:
    """Progress that shows nothing, and stops the read that reports to it."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop

    def update(self, rows: int, size: int) -> None:  # noqa: ARG002 - Progress's signature
        if self._stop.is_set():
            raise _Stopped("the read was stopped.")

    def close(self) -> None:
        return
