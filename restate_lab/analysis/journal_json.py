"""Values out of JSON that may be anything: what has not the kind that is asked for is taken as not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from restate_lab.payload_json import read

__all__ = ["a_moment", "a_text", "an_int", "an_object", "leaves", "parsed"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parsed(text: object) -> dict[str, Any]:
    """Return the object that a JSON text holds; an empty one for everything else."""
    if not isinstance(text, str):
        return {}
    try:
        value = read(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Give every key with a plain value, at any depth: how futures are combined does not matter here."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, list):
            pending += each
        elif isinstance(each, dict):
            pending += [inner for inner in each.values() if isinstance(inner, dict | list)]
            yield from ((key, inner) for key, inner in each.items() if not isinstance(inner, dict | list))


def an_object(value: Any) -> Mapping[str, Any]:
    """Return an object, an empty one for everything else."""
    return value if isinstance(value, dict) else {}


def a_text(value: Any) -> str | None:
    """Return a text that is not empty, as Arrow can hold it."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) and value else None


def an_int(value: Any) -> int | None:
    """Return a whole number that 64 bits can hold."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and abs(value) < 1 << 63 else None


def a_moment(milliseconds: Any) -> datetime | None:
    """Return the moment so many milliseconds after 1970; 0 stands for none."""
    if not (number := an_int(milliseconds)):
        return None
    try:
        return _EPOCH + timedelta(milliseconds=number)
    except OverflowError:
        return None
