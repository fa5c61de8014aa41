"""One run of an agent with the turns of its models and their tool calls, read without the results of tools."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from restate_lab.analysis.agents.entries import AgentEntry, ShapeFunction, agent_entries
from restate_lab.analysis.agents.matching import MatchedCall, ModelTurn, match_tools
from restate_lab.analysis.agents.model import ModelStep, total
from restate_lab.analysis.agents.reader import AgentReader, Row, Scope
from restate_lab.analysis.ids import FIRST_AWAKEABLE
from restate_lab.analysis.journal.entries import FAILED, OPEN, entries_of
from restate_lab.payload_json import write_for_display
from restate_lab.status import STATUSES

REFUSAL, UNKNOWN_TOOL = "a refusal of the model", "a call of an unknown tool"
_REFUSED = re.compile(r"ModelRefusalError|ContentFilterError")
_UNKNOWN_TOOL = re.compile(r"ModelBehaviorError|Tool .{1,80} not found|[Uu]nknown tool")


@dataclass(frozen=True, slots=True)
class AgentRun:
    """One run: its row, its entries with the responses of models, the turns of the models, and the recorded errors."""

    row: Row
    entries: Sequence[AgentEntry]
    turns: Sequence[ModelTurn]
    errors: Sequence[Row]
    excluded: int = 0  # payloads that are too large and were not read

    @property
    def id(self) -> str:
        """Return the id of the invocation."""
        return str(self.row["id"])

    @property
    def handler(self) -> str:
        """Return the handler as "service/handler"."""
        return f"{self.row['service']}/{self.row['handler']}"

    @property
    def is_open(self) -> bool:
        """Return whether the run is in flight."""
        return not self.row["ended"]

    @property
    def has_failed(self) -> bool:
        """Return whether the run ended without success."""
        return self.row["status"] in STATUSES and self.row["status"] != "succeeded" and not self.is_open

    @property
    def calls(self) -> Iterator[tuple[int, MatchedCall]]:
        """Yield the tool calls of the models, each with the number of its turn."""
        return ((number, call) for number, turn in enumerate(self.turns, start=1) for call in turn.calls)

    @property
    def steps(self) -> list[ModelStep]:
        """Return the responses of models."""
        return [turn.entry.model for turn in self.turns if turn.entry.model is not None]

    @property
    def tokens(self) -> int | None:
        """Return the journaled tokens, input and output; None if a response has unknown tokens."""
        return total(*(tokens for step in self.steps for tokens in (step.input_tokens, step.output_tokens)))

    @property
    def last_at(self) -> datetime | None:
        """Return the time of the last entry."""
        times = [time for each in self.entries for time in (each.entry.started, each.entry.completed) if time]
        return max(times, default=None)

    @property
    def repeats_response(self) -> ModelStep | None:
        """Return the response after which each attempt fails: it is the last entry, and an error is recorded after it.

        None if the run is not in flight, or has another last entry.
        """
        last = max(self.entries, key=_position)
        is_after = any((each["after_journal_entry_index"] or 0) >= _position(last) for each in self.errors)
        return last.model if self.is_open and is_after else None

    @property
    def repeated_problem(self) -> str:
        """Return what in its last response makes each attempt fail; "" if an attempt may still succeed."""
        response = self.repeats_response
        return "" if response is None else problem_of_response(response, str(self.errors[-1]["message"] or ""))

    def equal_calls(self) -> Counter[str]:
        """Return tool → how often it was called with the same arguments, at most."""
        calls = Counter((each.call.name, _text_of_arguments(each.call.arguments)) for _, each in self.calls)
        most: Counter[str] = Counter()
        for (tool, _), number in calls.items():
            most[tool] = max(most[tool], number)
        return most

    def failed_calls(self) -> Counter[str]:
        """Return tool → how often it failed, for tools that the model called again after a failure."""
        failures: Counter[str] = Counter()
        first: dict[str, int] = {}
        again: set[str] = set()
        for turn, each in self.calls:
            tool = each.call.name
            if turn > first.get(tool, turn):
                again.add(tool)
            if any(entry.entry.status == FAILED for entry in each.entries):
                failures[tool] += 1
                first.setdefault(tool, turn)
        return Counter({tool: number for tool, number in failures.items() if tool in again})

    def malformed_calls(self) -> Counter[str]:
        """Return tool → how often its arguments were not a JSON object."""
        calls = [each.call for _, each in self.calls]
        return Counter(call.name for call in calls if isinstance(call.arguments, str) and call.arguments.strip())

    @property
    def waiting_tools(self) -> list[str]:
        """Return the tools that may be waiting: those that run at the same time as the last one, or only this one."""
        calls = [call for call in (self.turns[-1].calls if self.turns else ()) if call.entries]
        if not calls:
            return []
        last = max(calls, key=lambda call: max(each.at for each in call.entries))
        start = min(each.at for each in last.entries)
        return [call.call.name for call in calls if call is last or any(each.end > start for each in call.entries)]

    @property
    def is_awaiting_approval(self) -> bool:
        """Return whether the run is suspended until an awakeable or a promise is completed."""
        if self.row["status"] != "suspended":
            return False
        signals = self.row["signals"] if self.row["signals"] is not None else ()
        is_awakeable = any(signal >= FIRST_AWAKEABLE for signal in signals)
        promises = (each.entry.entry_type == "GetPromise" and each.entry.status == OPEN for each in self.entries)
        return is_awakeable or any(promises)


def problem_of_response(response: ModelStep, message: str) -> str:
    """Return what in a journaled response makes an attempt fail with this message, ``REFUSAL`` or ``UNKNOWN_TOOL``.

    "" if the response is not the cause, so that an attempt may still succeed.
    """
    if response.refusal is not None or _REFUSED.search(message):
        return REFUSAL
    return UNKNOWN_TOOL if _UNKNOWN_TOOL.search(message) else ""


def names_response(message: str) -> bool:
    """Return whether the message of an attempt says that a response of a model made it fail."""
    return bool(_REFUSED.search(message) or _UNKNOWN_TOOL.search(message))


def _text_of_arguments(arguments: Any) -> str:
    return write_for_display(dict(sorted(arguments.items())) if isinstance(arguments, dict) else arguments)


def _position(each: AgentEntry) -> int:
    """Return the index of the last row of an entry."""
    return max(each.entry.index or 0, each.entry.completion_index or 0)


def read_runs(
    reader: AgentReader, rows: Mapping[str, Row], shapes: Sequence[ShapeFunction] = (), scope: Scope | None = None
) -> list[AgentRun]:
    """Return the runs of these rows that have a response of a model, or a payload that was not read."""
    models = reader.model_steps(list(rows), shapes, scope)
    agents = {id_: row for id_, row in rows.items() if id_ in models and any(models[id_][:2])}
    errors = reader.errors(list(agents), scope)
    runs = []
    for id_, table in reader.entries(agents, scope).items():
        entries = agent_entries(entries_of(table), models[id_].steps)
        turns = match_tools(entries, reader.source.check)[1]
        runs.append(AgentRun(agents[id_], entries, turns, errors.get(id_, []), models[id_].excluded))
    return runs
