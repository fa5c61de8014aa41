"""Draw frames with matplotlib: each function takes a frame and returns Axes; no function reads from a source.

``plot`` chooses the function for a result. The functions themselves have options such as the grouping of a bar chart.
With ``ax=``, a plot draws on these Axes and does not use pyplot. Without it, pyplot creates a figure, which a notebook
shows automatically in the colors of its theme: a transparent SVG. Saved files have an opaque background from the
current style sheet, so they are readable in reports and in chats. With ``plt.style.use("dark_background")`` or another
style sheet, a notebook shows the colors of that. Each status has its color from ``restate_lab.status`` and a hatch that
distinguishes it in grayscale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

from restate_lab._public import did_you_mean, explained, nearest_names, require_packages

require_packages("a plot", "matplotlib")

import pandas as pd
from matplotlib.axes import Axes

from restate_lab.analysis.agents.result import Conversation
from restate_lab.analysis.before_after import BeforeAfter
from restate_lab.analysis.waits import Waits
from restate_lab.errors import ArgumentError
from restate_lab.plots.agents import plot_agent_run, plot_spend
from restate_lab.plots.counts import plot_backlog, plot_retries, plot_state_sizes, plot_status
from restate_lab.plots.history import plot_before_after, plot_failure_calendar, plot_percentiles
from restate_lab.plots.latency import plot_latency, plot_latency_distribution
from restate_lab.plots.rates import plot_throughput
from restate_lab.plots.waits import plot_waits

__all__ = [
    "plot",
    "plot_agent_run",
    "plot_backlog",
    "plot_before_after",
    "plot_failure_calendar",
    "plot_latency",
    "plot_latency_distribution",
    "plot_percentiles",
    "plot_retries",
    "plot_spend",
    "plot_state_sizes",
    "plot_status",
    "plot_throughput",
    "plot_waits",
]

PlotKind: TypeAlias = Literal[
    "agent_run",
    "backlog",
    "before_after",
    "failure_calendar",
    "latency",
    "latency_distribution",
    "percentiles",
    "retries",
    "spend",
    "state_sizes",
    "status",
    "throughput",
    "waits",
]
KINDS: Mapping[str, Callable[..., Axes]] = MappingProxyType(
    {kind: globals()[f"plot_{kind}"] for kind in get_args(PlotKind)}
)
"""Kind → the function that draws it."""
_OF_TYPES: Mapping[type, PlotKind] = MappingProxyType(
    {Waits: "waits", Conversation: "agent_run", BeforeAfter: "before_after"}
)
OF_QUESTIONS: Mapping[str, PlotKind] = MappingProxyType(
    {
        "backlog_by_key": "backlog",
        "latency": "latency",
        "latency_by_day": "percentiles",
        "latency_parts": "latency",
        "overview": "status",
        "retry_storm": "retries",
        "state_sizes": "state_sizes",
        "throughput": "throughput",
        "throughput_by_day": "failure_calendar",
    }
)
"""Named question → the kind of plot of its frame."""
_OF_COLUMNS: Mapping[str, PlotKind] = MappingProxyType({"spent_tokens": "spend", "ms": "latency_distribution"})


@explained
def plot(result: Any, /, *, kind: PlotKind | None = None, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw a result, or the frame of a named question, as what it is.

    ``result`` is one of these, and ``kind`` None chooses its plot:

    - the result of ``waits`` ("waits"), ``conversation`` ("agent_run") or ``before_after`` ("before_after")
    - the frame of ``agent_runs`` ("spend")
    - the frame of ``ask`` for "overview" ("status"), "throughput", "latency", "latency_parts" ("latency"),
      "retry_storm" ("retries"), "backlog_by_key" ("backlog"), "state_sizes", "throughput_by_day"
      ("failure_calendar") or "latency_by_day" ("percentiles")
    - a frame with one row per invocation and its duration in ``ms`` ("latency_distribution")

    A journal has no plot, because its card has the bars of the entries: show the frame of ``journal`` in a notebook, or
    add it to a ``Report``. For a frame from your own statement, pass ``kind``; the function of that kind in
    ``restate_lab.plots``, such as ``plot_status``, documents the columns that it reads and its other options. ``ax``
    are the Axes to draw on; None creates a figure. ``tz`` is the time zone of times in the plot.

    Raises:
        ArgumentError: ``result`` has no plot, or ``kind`` is unknown, or a required column is missing, or ``ax`` is not
            Axes, or ``tz`` is not a time zone.
    """
    if kind is None:
        kind = _kind_of(result)
    if kind not in KINDS:
        hint = did_you_mean(nearest_names(str(kind), KINDS))
        raise ArgumentError(f"unknown kind {kind!r}. {hint} Choose from {', '.join(KINDS)}.".replace("  ", " "))
    return KINDS[kind](result, ax=ax, tz=tz)


def _kind_of(result: object) -> PlotKind:
    if isinstance(result, pd.DataFrame):
        question = str(result.attrs.get("question", ""))
        if question in OF_QUESTIONS:
            return OF_QUESTIONS[question]
        kinds = [] if question else [kind for column, kind in _OF_COLUMNS.items() if column in result.columns]
        if kinds:
            return kinds[0]
        if "entry_type" in result.columns:
            raise ArgumentError(
                "plot() does not draw a journal, because its card has the bars: show the frame in a notebook, or add "
                "it to a Report."
            )
        origin = f"The frame of {question!r}" if question else "This frame"
        raise ArgumentError(
            f"{origin} has no plot of its own; pass kind=, one of {', '.join(KINDS)}. The function of a kind in "
            f"restate_lab.plots, such as plot_status, documents the required columns."
        )
    for type_, kind in _OF_TYPES.items():
        if isinstance(result, type_):
            return kind
    raise ArgumentError(
        f"plot() cannot draw {type(result).__name__!r}; pass the result of waits, conversation or before_after, or the "
        "frame of agent_runs or ask."
    )
