"""Plots of AI agents: where the time of one run went, and where the tokens of many runs went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta, tzinfo
from types import MappingProxyType
from typing import Any, Literal, get_args

import pandas as pd
from matplotlib.axes import Axes

from restate_lab._text import format_duration, plural
from restate_lab.analysis.agents.result import Conversation
from restate_lab.analysis.agents.turns import Turn
from restate_lab.analysis.journal.entries import FAILED
from restate_lab.analysis.times import to_zone
from restate_lab.errors import ArgumentError
from restate_lab.plots.bars import MOST, Bar, bars_of, draw_bars, height_for, name_rows
from restate_lab.plots.colours import NEUTRAL, PALETTE, FillStyle, mix_colours, status_style
from restate_lab.plots.inputs import RequiredColumns, numbers
from restate_lab.plots.style import Canvas, canvas_on
from restate_lab.plots.units import (
    DATE,
    NARROWEST_BAR,
    SHORTEST_AXIS,
    format_number_axis,
    format_time_axis,
    to_axis_days,
)
from restate_lab.status import OUTCOMES

_RUNS = RequiredColumns(
    "plot_spend",
    "rl.agent_runs(lab)",
    ("service", "models", "status", "created_at", "spent_tokens", "wasted_tokens", "saved_tokens", "cost"),
)
SpendGroup = Literal["service", "model", "day", "outcome"]
_COLUMNS: Mapping[str, str] = MappingProxyType({"service": "service", "model": "models", "outcome": "status"})
_SPEND = {"used": NEUTRAL, "wasted": status_style("failed")}
_STYLES = {
    "model": PALETTE[0],
    "tool": PALETTE[2],
    "other step": FillStyle(status_style("scheduled").colour),
    "person": FillStyle(OUTCOMES["waiting"].colour, "////"),
    "failing": FillStyle(OUTCOMES["retrying"].colour, "xxx"),
    "failed": FillStyle(OUTCOMES["failed"].colour, status_style("failed").hatch),
}
"""What a turn is → its style."""
_PEOPLE = frozenset({"Signal", "GetPromise"})
_MOST_TURNS = 60
_ROOM, _ROOM_OF_LETTER = 0.28, 0.0085  # share of the axis after the last bar, for its note, and for a letter of it


def plot_spend(
    runs: pd.DataFrame, /, *, by: SpendGroup = "service", ax: Axes | None = None, tz: str | tzinfo = "UTC"
) -> Axes:
    """Draw the journaled tokens that agents spent, one bar per service, model, day or outcome, the longest first.

    The wasted part of a bar are the tokens of runs that failed or were killed. The note after a bar has the number of
    runs, their cost, and the tokens that were not paid again because a step was replayed or copied. Runs whose tokens
    are unknown are not drawn; the title has their number. A run with several models has a bar of its own kind.

    ``runs`` is the frame of ``rl.agent_runs(lab)``. The plot reads ``service, models, status, created_at, spent_tokens,
    wasted_tokens, saved_tokens, cost``. ``by`` is "service", "model", "day" or "outcome". Days are in order and in the
    zone ``tz``. After 30 bars, all others are combined into one bar, "others".

    Raises:
        ArgumentError: a required column is missing, ``by`` is unknown, ``ax`` is not Axes, or ``tz`` is not a time
            zone.
    """
    if by not in get_args(SpendGroup):
        raise ArgumentError(f"by is {by!r}; choose from {', '.join(map(repr, get_args(SpendGroup)))}.")
    rows, where = _RUNS.check(runs), to_zone(tz)
    names = ("spent_tokens", "wasted_tokens", "saved_tokens", "cost")
    rows = rows.assign(**{name: numbers(rows, name) for name in names}, group=_groups(rows, by, where))
    known = rows[rows["spent_tokens"].notna()]
    groups = _sum_groups(known, is_ordered=by == "day")
    canvas = canvas_on(ax, height=height_for(min(len(groups), MOST + 1)))
    unknown = len(rows) - len(known)
    notes = [f"{plural(unknown, 'run')} with unknown tokens"] if unknown else []
    if groups.empty:
        canvas.set_title("Tokens of agents", rows.attrs, where, notes)
        return canvas.show_empty("No runs with known tokens in this frame.")
    bars = bars_of(
        groups,
        lambda row: _spend_bar(canvas.text(row["group"], 48), row),
        lambda rest: _spend_bar("", rest.sum(numeric_only=True)),
    )
    left = draw_bars(canvas, bars, _SPEND)
    canvas.set_title(f"Tokens of agents by {by}", rows.attrs, where, notes, left=left)
    format_number_axis(canvas.ax.xaxis)
    canvas.ax.set_xlabel("journaled tokens")
    totals = {name: sum(bar.parts[name] for bar in bars) for name in _SPEND}
    proxies = [canvas.proxy(each, f"{name}  {totals[name]:,.0f}") for name, each in _SPEND.items()]
    canvas.add_legend(proxies, below=16, left=left)
    return canvas.ax


def _groups(rows: pd.DataFrame, by: str, where: tzinfo) -> pd.Series[Any]:
    if by == "day":
        return pd.to_datetime(rows["created_at"], utc=True).dt.tz_convert(where).dt.strftime("%Y-%m-%d")
    values = rows[_COLUMNS[by]].astype(object)
    return values.where(values.notna(), "unknown model" if by == "model" else "unknown")


def _sum_groups(rows: pd.DataFrame, *, is_ordered: bool) -> pd.DataFrame:
    """Return one row per group, the largest first, or in the order of the days."""
    groups = rows.groupby("group", as_index=False, sort=False).agg(
        runs=("group", "size"),
        spent_tokens=("spent_tokens", "sum"),
        wasted_tokens=("wasted_tokens", "sum"),
        saved_tokens=("saved_tokens", "sum"),
        cost=("cost", "sum"),
        priced=("cost", "count"),
    )
    if is_ordered:
        groups = groups.sort_values("group", kind="stable")
        return groups.assign(group=pd.to_datetime(groups["group"]).dt.strftime(DATE))
    return groups.sort_values(["spent_tokens", "group"], ascending=[False, True], kind="stable")


def _spend_bar(name: str, row: Mapping[Any, Any] | pd.Series[Any]) -> Bar:
    notes = [plural(int(row["runs"]), "run")]
    if row["priced"]:
        unpriced = int(row["runs"] - row["priced"])
        notes.append(f"${row['cost']:,.4f}" + (f" ({unpriced:,} without a price)" if unpriced else ""))
    if row["saved_tokens"]:
        notes.append(f"{row['saved_tokens']:,.0f} tokens saved")
    parts = {"used": row["spent_tokens"] - row["wasted_tokens"], "wasted": row["wasted_tokens"]}
    return Bar(name, parts, " · ".join(notes))


def plot_agent_run(run: Conversation, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw the run of an agent as a timeline, one bar per call of a model, tool, step and wait, from top to bottom.

    A bar extends from the start of a turn to its end, and an open one to the time when the journal was read. Calls of
    models, tools, waits for people and failing steps have different colors. The note after a bar has its duration,
    its journaled tokens and its failed attempts. Tools without a step of their own have no time and are not drawn. Only
    the first 60 turns are drawn. No prompt, response, argument or result is drawn.

    ``run`` is the result of ``rl.conversation(lab, id)``; with ``depth=2`` it has the agents that it called (↳). ``tz``
    is the time zone of the axis.

    Raises:
        ArgumentError: ``run`` is something else, ``ax`` is not Axes, or ``tz`` is not a time zone.
    """
    if not isinstance(run, Conversation):
        raise ArgumentError(f"plot_agent_run needs the result of rl.conversation(lab, id), not {type(run).__name__!r}.")
    where = to_zone(tz)
    turns = [turn for turn in run.turns if turn.role in {"assistant", "tool", "step"} and turn.started is not None]
    shown = turns[:_MOST_TURNS]
    canvas = canvas_on(ax, width=10, height=height_for(len(shown)))
    attrs = {"source": run.source, "version": run.version, "read_at": run.read_at.isoformat()}
    details = [canvas.text(run.id, 48), run.status, run.summary]
    notes = [f"only the first {_MOST_TURNS} of {len(turns):,} turns"] if len(turns) > _MOST_TURNS else []
    if not shown:
        canvas.set_title(canvas.text(run.target, 70), attrs, where, notes, of=details)
        return canvas.show_empty("No turn of this run has a time.")
    left = name_rows(canvas, [_turn_name(canvas, turn) for turn in shown])
    _draw_turns(canvas, run, shown)
    format_time_axis(canvas.ax.xaxis, where, few=canvas.is_narrow)
    canvas.set_title(canvas.text(run.target, 70), attrs, where, notes, of=details, left=left)
    kinds = [_kind(turn) for turn in shown]
    proxies = [canvas.proxy(each, f"{name}  {kinds.count(name)}") for name, each in _STYLES.items() if name in kinds]
    canvas.add_legend(proxies, below=16, left=left)
    return canvas.ax


