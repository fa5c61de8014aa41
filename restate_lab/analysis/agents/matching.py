"""Match the tool calls of a model with the commands that executed them; no entry of a journal has the id of a call.

The commands between a response and the next call of a model belong to the tools of the response. They are aligned in
order, with points for names, for values, for what single calls show about a tool, and for each call that gets a
command. A later payload that repeats a result with the id of its call proves the match.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from restate_lab.analysis.agents.entries import AgentEntry, is_own_step
from restate_lab.analysis.agents.model import ToolCall, ToolResult, parse_arguments, unwrap
from restate_lab.analysis.agents.requests import results_in
from restate_lab.analysis.journal.entries import DONE, OPEN
from restate_lab.payload_json import write_for_display

__all__ = ["BY_ID", "BY_ORDER", "GUESSED", "UNKNOWN", "MatchedCall", "ModelTurn", "match_tools"]

BY_ID, BY_ORDER, GUESSED, UNKNOWN = "by id", "by order", "guessed", "unknown"
_EXECUTING = frozenset({"Run", "Call", "OneWayCall", "Sleep", "Signal", "GetPromise", "AttachInvocation"})
_WITHOUT_COMMANDS = ("transfer_to_", "final_result")  # handoffs, and the output tools of Pydantic AI
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_WRAPPER = frozenset({"calling", "mcp", "tool"})
_PARALLEL = frozenset({"Vercel AI", "Pydantic AI"})
_SAME, _NAME, _VALUE, _LEARNED, _FILLED, _NEVER = 80, 24, 12, 16, 10, -60
_LONGEST = 2_000  # characters of a value that is searched


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


def match_tools(entries: Sequence[AgentEntry]) -> tuple[list[AgentEntry], list[ModelTurn]]:
    """Return the entries before the first call of a model, and the turns of the models in the order of their calls.

    ``entries`` are those of one journal, in its order.
    """
    first, windows = _split(entries)
    repeated = _repeated_results(entries)
    lessons = _lessons(windows)
    first = [each for each in first if not _is_finished_record(each)]
    return first, [_turn(window, repeated, lessons) for window in windows]


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


def _repeated_results(entries: Sequence[AgentEntry]) -> dict[str, ToolResult]:
    """Return call id → its result in a later payload; ids with different results are omitted."""
    found: dict[str, ToolResult | None] = {}
    for result in _all_results(entries):
        known = found.get(result.call_id, result)
        found[result.call_id] = result if known is not None and known.value == result.value else None
    return {id_: result for id_, result in found.items() if result is not None}


def _all_results(entries: Iterable[AgentEntry]) -> Iterable[ToolResult]:
    for each in entries:
        if each.model is not None:
            yield from each.model.results
        elif each.content.value and _may_have_results(each.content.value):
            yield from results_in(each.value)


def _may_have_results(value: bytes) -> bool:
    return any(key in value for key in (b"call_id", b"toolCallId", b"function_response"))


def _turn(window: _ToolWindow, repeated: Mapping[str, ToolResult], lessons: Mapping[str, set[str]]) -> ModelTurn:
    commands = [each for each in window.commands if _may_execute(each)]
    calls = window.calls
    results = [repeated.get(call.id or "") for call in calls]
    assigned, sure = _assign(window, commands, results, lessons)
    matched = tuple(
        _match_of(call, [commands[at] for at, owner in enumerate(assigned) if owner == number], result, is_sure=is_sure)
        for number, (call, result, is_sure) in enumerate(zip(calls, results, sure, strict=True))
    )
    executing = {id(each) for number, each in enumerate(commands) if assigned[number] is not None}
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


def _match_of(
    call: ToolCall, entries: Sequence[AgentEntry], repeated: ToolResult | None, *, is_sure: bool
) -> MatchedCall:
    if repeated is not None and (not entries or any(_equals(each, repeated) for each in entries)):
        # without an entry, the result itself is known by the id; with one, the entry has the same value
        return MatchedCall(call, tuple(entries), BY_ID, repeated)
    how = UNKNOWN if not entries else BY_ORDER if is_sure and len(entries) == 1 else GUESSED
    return MatchedCall(call, tuple(entries), how, repeated)


def _assign(
    window: _ToolWindow,
    commands: Sequence[AgentEntry],
    results: Sequence[ToolResult | None],
    lessons: Mapping[str, set[str]],
) -> tuple[list[int | None], list[bool]]:
    """Return for each command the number of its call or None, and for each call whether its match is sure."""
    calls = window.calls
    all_points = [[_points(each, *pair, lessons) for pair in zip(calls, results, strict=True)] for each in commands]
    # a command that speaks against each call is one of the handler
    kept = [at for at, row in enumerate(all_points) if row and max(row) >= 0]
    assigned: list[int | None] = [None] * len(commands)
    if not kept:
        return assigned, [False] * len(calls)
    points = [all_points[at] for at in kept]
    chosen = [commands[at] for at in kept]
    first = _started_together(chosen) if len(calls) > 1 and _is_parallel(window, chosen) else len(chosen)
    is_open = [each.entry.status == OPEN for each in chosen[:first]]
    owners, is_unique = _align(points[:first], len(calls), is_open)
    for at, owner in zip(kept, [*owners, *map(_best_call, points[first:])], strict=True):
        assigned[at] = owner
    is_clear = is_unique and first == len(chosen) and not window.is_shared
    needs_support = len(calls) > 1 or window.is_last
    supported = [
        all(all_points[at][number] > 0 for at in kept if assigned[at] == number) for number in range(len(calls))
    ]
    return assigned, [is_clear and (each or not needs_support) for each in supported]


def _is_parallel(window: _ToolWindow, commands: Sequence[AgentEntry]) -> bool:
    """Return whether the tools of a step start together; a wrapped tool of Pydantic AI is executed in order."""
    framework = window.model.model.framework if window.model.model else ""
    is_wrapped = any((each.entry.name or "").startswith("Calling ") for each in commands)
    return framework in _PARALLEL and not is_wrapped


def _started_together(commands: Sequence[AgentEntry]) -> int:
    """Return the number of commands before the first result; a tool's first command is among them."""
    end = min((each.end for each in commands), default=0)
    return max(1, sum(each.at < end for each in commands))


