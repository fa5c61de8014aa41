"""Compare a history that DataFusion reads with the same history in Spark: every statement over many runs, on both.

``compare_engines(where, spark)`` returns a frame with one row per statement. As a program in the folder ``tests``, it
prints the table for an archive: ``python -m support.spark_equality ARCHIVE [MASTER or "connect"] [PART OF A NAME]``.
"""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

import restate_lab as rl
from restate_lab.client.sql.bind import bind
from restate_lab.errors import ArgumentError, NotOnThisServer, RestateLabError
from restate_lab.history.spark.translate import is_over_runs
from restate_lab.source import ENGINE, SourceWrapper
from support.spark_statements import OWN

_CLOSE = 1e-9
_LONG_AGO = "3650d"


def verbs(history: rl.History) -> dict[str, Callable[[Any], Any]]:
    """Return the verbs that read many runs: each question that a history answers, and others."""
    middle = history.coverage.since + (history.now - history.coverage.since) / 2
    named = rl.questions(full=True)
    calls: dict[str, Callable[[Any], Any]] = {}
    for row in named.to_dict("records"):
        params = {"since": _LONG_AGO} if "since=" in row["parameters"] else {}
        calls[f"ask {row['name']}"] = lambda source, name=row["name"], params=params: rl.ask(source, name, **params)
    deployments = history.sql("SELECT id FROM sys_deployment ORDER BY created_at DESC, id LIMIT 1")["id"]
    calls["before_after, a time"] = lambda source: rl.before_after(source, middle, window="60d", timeout=None)
    calls["before_after, hours"] = lambda source: rl.before_after(
        source, middle, window="60d", block="6h", timeout=None
    )
    if len(deployments):
        last = str(deployments.iloc[0])
        calls["before_after, a deployment"] = lambda source: rl.before_after(source, last, window="60d", timeout=None)
    for kind in ("failed", "slow"):
        calls[f"contrast {kind}"] = lambda source, kind=kind: rl.contrast(source, kind, timeout=None)
    calls["doctor"] = lambda source: rl.doctor(source, timeout="1h")
    return calls


class Recorder(SourceWrapper):
    """Records the statements of a verb over many runs, with their literals."""

    def __init__(self, source: Any) -> None:
        super().__init__(source)
        self.statements: dict[str, None] = {}

    def stream(self, statement: str, /, **options: Any) -> AbstractContextManager[pa.RecordBatchReader]:
        named = {
            key: value for key, value in options.items() if key not in {"params", "timeout", "max_bytes", "progress"}
        }
        self.statements[bind(statement, options.get("params"), **named)] = None
        return super().stream(statement, **options)


