"""Paths into a payload, and the values there; a shape of a response is a table of such paths.

``paths("usage.total | tokens")`` are the alternatives of one value: a field of a field, or else another field. In a
path, ``0`` is the first element of a list, ``-1`` the last one, and ``*`` each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from restate_lab.analysis.agents.model import count, objects
from restate_lab.analysis.journal.entries import text_or_none

Path: TypeAlias = tuple[Any, ...]
"""The names of fields from the outside in; a number is an element of a list, and a path within a path is for each."""
Paths: TypeAlias = tuple[Path, ...]
_EACH = "*"
_PLACES = {"0": 0, "-1": -1}


def paths(text: str, root: str = "") -> Paths:
    """Return the alternatives in a text such as "usage.total | tokens", each below ``root``."""
    return tuple(_path([*filter(None, root.split(".")), *each.strip().split(".")]) for each in text.split("|"))


def _path(names: list[str]) -> Path:
    if _EACH in names:
        at = names.index(_EACH)
        return (*_path(names[:at]), _path(names[at + 1 :]))
    return tuple(_PLACES.get(name, name) for name in names)


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


def values_at(value: Any, path: Path) -> Iterator[Any]:
    """Yield the values at a path, for all elements of its lists."""
    for place, key in enumerate(path):
        if isinstance(key, tuple):
            for each in value if isinstance(value, list) else ():
                yield from values_at(each, key)
            return
        value = value_at(value, path[place : place + 1])
    yield value


def first_at(value: Any, alternatives: Paths) -> Any:
    """Return the value at the first path that has one; None without one."""
    for path in alternatives:
        if (found := value_at(value, path)) is not None:
            return found
    return None


def name_at(value: Any, alternatives: Paths) -> str | None:
    """Return the first text that is not empty; None without one."""
    for path in alternatives:
        if (found := text_or_none(value_at(value, path))) is not None and found:
            return found
    return None


def text_at(value: Any, alternatives: Paths) -> str | None:
    """Return the first text that is not empty, also one that is a list of objects with a text each."""
    for path in alternatives:
        found = value_at(value, path)
        if isinstance(found, list):
            found = "\n".join(filter(None, (text_or_none(each.get("text")) for each in objects(found))))
        if text := text_or_none(found):
            return text
    return None


def number_at(value: Any, alternatives: Paths) -> int | None:
    """Return the first whole number of 0 or more, which may be written as a float; None without one."""
    for path in alternatives:
        found = value_at(value, path)
        if (number := count(int(found) if type(found) is float and found.is_integer() else found)) is not None:
            return number
    return None


def has_null_at(value: Any, alternatives: Paths) -> bool:
    """Return whether a payload has one of these fields, with null as its value."""
    for path in alternatives:
        parent = value_at(value, path[:-1])
        if isinstance(parent, dict) and path[-1] in parent and parent[path[-1]] is None:
            return True
    return False
