"""The wait of an agent in its own terms: the tool that the invocation executes, and the model that called it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from restate_lab._text import join, one_line
from restate_lab.analysis.agents.entries import AgentEntry, agent_entries
from restate_lab.analysis.agents.matching import BY_ID, GUESSED, MatchedCall, ModelTurn, match_tools
from restate_lab.analysis.agents.model import ModelStep
from restate_lab.analysis.agents.notes import MOST_BYTES
from restate_lab.analysis.agents.reader import AgentReader
from restate_lab.analysis.agents.run import REFUSAL, UNKNOWN_TOOL, problem_of_response
from restate_lab.analysis.journal.entries import OPEN, entries_of
from restate_lab.analysis.journal.errors import JournalEvent
from restate_lab.analysis.journal.reader import Invocation
from restate_lab.errors import NotOnThisServer
from restate_lab.reads import Reads

_MOST_ENTRIES = 2_000
_WIDTH = 60  # characters of a name
_PROBLEMS = {REFUSAL: "refused, and the refusal", UNKNOWN_TOOL: "called an unknown tool, and the call"}


@dataclass(frozen=True, slots=True)
class AgentWait:
    """What an agent does: ``text`` is "waits for its tool “get_weather”, called by gpt-4o in turn 2".

    ``problem`` is what in its last response makes each attempt fail, "a refusal of the model"; "" if an attempt may
    succeed. Both are "" for other invocations, and if the source has no payloads.
    """

    text: str = ""
    problem: str = ""


def read_agent_wait(reads: Reads, invocation: Invocation) -> AgentWait:
    """Return what an open invocation of an agent does.

    One statement reads the responses of models; neither their text nor the arguments of tools are in the result.
    """
    table = invocation.entries
    if not 0 < table.num_rows <= _MOST_ENTRIES or (pc.sum(table["size"]).as_py() or 0) > MOST_BYTES:
        return AgentWait()
    entries = entries_of(table)
    reader = AgentReader(reads)
    if not any(each.entry_type == "Run" and each.completion_index is not None for each in entries):
        return AgentWait()
    try:
        reader.check_payloads()
    except NotOnThisServer:
        return AgentWait()
    found = reader.model_steps([invocation.id], ()).get(invocation.id)
    if found is None:
        return AgentWait()
    turns = match_tools(agents := agent_entries(entries, found.steps), reads.check)[1]
    errors = [event for event in invocation.events or () if event.message]
    return _describe(agents, turns, errors[-1] if errors else None)


def _describe(entries: Sequence[AgentEntry], turns: Sequence[ModelTurn], error: JournalEvent | None) -> AgentWait:
    steps = [turn.entry.model for turn in turns if turn.entry.model is not None]
    if not steps:
        return AgentWait()
    turn, number, model = turns[-1], len(turns), _name_of(steps[-1])
    if turn.entry.model is None:
        return AgentWait(f"waits for the response of {model} in turn {number}")
    failing = error.command_index if error else None
    call = _executing(turn, failing)
    if call is not None:
        return AgentWait(f"waits for {_tool_of(turn, call, failing)}, called by {model} in turn {number}")
    if any(each.entry.status == OPEN for each in turn.others) and len(tools := _possible_tools(turn)) > 1:
        return AgentWait(f"waits for one of its tools {join(map(_quote, tools))}, called by {model} in turn {number}")
    is_last = not any(each.entry.index is not None and each.entry.index > turn.entry.end for each in entries)
    message = (error.message if error else None) or ""
    problem = problem_of_response(turn.entry.model, message) if is_last else ""
    if not problem:
        return AgentWait()
    return AgentWait(f"repeats turn {number} in every attempt: {model} {_PROBLEMS[problem]} is in the journal", problem)


def _tool_of(turn: ModelTurn, call: MatchedCall, failing: int | None) -> str:
    """Return the tool that is executed, with its step; if others may be meant, the tools that have been started."""
    others = list(dict.fromkeys(each.call.name for each in turn.calls if each.entries))
    if call.how == GUESSED and len(others) > 1:
        return f"one of its tools {join(map(_quote, others))}"
    # The author of the handler chose the name of the open step.
    names = {each.entry.command_index: each.entry.name for each in call.entries if each.entry.status == OPEN}
    step = names.get(failing) if failing in names else next(iter(names.values()), None)
    return f"its tool {_quote(call.call.name)}{f' (step {_quote(step)})' if step else ''}"


def _possible_tools(turn: ModelTurn) -> list[str]:
    """Return the tools that an open step without a known tool can belong to: those that have other steps, else all."""
    calls = [call for call in turn.calls if call.how != BY_ID]
    started = [call for call in calls if call.entries]
    return list(dict.fromkeys(call.call.name for call in (started if len(started) > 1 else calls)))


def _quote(name: str) -> str:
    return f"“{one_line(name, _WIDTH)}”"


def _name_of(step: ModelStep) -> str:
    name = step.model or step.model_asked
    return one_line(name, _WIDTH) if name else "the model"


def _executing(turn: ModelTurn, failing: int | None) -> MatchedCall | None:
    calls = [call for call in turn.calls if any(each.entry.status == OPEN for each in call.entries)]
    owners = [call for call in calls if any(each.entry.command_index == failing for each in call.entries)]
    return next(iter(owners if failing is not None and owners else calls), None)
