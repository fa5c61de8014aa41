"""Frames to draw, and checks of a picture without a person."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from restate_lab import plots
from restate_lab.analysis.agents.result import Conversation
from restate_lab.analysis.agents.turns import Turn
from restate_lab.analysis.before_after import BeforeAfter, compare_series
from restate_lab.analysis.before_after.reader import DAY, BlockSeries
from restate_lab.analysis.waits import Waits
from support.blocked_rows import wait_graph

NOW = pd.Timestamp("2026-11-25T03:40:00Z")
HOSTILE = (
    *("pay$ment$", "<script>alert(1)</script>", "line\nbreak\t", "\u202eevil\u200f", "日本語", "👩‍👧", "שלום/עולם"),
    *("x" * 1_000_000, "back\\slash$", "", "nul\x00\x1b[31m", r"\frac{1}{0}$^$"),
)
READ: dict[str, Any] = {"source": "prod $1$", "version": "1.7.12", "read_at": NOW.to_pydatetime()}
ATTRS: dict[Any, Any] = {"source": "prod $1$", "version": "1.7.12", "read_at": NOW.isoformat()}


def frame(columns: dict[str, Any], **attrs: Any) -> pd.DataFrame:
    made = pd.DataFrame(columns)
    made.attrs = ATTRS | attrs
    return made


def overview(names: Sequence[str], statuses: Sequence[str] = ("pending", "backing-off")) -> pd.DataFrame:
    rows = [(name, "do", status, 3 + at + 2 * n) for at, name in enumerate(names) for n, status in enumerate(statuses)]
    return frame(
        dict(
            zip(
                ("target_service_name", "target_handler_name", "status", "invocations"),
                zip(*rows, strict=True),
                strict=True,
            )
        )
    )


def throughput(names: Sequence[str], *, count: int = 12, bin_seconds: int = 60) -> pd.DataFrame:
    starts = pd.date_range(end=NOW, periods=count, freq=f"{bin_seconds}s").as_unit("ms")
    numbers = range(count)
    return frame(
        {
            "span_start": starts,
            "target_service_name": [names[at % len(names)] for at in numbers],
            "succeeded": [10 + at for at in numbers],
            "failed": [at % 3 for at in numbers],
            "cancelled": [int(at == 4) for at in numbers],
            "killed": 0,
        },
        params={"bin": f"{bin_seconds}s", "since": starts[0].isoformat()},
    )


def latency(names: Sequence[str], prefixes: Sequence[str] = ("",)) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "target_service_name": names,
        "target_handler_name": "do",
        "invocations": range(1, len(names) + 1),
    }
    for factor, prefix in enumerate(prefixes, 1):
        for percentile, least in (("p50", 10.0), ("p90", 200.0), ("p99", 3_000.0)):
            columns[f"{prefix}{percentile}_ms"] = [least * factor * (at + 1) for at in range(len(names))]
    return frame(columns)


def latency_parts(names: Sequence[str]) -> pd.DataFrame:
    return latency(names, ("queued_", "running_"))


def durations(names: Sequence[str]) -> pd.DataFrame:
    rows = [(name, "do", float(ms)) for at, name in enumerate(names) for ms in range(at + 4)]
    return frame(dict(zip(("target_service_name", "target_handler_name", "ms"), zip(*rows, strict=True), strict=True)))


def retries(names: Sequence[str]) -> pd.DataFrame:
    count = len(names)
    return frame(
        {
            "target_service_name": names,
            "target_handler_name": "do",
            "error_code": "RT0007",
            "step": names[::-1],
            "message": names,
            "invocations": range(1, count + 1),
            "attempts": [10 * n for n in range(1, count + 1)],
            "worst": 9,
            "next_retry_at": NOW + pd.Timedelta("65s"),
        }
    )


def backlog(names: Sequence[str]) -> pd.DataFrame:
    return frame(
        {
            "target_service_name": "Cart",
            "target_service_key": names,
            "scope": None,
            "waiting": range(1, len(names) + 1),
            "oldest_wait": pd.to_timedelta([90] * len(names), unit="s"),
        }
    )


def state_sizes(names: Sequence[str]) -> pd.DataFrame:
    count = len(names)
    return frame(
        {
            "service_name": "Cart",
            "service_key": names,
            "scope": [None, *names][:count],
            "bytes": [1024 * n for n in range(1, count + 1)],
            "entries": range(1, count + 1),
            "largest_value_bytes": [512 * n for n in range(1, count + 1)],
            "largest_value_name": names,
        }
    )


def journal(names: Sequence[str], **columns: Any) -> pd.DataFrame:
    """Return a journal in which each entry takes 900 ms of its second, and the last one is open."""
    count = len(names)
    started = pd.Series(NOW - pd.Timedelta("1h") + pd.to_timedelta(range(count), unit="s")).dt.as_unit("ms")
    is_open = [False] * (count - 1) + [True] * (count > 0)
    made = {
        "invocation_id": "inv_a",
        "depth": 1,
        "index": pd.array(range(count), dtype="Int64"),
        "entry_type": "Run",
        "name": names,
        "status": ["done"] * (count - 1) + ["open"] * (count > 0),
        "open": is_open,
        "started": started,
        "completed": (started + pd.Timedelta("900ms")).mask(pd.Series(is_open, dtype=bool)),
        "callee_target": None,
        "wakes_at": pd.Series([pd.NaT] * count, dtype="datetime64[ms, UTC]"),
        "promise": None,
        "awakeable_id": None,
        "state_key": None,
        "retries": pd.array([0] * count, dtype="Int64"),
        "retries_at_least": False,
    }
    read_at = {"read_at": (NOW - pd.Timedelta("30min")).isoformat()}
    about = {"id": "inv_1" + "a" * 33, "target": names[0] if names else "Cart/do", "status": "running"}
    return frame(made | columns, **about, **read_at)


def days(names: Sequence[str]) -> pd.DataFrame:
    """Return three weeks of these services, without the sixth day."""
    at = [number for number in range(21) if number != 5]
    rows = [(at_day, name) for at_day in (at if names else []) for name in names]
    start = NOW.floor("D") - pd.Timedelta(days=20)
    return frame(
        {
            "day": pd.Series([start + pd.Timedelta(days=number) for number, _ in rows], dtype="datetime64[ms, UTC]"),
            "target_service_name": [name for _, name in rows],
            "completed": 1_000,
            "succeeded": [1_000 - number * number for number, _ in rows],
            "failed": [number * number for number, _ in rows],
        }
    )


def latency_days(names: Sequence[str]) -> pd.DataFrame:
    """Return three weeks of the latency of these services."""
    rows = days(names)
    level = pd.Series(range(len(rows)), dtype="float64") % 7 + 1
    parts = {"p50_ms": 10 * level, "p90_ms": 200 * level, "p99_ms": 3_000 * level}
    return frame({**rows[["day", "target_service_name"]], "target_handler_name": "do", "invocations": 50, **parts})


def before_after(names: Sequence[str]) -> BeforeAfter:
    """Return a result with a changed step and a changed failure of the first names; the others are steps."""
    rng, start = np.random.default_rng(1), (NOW - pd.Timedelta("14D")).to_pydatetime()
    counts = np.full(14, 100.0)
    after = (np.arange(14) > 6) * 1.0
    series = [
        BlockSeries(name, names[-1], "step", name, 5 + number + after * (number == 0) + rng.normal(0, 0.1, 14), *rest)
        for rest in [(counts, 7, DAY)]
        for number, name in enumerate(names[1:])
    ]
    failures = rng.binomial(100, 0.02 + 0.1 * after).astype(float)
    series += [BlockSeries(names[0], "do", "failures", names[0], failures, counts, 7, DAY)] if len(names) > 1 else []
    comparisons = compare_series(series)
    comparisons.attrs = dict(ATTRS)
    at = NOW.to_pydatetime()
    return BeforeAfter(comparisons, at - 7 * DAY, start, at, "dp_1" + "a" * 20, **READ)


def waits(
    edges: Sequence[tuple[str, str]], targets: Sequence[str] = ("Cart/do",), *, deadlocks: Sequence[Any] = ()
) -> Waits:
    """Return the waits of a graph; root blockers wait for nothing. ``deadlocks`` are (members, certain)."""
    ids = sorted({id_ for edge in edges for id_ in edge})
    links = wait_graph(edges, {id_: targets[number % len(targets)] for number, id_ in enumerate(ids)})
    graph = links.to_networkx()
    roots = [id_ for id_ in graph if not graph.out_degree(id_)]
    blockers = pd.DataFrame(
        {
            "id": roots,
            "waits_for": [targets[-1]] * len(roots),
            "direct_waiting": [graph.in_degree(id_) for id_ in roots],
            "total_waiting": pd.array([len(nx.ancestors(graph, id_)) for id_ in roots], dtype="Int64"),
        }
    )
    found = pd.DataFrame(
        {"members": [m for m, _ in deadlocks], "certain": pd.Series([c for _, c in deadlocks], dtype=bool)}
    )
    columns = {name: pd.Series([], dtype=object) for name in ("kind", "since", "waiter", "wakes_at")}
    return Waits(pd.DataFrame(columns), blockers, found, links, **READ)


def queue(names: Sequence[str]) -> Waits:
    """Return waits in which all invocations wait for the first one."""
    return waits([(f"inv_{at}", "inv_0") for at in range(1, len(names))], names)


def spend(names: Sequence[str]) -> pd.DataFrame:
    """Return runs of agents of these services."""
    count = len(names)
    return frame(
        {
            "service": names,
            "models": "gpt-4o",
            "status": "succeeded",
            "created_at": NOW,
            "spent_tokens": pd.array([1000 * n for n in range(1, count + 1)], dtype="Int64"),
            "wasted_tokens": pd.array([100] * count, dtype="Int64"),
            "saved_tokens": pd.array([7] * count, dtype="Int64"),
            "cost": [0.01 * n for n in range(1, count + 1)],
        }
    )


def agent_run(names: Sequence[str]) -> Conversation:
    """Return a conversation of the first name, whose tools have the other names; the last one is open."""
    start, second = NOW - pd.Timedelta("1h"), timedelta(seconds=1)
    done: dict[str, Any] = {"status": "done", "duration": second}
    turns = [
        Turn("inv_a", 1, "tool", "by order", tool=name, started=(start + at * second).to_pydatetime(), **done)
        for at, name in enumerate(names[1:])
    ]
    last = [replace(each, status="open", duration=None, attempts=3) for each in turns[-1:]]
    target = names[0] if names else "agent/run"
    return Conversation("inv_a", target, "running", (*turns[:-1], *last), **READ)


PLOTS: dict[str, tuple[Callable[..., Axes], Callable[[Sequence[str]], Any]]] = {
    "status": (plots.plot_status, overview),
    "throughput": (plots.plot_throughput, throughput),
    "latency": (plots.plot_latency, latency),
    "latency parts": (plots.plot_latency, latency_parts),
    "distribution": (plots.plot_latency_distribution, durations),
    "retries": (plots.plot_retries, retries),
    "backlog": (plots.plot_backlog, backlog),
    "state sizes": (plots.plot_state_sizes, state_sizes),
    "waits": (plots.plot_waits, queue),
    "agent run": (plots.plot_agent_run, agent_run),
    "spend": (plots.plot_spend, spend),
    "failure calendar": (plots.plot_failure_calendar, days),
    "percentiles": (plots.plot_percentiles, latency_days),
    "before and after": (plots.plot_before_after, before_after),
}
"""Each plot with a function that makes its data from names."""
BY_DAY = (
    "status",
    "throughput",
    "latency parts",
    "retries",
    "waits",
    "agent run",
    "failure calendar",
    "before and after",
)
"""Plots that differ in how they are drawn; the similar other ones are drawn at night."""
every_plot = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in BY_DAY else pytest.mark.long) for name in PLOTS]
)


def draw(ax: Axes) -> Axes:
    """Draw all of it; warnings are errors in the suite."""
    FigureCanvasAgg(ax.figure.figure).draw()
    return ax


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.findobj(Text) if text.get_text()]


def all_text(ax: Axes) -> str:
    return "\n".join(texts(ax))


def bars(ax: Axes) -> dict[str, list[float]]:
    """Return the lengths of the bars by their name."""
    return {str(bar.get_label()): [float(patch.get_width()) for patch in bar] for bar in ax.containers}


def contrast(colour: Any, ground: Any) -> float:
    """Return the contrast of two colours as WCAG defines it, 1 to 21."""
    light, dark = sorted((_luminance(colour), _luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Any) -> float:
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def is_visible(text: str) -> bool:
    """Return True if a text has no invisible character, except the mark that separates directions."""
    return not any(unicodedata.category(each)[0] == "C" for each in text.replace("\u200e", "").replace("\n", ""))
