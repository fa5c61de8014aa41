"""A scope and its limit key: which counters count a call, and which rules match it.

Observed on 1.7.12 with vqueues: a call counts in its scope, in the first level of its limit key, and in the whole limit
key. Each of these three places has at most one rule, whose pattern has as many parts as the place has levels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from restate_lab._text import one_line

_SHOWN = 40  # characters of a name
_ANY = "*"


class ScopeKey(NamedTuple):
    """A scope, or one or two levels of a limit key in it; a rule counts the running calls of such a place."""

    scope: str
    l1: str | None = None
    l2: str | None = None

    def __str__(self) -> str:
        scope = f"scope {one_line(self.scope, _SHOWN)}"
        return f"limit key {one_line(self.limit_key, _SHOWN)} in {scope}" if self.limit_key else scope

    @property
    def limit_key(self) -> str | None:
        """Return the levels of the limit key as one text; None for a whole scope."""
        return "/".join(each for each in self[1:] if each is not None) or None

    @property
    def inside(self) -> str:
        """Return the place after its calls: "in scope red", "with limit key a in scope red"."""
        return f"in {self}" if self.l1 is None else f"with {self}"

    @property
    def level(self) -> int:
        """Return 1 for a scope, 2 and 3 for one and two levels of a limit key."""
        return sum(each is not None for each in self)

    @property
    def levels(self) -> tuple[ScopeKey, ...]:
        """Return the places that count the calls of this one: the scope, then the levels of the limit key."""
        return tuple(self.upper(level) for level in range(1, self.level + 1))

    def upper(self, level: int) -> ScopeKey:
        """Return the place of this level that contains this one."""
        return ScopeKey(self.scope, *self[1:level])

    def contains(self, other: ScopeKey) -> bool:
        """Return whether the calls of another place are counted here, too."""
        return all(mine in (None, theirs) for mine, theirs in zip(self, other, strict=True))

    def has(self, row: Mapping[str, Any]) -> bool:
        """Return whether the calls of a row with ``scope, limit_key`` are counted here."""
        return row["scope"] is not None and self.contains(scope_key_of(row))

    def find_rule(self, patterns: Iterable[str]) -> str | None:
        """Return the pattern of the rule of this place; None without one.

        Of those that match, it is the one that has a name before the others, from left to right, instead of "*".
        """
        names = self[: self.level]
        matching = [parts for parts in (each.split("/") for each in patterns) if _matches(parts, names)]
        return "/".join(min(matching, key=lambda parts: [part == _ANY for part in parts])) if matching else None


def scope_key_of(row: Mapping[str, Any]) -> ScopeKey:
    """Return the scope of a row with ``scope, limit_key``, with its limit key if it has one."""
    levels = str(row["limit_key"]).split("/") if row["limit_key"] else []
    return ScopeKey(str(row["scope"]), *levels[:2])


def counter_key_of(row: Mapping[str, Any]) -> ScopeKey:
    """Return the place of a row with ``scope, l1, l2``, a counter of a rule."""
    return ScopeKey(row["scope"], row["l1"], row["l2"])


def _matches(parts: Iterable[str], names: tuple[str | None, ...]) -> bool:
    pattern = tuple(parts)
    return len(pattern) == len(names) and all(part in {_ANY, name} for part, name in zip(pattern, names, strict=True))
