"""Compare a history that DataFusion reads with the same history in Spark: every statement over many runs, on both.

``compare_engines(where, spark)`` returns a frame with one row per statement. As a program in the folder ``tests``, it
prints the table for an archive: ``python -m support.spark_equality ARCHIVE [MASTER or "connect"]``.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

import restate_lab as rl
from restate_lab.errors import ArgumentError, NotOnThisServer, RestateLabError
from restate_lab.history.spark.translate import is_over_runs
from restate_lab.client.sql.bind import bind
from restate_lab.source import ENGINE, SourceWrapper
from support.archives import DAY, SampleArchive, run

_CLOSE = 1e-9
_LONG_AGO = "3650d"

_JSON = r"""
  SELECT 'text' AS kind, '{"a": "x", "b": {"c": "größe \"q\" 😀", "d": [1, 2]}}' AS j
  UNION ALL SELECT 'whole', '{"a": 7, "b": {"c": 12}}'
  UNION ALL SELECT 'negative', '{"a": -7, "b": {"c": -1.5}}'
  UNION ALL SELECT 'fraction', '{"a": 1.25, "b": {"c": 1e3}}'
  UNION ALL SELECT 'number in a text', '{"a": "-41", "b": {"c": "1.5e2"}}'
  UNION ALL SELECT 'long', '{"a": 1234567890123456789, "b": {"c": 123456789012345678}}'
  UNION ALL SELECT 'boolean', '{"a": true, "b": {"c": "false"}}'
  UNION ALL SELECT 'null', '{"a": null, "b": null}'
  UNION ALL SELECT 'list', '{"a": [1, "x", null], "b": {"c": []}}'
  UNION ALL SELECT 'object', '{"a": {"x": 1, "y": 2}, "b": {"c": {}}}'
  UNION ALL SELECT 'other keys', '{"z": 1}'
  UNION ALL SELECT 'no object', '[1, 2]'
  UNION ALL SELECT 'no JSON', 'inventory empty'
  UNION ALL SELECT 'empty', ''
  UNION ALL SELECT 'absent', CAST(NULL AS VARCHAR)"""
_RUN = "(SELECT count(*) AS runs FROM sys_invocation_status)"

OWN: dict[str, str] = {
    "counts": "SELECT count(*) AS n, count(completion_failure) AS failed, sum(journal_size) AS entries FROM sys_invocation",
    "null order, ascending": "SELECT DISTINCT completion_failure AS f FROM sys_invocation ORDER BY f",
    "null order, descending": "SELECT DISTINCT completion_failure AS f FROM sys_invocation ORDER BY f DESC",
    "null order, in a window": """
SELECT id, row_number() OVER (ORDER BY completion_failure, id) AS up,
  row_number() OVER (PARTITION BY target ORDER BY completion_failure DESC, id) AS down,
  lag(id) OVER (ORDER BY completed_at, id) AS before
FROM sys_invocation_status ORDER BY id""",
    "integer division": """
SELECT id, journal_size / 2 AS half, journal_size / 2.0 AS exact, -7 / 2 AS low, journal_size % 3 AS rest,
  (arrow_cast(created_at, 'Int64') - 1700000000000) / 86400000 AS day, 1.0 / (journal_size - journal_size) AS infinite
FROM sys_invocation_status ORDER BY id""",
    "null in texts": """
SELECT id, target || completion_failure AS joined, concat(target, '/', completion_failure, 1) AS kept,
  coalesce(completion_failure, 'none') AS f, nullif(target, 'Orders/place') AS t
FROM sys_invocation_status ORDER BY id""",
    "texts": r"""
SELECT DISTINCT upper(target_service_name) AS u, character_length(completion_failure) AS n,
  octet_length(completion_failure) AS bytes, substr(completion_failure, 2, 9) AS part,
  split_part(completion_failure, chr(10), 1) AS line, split_part(completion_failure, ' ', 99) AS none,
  strpos(completion_failure, 'ö') AS at, replace(completion_failure, 'ß', 'ss') AS r, md5(completion_failure) AS h,
  encode(sha256(completion_failure), 'hex') AS hash, completion_failure LIKE '%\_%' AS l,
  'it''s "C:\new" $1 \1' AS hostile
FROM sys_invocation_status ORDER BY n, line, hash, u""",
    "regular expressions": r"""
SELECT DISTINCT completion_failure AS f, completion_failure ~ '^\[[0-9]+\] ' AS one, completion_failure ~* 'KILLED$' AS two,
  completion_failure !~ 'stock' AS three, completion_failure ~ 'größe\b' AS four, completion_failure ~ 'stock.of' AS five,
  regexp_replace(completion_failure, '[0-9]', '#') AS once, regexp_replace(completion_failure, '[0-9]', '#', 'g') AS each,
  regexp_replace(completion_failure, '([a-z])([a-z])', '\2\1') AS swapped,
  regexp_replace(completion_failure, 'STOCK', '<\0>'  || '', 'gi') IS NULL AS absent,
  regexp_replace(completion_failure, '^\[([0-9]+)[^\]]*\].*$', '\1') AS code,
  regexp_like(completion_failure, '(NO|of)', 'i') AS six
