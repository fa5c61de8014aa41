"""Literals, names and limits against real servers of every kind: values come back equal."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

import restate_lab as rl
from restate_lab.client.lab import Lab
from restate_lab.client.sql.bind import BODY_LIMIT, bind
from restate_lab.client.sql.limits import MAX_NESTING, MAX_OPERATORS, MAX_QUERIES, MAX_TABLES
from restate_lab.client.sql.tokenizer import tokens
from restate_lab.errors import RestateLabError, StatementError
from support.clusters import Cluster

pytestmark = pytest.mark.server

on_server = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.text(alphabet="'\"\\:-/*;$`%_\0\n\r,()Ex", max_size=12)
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
INT_MAX = 2**63 - 1


@pytest.fixture(scope="module")
def lab(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with rl.connect(cluster.admin_url, audit=tmp_path_factory.mktemp("audit")) as lab:
        yield lab


def returned(lab: Lab, values: list[Any]) -> list[Any]:
    names = [f"v{position}" for position in range(len(values))]
    columns = ", ".join(f":{name} AS {name}" for name in names)
    table = lab.arrow(f"SELECT {columns}", params=dict(zip(names, values, strict=True)))
    return [table[name][0].as_py() for name in names]


def one(lab: Lab, statement: str, **named: Any) -> Any:
    table = lab.arrow(statement, params=named)
    assert table.shape == (1, 1)
    return table[0][0].as_py()


def many(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(elements, min_size=1, max_size=20)


@on_server
@given(values=many(TEXT))
@example(values=["", "'", "''", "\\", "\\'", "\0", ":x", "--", "/*", "*/", ";", "$$", "\r\n", "\U0010ffff", "\ufeff"])
def test_every_string_comes_back_equal(lab: Lab, values: list[str]) -> None:
    assert returned(lab, values) == values


@on_server
@given(values=many(st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.none() | st.binary()))
@example(values=[-(2**63), INT_MAX, INT_MAX + 1, 2**64 - 1, 0, -1, True, False, None, b"", b"'\0\xff"])
def test_integers_booleans_and_bytes_come_back_with_their_types(lab: Lab, values: list[Any]) -> None:
    came = returned(lab, values)
    assert [(type(value), value) for value in came] == [(type(value), value) for value in values]


@on_server
@given(values=many(st.floats(allow_nan=False)))
@example(values=[5e-324, 1.7976931348623157e308, -0.0, 0.1, 1e16, 1e22, float("inf"), float("-inf")])
def test_floats_come_back_with_the_same_bits(lab: Lab, values: list[float]) -> None:
    assert [struct.pack("d", value) for value in returned(lab, values)] == [struct.pack("d", value) for value in values]


@on_server
@given(values=many(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES)))  # noqa: DTZ001
def test_aware_datetimes_come_back_as_the_same_time(lab: Lab, values: list[datetime]) -> None:
    came = returned(lab, values)
    assert came == values
    assert all(value.utcoffset() == timedelta(0) for value in came)


@on_server
@given(values=many(st.integers(-INT_MAX, INT_MAX)))  # the one below is pandas' NaT
@example(values=[0, 1, -1, 1000, 10**9, 86_400 * 10**9, 31 * 86_400 * 10**9])
def test_timedeltas(lab: Lab, values: list[int]) -> None:
    """Intervals come back to the nanosecond, with no days or months that would compare in another way."""
    came = returned(lab, [pd.Timedelta(value, "ns") for value in values])
    assert came == [pa.MonthDayNano([0, 0, value]) for value in values]


@on_server
@given(rows=many(TEXT), wanted=many(TEXT))
def test_in_lists_select_what_python_selects(lab: Lab, rows: list[str], wanted: list[str]) -> None:
    names = [f"v{position}" for position in range(len(rows))]
    values = "(VALUES " + ", ".join(f"(:{name})" for name in names) + ")"
    params = dict(zip(names, rows, strict=True), wanted=[*wanted, rows[0]])
    inside = lab.arrow(f"SELECT column1 AS v FROM {values} WHERE column1 IN :wanted", params=params)
    outside = lab.arrow(f"SELECT column1 AS v FROM {values} WHERE column1 NOT IN (:wanted)", params=params)
    assert sorted(inside["v"].to_pylist()) == sorted(row for row in rows if row in params["wanted"])
    assert sorted(outside["v"].to_pylist()) == sorted(row for row in rows if row not in params["wanted"])


def test_times_compare_with_columns_and_now(lab: Lab) -> None:
    """A datetime equals the column it came from; intervals work with now() and between columns."""
    row = lab.arrow("SELECT id, created_at AS t FROM sys_invocation WHERE created_at IS NOT NULL LIMIT 1").to_pylist()[
        0
    ]
    count = "SELECT count(*) AS n FROM sys_invocation WHERE id = :id AND "
    milli = timedelta(milliseconds=1)
    assert one(lab, count + "created_at = :t", **row) == 1
    assert one(lab, count + "created_at IN :ts", id=row["id"], ts=pd.Series([row["t"]])) == 1
    assert one(lab, count + "created_at > :t", id=row["id"], t=row["t"] - milli) == 1
    assert one(lab, count + "created_at >= :t", id=row["id"], t=row["t"] + milli) == 0
    assert one(lab, count + "created_at > now() - :age", id=row["id"], age=timedelta(days=2)) == 1
    assert one(lab, count + "created_at < now() -:age", id=row["id"], age=-timedelta(days=2)) == 1
    assert one(lab, count + "now() - created_at > :age", id=row["id"], age=timedelta(days=2)) == 0
    assert one(lab, count + "created_at - :t = :age", **row, age=timedelta(0)) == 1
    assert one(lab, count + "created_at + :age - created_at < :longer", id=row["id"], age=milli, longer=2 * milli) == 1
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    assert one(lab, "SELECT :t - :age AS v", t=moment, age=timedelta(days=40)) == moment - timedelta(days=40)
    assert one(lab, "SELECT now() - :t < :age AND :t < now() AS v", t=moment, age=timedelta(days=36500)) is True


def test_durations_compare(lab: Lab) -> None:
    """`completed_at - created_at` compares with a timedelta to the millisecond, days or not."""
    took = "SELECT count(*) AS n FROM (SELECT arrow_cast(:ms, 'Duration(Millisecond)') AS d) WHERE "
    for length in (timedelta(milliseconds=5), timedelta(days=40, milliseconds=1)):
        ms = length // timedelta(milliseconds=1)
        found = {sign: one(lab, f"{took}d {sign} :length", ms=ms, length=length) for sign in ("=", "<", ">", ">=")}
        assert found == {"=": 1, "<": 0, ">": 0, ">=": 1}
        assert one(lab, took + "d > :length", ms=ms, length=length - timedelta(milliseconds=1)) == 1
    assert (
        one(
            lab,
            "SELECT count(*) AS n FROM sys_invocation WHERE completed_at - created_at > :d",
            d=pd.Timedelta(days=99),
        )
        == 0
    )


def test_bytes_equal_the_state_that_they_came_from(lab: Lab) -> None:
    row = lab.arrow("SELECT value FROM state LIMIT 1").to_pylist()[0]
    assert one(lab, "SELECT count(*) > 0 AS v FROM state WHERE value = :value", **row) is True
    assert one(lab, "SELECT count(*) > 0 AS v FROM state WHERE value IN :values", values=[row["value"], b""]) is True


def test_big_keys_optional_filters_limit_and_offset(lab: Lab) -> None:
    keys = lab.arrow("SELECT partition_key AS k FROM sys_invocation_status ORDER BY k DESC LIMIT 3")["k"].to_pylist()
    assert keys[0] > INT_MAX
    found = lab.arrow("SELECT partition_key AS k FROM sys_invocation_status WHERE partition_key IN :keys", keys=keys)
    assert set(found["k"].to_pylist()) == set(keys)
    optional = "SELECT count(*) AS n FROM sys_invocation WHERE (:service IS NULL OR target_service_name = :service)"
    assert one(lab, optional, service=None) > one(lab, optional, service="no such service") == 0
    page = lab.arrow("SELECT value FROM generate_series(1, 9) ORDER BY value LIMIT :n OFFSET :skip", n=2, skip=3)
    assert page["value"].to_pylist() == [4, 5]


def test_a_list_that_fills_the_request_selects_exactly_its_ids(lab: Lab) -> None:
    ids = lab.arrow("SELECT id FROM sys_invocation")["id"].to_pylist()
    wanted = [*ids, *(ids[0][:-8] + f"{number:08}" for number in range(45_000))]
    assert one(lab, "SELECT count(*) AS n FROM sys_invocation WHERE id IN :ids", ids=wanted) >= len(ids) - 5


def test_the_body_limit_is_the_servers(lab: Lab, cluster: Cluster) -> None:
    """The largest statement that can be bound is accepted; a body one byte above the limit is not."""
    room = BODY_LIMIT - len(json.dumps({"query": "SELECT length('') AS n"}))
    assert one(lab, "SELECT length(:text) AS n", text="x" * room) == room
    start = '{"query":"SELECT 1 --'
    for more, status in ((0, 200), (1, 413)):
        body = start + "x" * (BODY_LIMIT - len(start) - 2 + more) + '"}'
        answer = httpx.post(
            f"{cluster.admin_url.rstrip('/')}/query",
            content=body,
            headers={"content-type": "application/json"},
            timeout=60,
        )
        assert answer.status_code == status


def chain(first: str, part: str, times: int, last: str = "") -> str:
    return first + part * times + last


BIGGEST: dict[str, Callable[[], str]] = {
    "or": lambda: chain("SELECT a = 1", " OR a = 1", MAX_OPERATORS - 1, " AS v FROM (SELECT 1 AS a)"),
    "and": lambda: chain(
        "SELECT count(*) AS n FROM sys_invocation WHERE id <> ''", " AND status <> 'x'", MAX_OPERATORS - 1
    ),
    "plus": lambda: chain("SELECT a", " + a", MAX_OPERATORS, " AS v FROM (SELECT 1 AS a)"),
    "cast": lambda: chain("SELECT a", "::int", MAX_OPERATORS, " AS v FROM (SELECT 1 AS a)"),
    "in": lambda: chain("SELECT a", " IN (true)", MAX_OPERATORS - 1, " AS v FROM (SELECT true AS a)"),
    "zone": lambda: chain("SELECT now()", " AT TIME ZONE 'UTC'", MAX_OPERATORS - 1, " AS v"),
    "except": lambda: chain("SELECT 1 AS a", " EXCEPT SELECT 2", MAX_TABLES),
    "intersect": lambda: chain("SELECT 1 AS a", " INTERSECT SELECT 1", MAX_TABLES),
    "union": lambda: chain("SELECT id FROM sys_invocation", " UNION SELECT id FROM sys_invocation", MAX_TABLES),
    "join": lambda: (
        "SELECT count(*) AS n FROM state AS t"
        + "".join(f" JOIN state AS t{n} ON t.key = t{n}.key AND false" for n in range(MAX_TABLES))
    ),
    "cross": lambda: "SELECT 1 AS v FROM (SELECT 1) AS t" + "".join(f", (SELECT 1) AS t{n}" for n in range(MAX_TABLES)),
    "with": lambda: (
        "WITH t0 AS (SELECT 1 AS a)"
        + "".join(f", t{n} AS (SELECT a FROM t{n - 1})" for n in range(1, MAX_QUERIES - 1))
        + f" SELECT a FROM t{MAX_QUERIES - 2}"
    ),
    "function": lambda: "SELECT " + "abs(" * MAX_NESTING + "a" + ")" * MAX_NESTING + " AS v FROM (SELECT 1 AS a)",
    "case": lambda: (
        "SELECT " + "CASE WHEN a = 1 THEN " * MAX_NESTING + "1" + " END" * MAX_NESTING + " AS v FROM (SELECT 1 AS a)"
    ),
    "arrow": lambda: chain("SELECT json_as_text(j", "->'x'", MAX_NESTING - 1, ") AS v FROM (SELECT '{}' AS j)"),
}


@pytest.mark.parametrize("shape", BIGGEST)
def test_the_biggest_shapes_are_answered(lab: Lab, shape: str) -> None:
    """The largest allowed statement of each dangerous shape is answered, and the server survives."""
    statement = BIGGEST[shape]()
    assert lab.arrow(statement, timeout=20).num_columns == 1
    assert one(lab, "SELECT 1 AS still_there") == 1


@on_server
@given(text=st.text(alphabet="'\"$a\\ \n/*-eExX1,;", max_size=30))
def test_strings_and_comments_end_where_the_server_ends_them(cluster: Cluster, text: str) -> None:
    """A text without an end for the server has no end here, and the other way round."""
    statement = f"SELECT 1 AS {text}"
    try:
        list(tokens(statement))
        refused = ""
    except StatementError as error:
        refused = str(error)
    answer = httpx.post(f"{cluster.admin_url.rstrip('/')}/query", json={"query": statement}, timeout=60).text
    if "follows an operator" not in refused:
        assert ("has no end" in refused) == ("TokenizerError" in answer), (refused, answer)


def test_a_bound_statement_means_the_same_when_bound_again(lab: Lab) -> None:
    sent = bind("SELECT :a AS a", a="it's :b -- ; /*")
    assert one(lab, sent) == "it's :b -- ; /*"


def test_what_is_refused_here_never_reaches_the_server(lab: Lab) -> None:
    """A SET does not change the session that all clients share."""
    size = "SHOW datafusion.execution.batch_size"
    before = lab.arrow(size).to_pylist()
    for statement in ("SET datafusion.execution.batch_size = 77", "EXPLAIN SET datafusion.execution.batch_size = 77"):
        with pytest.raises(RestateLabError, match="share one SQL session"):
            lab.arrow(statement)
    assert lab.arrow(size).to_pylist() == before