def _best_call(row: Sequence[int]) -> int:
    return max(range(len(row)), key=lambda number: (row[number], -number))


def _align(points: Sequence[Sequence[int]], calls: int, is_open: Sequence[bool]) -> tuple[list[int], bool]:
    """Return the call of each command such that the numbers never decrease and the points are the most.

    The second value is whether no other alignment has as many points. Each call with a command adds ``_FILLED``, except
    for an open command without evidence: the calls after the one that it belongs to may not have started.
    """
    # for each call the best alignments that end with it: (points, number of them, owners of the commands)
    best: list[tuple[int, int, list[int]]] = []
    for row, is_still_open in zip(points, is_open, strict=True):
        new: list[tuple[int, int, list[int]]] = []
        for call in range(calls):
            fills = 0 if is_still_open and row[call] <= 0 else _FILLED
            # a command that speaks for no call continues the tool before it
            options = (
                [(best[at][0] + (fills if at != call else not row[call]), *best[at][1:]) for at in range(call + 1)]
                if best
                else [(fills, 1, [])]
            )
            most = max(each[0] for each in options)
            chosen = [each for each in options if each[0] == most]
            new.append((most + row[call], sum(each[1] for each in chosen), [*chosen[-1][2], call]))
        best = new
    most = max(each[0] for each in best)
    chosen = [each for each in best if each[0] == most]
    return chosen[0][2], sum(each[1] for each in chosen) == 1


