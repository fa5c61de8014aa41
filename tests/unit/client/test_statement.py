"""The statements that are sent, the places of parameters, and the shapes that are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from restate_lab.client.sql import bind as bind_module
from restate_lab.client.sql.bind import BODY_LIMIT, bind, parameter_names
from restate_lab.client.sql.tokenizer import Token, tokens
from restate_lab.errors import ParameterError, StatementError

ID = "inv_1aBcDeFgHiJ0000000000000000000000000"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT ':x'",
        "SELECT 'it''s :x'",
        r"SELECT E'it\'s :x'",
        r"SELECT 'a\', id AS b FROM state WHERE key = ' :x'",
        "SELECT X'3a78'",
        'SELECT id AS ":x"',
        'SELECT id AS "a"":x"',
        "SELECT 1 -- :x",
        "SELECT 1 -- it's\r+ 1",
        "SELECT 1 /* :x /* it's */ :x */",
        "SELECT $$it's :x$$",
        "SELECT $a$ $$ :x $a$",
        "SELECT id::text, id :: text",
        "SELECT j -> 'a' ->> 'b', a[1:2], a[b:c], a[f(1):c]",
        "SELECT :1, a := 2, 'x':y, 1:y",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "VALUES (1)",
        "((SELECT 1) UNION ALL (SELECT 2))",
        "explain analyze verbose select 1",
        "EXPLAIN FORMAT tree SELECT 1",
        "EXPLAIN (SELECT 1)",
        "SHOW TABLES",
        "DESCRIBE sys_invocation",
        'DESC "sys_invocation"',
        "DESCRIBE SELECT 1",
        "-- a title\nSELECT 1",
        "SELECT a AS insert, b AS set FROM (SELECT 1 AS a, 2 AS b)",
    ],
)
def test_reading_statements_pass_unchanged(statement: str) -> None:
    assert bind(statement) == statement
    assert parameter_names(statement) == ()


@pytest.mark.parametrize(
    ("statement", "sent"),
    [
        ("SELECT :a", "SELECT 'x'"),
        ("SELECT(:a),:a", "SELECT('x'),'x'"),
        ("SELECT :a::text", "SELECT 'x'::text"),
        ("SELECT :a'b'", "SELECT 'x' 'b'"),
        ("SELECT a[:n:m], 1-:n, 1<:n", "SELECT a[(-5):m], 1-(-5), 1<(-5)"),
        ("SELECT ':a', :a -- :a", "SELECT ':a', 'x' -- :a"),
        ("SELECT 1 LIMIT :n", "SELECT 1 LIMIT (-5)"),
        ("SELECT id IN :ids", "SELECT id IN ('a','b')"),
        ("SELECT id not in /* c */ ( :ids )", "SELECT id not in /* c */ ( 'a','b' )"),
        ("SELECT id IN (:a, 'y', :ids)", "SELECT id IN ('x', 'y', 'a','b')"),
        ("SELECT id IN (SELECT :a)", "SELECT id IN (SELECT 'x')"),
        ("SELECT 1 -- :a\r, :a", "SELECT 1 -- :a\r, 'x'"),
        ("SELECT :größe", "SELECT 7"),
    ],
)
def test_a_name_is_replaced_only_where_a_value_is_allowed(statement: str, sent: str) -> None:
    given = {"a": "x", "n": -5, "ids": ["a", "b"], "größe": 7}
    assert bind(statement, {name: given[name] for name in parameter_names(statement)}) == sent


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT :ids",
        "SELECT id = :ids",
        "SELECT id IN (SELECT 1, :ids)",
        "SELECT id IN (f(:ids))",
        "SELECT id IN (:ids || 'x')",
        "SELECT id IN (1 + :ids)",
        "SELECT f(:ids)",
    ],
)
def test_a_list_in_place_of_one_value_is_refused_with_the_correct_form(statement: str) -> None:
    with pytest.raises(ParameterError, match="IN :ids"):
        bind(statement, ids=["a", "b"])


def test_a_single_value_or_null_after_in_is_an_error() -> None:
    with pytest.raises(ParameterError, match=re.escape("pass [value]")):
        bind("SELECT id IN :id", id="a")
    with pytest.raises(ParameterError, match="missing"):
        bind("SELECT id IN (:id)", id=None)


def test_a_repeated_statement_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that panels and notebooks repeat is not split again; long statements are not cached."""
    read: list[str] = []

    def note(statement: str) -> Iterator[Token]:
        read.append(statement)
        return tokens(statement)

    monkeypatch.setattr(bind_module, "tokens", note)
    for value in (1, 2):
        assert bind("SELECT :a AS repeated", a=value) == f"SELECT {value} AS repeated"
    assert parameter_names("SELECT :a AS repeated") == ("a",)
    assert read == ["SELECT :a AS repeated"]
    long = f"SELECT '{'x' * 20_000}'"
    assert [bind(long), bind(long)] == [long, long]
    assert read[1:] == [long, long]
    for _ in range(2):
        with pytest.raises(StatementError):
            bind("SELECT 1 AS repeated; SELECT 2")


