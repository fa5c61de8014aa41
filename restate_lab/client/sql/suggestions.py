"""Suggest similar names for a table, column or function that the server does not have."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable

from restate_lab.errors import QueryRefused, UnknownName

_TABLE = re.compile(r"table '(?:[^'.]+\.)*([^'.]+)' not found", re.IGNORECASE)
_FUNCTION = re.compile(r"Invalid function '([^']+)'", re.IGNORECASE)
_COLUMN = re.compile(
    r"No field named (?P<name>\S+?)\.(?=\s|$)(?: Valid fields are (?P<valid>.*?)\.?$)?", re.IGNORECASE | re.DOTALL
)
_EARLIER_RUN = re.compile(r"(?<!\w)(inv_\w+)@\d{4}-\d\d-\d\dT[\d:.]+Z")
_CLOSE = 0.55
_HINT = re.compile(r"Did you mean '([^']+)'")


def add_suggestions(
    error: QueryRefused,
    tables: Callable[[], Iterable[str]],
    functions: Callable[[], Iterable[str]],
    *,
    version: str,
) -> QueryRefused:
    """Return UnknownName with the most similar names if a name is unknown, otherwise the unchanged error.

    ``tables`` and ``functions`` return the names that the server has; they are called only when needed. ``version`` is
    the server's version, for the message.
    """
    if found := _TABLE.search(error.reason):
        return _unknown_name("table", found[1], tables(), error, version)
    if found := _FUNCTION.search(error.reason):
        return _unknown_name("function", found[1], functions(), error, version)
    if found := _COLUMN.search(error.reason):
        hint = _HINT.search(error.reason)
        valid = [hint[1]] if hint else (found["valid"] or "").split(", ")
        return _unknown_name("column", found["name"], valid, error, version)
    return error


def explain_id(error: QueryRefused, query: str) -> QueryRefused:
    """Return an error that explains the id of an earlier run, which only a history has; otherwise the unchanged error.

    ``query`` is the statement that was sent.
    """
    found = _EARLIER_RUN.search(query) if "invocation id" in error.reason else None
    if found is None:
        return error
    return QueryRefused(
        f"{found[0]} is an id of a history: that of an earlier run of {found[1]}. A cluster only has the newest run of "
        f"an id. Read the earlier one from the history, which open_history() opens.",
        status=error.status,
        code=error.code,
        reason=error.reason,
    )


def _unknown_name(kind: str, name: str, known: Iterable[str], error: QueryRefused, version: str) -> UnknownName:
    nearest = _nearest_names(name, [candidate.strip() for candidate in known if candidate.strip()])
    advice = f"nearest: {', '.join(nearest)}" if nearest else "lab.tables() lists all tables and columns"
    far = not any(difflib.get_close_matches(_last_part(name), [_last_part(each)], cutoff=_CLOSE) for each in nearest)
    text = " Write a text in single quotes." if kind == "column" and far else ""
    quoted = ' Names in double quotes are case-sensitive; "ID" is not id.' if '"' in name else ""
    return UnknownName(
        f"there is no {kind} {name} on this server, restate {version} ({advice}).{quoted or text}",
        status=error.status,
        code=error.code,
        reason=error.reason,
        suggestions=tuple(nearest),
    )


def _nearest_names(name: str, known: list[str]) -> list[str]:
    """Return up to three names, best first; they are compared without their table and returned unchanged."""
    wanted = _last_part(name)
    spelled = {_last_part(candidate): candidate for candidate in reversed(known)}
    close = difflib.get_close_matches(wanted, list(spelled), n=3, cutoff=_CLOSE)
    longer = [candidate for candidate in spelled if wanted in candidate and candidate not in close]
    return [spelled[match] for match in (close + sorted(longer, key=len))[:3]]


def _last_part(name: str) -> str:
    return name.rsplit(".", 1)[-1].strip('"').lower()