def _points(each: AgentEntry, call: ToolCall, repeated: ToolResult | None, lessons: Mapping[str, set[str]]) -> int:
    """Return how much the name and the values of a command speak for a call."""
    if call.name.startswith(_WITHOUT_COMMANDS):
        return _NEVER
    points = _SAME if repeated is not None and _equals(each, repeated) else 0
    points += _NAME * _names_match(each, call)
    points += _VALUE * _shared_values(each, call)
    known = lessons.get(call.name)
    if known is not None:
        points += _LEARNED * (_template(each) in known) if known else _NEVER
    return points


def _names_match(each: AgentEntry, call: ToolCall) -> bool:
    tool = _parts_of(call.name)
    target = (each.entry.callee_target or "").split("/")
    texts = [each.entry.name or "", *([target[0], target[-1]] if each.entry.callee_target else [])]
    return bool(tool) and any(tool <= _parts_of(text) or (_parts_of(text) or {""}) <= tool for text in texts)


def _parts_of(name: str) -> set[str]:
    return {part.casefold() for part in _WORD.findall(name)} - _WRAPPER


def _shared_values(each: AgentEntry, call: ToolCall) -> int:
    """Return 2 if a value of the call's arguments is in the command's name or argument, 1 if in its result, else 0."""
    values = [text.casefold() for text in _scalars(call.arguments) if 0 < len(text) < _LONGEST and not text.isspace()]
    if not values:
        return 0
    if _have_value([each.entry.name or "", *_scalars(each.argument)], values):
        return 2
    return 1 if _have_value(_scalars(each.value), values) else 0


def _have_value(texts: Iterable[str], values: Sequence[str]) -> bool:
    """Return whether one of the values is in one of the texts, and not a part of a longer name or number there."""
    searched = [text[:_LONGEST].casefold() for text in texts]
    return any(_has_value(text, value) for text in searched for value in values)


def _has_value(text: str, value: str) -> bool:
    at = text.find(value)
    while at >= 0:
        end = at + len(value)
        if not (_is_letter(text[at - 1 : at]) or _is_letter(text[end : end + 1])):
            return True
        at = text.find(value, at + 1)
    return False


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_"


def _scalars(value: Any, *, most: int = 1_000) -> list[str]:
    """Return the texts and numbers in a value as text."""
    pending, texts, visited = [value], list[str](), 0
    while pending and visited < most:
        each = pending.pop()
        visited += 1
        if isinstance(each, dict | list):
            pending += each.values() if isinstance(each, dict) else each
        elif isinstance(each, str | int | float) and not isinstance(each, bool):
            texts.append(str(each))
    return texts


def _equals(each: AgentEntry, repeated: ToolResult) -> bool:
    """Return whether the value of an entry is the repeated result, also if one of them is text of the other."""
    if not each.content.value:
        return False
    value = unwrap(each.value)
    if isinstance(repeated.value, str) and repeated.value in {repr(value), write_for_display(value)}:
        return True
    return bool(parse_arguments(value) == parse_arguments(repeated.value))


def _lessons(windows: Sequence[_ToolWindow]) -> dict[str, set[str]]:
    """Return tool → the templates of the commands that it issues, from steps with a single call."""
    lessons: defaultdict[str, set[str]] = defaultdict(set)
    for window in windows[:-1]:  # the tools of the last step may not have been executed
        if len(window.calls) == 1 and isinstance(window.calls[0].arguments, dict) and not window.is_shared:
            lessons[window.calls[0].name].update(_template(each) for each in window.commands if _may_execute(each))
    return dict(lessons)


def _template(each: AgentEntry) -> str:
    """Return the type and name of a command without its values: only the first two parts, without numbers."""
    target = each.entry.callee_target or ""
    name = target.partition("/")[0] if target else " ".join((each.entry.name or "").split()[:2])
    return f"{each.entry.entry_type} {re.sub(r'[0-9]+', '0', name)}"
