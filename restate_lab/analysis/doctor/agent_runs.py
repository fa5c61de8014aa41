"""The runs of agents that the checks examine: of handlers that a few of their journals show to be agents.

The census has a few invocations of each handler. If no journal of them has a response of a model, nothing else is read.
Otherwise the runs of these handlers that are in flight or ended recently are read, without the results of tools.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restate_lab._text import plural
from restate_lab.analysis.agents.entries import agent_entries
from restate_lab.analysis.agents.reader import AgentReader, Scope, describe_unread
from restate_lab.analysis.agents.run import AgentRun, read_runs
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.model import RetryingInvocation
from restate_lab.analysis.journal.entries import entries_of

_SAMPLED = 20  # journals of one handler
_MOST_HANDLERS = 100  # whose journals are searched for responses of models
_MOST_ENTRIES = 2_000  # of one journal
_OF_AGENTS = "target_service_name || '/' || target_handler_name IN :handlers AND "
_OPEN, _ENDED = "status <> 'completed'", "status = 'completed' AND completed_at >= :since"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AgentRuns:
    """The runs that were read, and messages about those that were not."""

    runs: tuple[AgentRun, ...] = ()
    excluded: tuple[str, ...] = ()

    def by_handler(self) -> dict[str, list[AgentRun]]:
        """Return the runs of each handler, in the order of their names."""
        handlers: defaultdict[str, list[AgentRun]] = defaultdict(list)
        for run in self.runs:
            handlers[run.handler].append(run)
        return dict(sorted(handlers.items()))


def read_agent_runs(context: CheckContext) -> AgentRuns:
    """Return the runs of agents that are in flight or ended recently."""
    reader, notes = AgentReader(context.source), list[str]()
    handlers = _agent_handlers(context, reader, notes)
    if not handlers:
        return AgentRuns(excluded=tuple(notes))
    rows = _rows_of(context, reader, handlers, notes)
    runs = read_runs(reader, rows)
    notes += describe_unread(sum(run.excluded for run in runs))
    return AgentRuns(tuple(runs), tuple(notes))


def without_models(context: CheckContext, retrying: Sequence[RetryingInvocation]) -> list[RetryingInvocation]:
    """Return the invocations whose journal has no call of a model; only a few journals of each handler are read."""
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
