"""Paths into JSON values, ``$.card.number`` and the like, and the rule that masks what they lead to.

``.name`` is a field and ``..name`` one at any depth; ``[3]`` is an element, ``[*]`` and ``.*`` are all elements and
fields; ``['odd name']`` is a field whose name has other signs than letters, digits, ``_`` and ``-``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from restate_lab.errors import ArgumentError
from restate_lab.payload_json import Node, Rule

__all__ = ["PathRule", "Step", "parse_path"]

_STEP = re.compile(
    r"(?P<dots>\.\.?)(?P<name>[\w-]+|\*)|\[(?P<index>\d+|\*)\]|\[(?P<quote>['\"])(?P<quoted>.+?)(?P=quote)\]"
)

# A name that is always spelled by its own characters, or by their unicode escapes.
_PLAIN_NAME = re.compile(r"(?:(?![\U00010000-\U0010ffff])[\w .@-])+")


@dataclass(frozen=True, slots=True)
class Step:
    """One step down: a field's name, an element's index, or None for all; ``deep`` looks below as well."""

    key: str | int | None
    deep: bool = False

    def fits(self, key: str | int) -> bool:
        """Tell whether the step leads to this field or element."""
        return self.key is None or (self.key == key and isinstance(self.key, type(key)))


class PathRule(Rule):
    """Masks what a path leads to; ``label`` and ``strict`` as for every rule."""

    def __init__(self, steps: Sequence[Step], label: str, *, strict: bool) -> None:
        self.label = label
        self.strict = strict
        self._step = steps[0]
        self._rest = PathRule(steps[1:], label, strict=strict) if len(steps) > 1 else None
        self._names = [step.key for step in steps if isinstance(step.key, str)]
        self._plain_names = [name for name in self._names if _PLAIN_NAME.fullmatch(name)]

    def look(self, node: Node, text: str) -> Iterator[tuple[Node, Rule | None]]:
        """Yield the values that the next step leads to, and all others with parts where it goes to any depth."""
        step = self._step
        if node.kind == "numbers" and isinstance(step.key, str):
            return
        for key, below in node.pairs(text):
            fits = step.fits(key)
            if fits:
                yield below, self._rest
            if step.deep and below.kind != "scalar" and not (fits and self._rest is None):
                yield below, self

    def is_mentioned(self, text: str) -> bool:
        """Return whether all names of the path occur in a text; without names, whether there are objects or arrays."""
        for name in self._plain_names:  # many short texts are asked about: a loop is quicker than all()
            if name not in text:
                return False
        return bool(self._names) or "{" in text or "[" in text

    def is_among(self, names: Sequence[str]) -> bool:
        """Return whether all names of the path are among these."""
        return bool(self._names) and set(self._names) <= set(names)


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


def _step(found: re.Match[str]) -> Step:
    if found["quoted"] is not None:
        return Step(found["quoted"])
    if found["index"] is not None:
        return Step(None if found["index"] == "*" else int(found["index"]))
    return Step(None if found["name"] == "*" else found["name"], deep=found["dots"] == "..")
