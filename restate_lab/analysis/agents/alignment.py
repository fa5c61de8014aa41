"""Align the commands after a response with its tool calls: in order, with the most points.

Both go in the order of the journal, so the call of a command is never before that of an earlier command. There can be
several best alignments, and ``possible`` has the calls of a command in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from restate_lab.analysis.agents.points import Check, Points
from restate_lab.reads import no_check

Flags: TypeAlias = npt.NDArray[np.bool_]
_FILLED = 10  # points of a call with a command
_NONE = np.iinfo(np.int64).min // 4  # fewer points than any alignment has


@dataclass(frozen=True, slots=True)
class Alignment:
    """The best alignments of commands (rows) with calls (columns).

    ``owners`` has the call of each command in the first of them, ``most`` the points of the best alignment in which the
    command has this call.
    """

    owners: Points
    most: Points

    @property
    def total(self) -> int:
        """Return the points of the best alignments."""
        return int(self.most[0].max())

    @property
    def possible(self) -> Flags:
        """Return whether a best alignment gives the command this call."""
        return np.asarray(self.most == self.total)

    @property
    def is_unique(self) -> bool:
        """Return whether there is only one best alignment."""
        return bool(self.possible.sum() == len(self.owners))

    @property
    def filled(self) -> int:
        """Return the number of calls that have a command."""
        return len(np.unique(self.owners))


def align(points: Points, is_open: Flags, check: Check = no_check) -> Alignment:
    """Return the best alignments for the points of each command (a row, at least one) with each call (a column).

    Each call with a command adds ``_FILLED``, except for an open command without evidence: the calls after the one that
    it belongs to may not have started. A command without evidence for a call adds a point if the command before it has
    the same call.
    """
    is_unclear = is_open[:, np.newaxis] & (points <= 0)
    fills = np.where(is_unclear, 0, _FILLED)
    until, after = _until(points, fills, check), _after(points, fills, check)
    most = until + after
    return Alignment(np.array([*_first_best(points, fills, until, after)], np.int64), most)


def _until(points: Points, fills: Points, check: Check) -> Points:
    """Return the most points of the commands up to each one, if it has this call."""
    until = np.empty_like(points)
    until[0] = points[0] + fills[0]
    for at in range(1, len(points)):
        check()
        earlier = np.maximum.accumulate(np.append(_NONE, until[at - 1, :-1]))  # the most of the calls before
        until[at] = points[at] + np.maximum(until[at - 1] + (points[at] == 0), earlier + fills[at])
    return until


def _after(points: Points, fills: Points, check: Check) -> Points:
    """Return the most points of the commands after each one, if it has this call."""
    after = np.zeros_like(points)
    for at in range(len(points) - 1, 0, -1):
        check()
        here = points[at] + after[at]
        later = np.maximum.accumulate(np.append(_NONE, (here + fills[at])[:0:-1]))[::-1]  # the most of the calls after
        after[at - 1] = np.maximum(here + (points[at] == 0), later)
    return after


def _first_best(points: Points, fills: Points, until: Points, after: Points) -> Iterator[int]:
    """Yield the call of each command in the best alignment that has the first call at each command."""
    owner = int((until[0] + after[0]).argmax())
    yield owner
    for at in range(1, len(points)):
        steps = fills[at].copy()
        steps[:owner], steps[owner] = _NONE, int(points[at, owner] == 0)
        owner = int((steps + points[at] + after[at]).argmax())
        yield owner
