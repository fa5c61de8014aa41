"""Paths into JSON values, such as ``$.card.number``, and the rule that masks the values at a path.

In a path, ``.name`` is a field and ``..name`` is a field at any depth. ``[3]`` is an element; ``[*]`` and ``.*`` are
all elements and fields. ``['odd name']`` is a field whose name has characters other than letters, digits, ``_``, ``-``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from restate_lab.errors import ArgumentError
from restate_lab.payload_json.masking import MaskRule
from restate_lab.payload_json.scan import Node

_STEP = re.compile(
    r"(?P<dots>\.\.?)(?P<name>[\w-]+|\*)|\[(?P<index>\d+|\*)\]|\[(?P<quote>['\"])(?P<quoted>.+?)(?P=quote)\]"
)

# A name that can only be spelled with its own characters or with Unicode escapes.
_PLAIN_NAME = re.compile(r"(?:(?![\U00010000-\U0010ffff])[\w .@-])+")


@dataclass(frozen=True, slots=True)
class PathStep:
    """One step of a path: a field's name, an element's index, or None for all; ``deep`` matches at any depth."""

    key: str | int | None
    deep: bool = False

    def matches(self, key: str | int) -> bool:
        """Return whether the step matches this field or element."""
        return self.key is None or (self.key == key and isinstance(self.key, type(key)))


class PathRule(MaskRule):
    """Masks the values at a path; ``label`` and ``strict`` are those of ``MaskRule``."""

    def __init__(self, steps: Sequence[PathStep], label: str, *, strict: bool) -> None:
        self.label = label
        self.strict = strict
        self._step = steps[0]
        self._rest = PathRule(steps[1:], label, strict=strict) if len(steps) > 1 else None
        self._names = [step.key for step in steps if isinstance(step.key, str)]
        self._plain_names = [name for name in self._names if _PLAIN_NAME.fullmatch(name)]

    def descend(self, node: Node, text: str) -> Iterator[tuple[Node, MaskRule | None]]:
        """Yield the values that the next step matches; for a deep step, also all other values with parts."""
        step = self._step
        if node.kind == "numbers" and isinstance(step.key, str):
            return
        for key, below in node.pairs(text):
            matches = step.matches(key)
            if matches:
                yield below, self._rest
            if step.deep and below.kind != "scalar" and not (matches and self._rest is None):
                yield below, self

    def is_mentioned(self, text: str) -> bool:
        """Return whether a text contains all names of the path; for a path without names, an object or an array."""
        for name in self._plain_names:  # called for many short texts: a loop is faster than all()
            if name not in text:
                return False
        return bool(self._names) or "{" in text or "[" in text

    def is_among(self, names: Sequence[str]) -> bool:
        """Return whether all names of the path are among these."""
        return bool(self._names) and set(self._names) <= set(names)


def parse_path(text: str) -> tuple[PathStep, ...]:
    """Return the steps of a path that begins with ``$``.

    Raises:
        ArgumentError: the text is not a path, or has no steps.
    """
    steps, at = [], 1
    while text.startswith("$") and (match := _STEP.match(text, at)):
        steps.append(_parse_step(match))
        at = match.end()
    if not steps or at != len(text):
        raise ArgumentError(
            f"{text!r} is not a JSON path; valid paths are for example $.card.number, $..password (at any depth), "
            f"$.items[*].iban, $['odd name']."
        )
    return tuple(steps)


def _parse_step(match: re.Match[str]) -> PathStep:
    if match["quoted"] is not None:
        return PathStep(match["quoted"])
    if match["index"] is not None:
        return PathStep(None if match["index"] == "*" else int(match["index"]))
    return PathStep(None if match["name"] == "*" else match["name"], deep=match["dots"] == "..")
