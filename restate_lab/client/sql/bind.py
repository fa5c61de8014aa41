"""Bind ``:name`` parameters, and accept only single, read-only, harmless statements.

Every SQL text that is sent to a server passes ``bind``. All users of a node share one SQL session, so a SET affects all
of them. Some shapes of statement crash the server process (see ``limits``).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from restate_lab._public import did_you_mean, nearest_names
from restate_lab.client.sql.limits import ShapeCheck
from restate_lab.client.sql.literals import is_list, literal, literals
from restate_lab.client.sql.tokenizer import Token, place, tokens
from restate_lab.errors import ParameterError, StatementError

BODY_LIMIT = 2 * 1024 * 1024  # bytes of the JSON body; the server refuses a larger one with 413

_QUERIES = {"SELECT", "WITH", "VALUES"}
# the kind of text that may follow each of the other first keywords; "body" is any text
_FOLLOWED_BY = {"EXPLAIN": "explained", "DESCRIBE": "table", "DESC": "table", "SHOW": "body"}
_READING = ("SELECT", "WITH", "VALUES", "SHOW", "DESCRIBE", "EXPLAIN")
_EXPLAIN_OPTIONS = {"ANALYZE", "VERBOSE"}
_SHARED = "all users of a node share one SQL session, so it would change the results of other users."
_CHANGES = "only read-only statements are sent; change a cluster with restate_lab's actions."
_REFUSED = {
    **dict.fromkeys(["SET", "RESET", "PREPARE", "DEALLOCATE", "EXECUTE", "DISCARD", "USE"], _SHARED),
    **dict.fromkeys(["INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "REPLACE", "COPY", "LOAD", "UNLOAD"], _CHANGES),
    **dict.fromkeys(["CREATE", "DROP", "ALTER", "GRANT", "REVOKE", "COMMENT", "ATTACH", "DETACH", "CALL"], _CHANGES),
    **dict.fromkeys(["BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT"], "the server has no transactions."),
    **dict.fromkeys(["TABLE", "FROM"], "the server does not support it; write SELECT * FROM …"),
}
_DATA_CHANGES = {"INSERT", "UPDATE", "DELETE", "MERGE"}
_SHORT = 10_000  # characters; the checks of shorter statements are cached
_GLUES = set("'\"$.")  # directly after a literal, these would become a part of it


def bind(statement: str, params: Mapping[str, Any] | None = None, /, **named: Any) -> str:
    """Return the SQL to send: one read-only statement, with a literal for every ``:name``.

    Each value is passed in ``params`` or by keyword, not in both; ``literal`` lists the supported types. Use a list
    after IN, as ``IN :ids`` or ``IN (:ids)``. A closing ``;`` is removed. A colon is not a parameter in strings, quoted
    names, comments and ``::``, and directly after a name or bracket (``a[1:n]``).

    Raises:
        StatementError: it is not one read-only statement, or its shape could crash or stall the server.
        ParameterError: a name has no value or two, a value has no name, or a value has no exact literal.
    """
    values = _values(params, named)
    parsed = _parse(statement)
    _check_names(statement, parsed.parameters, values)
    parts, at = [], 0
    for each in parsed.parameters:
        gap = " " if statement[each.end : each.end + 1] in _GLUES else ""
        parts += [statement[at : each.start], each.render(values[each.name]), gap]
        at = each.end
    query = "".join([*parts, statement[at : parsed.end]])
    _check_size(query, values)
    return query


def parameter_names(statement: str) -> tuple[str, ...]:
    """Return the names of a statement's parameters, in order of first use; the statement is checked as in ``bind``."""
    return tuple(dict.fromkeys(each.name for each in _parse(statement).parameters))


