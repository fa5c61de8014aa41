"""Check a history in Spark beside its rows: ``python -m support.spark_checks ARCHIVE [MASTER or "connect"]``."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.errors import ArgumentError, QueryRefused, ResultTooLarge, StatementError, TimedOut
from restate_lab.reads import Reads
from support.spark_equality import spark_session
from support.spark_set import guide_types

_LONG = """
SELECT count(*) AS n FROM sys_journal a CROSS JOIN sys_journal b
WHERE a.id || b.id < b.id || a.id AND md5(a.id) < md5(b.id)"""
"""A minute of work: a task that was cancelled can go on until its next row of the first table."""
_COUNT = "SELECT count(*) AS n FROM sys_invocation_status"


def check_session(where: str, spark: Any) -> None:
    """Check that the user's session stays as it is, that histories do not meet, and that close() drops the views."""
    spark.range(3).createOrReplaceTempView("sys_invocation")
    before = {name: spark.conf.get(name) for name in ("spark.sql.session.timeZone", "spark.sql.caseSensitive")}
    with rl.open_history(where, engine=spark) as whole:
        last = whole.now
        assert whole.spark is whole.spark
        with rl.open_history(where, engine=spark, since=timedelta(days=2)) as part:
            counts = [_count(history) for history in (whole, part, whole)]
            assert counts[0] == counts[2] > counts[1] > 0, counts
        assert 0 < _count(whole.at(last - timedelta(days=1))) < counts[0]
        session = whole.spark
        assert {"sys_invocation", "sys_journal", "visits", "agent_steps"} <= _views(session)
        session.range(1).createOrReplaceTempView("sys_invocation_status")  # only the user's statements read this one
        session.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
        assert Reads(whole).query(_COUNT)["n"].to_pylist() == [counts[0]]
        assert session.conf.get("spark.sql.session.timeZone") == "UTC"
    assert not _views(session) & {"sys_invocation_status", "sys_journal", "restate_lab_public_sys_journal"}
    with pytest.raises(StatementError, match="is closed; open it again"):
        _ = whole.spark
    assert {name: spark.conf.get(name) for name in before} == before
    assert spark.sql("SELECT count(*) FROM sys_invocation").collect()[0][0] == 3


def _count(history: rl.History) -> int:
    """Count the runs in Spark's dialect, and by a statement of the package."""
    (row,) = history.spark.sql("SELECT COUNT_IF(true) AS n FROM sys_invocation_status").collect()
    assert Reads(history).query(_COUNT)["n"].to_pylist() == [row["n"]]
    return int(row["n"])


def _views(session: Any) -> set[str]:
    return {each.name for each in session.catalog.listTables()}


def check_types(where: str, spark: Any) -> None:
    """Check that each column of each view has the type of the guide's table."""
    types = guide_types()
    with rl.open_history(where) as alone, rl.open_history(where, engine=spark) as history:
        wanted: dict[str, dict[str, str]] = {}
        for row in alone.tables().to_dict("records"):
            (kind,) = [name for pattern, name in types.items() if pattern.fullmatch(row["type"])]
            wanted.setdefault(row["table"], {})[row["column"]] = kind
        found = {name: _types_of(history.spark.table(name)) for name in wanted}
        assert found == wanted
        row = history.spark.sql(
            "SELECT max(partition_key) AS k, max(journal_retention) AS r FROM sys_invocation_status"
        )
        assert (str(row.collect()[0]["k"]), row.collect()[0]["r"]) == (str(2**64 - 1), timedelta(hours=25))


def _types_of(frame: Any) -> Mapping[str, str]:
    return {each.name: each.dataType.simpleString().upper().replace(",", ", ") for each in frame.schema}


def check_records(where: str, spark: Any) -> None:
    """Check that results name the engine, that SQL of the user is refused, and that no text has a setting."""
    spark.conf.set("spark.hadoop.fs.s3a.secret.key", "s3cr3t-of-the-session")
    with rl.open_history(where, engine=spark) as history:
        assert rl.ask(history, "throughput", since="3650d").attrs["engine"] == "spark"
        result = rl.contrast(history, "failed", timeout=None)
        assert {each["engine"] for each in result.queries} == {"spark", "datafusion"}
        id_ = history.spark.sql("SELECT min(id) AS id FROM sys_invocation_status").collect()[0]["id"]
        assert {each["engine"] for each in rl.why(history, id_).queries} == {"datafusion"}
        with pytest.raises(StatementError, match=r"use history\.spark\.sql\(…\), where sys_journal is a view"):
            history.sql("SELECT count(*) FROM sys_journal")
        with pytest.raises(QueryRefused) as error:
            Reads(history).query("SELECT CAST(target AS BIGINT) AS n FROM sys_invocation_status")
        texts = [repr(history), history._repr_html_(), str(error.value), str(result.queries), str(history.__dict__)]
        assert "s3cr3t" not in "".join(texts)
        with pytest.raises(ArgumentError, match="engine= and live= exclude each other"):
            rl.open_history(where, engine=spark, live=history)  # type: ignore[arg-type]


def check_limits(where: str, spark: Any) -> None:
    """Check that a timeout and an interrupt cancel the job, and that a large result is refused."""
    with rl.open_history(where, engine=spark) as history:
        reads = Reads(history)
        reads.query(_COUNT)
        with pytest.raises(ResultTooLarge):
            reads.query("SELECT id, created_at, target FROM sys_invocation_status", max_bytes=5_000)
        for stop in (_by_timeout, _by_interrupt):
            stop(reads)
            _wait_until_idle(spark)
        reads.query(_COUNT)


def _by_timeout(reads: Reads) -> None:
    with pytest.raises(TimedOut, match="stopped at its timeout in Spark"):
        reads.query(_LONG, timeout=5)


def _by_interrupt(reads: Reads) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # and not that of pyspark, which cancels all jobs
    timer = threading.Timer(5, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        reads.query(_LONG)


def _wait_until_idle(spark: Any) -> None:
    """Wait until no job is left; Connect does not tell."""
    if "connect" not in type(spark).__module__:
        tracker, ends = spark.sparkContext.statusTracker(), time.monotonic() + 60
        while tracker.getActiveJobsIds():
            assert time.monotonic() < ends, "the job goes on"
            time.sleep(0.2)


CHECKS: tuple[Callable[[str, Any], None], ...] = (check_session, check_types, check_records, check_limits)


def main(where: str, master: str = "local[2]") -> None:
    """Run all checks."""
    with spark_session(master) as spark:
        for check in CHECKS:
            check(where, spark)
            sys.stdout.write(f"{check.__name__} passed\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
