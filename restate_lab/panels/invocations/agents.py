"""Columns with the turn, the tokens and the cost of agent runs, in a list of the invocations of an agent.

Only rows in view are read, after the list was shown. No prompt, response or argument is in the columns. A list that is
not limited to a service, a handler or ids is not searched for agents, so it costs nothing more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pandas as pd

from restate_lab._cells import is_missing
from restate_lab._text import one_line
from restate_lab.analysis.agents import agent_runs
from restate_lab.analysis.agents.reader import AgentReader
from restate_lab.analysis.invocations.filters import Filters
from restate_lab.errors import NotOnThisServer, RestateLabError
from restate_lab.frames import handler_of, records
from restate_lab.reads import Reads, Stopped
from restate_lab.source import Source

AGENT_COLUMNS = ("turn", "tokens", "cost")
REASON = "agent_note"
"""The column with the reasons for missing values."""
_KINDS = {"turn": "Int64", "tokens": "Int64", "cost": "Float64", REASON: "str"}
_MOST_ROWS = 60  # of one read
_MOST_ENTRIES = 2_000  # of one journal
_SAMPLED = 20  # journals that are searched at once
_WITHIN = "10s"
_PAUSE, _SHARE = 15.0, 20  # seconds between two searches, and at least this many times the duration of a search
_DIGITS = 6
_NOT_READ = "Not read yet: only rows in view are read."
_GONE = "It no longer exists."
_TOO_LARGE = "Its journal has {size:,} entries and was not read here."
_NO_AGENT = "This handler is not an agent, or has not called its model yet."

Row: TypeAlias = Mapping[str, Any]
_Handler: TypeAlias = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class _Cells:
    """The values of one row; ``state`` changes with the progress of its invocation."""

    state: str
    turn: int | None = None
    tokens: int | None = None
    cost: float | None = None
    reason: str | None = None


class AgentColumns:
    """Reads the columns of the rows in view; a handler is an agent's if one of its journals has a model's response."""

    def __init__(self, reads: Source, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reads, self._clock = reads, clock
        self._handlers: set[_Handler] = set()
        self._searched: dict[str, str] = {}
        self._cells: dict[str, _Cells] = {}
        self._search_due = self._read_due = 0.0
        self._is_missing = False  # the source has no payloads

    def add_to(self, frame: pd.DataFrame, filters: Filters) -> pd.DataFrame:
        """Return the frame with the columns, if it is a list of an agent's invocations; otherwise the same frame."""
        if not self._handlers or not is_narrow(filters):
            return frame
        services, handlers = frame["target_service_name"], frame["target_handler_name"]
        if self._handlers.isdisjoint(zip(services, handlers, strict=True)):
            return frame
        cells = [self._value(*each) for each in zip(frame["id"], services, handlers, strict=True)]
        columns = {name: [getattr(each, name) for each in cells] for name in AGENT_COLUMNS}
        columns[REASON] = [each.reason for each in cells]
        return frame.assign(
            **{name: pd.Series(values, index=frame.index, dtype=_KINDS[name]) for name, values in columns.items()}
        )

    def read(self, rows: pd.DataFrame, filters: Filters) -> bool:
        """Read the values of these rows that are missing or outdated; return whether a column has changed."""
        if self._is_missing or not is_narrow(filters) or self._clock() < self._read_due:
            return False
        started = self._clock()
        found = records(rows)
        try:
            has_new = self._find_handlers(found)
            return self._read_runs([row for row in found if handler_of(row) in self._handlers]) or has_new
        except Stopped:
            raise
        except NotOnThisServer:
            self._is_missing = True
            return False
        except RestateLabError:
            self._read_due = self._after(started)
            raise

    def _find_handlers(self, rows: list[dict[str, Any]]) -> bool:
        """Search a few journals of handlers that are not known as agents; return whether some are."""
        wanted = [
            row
            for row in rows
            if handler_of(row) not in self._handlers and self._searched.get(row["id"]) != _state_of(row)
        ][:_SAMPLED]
        if not wanted or self._clock() < self._search_due:
            return False
        started = self._clock()
        agents = AgentReader(Reads(self._reads)).agents([row["id"] for row in wanted])
        self._searched |= {row["id"]: _state_of(row) for row in wanted}
        self._handlers |= {handler_of(row) for row in wanted if row["id"] in agents}
        self._search_due = 0.0 if agents else self._after(started)
        return bool(agents)

    def _after(self, started: float) -> float:
        """Return when a search is due again that found nothing, or failed."""
        now = self._clock()
        return now + max(_PAUSE, _SHARE * (now - started))

    def _read_runs(self, rows: list[dict[str, Any]]) -> bool:
        states = {row["id"]: _state_of(row) for row in rows}
        known = {id_: each.state for id_, each in self._cells.items()}
        wanted = [id_ for id_, state in states.items() if known.get(id_) != state][:_MOST_ROWS]
        sizes = {row["id"]: 0 if is_missing(row["journal_size"]) else int(row["journal_size"]) for row in rows}
        small = [id_ for id_ in wanted if sizes[id_] <= _MOST_ENTRIES]
        runs = agent_runs(self._reads, ids=small, timeout=_WITHIN) if small else pd.DataFrame()
        note = str(runs.attrs.get("cost_note", ""))
        self._cells |= {id_: _Cells(states[id_], reason=_TOO_LARGE.format(size=sizes[id_])) for id_ in wanted}
        self._cells |= {id_: _Cells(states[id_], reason=_GONE) for id_ in small}
        self._cells |= {row["id"]: _cells_of(row, states[row["id"]], note) for row in records(runs)}
        return bool(wanted)

    def _value(self, id_: str, service: str | None, handler: str | None) -> _Cells:
        if (service, handler) not in self._handlers:
            return _Cells("", reason=_NO_AGENT)
        return self._cells.get(id_) or _Cells("", reason=_NOT_READ)


def is_narrow(filters: Filters) -> bool:
    """Return whether the list is limited to services, a handler or ids."""
    return bool(filters.service or filters.handler or filters.id)


def _state_of(row: Row) -> str:
    return " ".join(str(row[name]) for name in ("created_at", "status", "modified_at", "retry_count", "journal_size"))


def _cells_of(row: Row, state: str, cost_note: str) -> _Cells:
    """Return the values of a run; the tokens are the journaled ones, input and output."""
    calls = row["model_calls"]
    tokens = [row[name] for name in ("input_tokens", "output_tokens")]
    cost = row["cost"]
    reasons = [row["note"], cost_note if cost is None and calls else None]
    return _Cells(
        state,
        turn=calls or None,
        tokens=None if None in tokens else sum(each for each in tokens if each is not None),
        cost=None if cost is None else round(cost, _DIGITS),
        reason=one_line("; ".join(each for each in reasons if each), 300) or None,
    )