def test_each_name_has_exactly_one_value() -> None:
    assert bind("SELECT :statement, :params", {"statement": 1}, params=2) == "SELECT 1, 2"
    assert parameter_names("SELECT :b, :a, :b") == ("b", "a")
    with pytest.raises(ParameterError, match=r":b has no value\. Pass b="):
        bind("SELECT :a, :b", a=1)
    with pytest.raises(ParameterError, match="no parameter :b; its parameters are: :a"):
        bind("SELECT :a", a=1, b=2)
    with pytest.raises(ParameterError, match="A colon in a string"):
        bind("SELECT ':a'", a=1)
    with pytest.raises(ParameterError, match=":a passed twice"):
        bind("SELECT :a", {"a": 1}, a=1)
    with pytest.raises(ParameterError, match=r":since is .*without a zone"):
        bind("SELECT :since", since=datetime(2026, 1, 2))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("SET TIME ZONE 'UTC'", "share one SQL session"),
        ("/* x */ -- y\n set a = 1", "SET at line 2, column 2 .*share one SQL session"),
        ("RESET a", "share one SQL session"),
        ("PREPARE p AS SELECT 1", "share one SQL session"),
        ("DEALLOCATE p", "share one SQL session"),
        ("EXECUTE p", "share one SQL session"),
        ("(SET a = 1)", "share one SQL session"),
        ("EXPLAIN SET a = 1", "share one SQL session"),
        ("EXPLAIN ANALYZE PREPARE p AS SELECT 1", "share one SQL session"),
        ("DESCRIBE SET a = 1", "share one SQL session"),
        ("INSERT INTO t VALUES (1)", "only read-only statements"),
        ("EXPLAIN ANALYZE INSERT INTO t VALUES (1)", "only read-only statements"),
        ("DELETE FROM t", "only read-only statements"),
        ("CREATE TABLE t AS SELECT 1", "only read-only statements"),
        ("COPY (SELECT 1) TO 'x'", "only read-only statements"),
        ("SELECT 1 INTO t", "INTO at .*only read-only"),
        ("WITH a AS (SELECT 1) SELECT * INTO t FROM a", "only read-only statements"),
        ("WITH a AS (INSERT INTO t VALUES (1)) SELECT 1", "only read-only statements"),
        ("WITH a AS (SELECT 1) DELETE FROM t", "only read-only statements"),
        ("BEGIN", "no transactions"),
        ("TABLE state", "SELECT \\* FROM"),
        ("EXPLAIN EXPLAIN SELECT 1", "must begin with SELECT, WITH, VALUES"),
        ("DESCRIBE EXPLAIN SELECT 1", "must begin with SELECT, WITH, VALUES"),
        ("selec 1", r"line 1, column 1 has 'selec'\. Did you mean 'SELECT'\?"),
        ("'SELECT 1'", "must begin with SELECT, WITH, VALUES"),
        ("", "empty"),
        (" ; -- nothing\n", "empty"),
        ("SELECT 1; SELECT 2", "second statement begins at line 1, column 11"),
        ("SELECT 1; SET a = 1", "second statement"),
        ("SELECT 'a\nb", "string that begins at line 1, column 8 has no end"),
        ("SELECT\n  1 + E'\\'", "string that begins at line 2, column 7"),
        ('SELECT "a', "quoted name that begins at line 1, column 8"),
        ("SELECT /* a /* b */", "comment that begins at line 1, column 8"),
        ("SELECT $x$ $y$", "string that begins at line 1, column 8"),
        ("SELECT a >-- b\n 1", "Put a blank before --"),
        ("SELECT a <=/* b */ 1", "Put a blank before /\\*"),
        ("SELECT '\ud800'", "surrogate"),
    ],
)
def test_another_statement_than_one_that_reads_is_refused_with_its_reason(statement: str, reason: str) -> None:
    with pytest.raises(StatementError, match=reason):
        bind(statement)


