"""Mark the place of an error in a statement: show the line of SQL with a caret below it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from restate_lab._text import escape_invisible
from restate_lab.client.sql.bind import bind
from restate_lab.client.sql.literals import is_list, literal, literals
from restate_lab.client.sql.tokenizer import Token, place, tokens
from restate_lab.errors import ParameterError, QueryRefused, RestateLabError, StatementError, UnknownName

_PLACE = re.compile(r"\bline:? (\d+), column:? (\d+)", re.IGNORECASE)
_SENT_PLACE = re.compile(r" at Line: \d+, Column: \d+")
_UNKNOWN = re.compile(r"there is no (?:table|column|function) (\S+) on this server")
_NAMED_PARAMETER = re.compile(r":([^\W\d]\w*)")
_WIDTH = 110  # characters shown of a line of SQL


@contextmanager
def mark_errors(statement: str, values: Mapping[str, Any]) -> Iterator[None]:
    """Add a note with the place in the statement to an error of this block.

    ``values`` are the values of the statement's parameters. They are needed because the server reports positions in
    the text that was sent.
    """
    try:
        yield
    except RestateLabError as error:
        # A nested statement, sent while a stream is read, has already marked its own place.
        at = None if hasattr(error, "__notes__") else _error_position(error, statement, values)
        if at is not None:
            here = f" at {place(statement, min(at, len(statement)))}"
            error.args = (_SENT_PLACE.sub(here, str(error.args[0])), *error.args[1:])
            error.add_note("\n".join(_excerpt(statement, min(at, len(statement)))))
        raise


def _error_position(error: RestateLabError, statement: str, values: Mapping[str, Any]) -> int | None:
    if isinstance(error, UnknownName):
        found = _UNKNOWN.search(str(error))
        wanted = found[1].split(".")[-1].strip('"').lower() if found else None
        return next((at for at, name in _names_in(statement) if name == wanted), None)
    if isinstance(error, ParameterError):
        parameter = _NAMED_PARAMETER.search(str(error))
        starts = (each.start for each in tokens(statement) if parameter and each[:2] == ("param", parameter[1]))
        return next(starts, None)
    if isinstance(error, StatementError):
        return _offset(statement, _PLACE.search(str(error)))
    if not isinstance(error, QueryRefused):
        return None
    if error.reason.rstrip('")').endswith("found: EOF"):
        return len(statement.rstrip().removesuffix(";"))
    sent = bind(statement, values)
    at = _offset(sent, _PLACE.search(error.reason))
    return None if at is None else _statement_position(statement, sent, values, at)


def _offset(text: str, found: re.Match[str] | None) -> int | None:
    if found is None:
        return None
    line, column = int(found[1]), int(found[2])
    lines = text.split("\n")
    if not 1 <= line <= len(lines):
        return None
    return sum(len(each) + 1 for each in lines[: line - 1]) + min(column - 1, len(lines[line - 1]))


def _names_in(statement: str) -> Iterable[tuple[int, str]]:
    for token in tokens(statement):
        if token.kind in {"word", "name"}:
            yield token.start, statement[token.start : token.end].strip('"').lower()
        elif token.kind == "items":
            run = re.sub(r"'(?:[^']|'')*'", lambda text: " " * len(text[0]), statement[token.start : token.end])
            yield from ((token.start + word.start(), word[0].lower()) for word in re.finditer(r"[^\W\d]\w*", run))


def _statement_position(statement: str, sent: str, values: Mapping[str, Any], at: int) -> int:
    """Return the position in the statement for a position in the sent text, where each ``:name`` is a literal."""
    shift = 0
    for parameter in (token for token in tokens(statement) if token.kind == "param"):
        start = parameter.start + shift
        length = _literal_length(sent, start, parameter, values[parameter.text])
        if at < start:
            break
        if at < start + length:
            return parameter.start
        shift += length - (parameter.end - parameter.start)
    return at - shift


def _literal_length(sent: str, start: int, parameter: Token, value: Any) -> int:
    if not is_list(value):
        return len(literal(value, name=parameter.text))
    joined = ",".join(literals(value, name=parameter.text))
    return len(joined) + (2 if sent.startswith(f"({joined})", start) else 0)


def _excerpt(statement: str, at: int) -> tuple[str, str]:
    """Return the line with the place (a long line only in part), and a line with the mark."""
    begins = statement.rfind("\n", 0, at) + 1
    ends = statement.find("\n", at)
    line, column = statement[begins : ends if ends >= 0 else None], at - begins
    line = "".join(each if len(escape_invisible(each, lines=False)) == 1 else "�" for each in line.replace("\t", " "))
    start = max(0, min(column - _WIDTH * 2 // 3, len(line) - _WIDTH))
    part = line[start : start + _WIDTH].rstrip()
    before, after = "…" if start else "", "…" if start + _WIDTH < len(line) else ""
    return f"  {before}{part}{after}", f"  {' ' * (len(before) + column - start)}^"
