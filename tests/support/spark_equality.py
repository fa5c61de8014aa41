"""Compare Spark with DataFusion over an archive: every statement of the closed set, and every view.

``python -m support.spark_equality ARCHIVE SMALL [MASTER or "connect"]`` in the folder ``tests`` prints the comparison.
``SMALL`` is an archive of the same period with fewer runs, in which the statements are recorded. With ``--store`` after
the master, statements that are equal are stored as proven.
"""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import restate_lab as rl
from restate_lab.errors import RestateLabError
from restate_lab.evidence.engine import result_schema
from support.spark_set import PROVEN, digests_of, read_all, record, views

_CLOSE = 1e-9
_UNORDERED = " LIMIT 100001"  # of selections that are refused if there are more
PERIODS: tuple[Mapping[str, Any], ...] = (
    {},
    {"since": timedelta(days=2, hours=3)},
    {"since": timedelta(days=3, hours=5), "until": timedelta(days=2, hours=2)},
)
"""Histories with other views: all runs, some of which have an id of another one, and parts of the period."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One statement in both engines: its first difference, "" if it is equal, and the seconds that it took."""

    name: str
    digest: str
    difference: str
    rows: int
    seconds: tuple[float, float]

    def __str__(self) -> str:
        mark = "UNEQUAL" if self.difference else "equal  "
        times = "DataFusion {:>6.2f} s  Spark {:>6.2f} s".format(*self.seconds)
        return f"{mark} {self.name:<44} {self.rows:>8} rows  {times}  {self.difference[:300]}"


def compare(where: Any, small: Any, spark: Any) -> Iterator[Compared]:
    """Yield the comparison of each statement and view: the same rows, types and order, floats to 1e-9.

    Rows of a statement without ORDER BY are sorted first.
    """
    for period in PERIODS:
        with rl.open_history(small, **period) as recorded:
            statements = {} if period else {query: (name, query) for query, name in record(recorded).items()}
            statements |= {query: (name, f"SELECT * FROM {name.split()[1]}") for query, name in views(recorded).items()}
            digests = {query: next(iter(digests_of(recorded, {query: ""}))) for query in statements}
        with rl.open_history(where, **period) as alone, rl.open_history(where, engine=spark, **period) as sparked:
            for query, (name, statement) in statements.items():
                yield _compare(alone, sparked, statement, name, digests[query])


def _compare(alone: rl.History, sparked: rl.History, query: str, name: str, digest: str) -> Compared:
    context, engine = alone._context, sparked._engine
    if "ORDER BY" not in query:
        query = query.removesuffix(_UNORDERED)  # without an order, any of the rows are right
    expected, plain = _timed(lambda: read_all(context, query))
    found, of_spark = _timed(lambda: engine.read(query, result_schema(context, query), None, math.inf))
    difference = difference_of(expected, found, is_ordered="ORDER BY" in query.rpartition(")")[2])
    rows = len(expected) if isinstance(expected, pa.Table) else 0
    return Compared(name, digest, difference, rows, (plain, of_spark))


def _timed(function: Callable[[], pa.Table]) -> tuple[pa.Table | str, float]:
    started = time.monotonic()
    try:
        result: pa.Table | str = function()
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
    """Return the rows in the order of their values; floats may differ in a last digit, so they give no order."""
    kinds = {each.name: each.type for each in table.schema}
    names = [name for name, kind in kinds.items() if not pa.types.is_nested(kind) and not pa.types.is_floating(kind)]
    flags = {name: pa.int8() for name in names if pa.types.is_boolean(kinds[name])}
    comparable = table.select(names).cast(pa.schema([(name, flags.get(name, kinds[name])) for name in names]))
    return table.take(pc.sort_indices(comparable, sort_keys=[(name, "ascending") for name in names]))


def _are_close(left: pa.ChunkedArray[Any], right: pa.ChunkedArray[Any]) -> bool:
    if not pa.types.is_floating(left.type) or left.is_null().combine_chunks() != right.is_null().combine_chunks():
        return False
    return bool(np.allclose(left.to_numpy(), right.to_numpy(), rtol=_CLOSE, atol=0, equal_nan=True))


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
            "spark.driver.memory": "9g",  # the most; a million runs have six million entries
            "spark.driver.maxResultSize": "0",
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


def main(where: str, small: str, master: str = "local[2]", *options: str) -> int:
    """Compare the engines over an archive, and return the exit code."""
    compared: list[Compared] = []
    with spark_session(master) as spark:
        for each in compare(where, small, spark):
            compared.append(each)
            sys.stdout.write(f"{each}\n")
            sys.stdout.flush()
    equal = {each.digest: each.name for each in compared if not each.difference}
    sys.stdout.write(f"{sum(not each.difference for each in compared)} of {len(compared)} are equal\n")
    if "--store" in options:
        PROVEN.write_text("".join(f"{digest} {name}\n" for digest, name in sorted(equal.items())), "utf-8")
    return 0 if all(not each.difference for each in compared) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
