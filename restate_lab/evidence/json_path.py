"""Paths into JSON values, ``$.card.number`` and the like, and values with what they point at masked.

``.name`` is a field and ``..name`` one at any depth; ``[3]`` is an element, ``[*]`` and ``.*`` are all elements and
fields; ``['odd name']`` is a field whose name has other signs than letters, digits, ``_`` and ``-``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from restate_lab.errors import ArgumentError
from restate_lab.redact import MASK

__all__ = ["Step", "is_flat", "masked", "parse_path"]

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
    pairs = None if isinstance(steps[0].key, str) and is_flat(value) else _pairs(value)
    if pairs is None:
        return value, 0
    total = 0
    kept: list[tuple[Any, Any]] = []
    for key, below in pairs:
        after, n = masked(below, steps[1:]) if steps[0].fits(key) else (below, 0)
        if steps[0].deep:
            after, deeper = masked(after, steps)
            n += deeper
        kept.append((key, after))
        total += n
    if not total:
        return value, 0
    return (dict(kept) if isinstance(value, dict) else [after for _, after in kept]), total


def is_flat(value: Any) -> bool:
    """Tell whether this is a list of values without parts, such as the bytes of a payload: no field is in it."""
    return isinstance(value, list) and {dict, list}.isdisjoint(map(type, value))


def _pairs(value: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else None


def _step(found: re.Match[str]) -> Step:
    if found["quoted"] is not None:
        return Step(found["quoted"])
    if found["index"] is not None:
        return Step(None if found["index"] == "*" else int(found["index"]))
    return Step(None if found["name"] == "*" else found["name"], deep=found["dots"] == "..")
