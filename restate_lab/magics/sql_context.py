"""The context of a cursor in SQL: the syntax that can follow it, also in an unfinished statement."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from restate_lab.client.sql.tokenizer import Token, tokens
from restate_lab.errors import StatementError

KEYWORDS = (
    "SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "JOIN", "LEFT JOIN", "ON", "AND", "OR", "NOT", "IN",
    "IS NULL", "IS NOT NULL", "LIKE", "BETWEEN", "AS", "DISTINCT", "COUNT(*)", "DESC", "ASC", "HAVING", "WITH",
    "CASE WHEN", "THEN", "ELSE", "END", "UNION ALL", "CAST", "INTERVAL", "EXISTS", "USING", "EXPLAIN", "DESCRIBE",
    "INNER JOIN", "FULL JOIN", "OFFSET", "NULL", "TRUE", "FALSE", "NULLS LAST", "OVER", "PARTITION BY",
)  # fmt: skip

_BEFORE_TABLE = {"FROM", "JOIN", "DESCRIBE"}
_CLAUSES = {"SELECT", "FROM", "JOIN", "WHERE", "ON", "BY", "HAVING", "LIMIT", "DESCRIBE", "USING"}
_NO_ALIAS = {word for keyword in KEYWORDS for word in keyword.split()} | {
    "RIGHT", "CROSS", "NATURAL", "OUTER", "ANTI", "SEMI", "UNION", "EXCEPT", "INTERSECT", "WINDOW", "FETCH", "FOR",
}  # fmt: skip
_QUIET = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_ALIAS = rf"(?P<alias>(?!(?:{'|'.join(sorted(_NO_ALIAS - {'COUNT(*)'}))})\b)[^\W\d]\w*)"
_ITEM = rf'"?(?:\w+"?\."?)*(?P<table>\w+)"?(?:\s+(?:AS\s+)?{_ALIAS})?'
_TABLE = re.compile(rf"(?:\b(?P<clause>FROM|JOIN)\s+|(?P<comma>,)\s*){_ITEM}", re.IGNORECASE)
_CTE = re.compile(r"(?:\bWITH\s+(?:RECURSIVE\s+)?|,\s*)(\w+)\s+AS\s*\(", re.IGNORECASE)
_TYPED = re.compile(r"(?<!\w)\w*\Z")


@dataclass(frozen=True, slots=True)
class SqlContext:
    """The possible next items: "table", "column" (of ``qualifier`` if set), "parameter" or "anything"."""

    expects: Literal["table", "column", "parameter", "anything"]
    typed: str
    qualifier: str = ""


def context_at(statement: str, at: int) -> SqlContext | None:
    """Return the context of a position; None inside a string, a comment, a quoted name or a number."""
    match = _TYPED.search(statement, 0, at)
    typed = statement[match.start() : at] if match else ""
    head = statement[: at - len(typed)]
    try:
        before = list(tokens(head))
    except StatementError:  # a string, a quoted name or a comment is unterminated
        return None
    if typed[:1].isdigit() or "--" in head[before[-1].end if before else 0 :].rpartition("\n")[2]:
        return None
    last = before[-1] if before else Token("", "", 0, 0)
    if last.text == "." and last.end == len(head):
        owner = head[before[-2].start : before[-2].end].strip('"').lower() if len(before) > 1 else ""
        return SqlContext("column", typed, owner)
    if last.text == ":" and last.end == len(head):
        return SqlContext("parameter", typed)
    return SqlContext("table" if _expects_table(before) else "anything", typed)


def tables_in(statement: str) -> dict[str, str]:
    """Return the tables of a statement by the qualifiers of their columns: alias → table, table → table."""
    text = _QUIET.sub(" ", statement)
    tables: dict[str, str] = {}
    in_from = False
    for match in _TABLE.finditer(text):
        if match["comma"] and not (in_from and _is_in_from(text, match.start())):
            continue
        in_from = True
        tables[(match["alias"] or match["table"]).lower()] = match["table"].lower()
    return tables | {name.lower(): "" for name in _CTE.findall(text)}


def _is_in_from(text: str, at: int) -> bool:
    """Return whether a comma separates tables, so that the last clause before it is FROM or JOIN."""
    words = [word for word in re.findall(r"\w+", text[:at].upper()) if word in _CLAUSES]
    return bool(words) and words[-1] in _BEFORE_TABLE


def _expects_table(before: Sequence[Token]) -> bool:
    if not before:
        return False
    if before[-1].kind == "word":
        return before[-1].text in _BEFORE_TABLE
    if before[-1].kind not in {"comma", "items"}:
        return False
    return next(_enclosing_clauses(before), "") in _BEFORE_TABLE


def _enclosing_clauses(before: Sequence[Token]) -> Iterator[str]:
    depth = 0
    for token in reversed(before):
        if token.kind == "close":
            depth += 1
        elif token.kind == "open":
            depth = max(0, depth - 1)
        elif token.kind == "word" and depth == 0 and token.text in _CLAUSES:
            yield token.text