@dataclass(slots=True)
class _Placeholder:
    """One ``:name``. ``takes`` is "value", "list" (right after IN) or "either" (an element of IN's brackets)."""

    name: str
    start: int
    end: int
    takes: str

    def render(self, value: Any) -> str:
        if self.takes == "list":
            return f"({','.join(literals(value, name=self.name))})"
        if self.takes == "either":
            return ",".join(literals(value if is_list(value) else [value], name=self.name))
        return literal(value, name=self.name)


@dataclass(slots=True)
class _PlaceholderScanner:
    """Finds the parameters, and for each whether it can be a list."""

    parameters: list[_Placeholder] = field(default_factory=list)
    _lists: list[bool] = field(default_factory=lambda: [False])
    _previous: Token | None = None

    def feed(self, token: Token) -> None:
        before = self._previous
        after_in = before is not None and before.kind == "word" and before.text == "IN"
        if before is not None and before.kind == "param":
            self._settle(token)
        if token.kind == "open":
            self._lists.append(after_in and token.text == "(")
        elif token.kind == "close" and len(self._lists) > 1:
            self._lists.pop()
        elif token.kind == "word" and token.text in _QUERIES:
            self._lists[-1] = False  # IN (SELECT …)
        elif token.kind == "param":
            is_element = self._lists[-1] and before is not None and before.kind in {"open", "comma", "items"}
            takes = "list" if after_in else "either" if is_element else "value"
            self.parameters.append(_Placeholder(token.text, token.start, token.end, takes))
        self._previous = token

    def _settle(self, following: Token) -> None:
        """Allow only a value if an operator follows the parameter: ``IN (:ids || 'x')``."""
        if self.parameters[-1].takes == "either" and following.kind not in {"comma", "close"}:
            self.parameters[-1].takes = "value"


@dataclass(frozen=True, slots=True)
class _ParsedStatement:
    parameters: tuple[_Placeholder, ...]
    end: int


def _parse(statement: str) -> _ParsedStatement:
    """Return a checked statement and its parameters; short ones are cached, because panels repeat them."""
    return _split_short(statement) if len(statement) <= _SHORT else _split(statement)


def _split(statement: str) -> _ParsedStatement:
    reading, shape, scanner = _ReadOnlyCheck(statement), ShapeCheck(statement), _PlaceholderScanner()
    end: int | None = None
    for token in tokens(statement):
        if token.kind == "semicolon":
            if reading.has_begun and end is None:
                end = token.start
            continue
        if end is not None:
            raise StatementError(
                f"a second statement begins at {place(statement, token.start)}; send one statement at a time."
            )
        reading.feed(token)
        shape.feed(token)
        scanner.feed(token)
    reading.close()
    return _ParsedStatement(tuple(scanner.parameters), len(statement) if end is None else end)


_split_short = functools.lru_cache(maxsize=128)(_split)


