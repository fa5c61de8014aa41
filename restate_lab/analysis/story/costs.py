"""The tokens and the cost of the members that are agents, as ``agent_runs`` computes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from restate_lab._text import plural
from restate_lab.analysis.agents import read_agent_runs
from restate_lab.analysis.agents.reader import AgentReader
from restate_lab.analysis.story.journals import StoryJournal
from restate_lab.errors import NotOnThisServer, TimedOut
from restate_lab.frames import records
from restate_lab.payload_json import Decoding
from restate_lab.reads import Reads

_MOST_DECODED = 1_000  # members whose payloads are decoded to find agents


def read_costs(
    reads: Reads, decoding: Decoding | None, journals: Iterable[StoryJournal]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return id → ``model_calls, tokens, cost`` of the members that are agents, and the reasons for missing ones."""
    with_steps = [journal.run.id for journal in journals if any(entry.type == "Run" for entry in journal.entries)]
    try:
        ids, reasons = _agents(AgentReader(reads, decoding), with_steps)
        rows = records(read_agent_runs(reads, ids=ids)) if ids else []
    except NotOnThisServer:
        return {}, []
    except TimedOut as error:
        return {}, [f"the tokens and costs of agents were not read: {error}"]
    return {row["id"]: _fields(row) for row in rows}, reasons


def _agents(reader: AgentReader, ids: Sequence[str]) -> tuple[list[str], list[str]]:
    if reader.decoding is None:
        return list(reader.agents(ids)), []
    left = len(ids) - _MOST_DECODED
    reasons = [f"the payloads of {plural(left, 'invocation')} were not decoded to find agents"] if left > 0 else []
    return list(ids[:_MOST_DECODED]), reasons


def _fields(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {"model_calls": row["model_calls"], "tokens": row["spent_tokens"], "cost": row["cost"]}
