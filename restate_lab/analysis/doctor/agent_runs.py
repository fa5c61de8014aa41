"""The runs of agents that the checks examine: of handlers that a few of their journals show to be agents.

The census has a few invocations of each handler. If no journal of them has a response of a model, nothing else is read.
Otherwise the runs of these handlers that are in flight or ended recently are read, without the results of tools.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from restate_lab._text import plural
from restate_lab.analysis.agents.entries import AgentEntry, agent_entries
from restate_lab.analysis.agents.matching import MatchedCall, ModelTurn, match_tools
from restate_lab.analysis.agents.model import ModelStep, total
from restate_lab.analysis.agents.reader import MOST_BYTES, AgentReader, Scope
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.model import RetryingInvocation
from restate_lab.analysis.ids import FIRST_AWAKEABLE
from restate_lab.analysis.journal.entries import FAILED, OPEN, entries_of
from restate_lab.payload_json import write_for_display
from restate_lab.status import STATUSES

__all__ = ["AgentRun", "AgentRuns", "read_agent_runs", "without_models"]

_SAMPLED = 20  # journals of one handler
_MOST_HANDLERS = 100  # whose journals are searched for responses of models
_MOST_ENTRIES = 2_000  # of one journal
_OF_AGENTS = "target_service_name || '/' || target_handler_name IN :handlers AND "
_OPEN, _ENDED = "status <> 'completed'", "status = 'completed' AND completed_at >= :since"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AgentRun:
    """One run: its row, its entries with the responses of models, the turns of the models, and the recorded errors."""

    row: Row
    entries: Sequence[AgentEntry]
    turns: Sequence[ModelTurn]
    errors: Sequence[Row]
    excluded: int = 0
    """The number of payloads that are too large and were not read."""

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
        """Return the journaled tokens, input and output; None if those of a response are unknown."""
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


def _text_of_arguments(arguments: Any) -> str:
    return write_for_display(dict(sorted(arguments.items())) if isinstance(arguments, dict) else arguments)


def _position(each: AgentEntry) -> int:
    """Return the index of the last row of an entry."""
    return max(each.entry.index or 0, each.entry.completion_index or 0)


@dataclass(frozen=True, slots=True)
class AgentRuns:
    """The runs that were read, and messages about those that were not."""

    runs: tuple[AgentRun, ...] = ()
    excluded: tuple[str, ...] = ()

    def by_handler(self) -> dict[str, list[AgentRun]]:
        """Return the runs of each handler, in the order of their names."""
        names = sorted({run.handler for run in self.runs})
        return {name: [run for run in self.runs if run.handler == name] for name in names}


def read_agent_runs(context: CheckContext) -> AgentRuns:
    """Return the runs of agents that are in flight or ended recently."""
    reader, notes = AgentReader(context.source), list[str]()
    handlers = _agent_handlers(context, reader, notes)
    if not handlers:
        return AgentRuns(excluded=tuple(notes))
    rows = _rows_of(context, reader, handlers, notes)
    models = reader.model_steps(list(rows), ())
    agents = {id_: row for id_, row in rows.items() if id_ in models}
    entries, errors = reader.entries(agents), reader.errors(list(agents))
    runs = [
        _run_of(agents[id_], table, models[id_].steps, errors.get(id_, []), models[id_].excluded)
        for id_, table in entries.items()
    ]
    if excluded := sum(run.excluded for run in runs):
        notes.append(f"not read, because they have more than {MOST_BYTES >> 20} MiB: {plural(excluded, 'payload')}")
    return AgentRuns(tuple(runs), tuple(notes))


def without_models(context: CheckContext, retrying: Sequence[RetryingInvocation]) -> list[RetryingInvocation]:
    """Return those of these invocations whose journal has no call of a model; only a few of each handler are read."""
    reader = AgentReader(context.source)
    counts: Counter[str] = Counter()
    chosen = []
    for each in retrying:
        counts[each.target] += 1
        chosen += [each] if counts[each.target] <= _SAMPLED else []
    if len(chosen) < len(retrying):
        context.excluded.append(f"only {_SAMPLED} failing invocations of a handler were searched for calls of models")
    rows = reader.chosen([each.id for each in chosen])
    models = reader.model_steps(list(rows), ())
    journals = {id_: agent_entries(entries_of(table), {}) for id_, table in reader.entries(rows).items()}
    callers = {id_ for id_, entries in journals.items() if any(each.is_model_call for each in entries)}
    return [each for each in chosen if each.id in journals and each.id not in models and each.id not in callers]


def _agent_handlers(context: CheckContext, reader: AgentReader, notes: list[str]) -> list[str]:
    """Return the handlers, as "service/handler", of which a journal has a response of a model."""
    samples = context.census.samples_by_handler()
    if len(samples) > _MOST_HANDLERS:
        notes.append(f"only the journals of {_MOST_HANDLERS} of {len(samples):,} handlers were searched for agents")
    owners = {
        id_: "/".join(handler) for handler, ids in list(samples.items())[:_MOST_HANDLERS] for id_ in ids[:_SAMPLED]
    }
    models = reader.model_steps(list(owners), ()) if owners else {}
    return sorted({owners[id_] for id_, each in models.items() if each.steps})


def _rows_of(context: CheckContext, reader: AgentReader, handlers: list[str], notes: list[str]) -> dict[str, Row]:
    most = context.thresholds.agent_runs
    rows: dict[str, Row] = {}
    conditions = {
        "in flight": Scope(_OF_AGENTS + _OPEN, {"handlers": handlers}),
        "that ended recently": Scope(
            _OF_AGENTS + _ENDED, {"handlers": handlers, "since": context.now - context.thresholds.recent}
        ),
    }
    for kind, scope in conditions.items():
        read = reader.recent(scope, most + 1)
        if len(read) > most:
            notes.append(f"only the {most:,} newest runs of agents {kind} were read")
        rows |= dict(list(read.items())[:most])
    large = [id_ for id_, row in rows.items() if (row["journal_size"] or 0) > _MOST_ENTRIES]
    if large:
        notes.append(
            f"{plural(len(large), 'journal')} of agents with more than {_MOST_ENTRIES:,} entries were not read"
        )
    return {id_: row for id_, row in rows.items() if id_ not in large}


def _run_of(
    row: Row, table: pa.Table, steps: Mapping[int, ModelStep], errors: Sequence[Row], excluded: int
) -> AgentRun:
    entries = agent_entries(entries_of(table), steps)
    return AgentRun(row, entries, match_tools(entries)[1], errors, excluded)
