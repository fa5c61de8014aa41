"""The place in a statement that an error is about."""

from __future__ import annotations

from typing import Any

import pytest

from restate_lab import errors
from restate_lab.client.sql.error_marker import mark_errors


def refused(reason: str) -> errors.QueryRefused:
    return errors.QueryRefused(f"the server refused the query: {reason}", status=500, reason=reason)


def mark(error: errors.RestateLabError, statement: str, values: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(errors.RestateLabError), mark_errors(statement, values or {}):
        raise error
    return "\n".join(getattr(error, "__notes__", [])).splitlines()


@pytest.mark.parametrize(
    ("error", "statement", "values", "expected"),
    [
        (refused("at Line: 2, Column: 3"), "SELECT\n\tx y", {}, ["   x y", "    ^"]),
        (refused('found: EOF")'), "SELECT (1;\n", {}, ["  SELECT (1;", "           ^"]),
        (
            refused("at Line: 1, Column: 32"),
            "SELECT x IN :a OR :b ORDR",
            {"a": ["1", "2"], "b": 12345},
            ["  SELECT x IN :a OR :b ORDR", "                       ^"],
        ),
        (refused("at Line: 1, Column: 11"), "SELECT x, :a", {"a": "abc"}, ["  SELECT x, :a", "            ^"]),
        (refused("at Line: 9, Column: 1"), "SELECT 1", {}, []),
        (refused("nothing about a place"), "SELECT 1", {}, []),
        (
            errors.UnknownName("there is no column T.stat on this server (…)", status=500),
            "SELECT 'stat', stat",
            {},
            ["  SELECT 'stat', stat", "                 ^"],
        ),
        (
            errors.StatementError("the string that begins at line 1, column 8 has no end"),
            "SELECT 'x",
            {},
            ["  SELECT 'x", "         ^"],
        ),
        (errors.ParameterError(":b has no value"), "SELECT :a, :b", {}, ["  SELECT :a, :b", "             ^"]),
        (errors.TimedOut("at Line: 1, Column: 1"), "SELECT 1", {}, []),
        (refused("at Line: 1, Column: 9"), "SELECT \x1bx", {}, ["  SELECT �x", "          ^"]),
    ],
)
def test_a_place_in_the_sent_statement_is_marked_in_the_written_one(
    error: errors.RestateLabError, statement: str, values: dict[str, Any], expected: list[str]
) -> None:
    assert mark(error, statement, values) == expected


def test_a_long_line_is_cut_on_both_sides_of_the_mark() -> None:
    statement = f"SELECT {'a, ' * 400}b c {', d' * 400}"
    at = statement.index("b c") + 1
    line, caret = mark(refused(f"at Line: 1, Column: {at}"), statement)
    assert line[caret.index("^")] == "b"
    assert line.startswith("  …")
    assert line.endswith("…")
    assert len(line) < 120