@pytest.mark.parametrize("end", [";", " ; ", ";;", "; -- done", ";/* ' */\n"])
def test_a_closing_semicolon_and_comments_after_it_are_removed(end: str) -> None:
    assert bind("SELECT 1" + end).rstrip() == "SELECT 1"


def repeated(before: str, part: str, after: str = "") -> Callable[[int], str]:
    return lambda n: before + part * n + after


def nested(before: str, opening: str, inner: str, closing: str) -> Callable[[int], str]:
    return lambda n: before + opening * n + inner + closing * n


@pytest.mark.parametrize(
    ("shape", "most", "instead"),
    [
        (repeated("SELECT a = 1", " OR a = 1"), 199, "IN :values"),
        (repeated("SELECT a = 1", " AND a = 1"), 199, "NOT IN :values"),
        (repeated("SELECT 1", " + 1"), 200, "operators"),
        (repeated("SELECT 1", "+-1"), 200, "operators"),
        (repeated("SELECT 1", " +-+-+- 1"), 50, "operators"),
        (repeated("SELECT a", "||a"), 200, "operators"),
        (repeated("SELECT a", "[1]"), 199, "operators"),
        (repeated("SELECT a", "::int"), 200, "operators"),
        (repeated("SELECT ", "NOT ", "true"), 200, "operators"),
        (repeated("SELECT ", "- ", "1"), 200, "operators"),
        (repeated("SELECT a", " IS NULL"), 200, "operators"),
        (repeated("SELECT a", " IN (true)"), 199, "operators"),
        (repeated("SELECT a", " IS DISTINCT FROM a"), 200, "operators"),
        (repeated("SELECT count(*) FILTER (WHERE a", " OR a", ")"), 199, "operators"),
        (repeated("SELECT a", "->'x'"), 16, "Flatten"),
        (repeated("SELECT ", "INTERVAL ", "'1 s'"), 17, "Flatten"),
        (nested("SELECT ", "(", "1", ")"), 16, "Flatten"),
        (nested("SELECT ", "abs(", "1", ")"), 16, "Flatten"),
        (nested("SELECT ", "[", "1", "]"), 16, "Flatten"),
        (nested("SELECT ", "CASE WHEN a THEN ", "1", " END"), 16, "Flatten"),
        (nested("", "SELECT * FROM (", "SELECT 1", ")"), 16, "Flatten"),
        (nested("SELECT ", "f((a + ", "1", ")->'x')"), 5, "Flatten"),
        (repeated("SELECT 1 GROUP BY CUBE (a", ", a", ")"), 15, "Flatten"),
        (repeated("SELECT 1", " UNION ALL SELECT 1"), 50, "pandas"),
        (repeated("SELECT 1", " EXCEPT SELECT 1"), 50, "pandas"),
        (repeated("SELECT 1 FROM a", ", a"), 50, "pandas"),
        (repeated("SELECT 1 FROM a", ", a b"), 50, "pandas"),
        (repeated("SELECT 1 FROM a", " JOIN a b ON a.x = b.x"), 50, "pandas"),
        (repeated("WITH a AS (SELECT 1)", ", a AS (SELECT 1)", " SELECT 1"), 98, "GROUP BY"),
        (repeated("SELECT 1", ", sum(a) OVER ()"), 100, "GROUP BY"),
        (repeated("SELECT 1", " f()"), 33_332, "tokens"),
    ],
)
def test_refused_shapes(shape: Callable[[int], str], most: int, instead: str) -> None:
    """Shapes that crash or stall a server are refused far below that size, and the message names an alternative."""
    assert bind(shape(most))
    for size in (most + 1, 3000 if most < 3000 else 2 * most):
        with pytest.raises(StatementError, match=instead):
            bind(shape(size))


