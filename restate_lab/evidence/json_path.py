"""Paths into JSON values, ``$.card.number`` and the like, and values with what they point at masked.

``.name`` is a field and ``..name`` one at any depth; ``[3]`` is an element, ``[*]`` and ``.*`` are all elements and
fields; ``['odd name']`` is a field whose name has other signs than letters, digits, ``_`` and ``-``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restate_lab.errors import ArgumentError
from restate_lab.redact import MASK

__all__ = ["Step", "is_flat", "masked", "parse_path", "with_changed"]

_STEP = re.compile(
    r"(?P<dots>\.\.?)(?P<name>[\w-]+|\*)|\[(?P<index>\d+|\*)\]|\[(?P<quote>['\"])(?P<quoted>.+?)(?P=quote)\]"
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step down: a field's name, an element's index, or None for all; ``deep`` looks below as well."""

    key: str | int | None
    deep: bool = False

    def fits(self, key: str | int) -> bool:
        """Tell whether the step leads to this field or element."""
        return self.key is None or (self.key == key and isinstance(self.key, type(key)))


def parse_path(text: str) -> tuple[Step, ...]:
    """Return the steps of a path that begins with ``$``.

    Raises:
        ArgumentError: it is no path, or it leads nowhere.
    """
    steps, at = [], 1
    while text.startswith("$") and (found := _STEP.match(text, at)):
        steps.append(_step(found))
        at = found.end()
    if not steps or at != len(text):
        raise ArgumentError(
            f"{text!r} is no path into JSON; these are: $.card.number, $..password (at any depth), $.items[*].iban, "
            f"$['odd name']."
        )
    return tuple(steps)


def masked(value: Any, steps: Sequence[Step]) -> tuple[Any, int]:
    """Return a parsed JSON value with what the path leads to masked, and how much that was."""
    if not steps:
        return MASK, 1
    step, total = steps[0], 0
    changed: dict[Any, Any] = {}
    for key, below in _pairs(value, flat=not isinstance(step.key, str)):
        after, n = masked(below, steps[1:]) if step.fits(key) else (below, 0)
        if step.deep and isinstance(after, dict | list):
            after, deeper = masked(after, steps)
            n += deeper
        if n:
            changed[key] = after
            total += n
    return (with_changed(value, changed), total) if total else (value, 0)


def is_flat(value: Any) -> bool:
    """Tell whether this is a list of values without parts, such as the bytes of a payload: no field is in it."""
    return isinstance(value, list) and {dict, list}.isdisjoint(map(type, value))


def _pairs(value: Any, *, flat: bool) -> Iterable[tuple[Any, Any]]:
    """Return the fields or elements of a value; those of a flat list where they are asked for."""
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) and (flat or not is_flat(value)) else ()


def with_changed(value: Any, changed: Mapping[Any, Any]) -> Any:
    """Return a copy with some of its fields or elements changed."""
    if isinstance(value, dict):
        return {**value, **changed}
    return [changed.get(at, each) for at, each in enumerate(value)]


def _step(found: re.Match[str]) -> Step:
    if found["quoted"] is not None:
        return Step(found["quoted"])
    if found["index"] is not None:
        return Step(None if found["index"] == "*" else int(found["index"]))
    return Step(None if found["name"] == "*" else found["name"], deep=found["dots"] == "..")