FROM sys_invocation_status ORDER BY f""".replace(r"'<\0>'  || ''", "'<>'"),
    "times": """
SELECT id, date_bin(INTERVAL '15 minutes', completed_at) AS quarter, date_trunc('hour', completed_at) AS hour,
  completed_at - created_at AS took, completed_at + INTERVAL '7 days' AS week, completed_at + completion_retention AS ends,
  date_part('epoch', completed_at) AS epoch, date_part('hour', completed_at) AS h, date_part('dow', completed_at) AS dow,
  CAST(completed_at AS DATE) AS day, completion_retention, arrow_cast(completion_retention, 'Int64') AS ms,
  now() - completed_at AS age, completed_at > now() - INTERVAL '30 hours' AS recent, journal_retention > INTERVAL '1 hour' AS kept
FROM sys_invocation_status ORDER BY id""",
    "numbers": """
SELECT id, CAST(journal_size AS DOUBLE) * 1.1 AS x, round(journal_size * 1.235, 2) AS r, round(journal_size / 2.0) AS r0,
  ln(journal_size) AS l, abs(2 - CAST(journal_size AS BIGINT)) AS a, CAST(journal_size / 3.0 AS BIGINT) AS i,
  greatest(journal_size, NULL, 3) AS g, partition_key, 5 AS five, 1.5 AS fraction, floor(journal_size / 2.0) AS f
FROM sys_invocation_status ORDER BY id""",
    "aggregates with ties": """
SELECT target, count(*) FILTER (WHERE completion_result = 'failure') AS failed, avg(journal_size) AS mean,
  first_value(id ORDER BY journal_size, id) AS first, last_value(id ORDER BY completion_failure, id) AS last,
  first_value(completion_failure ORDER BY completion_failure DESC, id DESC) AS f,
  first_value(id ORDER BY created_at, id) FILTER (WHERE completion_result = 'failure') AS failed_id,
  array_agg(DISTINCT completion_result ORDER BY completion_result) AS results,
  percentile_cont(journal_size, 0.370000000000001) AS p, percentile_cont(0.900000000000001) WITHIN GROUP (ORDER BY journal_size) AS q,
  median(journal_size) AS m, stddev(journal_size) AS s, min(completed_at) AS low, max(completion_failure) AS high,
  bool_or(journal_size > 3) AS any, count(DISTINCT target_handler_name) AS handlers
FROM sys_invocation_status GROUP BY target ORDER BY target""",
    "no row at all": """
SELECT count(*) AS n, sum(journal_size) AS s, avg(journal_size) AS a, min(id) AS low, max(created_at) AS high,
  array_agg(id ORDER BY id) AS ids, percentile_cont(journal_size, 0.5) AS p, first_value(id ORDER BY id) AS f
FROM sys_invocation_status WHERE target = 'none'""",
    "an empty result": "SELECT id, completed_at, completion_retention, journal_size FROM sys_invocation WHERE target = 'none'",
    "set operations": """
SELECT target, NULL AS nothing FROM sys_invocation_status UNION SELECT name, 'x' FROM journal_entries
EXCEPT SELECT 'none', 'x' FROM sys_invocation_status WHERE false ORDER BY 1, 2""",
    "subqueries": """
SELECT target, count(*) AS n FROM sys_invocation_status s
WHERE EXISTS (SELECT 1 FROM sys_journal j WHERE j.id = s.id AND j.index = 1)
  AND s.journal_size >= (SELECT avg(journal_size) FROM sys_invocation_status)
  AND target NOT IN (SELECT target FROM sys_invocation_status WHERE journal_size > 1000)
GROUP BY target HAVING count(*) > 1 ORDER BY 1""",
    "names that are words": """
SELECT "index", count(*) AS "select", max("index") AS "Größe ""q"" `b`" FROM sys_journal GROUP BY 1 ORDER BY 1""",
    "unnamed columns": "SELECT count(*), count(id), max(journal_size) + 1 FROM sys_invocation_status",
    "own tables": "SELECT cluster_name, day, count(*) AS n, sum(journal_size) FROM archive.invocations GROUP BY 1, 2 ORDER BY 1, 2",
    "JSON": f"""
