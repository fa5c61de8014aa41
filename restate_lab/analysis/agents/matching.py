"""Match the tool calls of a model with the commands that executed them; no entry of a journal has the id of a call.

The commands between a response and the next call of a model belong to the tools of the response. They are aligned in
order, with points for names, for values, for what single calls show about a tool, and for each call that gets a
command. A later payload that repeats a result with the id of its call proves the match.

The time of an alignment grows with commands × calls, since a model can ask for hundreds of calls in one response. Above
``_MOST_PAIRS`` nothing is aligned: the commands are guessed in order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from restate_lab.analysis.agents.entries import AgentEntry, is_own_step
from restate_lab.analysis.agents.model import ToolCall, ToolResult
from restate_lab.analysis.agents.points import Check, CommandName, Pairs, Points, is_equal
from restate_lab.analysis.agents.requests import results_in
from restate_lab.analysis.journal.entries import DONE, OPEN
from restate_lab.reads import no_check

BY_ID, BY_ORDER, GUESSED, UNKNOWN = "by id", "by order", "guessed", "unknown"
_EXECUTING = frozenset({"Run", "Call", "OneWayCall", "Sleep", "Signal", "GetPromise", "AttachInvocation"})
_PARALLEL = frozenset({"Vercel AI", "Pydantic AI"})
_FILLED = 10  # points of a call with a command
_MOST_PAIRS = 1_000_000  # of a command and a call of one response


@dataclass(frozen=True, slots=True)
class MatchedCall:
    """A tool call, the entries that executed it, and how they are known: one of ``BY_ID, BY_ORDER, GUESSED, UNKNOWN``.

    ``repeated`` is its result in a later payload, as the model got it.
    """

    call: ToolCall
    entries: tuple[AgentEntry, ...] = ()
    how: str = UNKNOWN
    repeated: ToolResult | None = None


@dataclass(frozen=True, slots=True)
class ModelTurn:
    """A call of a model, its tool calls, and the commands after it that belong to no tool call."""

    entry: AgentEntry
    calls: tuple[MatchedCall, ...] = ()
    others: tuple[AgentEntry, ...] = ()


@dataclass(slots=True)
class _ToolWindow:
    """The commands between a response and the next call of a model."""

    model: AgentEntry
    commands: list[AgentEntry] = field(default_factory=list)
    is_shared: bool = False
    is_last: bool = False

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return self.model.model.tool_calls if self.model.model else ()


def match_tools(entries: Sequence[AgentEntry], check: Check = no_check) -> tuple[list[AgentEntry], list[ModelTurn]]:
    """Return the entries before the first call of a model, and the turns of the models in the order of their calls.

    ``entries`` are those of one journal, in its order. ``check`` is called often, and ends the work by an error.
    """
    first, windows = _split(entries)
    repeated = _repeated_results(entries, check)
    lessons = _lessons(windows)
    first = [each for each in first if not _is_finished_record(each)]
    return first, [_turn(window, repeated, lessons, check) for window in windows]


def _split(entries: Sequence[AgentEntry]) -> tuple[list[AgentEntry], list[_ToolWindow]]:
    first: list[AgentEntry] = []
    windows: list[_ToolWindow] = []
    for each in entries:
        if each.is_model_call:
            if windows and each.at < windows[-1].model.end:  # two models were called at the same time
                windows[-1].is_shared = True
                windows.append(_ToolWindow(each, is_shared=True))
            else:
                windows.append(_ToolWindow(each))
        elif windows:
            windows[-1].commands.append(each)
        else:
            first.append(each)
    if windows:
        windows[-1].is_last = True
    return first, windows


def _repeated_results(entries: Iterable[AgentEntry], check: Check) -> dict[str, ToolResult]:
    """Return call id → its result in a later payload; ids with different results are omitted."""
    found: dict[str, ToolResult | None] = {}
    for result in _all_results(entries, check):
        known = found.get(result.call_id, result)
        found[result.call_id] = result if known is not None and is_equal(known.value, result.value) else None
    return {id_: result for id_, result in found.items() if result is not None}


def _all_results(entries: Iterable[AgentEntry], check: Check) -> Iterator[ToolResult]:
    for each in entries:
        check()
        if each.model is not None:
            yield from each.model.results
        elif any(key in (each.content.value or b"") for key in (b"call_id", b"toolCallId", b"function_response")):
            yield from results_in(each.value)


def _turn(
    window: _ToolWindow, repeated: Mapping[str, ToolResult], lessons: Mapping[str, set[str]], check: Check
) -> ModelTurn:
    commands = [each for each in window.commands if _may_execute(each)]
    results = [repeated.get(call.id or "") for call in window.calls]
    pairs = Pairs(commands, window.calls, results, check)
    is_small = len(commands) * len(window.calls) <= _MOST_PAIRS
    match = _align_all(window, pairs, lessons) if is_small else _guess_in_order(pairs)
    owned: defaultdict[int, list[int]] = defaultdict(list)
    for at, owner in enumerate(match.owners):
        if owner is not None:
            owned[owner].append(at)
    matched = tuple(
        _match_of(pairs, number, owned[number], is_sure=match.is_sure[number]) for number in range(len(results))
    )
    executing = {id(commands[at]) for positions in owned.values() for at in positions}
    others = tuple(each for each in window.commands if id(each) not in executing and not _is_finished_record(each))
    return ModelTurn(window.model, matched, others)


def _is_finished_record(each: AgentEntry) -> bool:
    """Return whether an entry is a step in which an integration keeps its own records, and has not failed."""
    entry = each.entry
    is_done = entry.status == DONE and each.content.failure is None
    return is_done and entry.entry_type == "Run" and is_own_step(entry.name)


def _may_execute(each: AgentEntry) -> bool:
    entry = each.entry
    is_own = entry.entry_type == "Run" and is_own_step(entry.name)
    is_cancel = entry.entry_type == "Signal" and entry.name == "cancel"
    return entry.entry_type in _EXECUTING and not is_own and not is_cancel


class _Assignment(NamedTuple):
    """The number of the call of each command, or None, and for each call whether its match is sure."""

    owners: list[int | None]
    is_sure: Sequence[bool]


def _align_all(window: _ToolWindow, pairs: Pairs, lessons: Mapping[str, set[str]]) -> _Assignment:
    calls, commands = pairs.calls, pairs.commands
    owners: list[int | None] = [None] * len(commands)
    all_points = pairs.points(lessons) if calls and commands else np.empty((0, 1), np.int64)
    # a command with evidence against each call belongs to the handler itself
    kept = np.flatnonzero(all_points.max(axis=1) >= 0)
    if not len(kept):
        return _Assignment(owners, [False] * len(calls))
    points, chosen = all_points[kept], [commands[at] for at in kept.tolist()]
    first = len(chosen)
    if len(calls) > 1 and _is_parallel(window, chosen):
        first_end = min((each.end for each in chosen), default=0)
        first = max(1, sum(each.at < first_end for each in chosen))  # a tool's first command is before the first result
    is_open = [each.entry.status == OPEN for each in chosen[:first]]
    aligned, is_unique = _align(points[:first], is_open, pairs.check)
    numbers = np.concatenate([aligned, points[first:].argmax(axis=1)])
    for at, owner in zip(kept.tolist(), numbers.tolist(), strict=True):
        owners[at] = owner
    is_clear = is_unique and first == len(chosen) and not window.is_shared
    needs_support = len(calls) > 1 or window.is_last
    unsupported = set(numbers[points[np.arange(len(kept)), numbers] <= 0].tolist())
    return _Assignment(
        owners, [is_clear and not (needs_support and number in unsupported) for number in range(len(calls))]
    )


def _guess_in_order(pairs: Pairs) -> _Assignment:
    last = len(pairs.calls) - 1
    return _Assignment([min(at, last) for at in range(len(pairs.commands))], [False] * len(pairs.calls))


def _match_of(pairs: Pairs, number: int, positions: Sequence[int], *, is_sure: bool) -> MatchedCall:
    call, repeated = pairs.calls[number], pairs.results[number]
    entries = tuple(pairs.commands[at] for at in positions)
    if repeated is not None and (not entries or not pairs.proven()[number].isdisjoint(positions)):
        # without an entry, the result itself is known by the id; with one, the entry has the same value
        return MatchedCall(call, entries, BY_ID, repeated)
    how = UNKNOWN if not entries else BY_ORDER if is_sure and len(entries) == 1 else GUESSED
    return MatchedCall(call, entries, how, repeated)


def _is_parallel(window: _ToolWindow, commands: Sequence[AgentEntry]) -> bool:
    """Return whether the tools of a step start together; a wrapped tool of Pydantic AI is executed in order."""
    framework = window.model.model.framework if window.model.model else ""
    is_wrapped = any((each.entry.name or "").startswith("Calling ") for each in commands)
    return framework in _PARALLEL and not is_wrapped


def _align(points: Points, is_open: Sequence[bool], check: Check = no_check) -> tuple[Points, bool]:
    """Return the call of each command such that the numbers never decrease and the points are the most.

    The second value is whether no other alignment has as many points. Each call with a command adds ``_FILLED``, except
    for an open command without evidence: the calls after the one that it belongs to may not have started.
    """
    is_unclear = np.array(is_open, bool)[:, np.newaxis] & (points <= 0)
    fills = np.where(is_unclear, 0, _FILLED)
    places = np.arange(points.shape[1])
    # the most points of the alignments that end with each call, the number of these alignments (2 is "several"), and
    # for each command the call of the command before it
    best, ways = points[0] + fills[0], np.ones_like(places)
    before = np.empty(points.shape, np.int32)
    for at in range(1, len(points)):
        check()
        earlier = _best_before(best, ways, places)
        # a command without evidence for a call belongs to the same tool as the command before it
        stayed, moved = best + (points[at] == 0), earlier.points + fills[at]
        most = np.maximum(stayed, moved)
        before[at] = np.where(stayed == most, places, earlier.calls)
        ways = np.minimum(np.where(stayed == most, ways, 0) + np.where(moved == most, earlier.ways, 0), 2)
        best = most + points[at]
    is_best = best == best.max()
    owners = np.empty(len(points), np.int64)
    owners[-1] = np.argmax(is_best)
    for at in range(len(points) - 1, 0, -1):
        owners[at - 1] = before[at, owners[at]]
    return owners, bool(ways[is_best].sum() == 1)


class _Best(NamedTuple):
    points: Points
    ways: Points
    calls: Points


def _best_before(best: Points, ways: Points, places: Points) -> _Best:
    """Return for each call the most points of the calls before it, the number of ways to them, and the last such call.

    Running maxima make this linear in the number of calls.
    """
    running = np.maximum.accumulate(best)
    is_most = best == running
    last = np.maximum.accumulate(np.where(is_most, places, 0))
    is_new = np.append(True, running[1:] > running[:-1])
    start = np.maximum.accumulate(np.where(is_new, places, 0))
    counts = np.where(is_most, ways, 0)
    sums = np.cumsum(counts)
    totals = np.minimum(sums - sums[start] + counts[start], 2)
    none = np.iinfo(np.int64).min // 2  # no call is before the first one
    return _Best(np.append(none, running[:-1]), np.append(0, totals[:-1]), np.append(0, last[:-1]))


def _lessons(windows: Sequence[_ToolWindow]) -> dict[str, set[str]]:
    """Return tool → the templates of the commands that it issues, from steps with a single call."""
    lessons: defaultdict[str, set[str]] = defaultdict(set)
    for window in windows[:-1]:  # the tools of the last step may not have been executed
        if len(window.calls) == 1 and isinstance(window.calls[0].arguments, dict) and not window.is_shared:
            templates = (CommandName.of(each).template for each in window.commands if _may_execute(each))
            lessons[window.calls[0].name].update(templates)
    return dict(lessons)
