"""Bar charts of counts: invocations by status, retries by step, backlog by key, and state sizes by key."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, tzinfo
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from restate_lab._text import format_duration, format_timestamp, plural
from restate_lab.analysis.patterns import merge_by_pattern
from restate_lab.analysis.times import to_zone
from restate_lab.plots.bars import MOST, Bar, bars_of, draw_bars, height_for
from restate_lab.plots.colours import NEUTRAL, FillStyle, status_style
from restate_lab.plots.inputs import RequiredColumns, numbers
from restate_lab.plots.style import Canvas, Typeface, canvas_on, typeface
from restate_lab.plots.units import format_number_axis, format_size, format_size_axis, parse_timestamp
from restate_lab.status import STATUSES

_STATUS_FRAME = RequiredColumns(
    "plot_status", 'rl.ask(lab, "overview")', ("target_service_name", "target_handler_name", "status", "invocations")
)
_RETRY_FRAME = RequiredColumns(
    "plot_retries",
    'rl.ask(lab, "retry_storm")',
    (
        *("target_service_name", "target_handler_name", "error_code", "step", "message"),
        *("invocations", "attempts", "worst", "next_retry_at"),
    ),
)
_BACKLOG_FRAME = RequiredColumns(
    "plot_backlog",
    'rl.ask(lab, "backlog_by_key")',
    ("target_service_name", "target_service_key", "scope", "waiting", "oldest_wait"),
)
_STATE_SIZE_FRAME = RequiredColumns(
    "plot_state_sizes",
    'rl.ask(lab, "state_sizes")',
    ("service_name", "service_key", "scope", "bytes", "entries", "largest_value_bytes", "largest_value_name"),
)
_NEAR = 0.2  # distance of similar colors; black and white have 1.73
_STYLES = {"its largest value": FillStyle(NEUTRAL.colour, "///"), "all others": NEUTRAL}


def plot_status(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw the number of invocations by status, one bar per service, the longest bar first.

    ``frame`` is the result of ``rl.ask(lab, "overview")``, which excludes completed invocations. If there is only one
    service, there is one bar per handler. The plot reads ``target_service_name, target_handler_name, status,
    invocations``. Statuses that ``restate_lab.status`` does not know are drawn, too. Each part shows its number if
    there is room. The sum is at the end of the bar, and the legend has the sum of each status. After 30 bars, all
    others are combined into one bar, "others". ``tz`` is the time zone of the time in the title.

    Raises:
        ArgumentError: a required column is missing, ``ax`` is not Axes, or ``tz`` is not a time zone.
    """
    rows, where = _STATUS_FRAME.check(frame), to_zone(tz)
    face = typeface()
    counts, of = _count_by_status(rows, face)
    canvas = canvas_on(ax, height=height_for(min(len(counts), MOST + 1)))
    if counts.empty:
        canvas.set_title("Invocations", rows.attrs, where)
        return canvas.show_empty("No invocations in this frame.")
    styles = _distinct_styles(counts.columns)
    left = draw_bars(canvas, _status_bars(canvas, counts), styles, inside=_format_number)
    canvas.set_title(f"Invocations by {of}", rows.attrs, where, left=left)
    format_number_axis(canvas.ax.xaxis)
    canvas.ax.set_xlabel("invocations")
    totals = counts.sum()
    canvas.add_legend(
        [canvas.proxy(each, f"{face.text(status, 20)}  {totals[status]:,.0f}") for status, each in styles.items()],
        below=16,
        left=left,
    )
    return canvas.ax


