"""Check a history in Spark beside its rows: ``python -m support.spark_checks ARCHIVE [MASTER or "connect"]``."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.errors import ArgumentError, QueryRefused, ResultTooLarge, StatementError, TimedOut
from support.spark_equality import spark_session

_LONG = """
SELECT count(*) AS n FROM sys_journal a CROSS JOIN sys_journal b
WHERE md5(a.id || b.id) < md5(b.id || a.id)"""
"""A minute of work: a task that was cancelled can go on until its next row of the first table."""
_COUNT = "SELECT count(*) AS n FROM sys_invocation_status"


def check_settings_and_views(where: str, spark: Any) -> None:
    """Check that the user's settings and views stay as they are, and that each of two histories has its own views."""
    spark.range(3).createOrReplaceTempView("sys_invocation")
    before = {name: spark.conf.get(name) for name in ("spark.sql.session.timeZone", "spark.sql.caseSensitive")}
    with rl.open_history(where, engine=spark) as whole:
        last = whole.now
        with rl.open_history(where, engine=spark, since=timedelta(days=2)) as part:
            counts = [history.sql(_COUNT)["n"].iloc[0] for history in (whole, part, whole)]
            assert counts[0] == counts[2] > counts[1] > 0, counts
        earlier = whole.at(last - timedelta(days=1))
        assert 0 < earlier.sql(_COUNT)["n"].iloc[0] < counts[0]
        private = whole._engine._spark
        assert [each for each in private.catalog.listTables() if each.name.startswith("restate_lab_")]
    assert not [each for each in private.catalog.listTables() if each.name.startswith("restate_lab_")]
    assert {name: spark.conf.get(name) for name in before} == before
    assert spark.sql("SELECT count(*) FROM sys_invocation").collect()[0][0] == 3


def check_records(where: str, spark: Any) -> None:
    """Check that frames and queries name the engine, and that no text has a setting of the session."""
    spark.conf.set("spark.hadoop.fs.s3a.secret.key", "s3cr3t-of-the-session")
    with rl.open_history(where, engine=spark) as history:
        assert history.sql(_COUNT).attrs["engine"] == "spark"
        assert history.sql("SELECT count(*) FROM visits").attrs["engine"] == "datafusion"
        assert rl.ask(history, "throughput", since="3650d").attrs["engine"] == "spark"
        result = rl.contrast(history, "failed", timeout=None)
        assert {each["engine"] for each in result.queries} == {"spark", "datafusion"}
        id_ = history.sql("SELECT id FROM sys_invocation_status ORDER BY id LIMIT 1")["id"].iloc[0]
        assert {each["engine"] for each in rl.why(history, id_).queries} == {"datafusion"}
        with pytest.raises(QueryRefused) as error:
            history.sql("SELECT CAST(target AS BIGINT) FROM sys_invocation_status")
        texts = [repr(history), history._repr_html_(), str(error.value), str(result.queries), str(history.__dict__)]
        assert "s3cr3t" not in "".join(texts)
        with pytest.raises(StatementError, match="json_as_text is not supported on Spark"):
            history.sql("SELECT json_as_text(target, 'a') FROM sys_invocation")
        with pytest.raises(ArgumentError, match="engine= and live= exclude each other"):
            rl.open_history(where, engine=spark, live=history)  # type: ignore[arg-type]


def check_limits(where: str, spark: Any) -> None:
    """Check that a timeout and an interrupt cancel the job, and that a large result is refused."""
    with rl.open_history(where, engine=spark) as history:
        history.sql(_COUNT)
        with pytest.raises(ResultTooLarge):
            history.sql("SELECT id, created_at, target FROM sys_invocation_status", max_bytes=5_000)
        for stop in (_by_timeout, _by_interrupt):
            stop(history)
            _wait_until_idle(spark)
        assert history.sql(_COUNT).attrs["engine"] == "spark"


def _by_timeout(history: rl.History) -> None:
    with pytest.raises(TimedOut, match="stopped at its timeout in Spark"):
        history.sql(_LONG, timeout=5)


def _by_interrupt(history: rl.History) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # and not that of pyspark, which cancels all jobs
    timer = threading.Timer(5, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        history.sql(_LONG)


def _wait_until_idle(spark: Any) -> None:
    """Wait until no job is left; Connect does not tell."""
    if "connect" not in type(spark).__module__:
        tracker, ends = spark.sparkContext.statusTracker(), time.monotonic() + 60
        while tracker.getActiveJobsIds():
            assert time.monotonic() < ends, "the job goes on"
            time.sleep(0.2)


CHECKS: tuple[Callable[[str, Any], None], ...] = (check_settings_and_views, check_records, check_limits)


def main(where: str, master: str = "local[2]") -> None:
    """Run all checks."""
    with spark_session(master) as spark:
        for check in CHECKS:
            check(where, spark)
            sys.stdout.write(f"{check.__name__} passed\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
