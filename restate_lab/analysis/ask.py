"""Ask any named question: those in SQL, and those that are functions.

The questions about agents are functions, because only the shape of a payload shows what a step is.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab._text import join
from restate_lab.analysis.agents import runs_frame
from restate_lab.analysis.agents.model import TOKENS, ModelStep
from restate_lab.analysis.agents.prices import PriceTable, price_table
from restate_lab.analysis.agents.reader import MOST_RUNS, AgentReader, RunSelection, Scope, select_runs
from restate_lab.analysis.agents.tools import read_selected_runs, tools_frame
from restate_lab.analysis.draining import read_draining
from restate_lab.analysis.draining.stuck import read_stuck_without
from restate_lab.analysis.questions import QuestionFunction, run_question
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import Truncated
from restate_lab.frames import records, rows_to_table, to_frame
from restate_lab.reads import Reads
from restate_lab.source import Source, decoding_of

_GROUP = ["service", "handler", "models"]
_SUMS = ("model_calls", "tool_calls", "spent_tokens", "wasted_tokens", "saved_tokens", "cost")
_RUN: Mapping[str, pa.DataType] = dict.fromkeys(("id", "service", "handler", "key", "status"), pa.string())
_TIME = pa.timestamp("ms", "UTC")


@translate_errors
def ask(source: Source, name: str, /, *, timeout: DurationInput | None = "2m", **params: Any) -> pd.DataFrame:
    """Ask a source a named question and return its rows.

        rl.ask(lab, "retry_storm", service="Payments")
        rl.ask(lab, "wakes_next", until="2h", limit=None)

    ``questions(full=True)`` lists the questions, their rows and their parameters. A time is an age ("2h", a timedelta),
    an aware datetime, or an ISO string with its zone. Ids are one id, a list, a Series, or a frame with a column
    ``id``. ``limit=None`` reads all rows. ``now=`` sets the time that ages are relative to. ``timeout`` is for the
    whole call. A heavy question first shows what it reads: on stderr, or below a notebook's cell while it runs.

    ``frame.attrs`` records the request: ``question, variant`` (the file), ``sql`` (with its parameters unbound),
    ``params, source, version, asked_at, read_at, seconds``, and ``truncated`` if the limit removed rows. In this case
    there is also a warning (Truncated). The questions about agents and backlogs send several statements: ``sql`` is "",
    ``queries`` has the statements, and ``not_read`` lists the parts that were not read, such as payloads.

    Raises:
        ArgumentError: the question or a parameter is unknown, a value is invalid, or the result is empty and its
            service or handler does not exist.
        NotOnThisServer: the source does not have the tables, columns or features of the question, or is too old.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: any error of ``source.sql``.
    """
    frame = run_any_question(source, name, timeout=timeout, **params)
    if "truncated" in frame.attrs:
        warnings.warn(
            frame.attrs["truncated"]["message"], Truncated, stacklevel=3
        )  # point to the caller of the decorated function
    return frame


@translate_errors
def run_any_question(
    source: Source, name: str, /, *, timeout: DurationInput | None = None, **params: Any
) -> pd.DataFrame:
    """Return the frame of ``ask`` without its warning, for callers that report truncated rows in another way.

    Raises:
        The same errors as ``ask``.
    """
    return run_question(source, name, QUESTION_FUNCTIONS, timeout=timeout, **params)


def _spend(source: Reads, values: Mapping[str, Any]) -> pd.DataFrame:
    """Return the sums of ``agent_runs``; a sum is unknown if it is unknown for each run.

    Without payloads, the archive of a history has the tokens of each response; what a replay saved is unknown there.
    """
    reader = AgentReader(source, decoding_of(source))
    if source.has("agent_steps.id"):
        runs = _archived_runs(source, values)
    else:
        runs = runs_frame(reader, _select(reader, values), (), price_table(None))
    groups = runs.groupby(_GROUP, dropna=False)
    sums = groups[list(_SUMS)].sum(min_count=1)
    sums.insert(0, "runs", groups.size())
    sums["runs_without_cost"] = sums["runs"] - groups["cost"].count()
    rows = sums.reset_index().sort_values(["spent_tokens", *_GROUP], ascending=[False, True, True, True])
    frame = rows.reset_index(drop=True)
    frame.attrs = runs.attrs
    return frame


def _archived_runs(source: Reads, values: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row per run of an agent, with the columns that ``agent_spend`` sums, from the archived responses."""
    prices = price_table(None)
    steps = source.frame("archived_model_steps", since=values["since"], service=values["service"])
    steps["cost"] = [_cost_of(row, prices) for row in records(steps)]
    own = steps[steps["appended_at"].isna() | (steps["appended_at"] >= steps["created_at"])].copy()
    own["spent_tokens"] = own["input_tokens"] + own["output_tokens"]
    own["wasted_tokens"] = own["spent_tokens"].where(own["is_wasteful"], 0)
    by_run = own.groupby(["id", "service", "handler"], as_index=False)
    runs = by_run.agg(
        models=("model", lambda names: join(names.dropna()) or None),
        model_calls=("id", "size"),
        tool_calls=("tool_calls", "sum"),
        spent_tokens=("spent_tokens", "sum"),
        wasted_tokens=("wasted_tokens", "sum"),
        cost=("cost", lambda costs: costs.sum(skipna=False)),
    )
    runs["saved_tokens"] = pd.array([None] * len(runs), "Int64")
    runs.attrs = {"unpriced": list(prices.unpriced), "cost_note": prices.note}
    return runs