SELECT kind, json_get_str(j, 'a') AS s, json_get_int(j, 'a') AS i, json_get_float(j, 'a') AS f, json_get_bool(j, 'a') AS b,
  json_contains(j, 'a') AS has, json_length(j, 'a') AS n, json_get_str(json_get_json(j, 'b'), 'c') AS c,
  json_get_int(json_get_json(j, 'b'), 'c') AS ci, json_get_float(json_get_json(j, 'b'), 'c') AS cf,
  json_get_bool(json_get_json(j, 'b'), 'c') AS cb
FROM ({_JSON}) CROSS JOIN {_RUN} ORDER BY kind""",  # noqa: S608
    "JSON of the journal": """
SELECT entry_type, json_get_str(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Output'), 'result') AS result,
  count(*) AS n FROM sys_journal GROUP BY 1, 2 ORDER BY 1, 2""",
}
"""Statements of a user, each with some rules of the translation."""


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
    calls["before_after, hours"] = lambda source: rl.before_after(source, middle, window="60d", block="6h", timeout=None)
    for id_ in deployments:
        calls["before_after, a deployment"] = lambda source: rl.before_after(source, id_, window="60d", timeout=None)
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
        named = {key: value for key, value in options.items() if key not in {"params", "timeout", "max_bytes", "progress"}}
        self.statements[bind(statement, options.get("params"), **named)] = None
        return super().stream(statement, **options)


def statements_over_runs(history: rl.History) -> Iterator[tuple[str, str]]:
    """Yield the name and the bound statement of everything that should run in Spark."""
    seen: set[str] = set()
    for name, call in verbs(history).items():
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
        yield f"own: {name}", bind(statement)


def compare_engines(
    where: Any, spark: Any, *, report: Callable[[dict[str, Any]], None] = lambda _: None, **options: Any
) -> pd.DataFrame:
    """Return ``name, equal, rows, datafusion_s, spark_s, difference, sql``; ``report`` gets each row when it is there.

    ``options`` are those of ``open_history``. Equal: same rows, types and order, floats to 1e-9. Rows of a statement
    without ORDER BY are sorted first.
    """
    rows = []
    with rl.open_history(where, **options) as alone, rl.open_history(where, engine=spark, **options) as sparked:
        for name, statement in statements_over_runs(alone):
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
    """Return the first difference of two results; "" if they are equal."""
    if isinstance(expected, str) or isinstance(found, str):
        return "" if expected == found else str(found if isinstance(found, str) else f"DataFusion: {expected}")
    types = [[(each.name, _plain(each.type)) for each in table.schema] for table in (expected, found)]
    if types[0] != types[1]:
        return f"columns: {[pair for pair in zip(*types, strict=False) if pair[0] != pair[1]] or types}"
    if len(expected) != len(found):
        return f"{len(found)} rows and not {len(expected)}"
    lists = [list(zip(*(column.to_pylist() for column in table.columns), strict=True)) for table in (expected, found)]
    if not is_ordered:
        lists = [sorted(rows, key=_key) for rows in lists]
    for number, (one, other) in enumerate(zip(*lists, strict=True)):
        for name, left, right in zip(expected.schema.names, one, other, strict=True):
            if not _is_equal(left, right):
                return f"row {number}, {name}: {right!r} and not {left!r}"
    return ""


def _key(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple((value is None, f"{value:.9g}" if isinstance(value, float) else str(value)) for value in row)


def _plain(kind: pa.DataType) -> str:
    return str(kind).replace("large_", "").replace("_view", "")


def _is_equal(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right)) or math.isclose(left, right, rel_tol=_CLOSE)
    return bool(left == right) and type(left) is type(right)


def write_archive(path: Path, *, days: int = 20, runs: int = 60) -> Path:
    """Write an archive of two services with failures, retries, steps, agents, samples and repeated ids; return it."""
    archive, chance = SampleArchive(path), random.Random(7)  # noqa: S311 - the same rows each time
    for day in range(days):
        end = DAY + timedelta(days=day + 1)
        rows = [_run(chance, day * runs + number, day) for number in range(runs)]
        again = [_run(chance, number, day) for number in range(3)] if day % 5 == 4 else []
        archive.visit(
            end,
            [*rows, *again],
            repeated=[each["id"] for each in again],
            steps=[_step(chance, each) for each in rows[: runs // 5]],
            samples=[_sample(chance, end, status) for status in ("invoked", "paused")],
            retention=[{"service": "Orders", "handler": "place", "completion_retention_ms": 86_400_000, "journal_retention_ms": 86_400_000}],
        )
        if day == days // 2:
            archive.deploy("dp_2", "Orders", created=end, seen=end)
    return path


def _run(chance: random.Random, number: int, day: int) -> dict[str, Any]:
    ended = DAY + timedelta(days=day, milliseconds=chance.randrange(86_400_000))
    failure = chance.choice([*[None] * 7, *_FAILURES])
    took = timedelta(milliseconds=chance.randrange(1, 90_000))
    steps = [each for step in range(chance.randrange(3)) for each in _entries(chance, step, ended - took)]
    return run(
        number,
        ended,
        took=took,
        entries=steps,
        events=[_event(chance, ended - took) for _ in range(chance.choice([0, 0, 0, 1, 2]))],
        target_service_name=(service := chance.choice(["Orders", "Zahlung ü"])),
        target_handler_name=(handler := chance.choice(["place", "list"])),
        target=f"{service}/{handler}",
        target_service_key=chance.choice([None, f"eu-{number % 7}", "us/1"]),
        journal_size=2 + len(steps),
        journal_commands_size=2 + len(steps) // 2,
        completion_result="failure" if failure else "success",
        completion_failure=failure,
        pinned_deployment_id=f"dp_{1 + (day > 10)}",
        idempotency_key=chance.choice([None, None, f"key {number % 50}"]),
        restarted_from=chance.choice([*[None] * 9, run(max(number - 5, 0), ended)["id"]]),
        invoked_by="ingress",
        running_at=ended - took + timedelta(milliseconds=chance.randrange(50)),
        scheduled_at=(at := chance.choice([None, None, ended - took])),
        scheduled_start_at=at and at + timedelta(milliseconds=1),
    )


_FAILURES = (
    *("[500] no stock of 17\nat line 3", "[409] cancelled", "[409 Aborted] Killed", "[500 Internal] größe 12 zu groß"),
    *("[500] inv_1abcdefghijklmnopqrstuvwx failed for key 8e7f0a1b", "[404] it's 50 % of \\d \"x\""),
)


def _entries(chance: random.Random, number: int, start: datetime) -> list[dict[str, Any]]:
    name, began = chance.choice(["charge", "größe 5", "reserve 12345"]), start + timedelta(milliseconds=10 * number)
    ended = began + timedelta(milliseconds=chance.randrange(5_000))
    command = {"Command": {"Run": {"completion_id": number + 1, "name": name}}}
    result = {"Notification": {"id": {"CompletionId": number + 1}, "result": "Success"}}
    pair = [("Command: Run", name, began, command), ("Notification: Run", None, ended, result)]
    return [
        {
            "index": 2 + 2 * number + at,
            "entry_type": kind,
            "name": of,
            "appended_at": when,
            "entry_lite_json": json.dumps(lite),
            "completion_id": number + 1,
        }
        for at, (kind, of, when, lite) in enumerate(pair[: chance.choice([1, 2, 2, 2])])
    ]


def _event(chance: random.Random, at: datetime) -> dict[str, Any]:
    content = {
        "error_message": chance.choice(["[503] no route 42\nmore", "größe \"12\" 😀", "timeout after 1500 ms"]),
        "error_code": 503,
        "restate_doc_error_code": chance.choice([None, "RT0016"]),
        "related_command_name": chance.choice([None, "charge"]),
        "related_command_index": 1,
    }
    return {
        "after_journal_entry_index": 1,
        "appended_at": at + timedelta(milliseconds=chance.randrange(900)),
        "event_type": "TransientError",
        "event_json": json.dumps(content, ensure_ascii=False),
    }


def _step(chance: random.Random, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "created_at": row["created_at"],
        "day": row["completed_at"].date(),
        "id": row["id"],
        "service": row["target_service_name"],
        "handler": row["target_handler_name"],
        "framework": "openai",
        "model": chance.choice(["gpt-5", None]),
        "tool_names": chance.choice([None, [], ["größe", "search"]]),
        "index": 3,
        "input_tokens": chance.randrange(1000),
        "cached_tokens": 0,
        "output_tokens": chance.randrange(100),
        "reasoning_tokens": None,
        "appended_at": row["created_at"] + timedelta(milliseconds=5),
    }


def _sample(chance: random.Random, at: datetime, status: str) -> dict[str, Any]:
    count = chance.randrange(5)
    return {"sampled_at": at, "service": "Orders", "handler": "place", "status": status, "invocations": count}


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
    print(f"{mark} {row['name']:<44} {row['rows']!s:>8} rows  DataFusion {row['datafusion_s']:>6.2f} s  "  # noqa: T201
          f"Spark {row['spark_s']:>6.2f} s  {row['difference'][:300]}", flush=True)  # fmt: skip


if __name__ == "__main__":
    with spark_session(sys.argv[2] if len(sys.argv) > 2 else "local[2]") as session:
        table = compare_engines(sys.argv[1], session, report=show)
    print(f"{table['equal'].sum()} of {len(table)} are equal; Spark took × {table['spark_s'].sum() / table['datafusion_s'].sum():.1f}")  # noqa: E501, T201
    sys.exit(0 if table["equal"].all() else 1)