class _ReadOnlyCheck:
    """Reads the keywords of a statement, and refuses a statement that does more than read."""

    def __init__(self, statement: str) -> None:
        self._statement = statement
        self._expected = "statement"
        self._previous = Token("", "", 0, 0)

    @property
    def has_begun(self) -> bool:
        return bool(self._previous.kind)

    def feed(self, token: Token) -> None:
        """Check one token; after the first keywords, only keywords that change data are refused."""
        if self._expected == "body":
            self._check_body(token)
        elif token.kind == "open" and self._expected != "table":
            self._expected = "query"
        elif token.kind == "word":
            self._check_keyword(token)
        elif token.kind == "name" and self._expected == "table":
            self._expected = "body"
        else:
            raise self._unknown_statement(token)
        self._previous = token

    def close(self) -> None:
        if not self.has_begun:
            raise StatementError("the statement is empty; write a SELECT.")

    def _check_keyword(self, token: Token) -> None:
        keyword, options = token.text, _EXPLAIN_OPTIONS | {"FORMAT"}
        if self._previous.text == "FORMAT" or (self._expected == "explained" and keyword in options):
            return
        if keyword in _REFUSED:
            raise StatementError(
                f"{keyword} at {place(self._statement, token.start)} was not sent: {_REFUSED[keyword]}"
            )
        if keyword in _FOLLOWED_BY and self._expected == "statement":
            self._expected = _FOLLOWED_BY[keyword]
        elif keyword in _QUERIES or (self._expected == "table" and keyword not in _FOLLOWED_BY):
            self._expected = "body"
        else:
            raise self._unknown_statement(token)

    def _check_body(self, token: Token) -> None:
        if token.kind != "word":
            return
        if token.text == "INTO":
            raise StatementError(f"INTO at {place(self._statement, token.start)} was not sent: {_CHANGES}")
        if token.text in _DATA_CHANGES and self._previous.kind in {"open", "close"}:
            raise StatementError(f"{token.text} at {place(self._statement, token.start)} was not sent: {_CHANGES}")

    def _unknown_statement(self, token: Token) -> StatementError:
        text = self._statement[token.start : min(token.end, token.start + 40)]
        is_misspelled = token.kind == "word" and token.text not in _READING
        hint = did_you_mean(nearest_names(text, _READING, 1)) if is_misspelled else ""
        return StatementError(
            f"a statement must begin with SELECT, WITH, VALUES, SHOW, DESCRIBE, or EXPLAIN with a SELECT; "
            f"{place(self._statement, token.start)} has {text!r}. {hint}".rstrip()
        )


def chunks(values: Sequence[str], size: int) -> Iterator[list[str]]:
    """Yield the values in lists of at most ``size``, one for the IN of each statement."""
    return (list(values[at : at + size]) for at in range(0, len(values), size))


def _values(params: Mapping[str, Any] | None, named: Mapping[str, Any]) -> dict[str, Any]:
    both = sorted(set(params or ()) & set(named))
    if both:
        raise ParameterError(f"{_join_names(both)} passed twice, in params and by keyword: keep one.")
    return {**(params or {}), **named}


def _check_names(statement: str, parameters: Iterable[_Placeholder], values: Mapping[str, Any]) -> None:
    used = dict.fromkeys(each.name for each in parameters)
    missing = [name for name in used if name not in values]
    if missing:
        unused = [name for name in nearest_names(missing[0], values) if name not in used]
        instead = f"There is a value for {_join_names(unused)}. " if unused else ""
        verb = "has" if len(missing) == 1 else "have"
        raise ParameterError(f"{_join_names(missing)} {verb} no value. {instead}Pass {missing[0]}=….")
    unused = [name for name in values if name not in used]
    if unused:
        hint = ""
        if any(f":{name}" in statement for name in unused):
            hint = " A colon in a string, quoted name or comment, or right after a name or bracket, is not a parameter."
        raise ParameterError(
            f"the statement has no parameter {_join_names(unused)}; its parameters are: {_join_names(used)}.{hint}"
        )


def _join_names(names: Iterable[str]) -> str:
    return ", ".join(f":{name}" for name in names) or "none"


def _check_size(query: str, values: Mapping[str, Any]) -> None:
    try:
        size = len(json.dumps({"query": query}, ensure_ascii=False).encode())
    except UnicodeEncodeError as error:
        raise StatementError(
            f"the statement has half of a surrogate pair, which UTF-8 cannot encode: {error}"
        ) from error
    if size <= BODY_LIMIT:
        return
    counts = {name: len(value) for name, value in values.items() if is_list(value)}
    size_text = f"the request would have {size:,} bytes, but the server accepts at most {BODY_LIMIT:,}."
    if not counts:
        raise StatementError(f"{size_text} Make the statement or its values shorter.")
    name = max(counts, key=counts.__getitem__)
    part = max(1, counts[name] * BODY_LIMIT * 9 // (size * 10))
    raise ParameterError(
        f":{name} has {counts[name]:,} values: {size_text} Request about {part:,} at a time and join the frames with "
        f"pd.concat, or use a condition instead of the list."
    )
