"""Refuse statements whose shape crashes or stalls a server, although each of their parts is harmless.

A server parses and plans recursively. On 1.7.12 its stack overflows, and the whole process ends, at

    ===================================================  ====
    operators in one expression (OR, AND, +, ``||``, ::)  1920
    INTERSECT and EXCEPT                                  240
    tables joined, by JOIN or by commas                   340
    UNION                                                2880
    ===================================================  ====

Planning takes twice as long for each function, CASE or JSON arrow inside another, and for each column of a CUBE: 7 s
at 22 functions, and it cannot be stopped. The limits here are four times lower, and six levels lower for nesting. Lists
after IN are flat, so their length is not limited.
"""

from __future__ import annotations

from dataclasses import dataclass

from restate_lab.client.sql.tokenizer import Token, place
from restate_lab.errors import StatementError

MAX_OPERATORS = 200
MAX_NESTING = 16
MAX_TABLES = 50
MAX_QUERIES = 100  # of SELECT, and of OVER; planning takes 7 s at 1,500 and 600

_TERMS = {"AND", "OR"}
_OPERATORS = {
    "NOT",
    "IS",
    "IN",
    "LIKE",
    "ILIKE",
    "SIMILAR",
    "BETWEEN",
    "COLLATE",
    "AT",
    "DIV",
    "XOR",
    "RLIKE",
    "OVERLAPS",
}
_SET_OPERATIONS = {"UNION", "EXCEPT", "INTERSECT", "MINUS"}
_CLAUSES = {"SELECT", "FROM", "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "JOIN", "ON", "WHEN", "THEN", "ELSE"}
_NEW_EXPRESSION = _CLAUSES | _SET_OPERATIONS
_OPERATOR_KINDS = {"operator", "cast"}


@dataclass(slots=True)
class _Level:
    """The content of one bracket or CASE: upper bounds for the depth of the server's expression tree."""

    is_case: bool = False
    is_cube: bool = False
    in_from: bool = False
    # for the current expression
    terms: int = 0
    tight: int = 0
    tightest: int = 0
    inner: int = 0
    arrows: int = 0
    inner_nesting: int = 0
    # for the expressions before it
    deepest: int = 0
    nested: int = 0

    def depth(self) -> int:
        return max(self.deepest, self.terms + max(self.tight, self.tightest) + self.inner)

    def nesting(self) -> int:
        return max(self.nested, self.arrows + self.inner_nesting)

    def start_expression(self) -> None:
        self.deepest, self.nested = self.depth(), self.nesting()
        self.terms = self.tight = self.tightest = self.inner = self.arrows = self.inner_nesting = 0


class ShapeCheck:
    """Checks the tokens of a statement one by one, and raises StatementError at the token that exceeds a limit."""

    def __init__(self, statement: str) -> None:
        self._statement = statement
        self._levels = [_Level()]
        self._tables = 0
        self._queries = {"SELECT": 0, "OVER": 0}
        self._previous = ""

    def feed(self, token: Token) -> None:
        """Count one token."""
        kind, level = token.kind, self._levels[-1]
        if kind == "word":
            self._count_word(token, level)
        elif kind in {"comma", "items"}:
            self._count_comma(token, level)
        elif kind in _OPERATOR_KINDS:
            level.tight += max(1, len(token.text) - 2)  # a sequence such as +-+- can be several operators
            level.arrows += token.text in {"->", "->>"}
            self._check(level, token)
        elif kind == "open":
            level.tight += token.text == "["
            self._open(token, _Level(is_cube=self._previous == "CUBE"))
        elif kind == "close":
            while len(self._levels) > 2 and self._levels[-1].is_case:
                self._close(token)
            if len(self._levels) > 1:
                self._close(token)
        self._previous = token.text

    def _count_word(self, token: Token, level: _Level) -> None:
        word = token.text
        if word in self._queries:
            self._count_query(token)
        if word in _TERMS:
            level.terms += 1
            level.tight, level.tightest = 0, max(level.tight, level.tightest)
            self._check(level, token)
        elif word in _OPERATORS:
            level.tight += 1
            self._check(level, token)
        elif word == self._previous == "INTERVAL":
            level.arrows += 1  # the parser has no recursion limit here and overflows at 360 in a row
            self._check(level, token)
        elif word == "CASE":
            self._open(token, _Level(is_case=True))
        elif word == "END" and level.is_case:
            self._close(token)
        elif word in _NEW_EXPRESSION and not (word == "FROM" and self._previous == "DISTINCT"):
            level.start_expression()
            self._start_clause(token, level)

    def _count_query(self, token: Token) -> None:
        self._queries[token.text] += 1
        if self._queries[token.text] > MAX_QUERIES:
            raise StatementError(
                f"at {place(self._statement, token.start)} the statement has more than {MAX_QUERIES} {token.text}s, "
                f"which a server needs many seconds to plan. Use one SELECT with IN :values and GROUP BY."
            )

    def _start_clause(self, token: Token, level: _Level) -> None:
        if token.text == "JOIN" or token.text in _SET_OPERATIONS:
            self._count_tables(token)
        elif token.text != "ON":
            level.in_from = token.text == "FROM"

    def _count_comma(self, token: Token, level: _Level) -> None:
        level.start_expression()
        if level.is_cube or level.in_from:
            commas = self._statement.count(",", token.start, token.end)
            level.nested += commas * level.is_cube  # each column of a CUBE doubles the grouping sets
            self._check(level, token)
            self._count_tables(token, commas * level.in_from)

    def _count_tables(self, token: Token, more: int = 1) -> None:
        self._tables += more
        if self._tables > MAX_TABLES:
            raise StatementError(
                f"at {place(self._statement, token.start)} the statement combines more than {MAX_TABLES} tables "
                f"(JOIN, commas after FROM, UNION, EXCEPT, INTERSECT). A few hundred crash the server, because its "
                f"stack overflows. Use one SELECT with IN :values and group the rows, or combine frames in pandas."
            )

    def _open(self, token: Token, level: _Level) -> None:
        self._levels.append(level)
        if len(self._levels) - 1 > MAX_NESTING:
            raise self._nesting_error(token)

    def _close(self, token: Token) -> None:
        closed, level = self._levels.pop(), self._levels[-1]
        level.inner = max(level.inner, closed.depth() + 1)
        level.inner_nesting = max(level.inner_nesting, closed.nesting() + 1)
        self._check(level, token)

    def _check(self, level: _Level, token: Token) -> None:
        if level.depth() > MAX_OPERATORS:
            raise StatementError(
                f"at {place(self._statement, token.start)} an expression has more than {MAX_OPERATORS} operators "
                f"(OR, AND, +, ||, :: and similar). Some hundreds more crash the server, because its stack overflows. "
                f"Replace many OR with `column IN :values`, and many AND with `column NOT IN :values`."
            )
        if len(self._levels) - 1 + level.nesting() > MAX_NESTING:
            raise self._nesting_error(token)

    def _nesting_error(self, token: Token) -> StatementError:
        return StatementError(
            f"at {place(self._statement, token.start)} the statement has more than {MAX_NESTING} nested levels "
            f"(brackets, CASE, and chains of ->). Each level doubles the planning time, which cannot be interrupted. "
            f"Flatten it: one CASE with more WHEN, IN :values, fewer nested functions, or do a part in pandas."
        )
