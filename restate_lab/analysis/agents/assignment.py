"""Decide which tool call each command after a response belongs to.

Order and points give the best alignments. Commands with the same name belong to one tool, wherever a best alignment
allows that; where none does, only evidence of its own gives such a command to a call. A command that can belong to
several tools belongs to none: a tool without a command of its own must not have the result of another.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from restate_lab.analysis.agents.alignment import Alignment, Flags, align
from restate_lab.analysis.agents.entries import AgentEntry
from restate_lab.analysis.agents.points import NEVER, WEAK, Check, CommandName, Pairs, Points
from restate_lab.analysis.journal.entries import OPEN

_MOST_PAIRS = 1_000_000  # of a command and a call of one response
_MOST_TRIALS = 8  # tools that a name is given to on trial
_NONE = -1  # the number of a call that is unknown


class Assignment(NamedTuple):
    """The number of the call of each command, or None, and for each call whether its commands are sure."""

    owners: Sequence[int | None]
    is_sure: Sequence[bool]


def assign(
    pairs: Pairs,
    lessons: Mapping[str, set[str]],
    own_names: Collection[str],
    *,
    is_parallel: bool = False,
    is_last: bool = False,
) -> Assignment:
    """Return the calls of the commands after one response.

    ``own_names`` are the names of steps of the handler itself. With ``is_parallel`` the tools start together. The tools
    of the last response in a journal may not have been executed, so a match there is sure only with evidence.

    The time grows with commands × calls, since a model can ask for hundreds of calls in one response. Above
    ``_MOST_PAIRS`` nothing is aligned: commands are given to the calls in order if all calls have the same tool.
    """
    commands, calls = pairs.commands, pairs.calls
    unsure = [False] * len(calls)
    if len(commands) * len(calls) > _MOST_PAIRS:
        is_one_tool = len({call.name for call in calls}) == 1
        return Assignment([min(at, len(calls) - 1) if is_one_tool else None for at in range(len(commands))], unsure)
    evidence = pairs.points(lessons) if commands and calls else np.empty((len(commands), 1), np.int64)
    kept = _executing(commands, evidence, own_names) if calls else np.empty(0, np.int64)
    owners: list[int | None] = [None] * len(commands)
    if not len(kept):
        return Assignment(owners, unsure)
    chosen = [commands[at] for at in kept.tolist()]
    first = _started_together(chosen) if is_parallel and len(calls) > 1 else len(chosen)
    matching = _matching(chosen, pairs, evidence[kept], pairs.hints()[kept])
    numbers = matching.owners(first)
    for at, number in zip(kept.tolist(), numbers.tolist(), strict=True):
        owners[at] = None if number == _NONE else number
    is_clear = first == len(chosen)
    return Assignment(owners, matching.is_sure(numbers, len(calls) > 1 or is_last) if is_clear else unsure)


def _executing(commands: Sequence[AgentEntry], evidence: Points, own_names: Collection[str]) -> Points:
    """Return the positions of the commands that can execute a tool.

    A command with evidence against each call belongs to the handler itself, and so does one without evidence if the
    handler has such steps where no tool was called.
    """
    most = evidence.max(axis=1)
    is_own = np.array([CommandName.of(each).kind in own_names for each in commands], bool)
    return np.flatnonzero((most > 0) | ((most == 0) & ~is_own))


def _started_together(chosen: Sequence[AgentEntry]) -> int:
    """Return the number of the commands before the first result; the first command of each tool is one of them."""
    first_end = min(each.end for each in chosen)
    return max(1, sum(each.at < first_end for each in chosen))


def _matching(chosen: Sequence[AgentEntry], pairs: Pairs, evidence: Points, hints: Points) -> _Matching:
    names = _numbers([CommandName.of(each).kind or at for at, each in enumerate(chosen)])
    tools = _numbers([call.name for call in pairs.calls])
    is_open = np.array([each.entry.status == OPEN for each in chosen], bool)
    return _Matching(evidence, evidence + hints, names, tools, is_open, pairs.check)


def _numbers(values: Sequence[Hashable]) -> Points:
    """Return a number for each value, from 0 in the order of their first places; equal values have the same."""
    places = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return np.array([places[value] for value in values], np.int64)


class _UnclearName(NamedTuple):
    """The commands of one name that the best alignments give to several tools.

    ``members`` are the positions of the commands, ``tools`` is whether a command (a row) can belong to a tool (a
    column), and ``trials`` has the best alignment for each tool that the whole name can be given to.
    """

    members: Points
    tools: Flags
    trials: Mapping[int, Alignment]


@dataclass(frozen=True, slots=True)
class _Matching:
    """Commands (rows) and calls (columns) with their points; equal ``names`` and ``tools`` have equal numbers.

    ``points`` are those of the evidence and of hints, which decide only between matches with the same evidence. They
    become ``NEVER`` for the other tools, where a name is given to one tool.
    """

    evidence: Points
    points: Points
    names: Points
    tools: Points
    is_open: Flags
    check: Check

    def owners(self, first: int) -> Points:
        """Return the call of each command; only the ``first`` ones are in the order of the calls."""
        owners = np.full(len(self.points), _NONE)
        rows = np.arange(first)
        while len(rows):
            best = align(self.points[rows], self.is_open[rows], self.check)
            unclear = list(self._unclear_names(rows, best))
            if any(self._give_name(rows, best, each) for each in unclear):
                continue
            is_known = self.points[rows, best.owners] >= 0
            for each in unclear:
                is_known[each.members] &= self._is_known(rows, best, each)
            if is_known.all():
                owners[rows] = best.owners
                break
            rows = rows[is_known]
        for at in range(first, len(owners)):
            owners[at] = self._later_owner(at, owners[:first])
        return owners

    def is_sure(self, owners: Points, needs_evidence: bool) -> list[bool]:
        """Return for each call whether the evidence, without hints, allows only the commands that it has."""
        best = align(self.evidence, self.is_open, self.check)
        is_sure = np.full(len(self.tools), best.is_unique)
        is_right = owners == best.owners
        if needs_evidence:
            has_none = ~np.isin(np.arange(len(self.tools)), owners) & (self.evidence.max(axis=0) >= 0)
            others = np.array([bool((has_none & (self.tools != self.tools[owner])).any()) for owner in best.owners])
            support = self.evidence[np.arange(len(owners)), best.owners]
            is_right &= support > np.where(others, WEAK, 0)  # a tool without a command could have this one
        is_sure[best.owners[~is_right]] = False
        is_sure[owners[~is_right & (owners != _NONE)]] = False
        return [bool(each) for each in is_sure]

    def _unclear_names(self, rows: Points, best: Alignment) -> Iterator[_UnclearName]:
        order = np.argsort(self.tools, kind="stable")
        starts = np.searchsorted(self.tools[order], np.arange(self.tools.max() + 1))
        tools = np.logical_or.reduceat(best.possible[:, order], starts, axis=1)
        is_decided = (tools.sum(axis=1) == 1) & (self.evidence[rows, best.owners] > WEAK)
        names = self.names[rows]
        for name in np.unique(names):
            members = np.flatnonzero(names == name)
            if tools[members].any(axis=0).sum() > 1 and not is_decided[members].all():
                yield _UnclearName(members, tools[members], self._trials(rows, best, members, tools[members]))

    def _trials(self, rows: Points, best: Alignment, members: Points, tools: Flags) -> dict[int, Alignment]:
        """Return the best alignments that give all commands of a name to one tool, and lose only weak evidence."""
        trials: dict[int, Alignment] = {}
        candidates = np.flatnonzero(tools.any(axis=0))
        for tool in candidates.tolist() if len(members) > 1 and len(candidates) <= _MOST_TRIALS else ():
            points = self.points[rows]
            points[np.ix_(members, self.tools != tool)] = NEVER
            trial = align(points, self.is_open[rows], self.check)
            if best.total - trial.total <= WEAK * len(members):
                trials[tool] = trial
        return trials

    def _give_name(self, rows: Points, best: Alignment, unclear: _UnclearName) -> bool:
        """Give a name to the only tool with which an alignment is as good; return whether there is one."""
        tools = [tool for tool, trial in unclear.trials.items() if trial.total == best.total]
        if len(tools) != 1:
            return False
        is_named = self.names == self.names[rows[unclear.members[0]]]
        self.points[np.ix_(is_named, self.tools != tools[0])] = NEVER
        return True

    def _is_known(self, rows: Points, best: Alignment, unclear: _UnclearName) -> Flags:
        """Return for each command of an unclear name whether its call is known.

        If the name can be given to one tool such that no call loses its command, the commands that must belong to this
        tool are known. Others need evidence.
        """
        members = unclear.members
        evidence = self.evidence[rows[members], best.owners[members]]
        tools = [tool for tool, trial in unclear.trials.items() if trial.filled == best.filled]
        is_known = evidence > (WEAK if tools else 0)
        if len(tools) == 1:
            is_known |= unclear.tools[:, tools[0]]
        return np.asarray(is_known & (unclear.tools.sum(axis=1) == 1))

    def _later_owner(self, at: int, first: Points) -> int:
        """Return the only call with the most points for a command after the first ones, or ``_NONE``."""
        same = first[(self.names[: len(first)] == self.names[at]) & (first != _NONE)]
        tools = np.unique(self.tools[same])
        best = np.flatnonzero(self.points[at] == self.points[at].max())
        if len(tools) == 1 and len(best) > 1:
            best = best[self.tools[best] == tools[0]]
        if len(best) != 1 or self.points[at, best[0]] < 0:
            return _NONE
        is_other = len(tools) == 1 and self.tools[best[0]] != tools[0]
        return _NONE if is_other and self.evidence[at, best[0]] <= WEAK else int(best[0])