def _cost_of(row: Mapping[str, Any], prices: PriceTable) -> float | None:
    tokens: dict[str, Any] = {name: None if row[name] is None else int(row[name]) for name in TOKENS}
    step = ModelStep(row["framework"], model=row["model"], **tokens)
    return prices.cost(step, row["appended_at"])


def _tools(source: Reads, values: Mapping[str, Any]) -> pd.DataFrame:
    reader = AgentReader(source, decoding_of(source))
    return tools_frame(reader, select_runs(reader, service=values["service"], since=values["since"], ids=values["ids"]))


def _loops(source: Reads, values: Mapping[str, Any]) -> pd.DataFrame:
    reader = AgentReader(source, decoding_of(source))
    selection = _select(reader, values)
    runs, notes = read_selected_runs(reader, selection)
    rows = [
        {**_row_of(run.row), "created_at": run.row["created_at"], "tool": tool, "equal_calls": number}
        for run in runs
        for tool, number in run.equal_calls().items()
        if number >= values["at_least"]
    ]
    rows.sort(key=lambda row: (-row["equal_calls"], row["id"], row["tool"]))
    columns: dict[str, pa.DataType] = {**_RUN, "created_at": _TIME, "tool": pa.string(), "equal_calls": pa.int64()}
    return _frame(rows, columns, selection, notes)


def _waits(source: Reads, values: Mapping[str, Any]) -> pd.DataFrame:
    reader = AgentReader(source, decoding_of(source))
    reader.check_payloads()
    where, params = "status = 'suspended'", {}
    if values["service"] is not None:
        where, params = f"{where} AND target_service_name = :service", {"service": values["service"]}
    scope = Scope(where, params)
    rows = reader.recent(scope, MOST_RUNS + 1)
    message = f"only the {MOST_RUNS:,} newest suspended invocations were read" if len(rows) > MOST_RUNS else ""
    selection = RunSelection(dict(list(rows.items())[:MOST_RUNS]), scope, message)
    runs, notes = read_selected_runs(reader, selection)
    waiting = [
        {**_row_of(run.row), "waiting_since": run.last_at, "tools": run.waiting_tools}
        for run in runs
        if run.is_awaiting_approval and source.now - (run.last_at or source.now) >= values["older_than"]
    ]
    waiting.sort(key=lambda row: (row["waiting_since"], row["id"]))
    columns: dict[str, pa.DataType] = {**_RUN, "waiting_since": _TIME, "tools": pa.list_(pa.string())}
    return _frame(waiting, columns, selection, notes)


def _coverage(source: Reads, values: Mapping[str, Any]) -> pd.DataFrame:
    gaps = sorted(source.coverage.gaps, key=lambda gap: (gap.since, gap.service, gap.handler))
    rows = [
        {
            "service": gap.service,
            "handler": gap.handler,
            "missing_from": gap.since,
            "missing_until": gap.until,
            "reason": gap.reason,
        }
        for gap in gaps
        if values["service"] in (None, gap.service)
    ]
    columns = dict.fromkeys(("service", "handler"), pa.string()) | dict.fromkeys(
        ("missing_from", "missing_until"), _TIME
    )
    return to_frame(rows_to_table(rows, {**columns, "reason": pa.string()}))


QUESTION_FUNCTIONS: Mapping[str, QuestionFunction] = {
    "agent_spend": _spend,
    "agent_tools": _tools,
    "agent_loops": _loops,
    "agent_waits": _waits,
    "coverage": _coverage,
    "draining": read_draining,
    "stuck_without": read_stuck_without,
}


def _select(reader: AgentReader, values: Mapping[str, Any]) -> RunSelection:
    return select_runs(reader, service=values["service"], since=values["since"])


def _row_of(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _RUN}


def _frame(
    rows: list[dict[str, Any]], columns: Mapping[str, pa.DataType], selection: RunSelection, notes: list[str]
) -> pd.DataFrame:
    frame = to_frame(rows_to_table(rows, columns))
    frame.attrs = {"not_read": notes, **selection.attrs}
    return frame