def test_a_chain_inside_a_chain_counts_as_one_longer_chain() -> None:
    chain = " OR a" * 120
    with pytest.raises(StatementError, match="operators"):
        bind(f"SELECT a{chain} OR (a{chain})")
    assert bind("SELECT " + "CASE WHEN a THEN 1 END, " * 100 + "1")
    assert bind(f"SELECT a{chain}, a{chain} FROM t WHERE a{chain} GROUP BY CASE WHEN a{chain} THEN 1 END")


def test_long_lists_pass() -> None:
    """Lists are flat: tens of thousands of ids pass, as a parameter and written out."""
    ids = [f"inv_{number:034}" for number in range(45_000)]
    sent = bind("SELECT 1 FROM sys_invocation WHERE id IN :ids", ids=pd.Series(ids))
    assert sent.count("inv_") == 45_000
    assert bind(sent) == sent
    assert bind(sent.replace(",", " ,\n")).count("inv_") == 45_000
    assert bind("SELECT 1 WHERE 1 IN (" + "-1, " * 200_000 + "1)")
    assert bind("SELECT CASE " + "WHEN a = 1 OR b THEN 2 " * 2000 + "END")


def test_the_body_limit_is_exact() -> None:
    """The limit counts the JSON body's bytes: escapes and UTF-8 included, one more is refused."""
    room = BODY_LIMIT - len(json.dumps({"query": "SELECT ''"}))
    assert bind("SELECT :a", a="x" * room)
    assert bind("SELECT :a", a='"' * (room // 2))
    assert bind("SELECT :a", a="é" * (room // 2))
    for value in ("x" * (room + 1), '"' * (room // 2 + 1), "é" * (room // 2 + 1), "\0" * (room // 6 + 1)):
        with pytest.raises(StatementError, match="2,097,152"):
            bind("SELECT :a", a=value)


def test_a_list_too_long_for_one_request_says_how_to_part_it() -> None:
    """A list beyond the limit is never split silently; a part of the size in the message fits."""
    ids = [f"inv_{number:034}" for number in range(60_000)]
    with pytest.raises(ParameterError, match=r":ids has 60,000 values: .* 2,[0-9,]+ bytes.*pd\.concat") as raised:
        bind("SELECT 1 FROM t WHERE id IN :ids", ids=ids)
    part = int(re.findall(r"about ([0-9,]+) at a time", str(raised.value))[0].replace(",", ""))
    assert 30_000 < part < 60_000
    assert bind("SELECT 1 FROM t WHERE id IN :ids", ids=ids[:part])


@given(st.text(), st.text())
def test_a_value_never_leaves_its_literal(first: str, second: str) -> None:
    """Whatever a value contains, the bound statement has no parameters left and binds to itself."""
    sent = bind("SELECT :a AS a, ':b' AS b, :c AS c", a=first, c=second)
    assert bind(sent) == sent


@given(st.text(alphabet="'\"`$ax:;-/*\\eE \n(),1[]|<>=", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        names = parameter_names("SELECT " + text)
    except StatementError:
        return
    assert bind("SELECT " + text, dict.fromkeys(names, 1)) if "IN" not in text.upper() else True