def _draw_turns(canvas: Canvas, run: Conversation, turns: Sequence[Turn]) -> None:
    start = to_axis_days(pd.Series([turn.started for turn in turns]))
    end = to_axis_days(pd.Series([_end(turn, run) for turn in turns]))
    first, last = float(start.min()), max(float(end.max()), float(start.min()) + SHORTEST_AXIS)
    notes = [" · ".join(_turn_notes(turn, run)) for turn in turns]
    for row, turn in enumerate(turns):
        width = max(float(end[row] - start[row]), (last - first) * NARROWEST_BAR)
        options = canvas.patch_options(_STYLES[_kind(turn)])
        canvas.ax.barh(row, width, 0.68, left=float(start[row]), **options)
        canvas.ax.annotate(
            notes[row],
            (float(start[row]) + width, row),
            (5, 0),
            textcoords="offset points",
            **canvas.text_options | {"va": "center", "in_layout": False},
        )
    room = max(_ROOM, _ROOM_OF_LETTER * max(map(len, notes)))
    canvas.ax.set_xlim(first - (last - first) * 0.01, last + (last - first) * room)
    canvas.ax.grid(axis="x", color=mix_colours(canvas.background, canvas.ink, 0.1), linewidth=0.7)


def _end(turn: Turn, run: Conversation) -> Any:
    return run.read_at if turn.is_open else turn.started and turn.started + (turn.duration or timedelta())


def _kind(turn: Turn) -> str:
    if turn.status == FAILED:
        return "failed"
    if turn.is_open and turn.attempts:
        return "failing"
    kinds = (turn.entry_type or "").split(", ")  # a tool may send its question first
    if not _PEOPLE.isdisjoint(kinds) and turn.name != "cancel":
        return "person"
    return {"assistant": "model", "tool": "tool"}.get(turn.role, "other step")


def _turn_name(canvas: Canvas, turn: Turn) -> str:
    name = turn.tool or (turn.model or "model" if turn.role == "assistant" else turn.name or turn.entry_type)
    return "↳ " * (turn.depth - 1) + canvas.text(name, 40)


def _turn_notes(turn: Turn, run: Conversation) -> Iterable[str]:
    duration = run.read_at - turn.started if turn.is_open and turn.started else turn.duration
    if duration is not None:
        yield f"{format_duration(duration)}{' so far' if turn.is_open else ''}"
    known = [each for each in (turn.input_tokens, turn.output_tokens) if each is not None]
    if known:
        yield f"{sum(known):,} tokens"
    if turn.attempts:
        yield plural(turn.attempts, "failed attempt")