def statements_over_runs(history: rl.History, only: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and the bound statement of everything that should run in Spark."""
    seen: set[str] = set()
    for name, call in verbs(history).items():
        if only not in name:
            continue
        recorder = Recorder(history)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with suppress(NotOnThisServer, ArgumentError):  # of questions about open invocations, or about given ids
                call(recorder)
        for number, statement in enumerate(recorder.statements):
            if statement not in seen and is_over_runs(statement):
                seen.add(statement)
                yield (f"{name} {number + 1}" if number else name), statement
    for name, statement in OWN.items():
        if only not in f"own: {name}":
            continue
        yield f"own: {name}", bind(statement)


def compare_engines(
    where: Any, spark: Any, *, only: str = "", report: Callable[[dict[str, Any]], None] = lambda _: None, **options: Any
) -> pd.DataFrame:
    """Return ``name, equal, rows, datafusion_s, spark_s, difference, sql``; ``report`` gets each row when it is there.

    ``options`` are those of ``open_history``; ``only`` is a part of the names of the statements. Equal: same rows,
    types and order, floats to 1e-9. Rows of a statement without ORDER BY are sorted first.
    """
    rows = []
    with rl.open_history(where, **options) as alone, rl.open_history(where, engine=spark, **options) as sparked:
        for name, statement in statements_over_runs(alone, only):
            expected, plain = _timed(alone, statement)
            found, of_spark = _timed(sparked, statement)
            difference = difference_of(expected, found, is_ordered="ORDER BY" in statement.rpartition(")")[2])
            if isinstance(found, pa.Table) and (found.schema.metadata or {}).get(ENGINE) != b"spark":
                difference = "Spark did not answer it"
            rows.append(
                {
                    "name": name,
                    "equal": not difference,
                    "rows": len(expected) if isinstance(expected, pa.Table) else None,
                    "datafusion_s": plain,
                    "spark_s": of_spark,
                    "difference": difference,
                    "sql": statement,
                }
            )
            report(rows[-1])
    return pd.DataFrame(rows)


def _timed(history: rl.History, statement: str) -> tuple[pa.Table | str, float]:
    started = time.monotonic()
    try:
        result: pa.Table | str = history.arrow(statement, progress=False)
    except RestateLabError as error:
        result = f"{type(error).__name__}: {error}"
    return result, round(time.monotonic() - started, 2)


def difference_of(expected: pa.Table | str, found: pa.Table | str, *, is_ordered: bool = True) -> str:
    """Return the first difference of two results; "" if they are equal. An error is a difference, also if both fail."""
    if isinstance(expected, str) or isinstance(found, str):
        return f"DataFusion: {expected}" if isinstance(expected, str) else str(found)
    expected, found = _without_views(expected), _without_views(found)
    types = [[(each.name, _plain(each.type)) for each in table.schema] for table in (expected, found)]
    if types[0] != types[1]:
        return f"columns: {[pair for pair in zip(*types, strict=False) if pair[0] != pair[1]] or types}"
    if len(expected) != len(found):
        return f"{len(found)} rows and not {len(expected)}"
    if not is_ordered:
        expected, found = (_sorted(table) for table in (expected, found))
    for name, left, right in zip(expected.schema.names, expected.columns, found.columns, strict=True):
        if left.equals(right.cast(left.type)) or _are_close(left, right):
            continue
        for number, (one, other) in enumerate(zip(left.to_pylist(), right.to_pylist(), strict=True)):
            if not _is_equal(one, other):
                return f"row {number}, {name}: {other!r} and not {one!r}"
    return ""


def _without_views(table: pa.Table) -> pa.Table:
    kinds = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return table.cast(pa.schema([each.with_type(kinds.get(each.type, each.type)) for each in table.schema]))


def _sorted(table: pa.Table) -> pa.Table:
    rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    order = sorted(range(len(rows)), key=lambda number: _key(rows[number]))
    return table.take(pa.array(order, pa.int64()))


def _are_close(left: pa.ChunkedArray[Any], right: pa.ChunkedArray[Any]) -> bool:
    if not pa.types.is_floating(left.type) or left.is_null().combine_chunks() != right.is_null().combine_chunks():
        return False
    return bool(np.allclose(left.to_numpy(), right.to_numpy(), rtol=_CLOSE, atol=0, equal_nan=True))


def _key(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple((value is None, f"{value:.9g}" if isinstance(value, float) else str(value)) for value in row)


def _plain(kind: pa.DataType) -> str:
    return str(kind).replace("large_", "").replace("_view", "")


def _is_equal(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right)) or math.isclose(left, right, rel_tol=_CLOSE)
    return bool(left == right) and type(left) is type(right)


@contextmanager
def spark_session(master: str = "local[2]") -> Iterator[Any]:
    """Yield a session on loopback, in another time zone than UTC; "connect" is Spark Connect with a local server."""
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyspark does not know pandas 3
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.remote("local") if master == "connect" else SparkSession.builder.master(master)
        settings = {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "4",
            "spark.sql.adaptive.coalescePartitions.enabled": "false",  # small results also come from several tasks
            "spark.sql.session.timeZone": "America/New_York",
            "spark.driver.memory": "2g",
            "spark.log.level": "ERROR",
            "spark.ui.showConsoleProgress": "false",
        }
        for name, value in settings.items():
            builder = builder.config(name, value)
        spark = builder.getOrCreate()
        try:
            yield spark
        finally:
            spark.stop()


def show(row: dict[str, Any]) -> None:
    """Print one row of the comparison."""
    mark = "equal  " if row["equal"] else "UNEQUAL"
    times = f"DataFusion {row['datafusion_s']:>6.2f} s  Spark {row['spark_s']:>6.2f} s"
    sys.stdout.write(f"{mark} {row['name']:<44} {row['rows']!s:>8} rows  {times}  {row['difference'][:300]}\n")
    sys.stdout.flush()


def main(where: str, master: str = "local[2]", only: str = "") -> int:
    """Compare the engines over an archive, and return the exit code."""
    with spark_session(master) as spark:
        table = compare_engines(where, spark, only=only, report=show)
    times = table["spark_s"].sum() / table["datafusion_s"].sum()
    sys.stdout.write(f"{table['equal'].sum()} of {len(table)} are equal; Spark took × {times:.1f}\n")
    return 0 if table["equal"].all() else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
