"""Match the tool calls of a model with the commands that executed them; no entry of a journal has the id of a call.

The commands between a response and the next call of a model belong to the tools of the response, or to the handler.
They are aligned in order, with points for names, for values, for what single calls show about a tool, and for each call
that gets a command; ``assignment`` decides. A later payload that repeats a result with the id of its call proves the
match. A call whose result is in the payload of its own response was executed there, and has no command.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from restate_lab.analysis.agents.assignment import assign
from restate_lab.analysis.agents.entries import AgentEntry, is_own_step
from restate_lab.analysis.agents.model import ToolCall, ToolResult
from restate_lab.analysis.agents.points import Check, CommandName, Pairs, is_equal
from restate_lab.analysis.agents.requests import may_have_results, results_in
from restate_lab.analysis.journal.entries import DONE
from restate_lab.reads import no_check

BY_ID, BY_ORDER, GUESSED, UNKNOWN = "by id", "by order", "guessed", "unknown"
_EXECUTING = frozenset({"Run", "Call", "OneWayCall", "Sleep", "Signal", "GetPromise", "AttachInvocation"})
_PARALLEL = frozenset({"Vercel AI", "Pydantic AI", "Restate agent"})


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
    executed: frozenset[str] = frozenset()  # the ids of the calls whose results are in the payload of the response

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return self.model.model.tool_calls if self.model.model else ()

    @property
    def executing(self) -> list[AgentEntry]:
        return [each for each in self.commands if _may_execute(each)]


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What a whole journal shows about its tools.

    ``repeated`` has the results in payloads, by the ids of their calls. ``lessons`` has the templates of the commands
    of tools, from responses with a single call, and ``own_names`` the names of steps where no tool was called.
    """

    repeated: Mapping[str, ToolResult]
    lessons: Mapping[str, set[str]]
    own_names: frozenset[str]


def match_tools(entries: Sequence[AgentEntry], check: Check = no_check) -> tuple[list[AgentEntry], list[ModelTurn]]:
    """Return the entries before the first call of a model, and the turns of the models in the order of their calls.

    ``entries`` are those of one journal, in its order. ``check`` is called often, and ends the work by an error.
    """
    first, windows = _split(entries)
    repeated, own_names = _repeated_results(entries, windows, check), _own_names(first, windows)
    for window in windows:
        window.executed = _executed_within(window, repeated)
    evidence = _Evidence(repeated, _lessons(windows, own_names), own_names)
    first = [each for each in first if not _is_finished_record(each)]
    return first, [_turn(window, evidence, check) for window in windows]


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


def _repeated_results(
    entries: Iterable[AgentEntry], windows: Iterable[_ToolWindow], check: Check
) -> dict[str, ToolResult]:
    """Return call id → its result in a payload; ids of several calls, or with different results, are omitted."""
    calls = Counter(call.id for window in windows for call in window.calls)
    found: dict[str, ToolResult | None] = {}
    for result in _all_results(entries, check):
        known = found.get(result.call_id, result)
        found[result.call_id] = result if known is not None and is_equal(known.value, result.value) else None
    return {id_: result for id_, result in found.items() if result is not None and calls[id_] < 2}


def _all_results(entries: Iterable[AgentEntry], check: Check) -> Iterator[ToolResult]:
    for each in entries:
        check()
        if each.model is not None:
            yield from each.model.results
        elif may_have_results(each.content.value or b""):
            yield from results_in(each.value)


def _turn(window: _ToolWindow, evidence: _Evidence, check: Check) -> ModelTurn:
    commands = window.executing
    results = [evidence.repeated.get(call.id or "") for call in window.calls]
    pairs = Pairs(commands, window.calls, results, check, window.executed)
    is_parallel = _is_parallel(window, commands)
    match = assign(pairs, evidence.lessons, evidence.own_names, is_parallel=is_parallel, is_last=window.is_last)
    owned: defaultdict[int, list[int]] = defaultdict(list)
    for at, owner in enumerate(match.owners):
        if owner is not None:
            owned[owner].append(at)
    matched = tuple(
        _match_of(pairs, number, owned[number], is_sure=match.is_sure[number] and not window.is_shared)
        for number in range(len(results))
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


def _executed_within(window: _ToolWindow, repeated: Mapping[str, ToolResult]) -> frozenset[str]:
    """Return the ids of the calls whose results are in the payload of their own response."""
    results = window.model.model.results if window.model.model else ()
    return frozenset(
        {call.id for call in window.calls if call.id} & {each.call_id for each in results} & repeated.keys()
    )


def _own_names(first: Iterable[AgentEntry], windows: Iterable[_ToolWindow]) -> frozenset[str]:
    """Return the names of the handler's own steps: those before its models, and those where no tool was called."""
    alone = [window for window in windows if window.model.model and not window.calls and not window.is_shared]
    commands = [*filter(_may_execute, first), *(each for window in alone for each in window.executing)]
    return frozenset(kind for each in commands if (kind := CommandName.of(each).kind))


def _lessons(windows: Sequence[_ToolWindow], own_names: frozenset[str]) -> dict[str, set[str]]:
    """Return tool → the templates of the commands that it issues, from steps with a single call."""
    lessons: defaultdict[str, set[str]] = defaultdict(set)
    for window in windows[:-1]:  # the tools of the last step may not have been executed
        if len(window.calls) != 1 or window.is_shared:
            continue
        if isinstance(window.calls[0].arguments, dict):
            names = [CommandName.of(each) for each in window.executing]
            own = [name for name in names if name.kind in own_names]
            if not own or len(own) < len(names):  # only names of the handler: the tool may have them, too
                lessons[window.calls[0].name].update(name.template for name in names if name not in own)
    return dict(lessons)