def plot_retries(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw the number of retrying invocations, one bar per step and error, the longest bar first.

    The note after each bar has the sum of all attempts, the maximum for one invocation, and the time of the next
    attempt. Steps whose names differ only in data ("get weather Denver", "get weather Paris") share one bar.

    ``frame`` is the result of ``rl.ask(lab, "retry_storm")``. The plot reads ``target_service_name,
    target_handler_name, error_code, step, message, invocations, attempts, worst, next_retry_at``. After 30 bars, all
    others are combined into one bar, "others". ``tz`` is the time zone of the times.

    Raises:
        ArgumentError: a required column is missing, ``ax`` is not Axes, or ``tz`` is not a time zone.
    """
    rows, where = _RETRY_FRAME.check(frame), to_zone(tz)
    rows = rows.assign(
        **{name: numbers(rows, name) for name in ("invocations", "attempts", "worst")},
        next_retry_at=pd.to_datetime(rows["next_retry_at"], utc=True),
    )
    rows = rows if "steps" in rows else merge_by_pattern(rows)
    rows = rows.sort_values(["invocations", "attempts"], ascending=False, kind="stable")
    canvas = canvas_on(ax, height=height_for(min(len(rows), MOST + 1), lines=2))
    if rows.empty:
        canvas.set_title("Retries by step", rows.attrs, where)
        return canvas.show_empty("No invocations are retrying.")
    now = parse_timestamp(rows.attrs.get("read_at"))
    bars = bars_of(
        rows,
        lambda row: _retry_bar(canvas, row, where, now),
        lambda rest: Bar(
            "",
            {"backing-off": rest["invocations"].sum()},
            _retry_note(rest["invocations"].sum(), rest["attempts"].sum(), rest["worst"].max()),
        ),
    )
    left = draw_bars(canvas, bars, {"backing-off": status_style("backing-off")})
    canvas.set_title("Retries by step", rows.attrs, where, [f"times in {where}"], left=left)
    format_number_axis(canvas.ax.xaxis)
    canvas.ax.set_xlabel("retrying invocations")
    return canvas.ax


def plot_backlog(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw the number of calls that wait for each key, the longest bar first, with the longest wait of each key.

    ``frame`` is the result of ``rl.ask(lab, "backlog_by_key")``. The plot reads ``target_service_name,
    target_service_key, scope, waiting, oldest_wait``. After 30 keys, all others are combined into one bar, "others".
    ``tz`` is the time zone of the time in the title.

    Raises:
        ArgumentError: a required column is missing, ``ax`` is not Axes, or ``tz`` is not a time zone.
    """
    rows, where = _BACKLOG_FRAME.check(frame), to_zone(tz)
    rows = rows.assign(
        waiting=numbers(rows, "waiting"), oldest_wait=pd.to_timedelta(rows["oldest_wait"]) / pd.Timedelta("1ms")
    ).sort_values("waiting", ascending=False, kind="stable")
    canvas = canvas_on(ax, height=height_for(min(len(rows), MOST + 1)))
    if rows.empty:
        canvas.set_title("Calls that wait for a key", rows.attrs, where)
        return canvas.show_empty("No calls wait for a key.")
    bars = bars_of(
        rows,
        lambda row: _wait_bar(
            _key_name(canvas, row["target_service_name"], row["target_service_key"], row["scope"]),
            row["waiting"],
            row["oldest_wait"],
        ),
        lambda rest: _wait_bar("", float(rest["waiting"].sum()), rest["oldest_wait"].max()),
    )
    left = draw_bars(canvas, bars, {"pending": status_style("pending")})
    canvas.set_title("Calls that wait for a key", rows.attrs, where, left=left)
    format_number_axis(canvas.ax.xaxis)
    canvas.ax.set_xlabel("calls waiting (pending)")
    return canvas.ax


def plot_state_sizes(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw the size of the state of each key of a virtual object or workflow, the largest first.

    The hatched part is the largest value; the note has its name. ``frame`` is the result of
    ``rl.ask(lab, "state_sizes")``. The plot reads ``service_name, service_key, scope, bytes, entries,
    largest_value_bytes, largest_value_name``. After 30 keys, all others are combined into one bar, "others". ``tz`` is
    the time zone of the time in the title.

    Raises:
        ArgumentError: a required column is missing, ``ax`` is not Axes, or ``tz`` is not a time zone.
    """
    rows, where = _STATE_SIZE_FRAME.check(frame), to_zone(tz)
    rows = rows.assign(**{name: numbers(rows, name) for name in ("bytes", "entries", "largest_value_bytes")})
    rows = rows.sort_values("bytes", ascending=False, kind="stable")
    canvas = canvas_on(ax, height=height_for(min(len(rows), MOST + 1)) + 0.2)
    if rows.empty:
        canvas.set_title("State by key", rows.attrs, where)
        return canvas.show_empty("No keys have state.")
    bars = bars_of(
        rows,
        lambda row: _size_bar(canvas, row),
        lambda rest: Bar("", {"all others": float(rest["bytes"].sum())}, format_size(rest["bytes"].sum())),
    )
    left = draw_bars(canvas, bars, _STYLES)
    canvas.set_title("State by key", rows.attrs, where, left=left)
    format_size_axis(canvas.ax.xaxis, max(sum(bar.parts.values()) for bar in bars), few=canvas.is_narrow)
    canvas.ax.set_xlabel("size of names and values")
    canvas.add_legend([canvas.proxy(each, name) for name, each in _STYLES.items()], below=16, left=left)
    return canvas.ax


def _distinct_styles(statuses: Iterable[str]) -> dict[str, FillStyle]:
    """Return the style of each status, with a hatch only if an earlier status has a similar color."""
    styles: dict[str, FillStyle] = {}
    for status in statuses:
        style = status_style(status)
        repeats = any(math.dist(to_rgb(style.colour), to_rgb(each.colour)) < _NEAR for each in styles.values())
        styles[status] = style if repeats else FillStyle(style.colour)
    return styles


def _count_by_status(frame: pd.DataFrame, face: Typeface) -> tuple[pd.DataFrame, str]:
    """Return the counts, and the unit of the rows, "service" or "handler of …".

    There is one row per service or handler, most invocations first, and one column per status.
    """
    status = frame["status"].astype("object").fillna("unknown")
    counts = frame.assign(invocations=numbers(frame, "invocations"), status=status)
    services = counts["target_service_name"].drop_duplicates()
    by, of = ("target_service_name", "service")
    if len(services) == 1:
        by, of = ("target_handler_name", f"handler of {face.text(services.iloc[0], 40)}")
    options: dict[str, Any] = {"aggfunc": "sum", "fill_value": 0, "dropna": False}
    table = counts.pivot_table(index=by, columns="status", values="invocations", **options)
    table = table.loc[:, table.sum() > 0]
    known = [status for status in STATUSES if status in table]
    table = table[[*known, *sorted(set(table.columns) - set(known))]]
    order = table.sum(axis="columns").sort_values(ascending=False, kind="stable").index
    table = table.reindex(order)
    return table[table.sum(axis="columns") > 0], of


def _status_bars(canvas: Canvas, counts: pd.DataFrame) -> list[Bar]:
    bars = [
        _status_bar(canvas.text(name, 36), parts)
        for name, parts in zip(counts.index[:MOST], counts[:MOST].to_dict("records"), strict=True)
    ]
    rest = counts[MOST:]
    return [*bars, _status_bar(f"others ({len(rest):,})", rest.sum().to_dict())] if len(rest) else bars


def _status_bar(name: str, parts: dict[Any, float]) -> Bar:
    return Bar(name, {str(status): n for status, n in parts.items()}, _format_number(sum(parts.values())))


def _format_number(value: float) -> str:
    return f"{value:,.0f}"


def _retry_bar(canvas: Canvas, row: dict[Any, Any], tz: tzinfo, now: datetime | None) -> Bar:
    text = canvas.text
    where = f"{text(row['target_service_name'], 24)}/{text(row['target_handler_name'], 24)}"
    steps = f"{row['steps']:,} steps" if row.get("steps", 1) > 1 else "step"
    step = [f"{steps} “{text(row['step'], 28)}”"] if pd.notna(row["step"]) else []
    code = [f"[{text(row['error_code'], 12)}]"] if pd.notna(row["error_code"]) else []
    note = _retry_note(row["invocations"], row["attempts"], row["worst"])
    if pd.notna(row["next_retry_at"]):
        note += f", next {format_timestamp(row['next_retry_at'], zone=tz, now=now, show_zone=False)}"
    name = "\n".join([where, " ".join(step + code)]).strip()
    return Bar(name, {"backing-off": row["invocations"]}, note, below=text(row["message"], 92))


def _retry_note(invocations: float, attempts: float, worst: float) -> str:
    most = f", at most {worst:,.0f} for one" if invocations > 1 else ""
    return f"{plural(int(invocations), 'invocation')}, {plural(int(attempts), 'attempt')}{most}"


def _key_name(canvas: Canvas, service: str, key: str, scope: Any) -> str:
    name = f"{canvas.text(service, 24)}/{canvas.text(key, 28)}"
    return f"{name} in {canvas.text(scope, 16)}" if pd.notna(scope) else name


def _wait_bar(name: str, waiting: float, oldest: float) -> Bar:
    age = f"; oldest wait {format_duration(oldest / 1_000)}" if math.isfinite(oldest) else ""
    return Bar(name, {"pending": waiting}, f"{waiting:,.0f}{age}")


def _size_bar(canvas: Canvas, row: dict[Any, Any]) -> Bar:
    name = _key_name(canvas, row["service_name"], row["service_key"], row["scope"])
    largest = min(row["largest_value_bytes"], row["bytes"])
    name_of_largest = canvas.text(row["largest_value_name"], 24)
    note = f"{format_size(row['bytes'])}, {plural(row['entries'], 'value')}, largest {name_of_largest}"
    return Bar(name, {"its largest value": largest, "all others": row["bytes"] - largest}, note)
