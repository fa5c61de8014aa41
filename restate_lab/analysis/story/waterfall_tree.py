"""The rows of a waterfall: members in the order of their tree, where equal siblings share one row.

Siblings are equal if they have the same service, handler and status, were found in the same way, are from the
same origin, and have equal members below them. Of equal siblings on the critical path, the longest ones have their own
rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from restate_lab.status import ENDED

_LEAST_EQUAL = 4  # siblings that share a row
_MOST_CRITICAL = 2  # equal siblings with their own row, if their time on the critical path is above the average
_ABOVE = 2  # times the average
_FIRST = 3  # roots that every limit keeps
_KIND = ("service", "handler", "status", "found_by", "origin")


@dataclass(frozen=True, slots=True)
class TreeRow:
    """One member or several equal siblings; ``at`` has their positions in the frame of members, oldest first.

    ``below`` is the number of members below equal siblings, which have no rows.
    """

    at: tuple[int, ...]
    depth: int
    below: int = 0


@dataclass(frozen=True, slots=True)
class MemberTree:
    """The children of each member by position; members with equal ``kinds`` have equal members below them.

    ``critical`` is the time in seconds on the critical path of a member and all members below it, ``sizes`` the number
    of members below it.
    """

    roots: tuple[int, ...]
    children: tuple[tuple[int, ...], ...]
    kinds: tuple[int, ...]
    critical: tuple[float, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, members: pd.DataFrame) -> MemberTree:
        """Return the tree of members whose parents come before their children."""
        at = {id_: number for number, id_ in enumerate(members["id"])}
        parents = [at.get(parent, -1) for parent in members["parent"]]
        children: list[list[int]] = [[] for _ in parents]
        roots: list[int] = []
        for number, parent in enumerate(parents):
            (children[parent] if 0 <= parent < number else roots).append(number)
        names = list(zip(*(members[name] for name in _KIND), strict=True))
        critical = list(members["critical"].dt.total_seconds())
        kinds, sizes, known = [0] * len(names), [0] * len(names), dict[object, int]()
        for number in reversed(range(len(names))):
            below = children[number]
            key = (names[number], tuple(sorted({kinds[each] for each in below})))
            kinds[number] = known.setdefault(key, len(known))
            critical[number] += sum(critical[each] for each in below)
            sizes[number] = len(below) + sum(sizes[each] for each in below)
        return cls(tuple(roots), tuple(map(tuple, children)), tuple(kinds), tuple(critical), tuple(sizes))

    def groups(self, siblings: Sequence[int]) -> list[tuple[int, ...]]:
        """Return siblings as groups of equal ones, in the order of their first members."""
        equal: dict[int, list[int]] = {}
        for each in siblings:
            equal.setdefault(self.kinds[each], []).append(each)
        return sorted(group for each in equal.values() for group in self._split(each))

    def _split(self, equal: list[int]) -> Iterator[tuple[int, ...]]:
        if len(equal) < _LEAST_EQUAL:
            yield from ((each,) for each in equal)
            return
        longest = sorted(equal, key=lambda each: (-self.critical[each], each))[:_MOST_CRITICAL]
        least = _ABOVE * sum(self.critical[each] for each in equal) / len(equal)
        alone = {each for each in longest if self.critical[each] > least}
        yield from ((each,) for each in sorted(alone))
        yield tuple(each for each in equal if each not in alone)


def tree_rows(members: pd.DataFrame) -> list[TreeRow]:
    """Return the rows of all members, parents before children."""
    tree, rows = MemberTree.of(members), list[TreeRow]()
    stack = [(group, 0) for group in reversed(tree.groups(tree.roots))]
    while stack:  # not recursive: a story can be deeper than the stack of Python
        group, depth = stack.pop()
        below = sum(tree.sizes[each] for each in group) if len(group) > 1 else 0
        rows.append(TreeRow(group, depth, below))
        if len(group) == 1:
            stack += [(each, depth + 1) for each in reversed(tree.groups(tree.children[group[0]]))]
    return rows


def limit_rows(rows: Sequence[TreeRow], members: pd.DataFrame, most: int) -> list[TreeRow]:
    """Return at most ``most`` rows: first roots, then those on the critical path, failed ones, open ones, others."""
    if len(rows) <= most:
        return list(rows)
    critical = members["critical"].dt.total_seconds().to_numpy()
    statuses = members["status"].to_numpy()
    is_open = ~np.isin(statuses, ENDED)
    ranks = []
    for number, row in enumerate(rows):
        at = list(row.at)
        time, first = float(critical[at].sum()), row.at[0]
        kind = 1 if statuses[first] == "failed" else 2 if is_open[first] else 3
        is_first = number < _FIRST and row.depth == 0
        ranks.append((-1 if is_first else 0 if time > 0 else kind, -time, number))
    return [rows[number] for _, _, number in sorted(sorted(ranks)[:most], key=lambda each: each[2])]
