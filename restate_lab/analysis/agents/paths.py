"""Paths into a payload, and functions that read the value there; a shape of a response is a table of them.

``"usage.total | tokens"`` are the alternatives of one value: a field of a field, or else another field. In a path,
``0`` is the first element of a list, ``-1`` the last one, and ``*`` each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from restate_lab.analysis.agents.model import MOST, count, objects
from restate_lab.analysis.journal.entries import text_or_none

Path: TypeAlias = tuple[Any, ...]
"""The names of fields from the outside in; a number is an element of a list, and a path within a path is for each."""
Paths: TypeAlias = tuple[Path, ...]
Read: TypeAlias = Callable[[Any], Any]
_EACH = "*"
_PLACES = {"0": 0, "-1": -1}


def paths(text: str) -> Paths:
    """Return the alternatives in a text."""
    return tuple(_path(each.strip().split(".")) for each in text.split("|"))


def _path(names: list[str]) -> Path:
    if _EACH in names:
        at = names.index(_EACH)
        return (*_path(names[:at]), _path(names[at + 1 :]))
    return tuple(_PLACES.get(name, name) for name in names)


def any_value(text: str) -> Read:
    """Return a function that reads the first value that is not None."""
    return _first(text, _unchanged)


def name(text: str) -> Read:
    """Return a function that reads the first text that is not empty; None without one."""
    return _first(text, text_or_none)


def long_text(text: str) -> Read:
    """Return a function that reads the first text, also one that is a list of objects with a text each."""
    return _first(text, _joined_text)


def number(text: str) -> Read:
    """Return a function that reads the first whole number of 0 or more, which may be written as a float."""
    return _first(text, _whole_number)


def number_or_null(text: str) -> Read:
    """Return a function that reads a whole number of 0 or more, and 0 for null; None for an absent or another value."""
    alternatives = paths(text)

    def read(value: Any) -> int | None:
        for path in alternatives:
            parent = value_at(value, path[:-1])
            if isinstance(parent, dict) and path[-1] in parent:
                found = parent[path[-1]]
                return 0 if found is None else _whole_number(found)
        return None

    return read


def no_value(_: Any) -> None:
    """Read nothing, in the place of a value that a shape does not have."""


def _first(text: str, accept: Read) -> Read:
    """Return a function that reads the first of the alternatives that is not None after ``accept``.

    Thousands of responses are read with dozens of them each, so short paths have their own functions.
    """
    readers = tuple(_reader(path, accept) for path in paths(text))
    if len(readers) == 1:
        return readers[0]

    def read(value: Any) -> Any:
        for reader in readers:
            found = reader(value)
            if found is not None:
                return found
        return None

    return read


def _reader(path: Path, accept: Read) -> Read:
    """Return a function that reads the value at one path, after ``accept``."""
    first, *rest = path
    second = rest[0] if rest else None

    def read_any(value: Any) -> Any:
        found = value_at(value, path)
        return None if found is None else accept(found)

    def read_field(value: Any) -> Any:
        found = value.get(first) if type(value) is dict else None
        return None if found is None else accept(found)

    def read_inner(value: Any) -> Any:
        inner = value.get(first) if type(value) is dict else None
        found = inner.get(second) if type(inner) is dict else None
        return None if found is None else accept(found)

    if len(path) > 2 or not all(isinstance(each, str) for each in path):
        return read_any
    return read_inner if rest else read_field


def _unchanged(value: Any) -> Any:
    return value


def value_at(value: Any, path: Path) -> Any:
    """Return the value at a path, for each element of a list the first one that is not None; None without a value."""
    for key in path:
        if isinstance(value, dict):
            value = value.get(key)
        elif not isinstance(value, list):
            return None
        elif isinstance(key, tuple):
            return next((found for each in value if (found := value_at(each, key)) is not None), None)
        else:
            value = value[key] if value and isinstance(key, int) else None
    return value


def values_at(value: Any, path: Path) -> Iterable[Any]:
    """Return the values at a path, for all elements of its lists."""
    if len(path) == 1:
        return (value.get(path[0]),) if isinstance(value, dict) else ()
    for place, key in enumerate(path):
        if isinstance(key, tuple):
            inner = value_at(value, path[:place])
            return [found for each in inner for found in values_at(each, key)] if isinstance(inner, list) else ()
    return (value_at(value, path),)


def _joined_text(value: Any) -> str | None:
    if isinstance(value, list):
        return "\n".join(filter(None, (text_or_none(each.get("text")) for each in objects(value)))) or None
    return text_or_none(value)


def _whole_number(value: Any) -> int | None:
    if type(value) is int:
        return value if 0 <= value < MOST else None
    return count(int(value)) if type(value) is float and value.is_integer() else None
